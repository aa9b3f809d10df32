"""Retries: a failed trial is retried up to `max_retries` times, then given up."""

from __future__ import annotations

import logging
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence

from .._checks import check_whole
from .._text import levels_to_user, main_line, place_of
from ..exceptions import RobustLRWarning
from ..trials import TrialResult, TrialSpec

MAX_RETRIES = 2

_log = logging.getLogger("robust_lr")


class Retries:
    """Counts how often each trial has failed, and grants each the same number of further attempts.

    Args:
        max_retries: how often a failed trial is retried, at least 0.
        failures: how often trials have failed before.

    Raises:
        OptionError: when `max_retries` is not a whole number of at least 0.

    Example:
        >>> failed = TrialResult(TrialSpec("cosine", 0.1, 0), float("nan"), "failed")
        >>> retries = Retries(1)
        >>> retries.grants(failed), retries.grants(failed)
        (True, False)
    """

    def __init__(self, max_retries: int = MAX_RETRIES, *, failures: Mapping[TrialSpec, int] | None = None) -> None:
        self._max_retries = check_whole("max_retries", max_retries, at_least=0)
        self._failures = Counter[TrialSpec](failures)

    def n_failures(self, spec: TrialSpec) -> int:
        """Return how often a trial has failed."""
        return self._failures[spec]

    def are_used_up(self, spec: TrialSpec) -> bool:
        """Return whether a trial has failed too often to run again."""
        return self._failures[spec] > self._max_retries

    def grants(self, result: TrialResult) -> bool:
        """Return whether the trial of this result runs again; each call counts a failure."""
        if result.is_final or not result.is_worth_retrying:
            return False
        self._failures[result.spec] += 1
        n, most = self._failures[result.spec], self._max_retries + 1
        if n >= most:
            return False
        spec = result.spec
        trial = f"{spec.schedule}, lr {spec.lr:.4g}, seed {spec.seed}"
        _log.info("%s: attempt %d of %d failed; retrying: %s", trial, n, most, main_line(result.error))
        return True


def warn_of_failures(results: Sequence[TrialResult]) -> None:
    """Warn when trials were given up, with the reason and the place of the first failure."""
    failed = [r for r in results if not r.is_final]
    if failed:
        error = failed[0].error
        message = f"{len(failed)} of {len(results)} trials failed and count as missing"
        warnings.warn(f"{message}; the first: {main_line(error)}{place_of(error)}", RobustLRWarning, levels_to_user())
