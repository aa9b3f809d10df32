"""An analysis as JSON values; docs/reference/analysis-json.md describes them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..sweep.results import SweepResult
from ._entry import Analyzed, ScheduleAnalysis
from .comparison import ScheduleComparison
from .recommendation import Recommendation

SCHEMA_VERSION = 2

_OF_STRIDE = {
    "ratio": "ratio", "n_trials": "n_trials", "covered": "covered", "worst_excess_loss": "worst",
    "worst_interval": "worst_interval", "mean_excess_loss": "mean", "mean_interval": "mean_interval",
    "final_loss": "final_loss", "worst_final_loss": "worst_final_loss", "too_high": "too_high", "too_low": "too_low",
}  # fmt: skip


def analysis_dict(analysis: Analyzed) -> dict[str, Any]:
    content: dict[str, Any] = plain_values({
        "schema": SCHEMA_VERSION,
        "tolerance": analysis.tolerance,
        "confidence_level": analysis.confidence_level,
        "learning_rates": analysis.sweep.learning_rates,
        "seeds": analysis.sweep.seeds,
        "n_trials": analysis.sweep.n_trials,
        "n_diverged": int(analysis.sweep.diverged.sum()),
        "n_failed": len(analysis.sweep.failures),
        "direction": analysis.sweep.direction,
        "notes": analysis.sweep.caveats,
        "schedules": [_schedule_dict(s, analysis.sweep) for s in analysis.schedules],
        "comparison": [] if analysis.comparison is None else _comparison_rows(analysis.comparison),
    })  # fmt: skip
    return content


def _schedule_dict(entry: ScheduleAnalysis, sweep: SweepResult) -> dict[str, Any]:
    result: dict[str, Any] = {"schedule": entry.schedule, "spec": sweep.specs.get(entry.schedule) or None}
    if (profile := entry.profile) is not None:
        result |= {name: getattr(profile, name) for name in ("best_lr", "best_loss", "edge", "cliff", "noise")}
        rows = zip(
            profile.learning_rates,
            profile.mean,
            profile.interval,
            np.isinf(profile.loss).sum(axis=1),
            profile.n_seeds,
            strict=True,
        )
        names = ("lr", "mean", "interval", "n_diverged", "n_seeds")
        result["profile"] = [dict(zip(names, row, strict=True)) for row in rows]
    if (curve := entry.curve) is not None:
        result["df"] = curve.df
        result["degradation"] = [
            {key: getattr(curve, attribute)[row] for key, attribute in _OF_STRIDE.items()}
            for row in range(len(curve.stride))
        ]
    result["recommendation"], result["missing"] = _recommendation_dict(entry.recommendation), None
    if (missing := entry.missing) is not None:
        estimate = _recommendation_dict(missing.estimate)
        result["missing"] = {"reason": str(missing), "needed": missing.needed, "estimate": estimate}
    return result


def _comparison_rows(comparison: ScheduleComparison) -> list[dict[str, Any]]:
    columns = {
        "final_loss": comparison.final_loss, "covered": comparison.covered, "above_lowest": comparison.difference,
        "interval": comparison.interval, "tied": comparison.tied,
    }  # fmt: skip
    return [
        {
            "n_trials": n,
            "lowest": comparison.lowest[i],
            "schedules": [
                {"schedule": name} | {key: values[i, s] for key, values in columns.items()}
                for s, name in enumerate(comparison.schedules)
            ],
        }
        for i, n in enumerate(comparison.n_trials)
    ]


def _recommendation_dict(advice: object) -> dict[str, Any] | None:
    if not isinstance(advice, Recommendation):
        return None
    return {name: getattr(advice, name) for name in advice.__dataclass_fields__ if name != "schedule"}


def plain_values(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: plain_values(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return plain_values(value.tolist())
    if isinstance(value, (list, tuple)):
        return [plain_values(item) for item in value]
    if isinstance(value, np.generic):
        return plain_values(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
