"""`LearningRateSearchCV`: cross-validation of an estimator at the learning rates that a search asks for."""

from __future__ import annotations

import contextlib
import math
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.base import is_classifier
from sklearn.exceptions import FitFailedWarning
from sklearn.model_selection import check_cv
from sklearn.model_selection._search import BaseSearchCV
from sklearn.utils import check_random_state

from robust_lr._checks import check_whole
from robust_lr.exceptions import DataError, RobustLRWarning
from robust_lr.search import LearningRateSearch, SearchOptions

# Where an estimator of scikit-learn does not read its learning rate: (another parameter, its value).
_UNREAD = {"eta0": ("learning_rate", "optimal"), "learning_rate_init": ("solver", "lbfgs")}
_FAILED = re.compile(r"Scoring failed|One or more of the (?:test|train) scores are non-finite")
_FIRST_ERROR = re.compile(r"^[\w.]+(?:Error|Exception)\b.*", re.MULTILINE)
_Evaluate = Callable[..., dict[str, Any]]


class LearningRateSearchCV(BaseSearchCV):  # type: ignore[misc]  # scikit-learn has no types
    """Find the learning rate of an estimator by cross-validation, in few trials, and stop when it is good enough.

    It is used like a ``GridSearchCV``, and needs no grid: each learning rate is chosen from the scores before it, until
    none in the range can raise the mean score by more than the tolerance (`robust_lr.search.LearningRateSearch` says
    under which assumption). The loss is the negative of the score.

    The splits are drawn once, and every learning rate is scored on the same. The search is told one loss a learning
    rate, that of the mean over the splits. Splits are blocks and not seeds: how hard a split is adds the same to each
    learning rate, and has no part in their differences; told one by one, the scores would make it noise, and the
    search would stop far too early. So tolerance and bound speak of the mean over these splits, like the rank in
    `cv_results_`. Where fits are random, give a `random_state`, or a tolerance above what two of them differ by.

    A learning rate has diverged when a fit at it fails, or its mean score is not finite: a result, without a warning.

    Args:
        estimator: the estimator, or a pipeline of several.
        param: the parameter of it to search, such as "learning_rate_init" or "sgdclassifier__eta0". SGDClassifier reads
            its eta0 under ``learning_rate="constant"``, "invscaling" or "adaptive", and not under its default.
        lr_min: the smallest learning rate, > 0.
        lr_max: the largest, > lr_min.
        tolerance: by how much the mean score may be below the best in the range, > 0; a score, or a share of it.
        relative: whether the tolerance is a share of the absolute value of the best mean score.
        start: the learning rate to begin with, in the range; without one the search looks over the whole range first.
        extend: whether to go beyond the range when the best lies on its end.
        max_trials: try at most so many learning rates, >= 1.
        n_at_once: how many learning rates to try at once, >= 1. With more jobs than splits, `n_jobs` over their number
            keeps all of them busy, and takes fewer rounds.
        random_state: a seed for every ``random_state`` of the estimator, the same at every learning rate, so that they
            differ by less chance; it then stands in `best_params_` too. Left out, the estimator keeps its own.
        scoring: as in ``GridSearchCV``. With several metrics `refit` names the one to search by.
        cv: as in ``GridSearchCV``: the number of folds, a splitter, or the splits in a list.
        n_jobs: as in ``GridSearchCV``: how many fits run in parallel.
        refit: whether to fit the best on all of the data at the end; the name of a metric; or a function that picks the
            best from `cv_results_`.
        verbose: as in ``GridSearchCV``.
        pre_dispatch: as in ``GridSearchCV``.
        error_score: NaN, or "raise": then a fit that fails ends the search.
        return_train_score: whether `cv_results_` has the scores on the training sets too.

    Attributes:
        search_result_: the `SearchResult`: bound, reason of the stop, good interval, cliff; losses are negative scores.
        cv_results_: as in ``GridSearchCV``; one row a learning rate, in the order of the trials.
        best_params_: the best learning rate, as ``{param: value}``; of several with one score the middle one.
        best_score_: its mean score.
        best_index_: its row.
        best_estimator_: the estimator that was refit with it.
        n_splits_: the number of splits.

    Example:
        >>> from sklearn.datasets import load_iris
        >>> from sklearn.linear_model import SGDClassifier
        >>> model = SGDClassifier(loss="log_loss", learning_rate="constant", random_state=0)
        >>> search = LearningRateSearchCV(model, scoring="neg_log_loss", tolerance=0.1, lr_min=1e-4, lr_max=1.0)
        >>> search.fit(*load_iris(return_X_y=True)).search_result_.reason
        'nothing in the range is better by more than the tolerance'
        >>> len(search.cv_results_["params"]) == search.search_result_.n_trials < 12
        True
    """

    def __init__(
        self,
        estimator: Any,
        *,
        param: str = "eta0",
        lr_min: float = 1e-5,
        lr_max: float = 10.0,
        tolerance: float = 0.01,
        relative: bool = False,
        start: float | None = None,
        extend: bool = True,
        max_trials: int | None = None,
        n_at_once: int = 1,
        random_state: Any = None,
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
        self.param = param
        self.lr_min = lr_min
        self.lr_max = lr_max
        self.tolerance = tolerance
        self.relative = relative
        self.start = start
        self.extend = extend
        self.max_trials = max_trials
        self.n_at_once = n_at_once
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None, **params: Any) -> LearningRateSearchCV:
        """Search the learning rate, and fit the estimator with the best on all of the data.

        Args:
            X: the samples.
            y: their targets, if the estimator has any.
            params: for the `fit` of the estimator, and `groups` for the splitter, as in ``GridSearchCV``.

        Raises:
            DataError: when there is no such parameter, no learning rate has a finite score, or an option is not what it
                must be.
            GridError: when the range or the start is none.
        """
        if isinstance(self.cv, Iterator):
            raise DataError(f"cv must be the splits in a list, got {type(self.cv).__name__}, which is read only once")
        self._cv = _OneDraw(check_cv(self.cv, y, classifier=is_classifier(self.estimator)))
        try:
            super().fit(X, y, **params)  # where no learning rate works, the last fit of all says why, in its own words
        finally:
            del self._cv
        if math.isnan(self.search_result_.lr):
            raise self._nothing_found(self._failure)
        return self

    def _run_search(self, evaluate_candidates: _Evaluate) -> None:
        search = LearningRateSearch(
            self.lr_min,
            self.lr_max,
            tolerance=f"{100 * self.tolerance}%" if self.relative else self.tolerance,
            options=SearchOptions(
                start=self.start,
                extend=self.extend,
                max_trials=self.max_trials,
                noise=0.0,  # the same splits and seeds at every learning rate: to try one again would say nothing
            ),
        )
        self._check_options()
        trials = _Trials(evaluate_candidates, self._cv)
        metric, seeds = self.refit if isinstance(self.refit, str) else "score", self._seeds()
        while not search.done:
            lrs = search.ask(self.n_at_once)
            scores = trials.scores([{self.param: lr, **seeds} for lr in lrs], f"mean_test_{metric}")
            for lr, score in zip(lrs, scores, strict=True):
                search.tell(lr, -score, status="ok" if math.isfinite(score) else "diverged")
        self.search_result_ = search.result
        if not trials.complete_results():
            raise self._nothing_found(trials.failure)
        self._failure = trials.failure

    def _select_best_index(self, refit: Any, refit_metric: str, results: Mapping[str, Any]) -> int:
        lrs: list[float] = [params[self.param] for params in results["params"]]
        if math.isnan(self.search_result_.lr):
            return lrs.index(min(lrs))
        if callable(refit):
            return int(super()._select_best_index(refit, refit_metric, results))
        return lrs.index(self.search_result_.lr)

    def _nothing_found(self, failure: str) -> DataError:
        lrs = sorted(tell.lr for tell in self.search_result_.history)
        return DataError(
            f"no learning rate has a finite score in every split, {len(lrs)} tried from {lrs[0]:.4g} to {lrs[-1]:.4g}"
            f": {failure or 'they are NaN or infinite; has each split every class, and a sample_weight above zero?'}"
        )

    def _seeds(self) -> dict[str, int]:
        if self.random_state is None:
            return {}
        names = [name for name in self.estimator.get_params() if name.rpartition("__")[2] == "random_state"]
        if isinstance(self.random_state, Integral):
            return dict.fromkeys(names, int(self.random_state))
        return dict.fromkeys(names, int(check_random_state(self.random_state).randint(2**31)))

    def _check_options(self) -> None:
        check_whole("n_at_once", self.n_at_once, at_least=1, error=DataError)
        params, name = self.estimator.get_params(), type(self.estimator).__name__
        if self.param not in params:
            numbers = [key for key, value in params.items() if isinstance(value, Real) and not isinstance(value, bool)]
            raise DataError(f"param must be a parameter of {name}, got {self.param!r}; its numbers are {numbers}")
        if self.error_score != "raise" and not math.isnan(self.error_score):
            raise DataError(f"error_score must be NaN or 'raise', got {self.error_score!r}: a fit that fails diverged")
        prefix, _, own = self.param.rpartition("__")
        other, value = _UNREAD.get(own, ("", None))
        other = f"{prefix}__{other}" if prefix else other
        if value is not None and params.get(other) == value:
            warnings.warn(
                f"{name} does not read {self.param} while {other}={value!r}; set that to another value",
                RobustLRWarning,
                stacklevel=2,
            )


class _OneDraw:
    """A splitter that splits once, and returns these splits ever after: a random one would draw others each time."""

    def __init__(self, splitter: Any) -> None:
        self._splitter = splitter
        self._splits: list[Any] | None = None

    def split(self, *args: Any, **options: Any) -> Iterator[Any]:
        if self._splits is None:
            self._splits = list(self._splitter.split(*args, **options))
        return iter(self._splits)


class _Trials:
    """The trials of a search: their parameters, in order, and the results that scikit-learn keeps of them.

    It refuses a call in which every fit fails, as all do where one learning rate is tried that is too large. The rows
    of these are added at the end.
    """

    def __init__(self, evaluate: _Evaluate, cv: _OneDraw) -> None:
        self.params: list[dict[str, Any]] = []
        self.failure = ""
        self._evaluate, self._cv = evaluate, cv
        self._rows: list[int] = []
        self._results: dict[str, Any] = {}

    def scores(self, candidates: list[dict[str, Any]], column: str) -> list[float]:
        """Evaluate these candidates; return their mean scores, NaN where every fit failed."""
        n, before = len(candidates), len(self.params)
        self.params += candidates
        try:
            with self._failures_noted():
                self._results = self._evaluate(candidates, cv=self._cv)
        except ValueError as error:
            if "fits failed" not in str(error):
                raise
            self._note(str(error))
            return [math.nan] * n
        if column not in self._results:
            metrics = [key.removeprefix("mean_test_") for key in self._results if key.startswith("mean_test_")]
            raise DataError(f"refit must name the metric to search by, one of {metrics}")
        self._rows += range(before, before + n)
        return [float(score) for score in self._results[column][-n:]]

    def complete_results(self) -> bool:
        """Add the rows of the calls that were refused, in place: the search of scikit-learn holds this very dict.

        Return whether there are results; without any, scikit-learn cannot go on.
        """
        results, n = self._results, len(self.params)
        for key, column in list(results.items()):
            if key == "params":
                results[key] = self.params
            elif key.startswith("param_"):
                results[key] = np.ma.array([params[key.removeprefix("param_")] for params in self.params])
            else:
                # Without a score all share the last rank.
                is_rank = key.startswith("rank_")
                last = 1 + np.isfinite(results[key.replace("rank_", "mean_", 1)]).sum() if is_rank else np.nan
                results[key] = np.full(n, last, column.dtype)
                results[key][self._rows] = column
        return bool(results)

    @contextlib.contextmanager
    def _failures_noted(self) -> Iterator[None]:
        """Note what scikit-learn warns of, that a fit or a score failed: here it is a result. Let other warnings go."""
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.filterwarnings("always", category=FitFailedWarning)
                warnings.filterwarnings("always", _FAILED.pattern, UserWarning)
                yield
        finally:
            for each in caught:
                if _FAILED.match(str(each.message)) or each.category is FitFailedWarning:
                    self._note(str(each.message))
                else:
                    warnings.warn_explicit(each.message, each.category, each.filename, each.lineno, source=each.source)

    def _note(self, text: str) -> None:
        if "Traceback" in text:
            found = _FIRST_ERROR.search(text)
            self.failure = found.group() if found else text.strip().splitlines()[-1]
