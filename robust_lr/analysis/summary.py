"""The complete analysis of one sweep as one value, which the command line prints and the report shows."""

from __future__ import annotations

import math
from collections.abc import Iterable
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
from ._selection import LossBlock, loss_block
from .comparison import ScheduleComparison, compare_schedules
from .degradation import curve_of
from .profile import profile_of
from .recommendation import Recommendation, recommend

N_NOISES = 3  # the default tolerance, in standard deviations of one trial


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
        """Return the figures as JSON-able values (docs/reference/analysis-json.md). Non-finite numbers are None."""
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


def analyze_sweep(
    sweep: SweepResult,
    *,
    tolerance: float | str | None = None,
    confidence_level: float = 0.95,
    noise: float | None = None,
) -> Analysis:
    """Analyze every schedule of a sweep; if the data do not suffice, a schedule's entry says what is missing.

    Args:
        sweep: the data.
        tolerance: how much worse than the best loss you accept from a coarser grid: a positive number in units of the
            loss, or a text such as "1%" of the lowest mean loss of the sweep. Without one, it is three times the noise
            of one trial at the best learning rate, or "1%" if nothing shows the noise.
        confidence_level: in (0, 1).
        noise: standard deviation of the loss over seeds near the best learning rate, if you know it, right within a
            factor of about 1.5: then one seed has intervals too.

    Raises:
        OptionError: when the tolerance, the confidence level or the noise is out of range.

    Example:
        >>> sweep = SweepResult(("cosine",), [0.1, 0.2, 0.4], (0, 1), [[[1.2, 1.1], [1.0, 0.9], [1.1, 1.0]]])
        >>> analyze_sweep(sweep, tolerance="10%").tolerance
        0.095...
    """
    check_confidence_level(confidence_level)
    unused, evidence = sweep.unused_axes, sweep.without_repeated_seeds()
    blocks = {name: _block(evidence, name, noise) for name in sweep.schedules}
    known = {name: block for name, block in blocks.items() if isinstance(block, LossBlock)}
    allowed = allowed_excess(sweep, known.values(), tolerance)
    entries = tuple(
        ScheduleAnalysis(name, None, None, None, _no_effect(name))
        if name in unused.learning_rates
        else _analyze(block, name, allowed, confidence_level)
        for name, block in blocks.items()
    )
    if len(evidence.seeds) == 1 < len(sweep.seeds):
        entries = tuple(map(_without_noise, entries))
    curves = [e.curve for e in entries if e.curve is not None and e.schedule not in unused.repeated_schedules]
    return Analysis(sweep, allowed, confidence_level, entries, compare_schedules(curves) if curves else None)


def allowed_excess(sweep: SweepResult, blocks: Iterable[LossBlock], tolerance: float | str | None) -> float:
    """Return a tolerance in units of the loss; see `analyze_sweep`."""
    return read_tolerance(_tolerance_from_noise(blocks) if tolerance is None else tolerance).of(_lowest_mean(sweep))


_ROUNDING = 1e-9  # of the differences between learning rates: seeds that differ by less do not show the noise


def _block(sweep: SweepResult, name: str, noise: float | None) -> LossBlock | InsufficientDataError:
    try:
        return loss_block(sweep, name, noise=noise)
    except InsufficientDataError as error:
        return error


def _tolerance_from_noise(blocks: Iterable[LossBlock]) -> float | str:
    # A difference below the spread between seeds could not be noticed in one training anyway.
    lowest = min(blocks, key=lambda block: float(block.mean.min()), default=None)
    if lowest is None:
        return "1%"
    noise, means = lowest.fit.given_noise or float(lowest.noise[lowest.best]), lowest.mean[np.isfinite(lowest.mean)]
    return N_NOISES * noise if _ROUNDING * np.ptp(means) < noise < math.inf else "1%"


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


def _analyze(
    block: LossBlock | InsufficientDataError, name: str, tolerance: float, confidence_level: float
) -> ScheduleAnalysis:
    if isinstance(block, InsufficientDataError):
        return ScheduleAnalysis(name, None, None, None, block)
    profile, curve, advice, missing = profile_of(block, confidence_level), None, None, None
    try:
        curve = curve_of(block, confidence_level)
        advice = recommend(curve, tolerance=tolerance)
    except InsufficientDataError as error:
        missing = error
    return ScheduleAnalysis(name, profile, curve, advice, missing)
