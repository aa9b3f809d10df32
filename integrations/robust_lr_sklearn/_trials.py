"""The trials of a search by cross-validation: their statuses, and their rows in `cv_results_`."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import numpy as np
from sklearn.exceptions import FitFailedWarning

from robust_lr._text import main_line
from robust_lr.exceptions import DataError

_NO_SCORE = r"Scoring failed|One or more of the (?:test|train) scores are non-finite"
# What scikit-learn's estimators and numpy raise where training diverges, and our own `TrialDiverged`.
_DIVERGED = re.compile(r"overflow|non-finite|infinity|\bNaN\b|FloatingPointError|TrialDiverged", re.IGNORECASE)
_ERROR = re.compile(r"^[\w.]+(?:Error|Exception|Diverged)\b.*", re.MULTILINE)
Outcome = tuple[float, Literal["ok", "diverged", "failed"]]


class OneDraw:
    """A splitter that splits once and always returns these splits; a random one would draw new ones each time."""

    def __init__(self, splitter: Any) -> None:
        self._splitter = splitter
        self._splits: list[Any] | None = None

    def split(self, *args: Any, **options: Any) -> Iterator[Any]:
        if self._splits is None:
            self._splits = list(self._splitter.split(*args, **options))
        return iter(self._splits)


class Trials:
    """The parameters of all trials, in order, and scikit-learn's results for them.

    scikit-learn rejects a call in which every fit fails, such as a single learning rate that is too large. The rows of
    such calls are added at the end.
    """

    def __init__(self, cv: OneDraw) -> None:
        self.params: list[dict[str, Any]] = []
        self.error = ""
        self._cv = cv
        self._rows: list[int] = []
        self._results: dict[str, Any] = {}
        self._errors: list[list[str]] = []

    def run(self, evaluate: Callable[..., Any], candidates: list[dict[str, Any]], column: str) -> list[Outcome]:
        """Evaluate these candidates; return their mean scores and statuses."""
        n, before = len(candidates), len(self.params)
        self.params += candidates
        try:
            with warnings.catch_warnings():  # scikit-learn warns about what counts as a result here
                warnings.filterwarnings("ignore", category=FitFailedWarning)
                warnings.filterwarnings("ignore", _NO_SCORE, UserWarning)
                self._results = evaluate(candidates, cv=self._cv)
        except ValueError as error:
            if "fits failed" not in str(error):
                raise
            return [self._outcome(math.nan, _ERROR.findall(str(error)))] * n
        if column not in self._results:
            metrics = [key.removeprefix("mean_test_") for key in self._results if key.startswith("mean_test_")]
            raise DataError(f"refit must name the metric to search by, one of {metrics}")
        self._rows += range(before, before + n)
        scores = [float(score) for score in self._results[column][-n:]]
        return [self._outcome(score, errors) for score, errors in zip(scores, self._errors[-n:], strict=True)]

    def note_errors(self, fits: Sequence[dict[str, Any]], n_splits: int) -> None:
        """Keep the exceptions of the fits by candidate; scikit-learn keeps only their number."""
        errors = [main_line(fit["fit_error"]) if fit.get("fit_error") else "" for fit in fits]
        self._errors = [list(filter(None, errors[i : i + n_splits])) for i in range(0, len(errors), n_splits)]

    def complete_results(self) -> bool:
        """Add the rows of the rejected calls, in place, because scikit-learn's search holds this very dict.

        Return whether there are results; without any, scikit-learn cannot continue.
        """
        results, n = self._results, len(self.params)
        for key, column in list(results.items()):
            if key == "params":
                results[key] = self.params
            elif key.startswith("param_"):
                results[key] = np.ma.array([params[key.removeprefix("param_")] for params in self.params])
            else:
                # Rows without a score share the last rank.
                is_rank = key.startswith("rank_")
                last = 1 + np.isfinite(results[key.replace("rank_", "mean_", 1)]).sum() if is_rank else np.nan
                results[key] = np.full(n, last, column.dtype)
                results[key][self._rows] = column
        return bool(results)

    def _outcome(self, score: float, errors: Sequence[str]) -> Outcome:
        self.error = errors[0] if errors else self.error
        if any(not _DIVERGED.search(error) for error in errors):
            return math.nan, "failed"
        return score, "ok" if math.isfinite(score) else "diverged"
