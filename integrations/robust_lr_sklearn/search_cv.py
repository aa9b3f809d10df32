"""`LearningRateSearchCV`: cross-validation of an estimator at the learning rates that a search chooses."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from numbers import Real
from typing import Any

import numpy as np
from sklearn.base import is_classifier
from sklearn.metrics import get_scorer
from sklearn.model_selection import check_cv
from sklearn.model_selection._search import BaseSearchCV

from robust_lr import LearningRateSearch, SearchOptions
from robust_lr._checks import check_whole
from robust_lr.exceptions import DataError, OptionError, RobustLRWarning
from robust_lr.prior import ValleyPrior

from ._trials import OneDraw, Trials

# When an estimator of scikit-learn does not read its learning rate: (another parameter, its value).
_UNREAD = {"eta0": ("learning_rate", "optimal"), "learning_rate_init": ("solver", "lbfgs")}


class LearningRateSearchCV(BaseSearchCV):  # type: ignore[misc]  # scikit-learn has no types
    """Finds the learning rate of an estimator by cross-validation, in few trials, and stops when it is good enough.

    Use it like a ``GridSearchCV`` without a grid: the search chooses each learning rate from the scores so far, until
    none in the range can raise the mean score by more than the tolerance. `robust_lr.search.LearningRateSearch`
    describes its assumption. The loss is the negative score.

    The splits are drawn once, and every learning rate is scored on them. Tolerance and bound refer to the mean over
    them: a hard split lowers the score of every learning rate, so it adds no noise to their differences. If fits are
    random, set the estimator's ``random_state``, or a tolerance above the difference between two fits.

    Accuracy, F1 and other metrics that count a classifier's predictions move in steps. They are not convex at the scale
    of these steps, so such a search has no bound (`search_result_.stop` is "steps"); search by "neg_log_loss" for one.

    Failing fits, about which scikit-learn would warn, are results here:

    - A learning rate diverged if its mean score is not finite, or a fit raised an error about an overflow or non-finite
      numbers, as scikit-learn's own estimators do.
    - A learning rate failed if a fit raised any other error. The search goes around it, and ends with the stop
      "failures" once three have failed.

    Args:
        estimator: the estimator, or a pipeline.
        lr_min: the smallest learning rate, > 0.
        lr_max: the largest, at least 1.01 times `lr_min`.
        tolerance: how far the mean score may be below the best in the range: a number, or a share such as "1%".
        lr_name: the parameter to search, such as "learning_rate_init" or "sgdclassifier__eta0". SGDClassifier reads its
            eta0 with ``learning_rate="constant"``, "invscaling" or "adaptive", but not with its default.
        prior: what earlier sweeps of such losses (negative scores) expect, from
            `robust_lr.search.LearningRatePrior.at`.
        options: a `robust_lr.SearchOptions`; None for the defaults. Leave its `noise` out.
        n_at_once: how many learning rates to try at once, >= 1. With more jobs than splits, `n_jobs` divided by the
            number of splits keeps all jobs busy and takes fewer rounds.
        scoring, cv, n_jobs, verbose, pre_dispatch, return_train_score: as in ``GridSearchCV``.
        refit: as in ``GridSearchCV``; with several metrics it names the one to search by.
        error_score: NaN, or "raise" to let a failing fit end the search.

    Attributes:
        search_result_: the `SearchResult`: bound, reason for the stop, good interval, cliff; losses are negative
            scores.
        cv_results_, best_estimator_, best_index_, best_score_, n_splits_: as in ``GridSearchCV``; one row per learning
            rate, in the order of the trials.
        best_params_: the best learning rate, as ``{lr_name: value}``; of several with the same score, the middle one.

    Example:
        >>> from sklearn.datasets import load_iris
        >>> from sklearn.linear_model import SGDClassifier
        >>> model = SGDClassifier(loss="log_loss", learning_rate="constant", random_state=0)
        >>> search = LearningRateSearchCV(model, 1e-4, 1.0, tolerance=0.1, scoring="neg_log_loss")
        >>> search.fit(*load_iris(return_X_y=True)).search_result_.reason
        'nothing in the range is better by more than the tolerance'
        >>> len(search.cv_results_["params"]) == search.search_result_.n_trials < 12
        True
    """

    def __init__(
        self,
        estimator: Any,
        lr_min: float,
        lr_max: float,
        *,
        tolerance: float | str,
        lr_name: str = "eta0",
        prior: ValleyPrior | None = None,
        options: SearchOptions | None = None,
        n_at_once: int = 1,
        scoring: Any = None,
        cv: Any = None,
        n_jobs: int | None = None,
        refit: bool | str | Callable[[dict[str, Any]], int] = True,
        verbose: int = 0,
        pre_dispatch: int | str = "2*n_jobs",
        error_score: float | str = np.nan,
        return_train_score: bool = False,
    ) -> None:
        super().__init__(
            estimator,
            scoring=scoring,
            n_jobs=n_jobs,
            refit=refit,
            cv=cv,
            verbose=verbose,
            pre_dispatch=pre_dispatch,
            error_score=error_score,
            return_train_score=return_train_score,
        )
        self.lr_min = lr_min
        self.lr_max = lr_max
        self.tolerance = tolerance
        self.lr_name = lr_name
        self.prior = prior
        self.options = options
        self.n_at_once = n_at_once

    def fit(self, X: Any, y: Any = None, **params: Any) -> LearningRateSearchCV:
        """Search for the learning rate, and fit the estimator with the best one on all data.

        The arguments are those of ``GridSearchCV.fit``.

        Raises:
            DataError: when no learning rate has a finite score, or `cv` can be read only once.
            GridError: when the range or the start is impossible.
            OptionError: when another option is wrong.
        """
        if isinstance(self.cv, Iterator):
            raise DataError(f"cv must be a list of splits, got {type(self.cv).__name__}, which can be read only once")
        self._trials = Trials(OneDraw(check_cv(self.cv, y, classifier=is_classifier(self.estimator))))
        try:
            super().fit(X, y, **params)
            if math.isnan(self.search_result_.lr):
                raise self._nothing_found()
        finally:
            del self._trials
        return self

    def _run_search(self, evaluate_candidates: Callable[..., dict[str, Any]]) -> None:
        options = self.options or SearchOptions()
        if options.noise:
            raise OptionError(f"leave options.noise out: all are scored on the same splits, got {options.noise!r}")
        # The same splits and seeds: a repeated learning rate tells nothing new.
        stepwise = self._counts_predictions() if options.stepwise is None else options.stepwise
        options = replace(options, noise=0.0, stepwise=stepwise)
        search = LearningRateSearch(
            self.lr_min, self.lr_max, tolerance=self.tolerance, prior=self.prior, options=options
        )
        self._check_options()
        column = f"mean_test_{self.refit if isinstance(self.refit, str) else 'score'}"
        while not search.done:
            lrs = search.ask(self.n_at_once)
            outcomes = self._trials.run(evaluate_candidates, [{self.lr_name: lr} for lr in lrs], column)
            for lr, (score, status) in zip(lrs, outcomes, strict=True):
                search.tell(lr, -score, status=status)
        self.search_result_ = replace(search.result, direction="maximize")
        if not self._trials.complete_results():
            raise self._nothing_found()

    def _format_results(self, candidate_params: Any, n_splits: int, out: Any, more_results: Any = None) -> Any:
        self._trials.note_errors(out, n_splits)
        return super()._format_results(candidate_params, n_splits, out, more_results)

    def _select_best_index(self, refit: Any, refit_metric: str, results: Mapping[str, Any]) -> int:
        lrs: list[float] = [params[self.lr_name] for params in results["params"]]
        if math.isnan(self.search_result_.lr):
            return lrs.index(min(lrs))
        if callable(refit):
            return int(super()._select_best_index(refit, refit_metric, results))
        return lrs.index(self.search_result_.lr)

    def _counts_predictions(self) -> bool | None:
        """Whether the metric counts right and wrong predictions of classes, as accuracy and F1 do; None if unknown."""
        if not is_classifier(self.estimator):
            return None
        scoring, refit = self.scoring, self.refit if isinstance(self.refit, str) else ""
        if isinstance(scoring, Mapping):
            scoring = scoring.get(refit)
        elif isinstance(scoring, (list, tuple, set)):
            scoring = refit
        if scoring is None and not refit:  # the estimator's own score: its accuracy
            return True
        scorer = get_scorer(scoring) if isinstance(scoring, str) and scoring else scoring
        return True if getattr(scorer, "_response_method", None) == "predict" else None

    def _nothing_found(self) -> DataError:
        lrs = sorted(each.lr for each in self.search_result_.history)
        why = self._trials.error or "all are NaN or infinite; has each split every class, and a sample_weight above 0?"
        tried = f"{len(lrs)} tried from {lrs[0]:.4g} to {lrs[-1]:.4g}"
        return DataError(f"no learning rate has a finite score in every split, {tried}: {why}")

    def _check_options(self) -> None:
        check_whole("n_at_once", self.n_at_once, at_least=1)
        params, name = self.estimator.get_params(), type(self.estimator).__name__
        if self.lr_name not in params:
            numbers = [key for key, value in params.items() if isinstance(value, Real) and not isinstance(value, bool)]
            raise OptionError(f"lr_name must be a parameter of {name}, got {self.lr_name!r}; its numbers: {numbers}")
        if self.error_score != "raise" and not math.isnan(self.error_score):
            raise OptionError(f"error_score must be NaN or 'raise', got {self.error_score!r}: an error has no score")
        prefix, _, own = self.lr_name.rpartition("__")
        other, value = _UNREAD.get(own, ("", None))
        other = f"{prefix}__{other}" if prefix else other
        if value is not None and params.get(other) == value:
            warnings.warn(
                f"{name} does not read {self.lr_name} while {other}={value!r}; set that to another value",
                RobustLRWarning,
                stacklevel=2,
            )
