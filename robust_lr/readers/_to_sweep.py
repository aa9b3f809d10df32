"""Turn runs into the trials of one sweep: which runs count, which are replicates, and what the notes say."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

from .._metrics import Direction, direction_of
from .._text import count_of, listed
from ..exceptions import DataError
from ..trials import TrialResult, TrialSpec
from ._mixture import refuse_mixed
from ._rows import refuse
from .runs import Repeats, Run, mixed_params

_UNEVEN = 8.5  # longest step over shortest, in logarithms; a partly refined grid differs by a few levels at most


_SAME_RATE = 1e-6  # a learning rate that was stored as float32 is off by up to 6e-8
_FEWEST_DIGITS, _ROUNDING = 3, 0.0051  # of a rounded learning rate, and how far off it may be
_DUPLICATE = "exact duplicates of others"
_EARLIER = "an earlier trial has the same learning rate, schedule and seed"
_LATER = "a later trial has the same learning rate, schedule and seed"


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
    counted, on_rates = _with_rounded_rates(_with_equal_rates([run for run in runs if not run.excluded]))
    said += on_rates
    n_lost = Counter(run.lr for run in runs if run.excluded and math.isfinite(run.lr))
    if emptied := sorted({lr for lr, n in n_lost.items() if n > 1} - {run.lr for run in counted}):
        rates = listed(f"{lr:g}" for lr in emptied)
        said.append(f"no run is left at {rates}: where runs have diverged, give them the loss inf")
    counted, on_repeats = _without_repeats(counted, repeats, source)
    said += on_repeats
    if not any(run.has_result for run in counted):
        raise DataError("; ".join([f"{source} has no finished trial with a result", *said]))
    said += [f"{count_of(n, 'trial')} {what}" for what, n in Counter(r.remark for r in counted if r.remark).items()]
    counted, on_seeds = _without_drawn_seeds(counted)
    refuse_mixed(counted, source)
    seeds, on_replicates = _seed_numbers(counted, bool(on_seeds))
    said += [*on_seeds, *on_replicates, *_on_mixture(counted), *_on_spacing(counted)]
    results = [_result(run, seed, sign) for run, seed in zip(counted, seeds, strict=True)]
    return Arranged(results, {run.schedule: run.spec for run in counted}, said)


def _with_equal_rates(runs: Sequence[Run]) -> list[Run]:
    """Let learning rates that agree up to float32 be one: the shortest in decimals, as 0.001 for 0.0010000000475."""
    groups: list[list[float]] = []
    for lr in sorted({run.lr for run in runs}):
        if groups and lr <= groups[-1][0] * (1 + _SAME_RATE):
            groups[-1].append(lr)
        else:
            groups.append([lr])
    one = {lr: min(group, key=lambda lr: (len(repr(lr)), lr)) for group in groups for lr in group}
    return [run if one[run.lr] == run.lr else replace(run, lr=one[run.lr]) for run in runs]


def _with_rounded_rates(runs: list[Run]) -> tuple[list[Run], list[str]]:
    """Let a learning rate that is another one with fewer digits be that one, as 0.000345 and 0.0003453."""
    lrs = sorted({run.lr for run in runs})
    exact = {
        short: [long for long in _near(lrs, short) if _digits(long) > n and float(f"{long:.{n}g}") == short]
        for short in lrs
        if (n := _digits(short)) >= _FEWEST_DIGITS
    }
    seeds: dict[float, set[tuple[str, object]]] = {}
    for run in runs:
        seeds.setdefault(run.lr, set()).add((run.schedule, run.seed))
    one = {
        short: longs[0]
        for short, longs in exact.items()
        # A fine grid has both, and so has a rate that was run twice with one seed.
        if len(longs) == 1 and all(seed is None for _, seed in seeds[short] & seeds[longs[0]])
    }
    one = {short: one.get(long, long) for short, long in one.items()}
    pairs = listed((f"{short:.12g} as {long:.12g}" for short, long in one.items()), at_most=3)
    notes = [f"learning rates written with fewer digits count as the exact ones: {pairs}"] if one else []
    return [replace(run, lr=one[run.lr]) if run.lr in one else run for run in runs], notes


def _near(lrs: Sequence[float], lr: float) -> Sequence[float]:
    return lrs[bisect_left(lrs, lr * (1 - _ROUNDING)) : bisect_right(lrs, lr * (1 + _ROUNDING))]


def _digits(lr: float) -> int:
    mantissa = f"{lr:.11e}".split("e")[0]
    return len(mantissa.rstrip("0").replace(".", ""))


def _without_repeats(runs: Sequence[Run], repeats: Repeats, source: str) -> tuple[list[Run], list[str]]:
    by_trial: dict[tuple[str, float, object], list[int]] = {}
    for position, run in enumerate(runs):
        by_trial.setdefault((run.schedule, run.lr, run.seed), []).append(position)
    duplicated = _duplicated_schedules([[runs[i] for i in positions] for positions in by_trial.values()])
    kept, counts, contradictions = list[int](), Counter[str](), list[list[Run]]()
    for (schedule, _, seed), positions in by_trial.items():
        first, *others = sorted(positions, key=lambda i: (not runs[i].has_result, not runs[i].complete))
        of_trial = [first, *(i for i in others if runs[i].has_result)]
        if seed is None and schedule not in duplicated:
            kept += of_trial
            continue
        position, why = _the_one([runs[i] for i in of_trial], repeats if seed is not None else "refuse")
        kept.append(of_trial[position])
        counts[why] += len(of_trial) - 1
        if not why:
            contradictions.append([runs[i] for i in of_trial])
    refuse(source, [_contradiction(each) for each in contradictions], way_out=_way_out(contradictions))
    no_seeds = " (there are no seeds, and every learning rate was repeated with identical losses)" if duplicated else ""
    notes = [
        f"{count_of(counts[why], 'trial')} left out: {why}{no_seeds if why == _DUPLICATE else ''}"
        for why in (_DUPLICATE, _EARLIER, _LATER)
        if counts[why]
    ]
    return [runs[i] for i in sorted(kept)], notes


def _the_one(runs: Sequence[Run], repeats: Repeats) -> tuple[int, str]:
    """Return the position of the run that counts for a trial, and why the others do not; "" if they contradict it."""
    if repeats == "first":
        return 0, _EARLIER
    if len({run.loss for run in runs if run.has_result}) <= 1:
        return 0, _DUPLICATE
    last_complete = max(i for i, run in enumerate(runs) if run.complete == runs[0].complete)
    if repeats == "last":
        return last_complete, _LATER
    times = [run.started for run in runs]
    latest = {run.loss for run in runs if run.started == max(times)}
    if len(latest) > 1 or any(map(math.isnan, times)) or _mixed(runs):
        return 0, ""
    return times.index(max(times)), _LATER


def _contradiction(runs: Sequence[Run]) -> str:
    first, other = runs[0], next(run for run in runs if run.loss != runs[0].loss)
    return (
        f"{first.where} and {other.where} give one trial ({first.schedule}, lr {first.lr:g}, seed {first.seed}) two "
        f"losses, {first.loss:g} and {other.loss:g}"
    )


def _way_out(contradictions: Sequence[Sequence[Run]]) -> str:
    if mixed := sorted({name for runs in contradictions for name in _mixed(runs)}):
        return f"; they differ in {listed(mixed)}: name one as a group (--group-by) or as the schedule"
    return (
        "; name the column that tells them apart, such as the seed or a group; if one is a rerun of the other, say "
        "which counts with repeats='last' or 'first' (--repeats)"
    )


def _mixed(runs: Sequence[Run]) -> list[str]:
    return mixed_params([run.params for run in runs if run.has_result and run.params is not None])


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
    # If no seed was run at two learning rates, the seeds pair nothing.
    seeds, cells = {run.seed for run in runs} - {None}, {(run.schedule, run.lr) for run in runs}
    if len(seeds) < 2 or len({run.lr for run in runs}) < 2:
        return runs, []
    if len(cells) == len(runs):
        note = "no learning rate was run with two seeds: seeds are ignored, and the noise between them is unknown"
    elif len({(run.seed, run.schedule, run.lr) for run in runs if run.seed is not None}) == len(seeds):
        note = "no seed was run at two learning rates, so seeds seem to number the runs: they are ignored"
    else:
        return runs, []
    return [replace(run, seed=None) for run in runs], [note]


def _seed_numbers(runs: Sequence[Run], were_given: bool) -> tuple[list[int], list[str]]:
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
    note = "trials that share a learning rate are replicates, paired in their order"
    return seeds, [note if were_given else f"no seeds were given: {note}"] if replicates else []


def _on_mixture(runs: Sequence[Run]) -> list[str]:
    if not (mixed := _mixed(runs)):
        return []
    return [
        f"the trials also differ in {listed(mixed)}, so a loss is not due to the learning rate alone: hold these "
        "fixed, or name one as the schedule to compare its values, or as a group of a table (--group-by)"
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
