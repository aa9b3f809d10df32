"""A user's program, checked from outside by mypy and pyright against the installed wheel: it must know all types."""

from __future__ import annotations

from typing import assert_type

from robust_lr import (
    Analysis,
    CommandTask,
    GeometricGrid,
    Recommendation,
    Schedule,
    SearchOptions,
    SearchResult,
    SweepResult,
    analyze_sweep,
    parse_schedule,
    run_sweep,
    search_learning_rate,
)
from robust_lr.analysis import LearningRateCheck, check_learning_rate
from robust_lr.search import LearningRateSearch


def train(*, lr: float, schedule: Schedule, seed: int) -> float:
    return sum(float(schedule(step, 10)) * lr for step in range(10)) + seed


def main() -> None:
    sweep = run_sweep(train, GeometricGrid(1e-3, 1.0, 7), ["cosine", "constant"], 3)
    assert_type(sweep, SweepResult)
    analysis = analyze_sweep(sweep, tolerance="1%")
    assert_type(analysis, Analysis)
    assert_type(analysis.recommendations, dict[str, Recommendation])
    found = search_learning_rate(train, 1e-3, 1.0, tolerance=0.01, options=SearchOptions(max_trials=5))
    assert_type(found, SearchResult)
    assert_type(found.excess_bound, float | None)
    assert_type(check_learning_rate(sweep, 0.1), tuple[LearningRateCheck, ...])
    assert_type(parse_schedule("cosine"), Schedule)
    assert_type(LearningRateSearch(1e-3, 1.0, tolerance=0.01).result, SearchResult)
    task = CommandTask("python train.py --lr {lr}", metric="val_loss")
    run_sweep(task, [0.1, 0.2], ["cosine"], 2, metric="val_loss")
