"""Everything the analysis says of one sweep, as one value: what the command line prints and the report shows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..exceptions import InsufficientDataError
from ..sweep.results import SweepResult
from .bounds import check_confidence_level
from .comparison import ScheduleComparison, compare_schedules
from .degradation import DegradationCurve, degradation_curve
from .profile import LearningRateProfile, learning_rate_profile
from .recommendation import Recommendation, check_tolerance, recommend

SCHEMA_VERSION = 1


@dataclass(frozen=True, eq=False)
class ScheduleAnalysis:
    """What is known of one schedule; None where the data do not carry it, and then `missing` says why.

    Attributes:
        schedule: name of the schedule.
        profile: loss against learning rate.
        curve: degradation against ratio.
        recommendation: the grid to use next.
        missing: why one of them is None; its `estimate` is what the point estimates alone would recommend.
    """

    schedule: str
    profile: LearningRateProfile | None
    curve: DegradationCurve | None
    recommendation: Recommendation | None
    missing: InsufficientDataError | None


@dataclass(frozen=True, eq=False)
class Analysis:
    """The analysis of a sweep under a tolerance.

    Attributes:
        sweep: the data.
        tolerance: excess loss allowed, in units of the loss.
        confidence_level: of all intervals.
        schedules: one entry a schedule, in the order of the sweep.
        comparison: which schedule ends lower at each number of trials; None when no schedule has a curve.
    """

    sweep: SweepResult
    tolerance: float
    confidence_level: float
    schedules: tuple[ScheduleAnalysis, ...]
    comparison: ScheduleComparison | None

    @property
    def recommendations(self) -> dict[str, Recommendation]:
        """The recommendation of each schedule that has one, by its name."""
        return {s.schedule: s.recommendation for s in self.schedules if s.recommendation is not None}

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as JSON-able values; docs/analysis-json.md describes them. Non-finite numbers are None."""
        content: dict[str, Any] = _plain({
            "schema": SCHEMA_VERSION,
            "tolerance": self.tolerance,
            "confidence_level": self.confidence_level,
            "learning_rates": self.sweep.learning_rates,
            "seeds": self.sweep.seeds,
            "n_trials": self.sweep.n_trials,
            "n_diverged": int(self.sweep.diverged.sum()),
            "n_failed": len(self.sweep.failures),
            "notes": self.sweep.notes,
            "schedules": [_schedule_dict(s, self.sweep) for s in self.schedules],
            "comparison": [] if self.comparison is None else _comparison_rows(self.comparison),
        })  # fmt: skip
        return content


def analyze_sweep(sweep: SweepResult, *, tolerance: float, confidence_level: float = 0.95) -> Analysis:
    """Analyse every schedule of a sweep; a schedule that the data do not carry becomes an entry that says so.

    Args:
        sweep: the data.
        tolerance: excess loss allowed when a grid is recommended, > 0.
        confidence_level: in (0, 1).

    Raises:
        DataError: when the tolerance or the confidence level is out of range.
    """
    check_tolerance(tolerance)
    check_confidence_level(confidence_level)
    entries = tuple(_analyze(sweep, name, tolerance, confidence_level) for name in sweep.schedules)
    curves = [entry.curve for entry in entries if entry.curve is not None]
    return Analysis(sweep, float(tolerance), confidence_level, entries, compare_schedules(curves) if curves else None)


def _analyze(sweep: SweepResult, name: str, tolerance: float, confidence_level: float) -> ScheduleAnalysis:
    profile = curve = advice = missing = None
    try:
        profile = learning_rate_profile(sweep, name, confidence_level=confidence_level)
        curve = degradation_curve(sweep, name, confidence_level=confidence_level)
        advice = recommend(curve, tolerance=tolerance)
    except InsufficientDataError as error:
        missing = error
    return ScheduleAnalysis(name, profile, curve, advice, missing)


def _schedule_dict(entry: ScheduleAnalysis, sweep: SweepResult) -> dict[str, Any]:
    result: dict[str, Any] = {"schedule": entry.schedule, "spec": sweep.specs.get(entry.schedule) or None}
    if entry.profile is not None:
        profile = entry.profile
        result |= {
            "best_lr": profile.best_lr,
            "best_loss": profile.best_loss,
            "edge": profile.edge,
            "cliff": profile.cliff,
            "profile": [
                {"lr": lr, "mean": mean, "interval": interval, "n_diverged": int(np.isinf(losses).sum())}
                for lr, mean, interval, losses in zip(
                    profile.learning_rates, profile.mean, profile.interval, profile.loss, strict=True
                )
            ],
        }
    if entry.curve is not None:
        columns = {
            "ratio": "ratio", "n_trials": "n_trials", "covered": "covered", "worst": "worst_excess_loss",
            "worst_interval": "worst_interval", "mean": "mean_excess_loss", "mean_interval": "mean_interval",
            "final_loss": "final_loss", "worst_final_loss": "worst_final_loss",
            "too_high": "too_high", "too_low": "too_low",
        }  # fmt: skip
        result["degradation"] = [
            {key: getattr(entry.curve, attribute)[row] for attribute, key in columns.items()}
            for row in range(len(entry.curve.stride))
        ]
    result["recommendation"] = None if entry.recommendation is None else _recommendation_dict(entry.recommendation)
    result["missing"] = None
    if entry.missing is not None:
        estimate = entry.missing.estimate
        result["missing"] = {
            "reason": str(entry.missing),
            "needed": entry.missing.needed,
            "estimate": _recommendation_dict(estimate) if isinstance(estimate, Recommendation) else None,
        }
    return result


def _comparison_rows(comparison: ScheduleComparison) -> list[dict[str, Any]]:
    return [
        {
            "n_trials": n,
            "lowest": comparison.lowest[i],
            "schedules": [
                {
                    "schedule": name,
                    "final_loss": comparison.final_loss[i, s],
                    "covered": bool(comparison.covered[i, s]),
                    "above_lowest": comparison.difference[i, s],
                    "interval": comparison.interval[i, s],
                    "tied": bool(comparison.tied[i, s]),
                }
                for s, name in enumerate(comparison.schedules)
            ],
        }
        for i, n in enumerate(comparison.n_trials)
    ]


def _recommendation_dict(advice: Recommendation) -> dict[str, Any]:
    return {name: getattr(advice, name) for name in advice.__dataclass_fields__ if name != "schedule"}


def _plain(value: Any) -> Any:
    """The value in the types of JSON, with None for a number that is not finite."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
