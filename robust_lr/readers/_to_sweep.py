"""Turn runs into the trials of one sweep: which runs count, which are replicates, and what the notes say."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

from .._metrics import Direction, direction_of
from .._text import count_of, listed
from ..exceptions import DataError
from ..trials import TrialResult, TrialSpec
from .runs import Repeats, Run, mixed_params

_UNEVEN = 8.5  # longest step over shortest, in logarithms; a partly refined grid differs by a few levels at most


class Arranged(NamedTuple):
    """The trials of one sweep: a result per trial, the spec of each schedule by its name, and notes."""

    results: list[TrialResult]
    specs: dict[str, str]
    notes: list[str]


def arrange(
    runs: Iterable[Run],
    *,
    repeats: Repeats = "refuse",
    direction: Direction | None = None,
    source: str = "the data",
    notes: Sequence[str] = (),
) -> Arranged:
    """Arrange runs as trials, with notes on what the figures do not show; see `SweepResult.from_runs`."""
    runs, (sign, _), said = list(runs), direction_of(direction), list(notes)
    said += [
        f"{count_of(n, 'trial')} left out: {why}" for why, n in Counter(r.excluded for r in runs if r.excluded).items()
    ]
    counted, on_repeats = _without_repeats([run for run in runs if not run.excluded], repeats)
    said += on_repeats
    if not any(run.has_result for run in counted):
        raise DataError("; ".join([f"{source} has no finished trial with a result", *said]))
    said += [f"{count_of(n, 'trial')} {what}" for what, n in Counter(r.remark for r in counted if r.remark).items()]
    counted, on_seeds = _without_drawn_seeds(counted)
    seeds, on_replicates = _seed_numbers(counted)
    said += [*on_seeds, *on_replicates, *_on_mixture(counted), *_on_spacing(counted)]
    results = [_result(run, seed, sign) for run, seed in zip(counted, seeds, strict=True)]
    return Arranged(results, {run.schedule: run.spec for run in counted}, said)


def _without_repeats(runs: Sequence[Run], repeats: Repeats) -> tuple[list[Run], list[str]]:
    by_trial: dict[tuple[str, float, object], list[int]] = {}
    for position, run in enumerate(runs):
        by_trial.setdefault((run.schedule, run.lr, run.seed), []).append(position)
    duplicated = _duplicated_schedules([[runs[i] for i in positions] for positions in by_trial.values()])
    kept, exact, later = list[int](), 0, 0
    for (schedule, _, seed), positions in by_trial.items():
        first, *others = sorted(positions, key=lambda i: (not runs[i].has_result, not runs[i].complete))
        others = [i for i in others if runs[i].has_result]
        kept.append(first)
        if seed is None and schedule not in duplicated:
            kept += others
            continue
        for other in others:
            if repeats == "first" and seed is not None:
                later += 1
            elif runs[other].loss == runs[first].loss:
                exact += 1
            else:
                raise DataError(_contradiction(runs[first], runs[other]))
    notes = []
    if exact:
        why = " (there are no seeds, and every learning rate was repeated with identical losses)" if duplicated else ""
        notes.append(f"{count_of(exact, 'trial')} left out: exact duplicates of others{why}")
    if later:
        notes.append(
            f"{count_of(later, 'trial')} left out: an earlier trial has the same learning rate, schedule and seed"
        )
    return [runs[i] for i in sorted(kept)], notes


def _contradiction(first: Run, other: Run) -> str:
    return (
        f"{first.where} and {other.where} give one trial ({first.schedule}, lr {first.lr:g}, seed {first.seed}) two "
        f"losses, {first.loss:g} and {other.loss:g}; name the column that tells them apart, such as the seed or a group"
    )


def _duplicated_schedules(trials: Iterable[Sequence[Run]]) -> set[str]:
    # Schedules without seeds that repeat every learning rate with the same loss, unless all diverged.
    losses: dict[str, list[list[float]]] = {}
    for runs in trials:
        if runs[0].seed is None:
            losses.setdefault(runs[0].schedule, []).append([run.loss for run in runs if run.has_result])
    return {
        schedule
        for schedule, each in losses.items()
        if all(len(repeats) != 1 and len(set(repeats)) <= 1 for repeats in each)
        and any(math.isfinite(repeats[0]) for repeats in each if repeats)
    }


def _without_drawn_seeds(runs: list[Run]) -> tuple[list[Run], list[str]]:
    # If each learning rate was run with one of several seeds, the seeds pair nothing.
    if len({run.seed for run in runs} - {None}) < 2 or len({(run.schedule, run.lr) for run in runs}) < len(runs):
        return runs, []
    note = "no learning rate was run with two seeds: seeds are ignored, and the noise between them is unknown"
    return [replace(run, seed=None) for run in runs], [note]


def _seed_numbers(runs: Sequence[Run]) -> tuple[list[int], list[str]]:
    names = sorted({str(run.seed) for run in runs if run.seed is not None})
    whole = all(name.isascii() and name.removeprefix("-").isdigit() and len(name) <= 100 for name in names)
    number = {name: int(name) if whole else position for position, name in enumerate(names)}
    counts: Counter[tuple[str, float]] = Counter()
    seeds = []
    for run in runs:
        place = run.schedule, run.lr
        seeds.append(counts[place] if run.seed is None else number[str(run.seed)])
        counts[place] += run.seed is None
    replicates = max(counts.values(), default=0) > 1
    note = "no seeds were given: trials that share a learning rate are replicates, paired in their order"
    return seeds, [note] if replicates else []


def _on_mixture(runs: Sequence[Run]) -> list[str]:
    mixed = mixed_params([run.params for run in runs if run.has_result and run.params is not None])
    if not mixed:
        return []
    return [
        f"the trials also differ in {listed(mixed)}, so a loss is not due to the learning rate alone: hold these "
        "fixed, or name one as the schedule to compare its values"
    ]


def _on_spacing(runs: Sequence[Run]) -> list[str]:
    steps = [above / below for below, above in pairwise(sorted({run.lr for run in runs}))]
    if len(steps) < 2 or math.log(max(steps)) < _UNEVEN * math.log(min(steps)):
        return []
    return [
        f"the learning rates are not a geometric grid (neighbors are {min(steps):.4g} to {max(steps):.4g} times "
        "apart): they show roughly where the optimum lies, but each ratio is that of the widest gap, and a learning "
        "rate tried once may just have been lucky; a geometric grid with several seeds shows what a coarser one costs"
    ]


def _result(run: Run, seed: int, sign: float) -> TrialResult:
    loss = sign * run.loss if math.isfinite(run.loss) else run.loss
    return TrialResult(TrialSpec(run.schedule, run.lr, seed), loss, run.status, run.seconds, run.metrics, run.error)
