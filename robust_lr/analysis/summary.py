"""The complete analysis of one sweep as one value, which the command line prints and the report shows."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .._checks import check_confidence_level
from .._page import to_html, to_markdown, to_text
from .._tolerance import read_tolerance
from ..exceptions import InsufficientDataError
from ..sweep.results import SweepResult
from ._as_dict import analysis_dict
from ._entry import ScheduleAnalysis as ScheduleAnalysis
from .comparison import ScheduleComparison, compare_schedules
from .degradation import degradation_curve
from .profile import learning_rate_profile
from .recommendation import Recommendation, recommend


@dataclass(frozen=True, eq=False, repr=False)
class Analysis:
    """The analysis of a sweep under a tolerance; ``print`` shows it as tables and sentences.

    Attributes:
        sweep: the data.
        tolerance: allowed excess loss, in units of the loss.
        confidence_level: of all intervals.
        schedules: one entry per schedule, in the order of the sweep.
        comparison: which schedule ends lower at each number of trials, of schedules with equal losses only the first;
            None when no schedule has a curve.
    """

    sweep: SweepResult
    tolerance: float
    confidence_level: float
    schedules: tuple[ScheduleAnalysis, ...]
    comparison: ScheduleComparison | None

    @property
    def recommendations(self) -> dict[str, Recommendation]:
        """The recommendations by schedule name, of the schedules that have one."""
        return {s.schedule: s.recommendation for s in self.schedules if s.recommendation is not None}

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as JSON-able values; docs/analysis-json.md describes them. Non-finite numbers are None."""
        return analysis_dict(self)

    def __repr__(self) -> str:
        advised = ", ".join(f"{name} {advice.ratio:.4g}" for name, advice in self.recommendations.items())
        return f"Analysis({self.sweep!r}, tolerance {self.tolerance:.4g}; recommended ratios: {advised or 'none'})"

    def __str__(self) -> str:
        """The tables and sentences that ``robust-lr analyze`` prints."""
        from ..report.text import analysis_blocks

        return to_text(analysis_blocks(self))

    def _repr_html_(self) -> str:
        from ..report.text import analysis_blocks

        return to_html(analysis_blocks(self))

    def to_markdown(self) -> str:
        """Return the answer, the tables and the alerts as Markdown."""
        from ..report.text import analysis_blocks

        return to_markdown(analysis_blocks(self, every_detail=False))


def analyze_sweep(sweep: SweepResult, *, tolerance: float | str, confidence_level: float = 0.95) -> Analysis:
    """Analyze every schedule of a sweep; if the data do not suffice, a schedule's entry says what is missing.

    Args:
        sweep: the data.
        tolerance: how much worse than the best loss you accept from a coarser grid: a positive number in units of the
            loss, or a text such as "1%" of the lowest mean loss of the sweep.
        confidence_level: in (0, 1).

    Raises:
        OptionError: when the tolerance or the confidence level is out of range.

    Example:
        >>> sweep = SweepResult(("cosine",), [0.1, 0.2, 0.4], (0, 1), [[[1.2, 1.1], [1.0, 0.9], [1.1, 1.0]]])
        >>> analyze_sweep(sweep, tolerance="10%").tolerance
        0.095...
    """
    allowed = read_tolerance(tolerance).of(_lowest_mean(sweep))
    check_confidence_level(confidence_level)
    unused, evidence = sweep.unused_axes, sweep.without_repeated_seeds()
    entries = tuple(
        ScheduleAnalysis(name, None, None, None, _no_effect(name))
        if name in unused.learning_rates
        else _analyze(evidence, name, allowed, confidence_level)
        for name in sweep.schedules
    )
    if len(evidence.seeds) == 1 < len(sweep.seeds):
        entries = tuple(map(_without_noise, entries))
    curves = [e.curve for e in entries if e.curve is not None and e.schedule not in unused.repeated_schedules]
    return Analysis(sweep, allowed, confidence_level, entries, compare_schedules(curves) if curves else None)


def _no_effect(name: str) -> InsufficientDataError:
    same = "all learning rates have the same loss to the last bit"
    return InsufficientDataError(f"{name}: {same}", needed="a training that uses its learning rate")


def _without_noise(entry: ScheduleAnalysis) -> ScheduleAnalysis:
    """The entry of a schedule with several seeds that count as one: what it lacks is not more seeds."""
    if entry.missing is None or entry.missing.estimate is None:
        return entry
    missing = InsufficientDataError(
        f"{entry.schedule}: equal losses for every seed do not show the noise",
        estimate=entry.missing.estimate,
        needed="a training that uses its seed",
    )
    return replace(entry, missing=missing)


def _lowest_mean(sweep: SweepResult) -> float:
    n_results = np.sum(~np.isnan(sweep.loss), axis=-1, keepdims=True)
    # The division comes first: a sum of huge losses overflows, a mean of them does not.
    means = np.nansum(sweep.loss / np.maximum(n_results, 1), axis=-1)[n_results[..., 0] > 0]
    return float(means.min(initial=math.inf))


def _analyze(sweep: SweepResult, name: str, tolerance: float, confidence_level: float) -> ScheduleAnalysis:
    profile = curve = advice = missing = None
    try:
        profile = learning_rate_profile(sweep, name, confidence_level=confidence_level)
        curve = degradation_curve(sweep, name, confidence_level=confidence_level)
        advice = recommend(curve, tolerance=tolerance)
    except InsufficientDataError as error:
        missing = error
    return ScheduleAnalysis(name, profile, curve, advice, missing)
