"""Runs that any tool left behind become the trials of a sweep: which of them count, which are replicates, and what a
reader of the figures must know about the rest. Each reader only produces `Run` values."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from numbers import Real
from typing import Literal

from .._text import count_of, listed
from ..exceptions import DataError, OptionError
from ..grids import SIGNIFICANT_DIGITS
from ..trials import Status, TrialResult, TrialSpec

DEFAULT_SCHEDULE = "sweep"

Repeats = Literal["refuse", "first"]
Direction = Literal["minimize", "maximize"]

_UNEVEN = (
    8.5  # longest step over shortest, in logarithms; on a grid refined in part they differ by a few levels at most
)


@dataclass(frozen=True, kw_only=True)
class Run:
    """One training run that exists already, whoever ran it.

    Attributes:
        lr: learning rate, 1e-100 to 1e100; rounded to 12 significant digits, so that 0.3 and 0.30000000000000004 agree.
        loss: final loss; NaN where there is none, infinite (kept as +inf) where the run diverged.
        schedule: name of the schedule, or of whatever else the sweep compares.
        spec: text of the schedule that `parse_schedule` reads, "" where unknown.
        seed: a whole number, or any text, kept as a text; None where the source has no seeds.
        status: "ok" stands for what the loss says; any other status decides what the loss is.
        group: values that put the run into one of several sweeps.
        metrics: further final numbers by name.
        params: hyperparameters besides learning rate, schedule and seed; None where they are unknown.
        seconds: how long it ran, NaN where unknown.
        error: why it failed, or how it diverged.
        complete: False for a run that ended early with a result, such as one pruned because it diverged. A complete run
            with the same learning rate, schedule and seed has precedence.
        excluded: why the run does not count, such as "not finished"; "" where it counts. Nothing else is checked then.
        remark: what a reader must know about this run and others like it, such as "stored only the last report".
        where: names the run in errors, such as "line 3" or "trial 7".

    Raises:
        DataError: when the learning rate is not a positive number.

    Example:
        >>> Run(lr=0.30000000000000004, loss=float("-inf"), seed=3.0)
        Run(lr=0.3, schedule='sweep', seed='3', loss=inf, status='diverged')
    """

    lr: float
    loss: float = math.nan
    schedule: str = DEFAULT_SCHEDULE
    spec: str = ""
    seed: str | float | None = None
    status: Status = "ok"
    group: tuple[str, ...] = ()
    metrics: Mapping[str, float] = field(default_factory=dict)
    params: Mapping[str, object] | None = None
    seconds: float = math.nan
    error: str | None = None
    complete: bool = True
    excluded: str = ""
    remark: str = ""
    where: str = "a run"

    def __post_init__(self) -> None:
        if self.excluded:
            return
        status, loss = self.status, self.loss
        if status == "ok":
            status = "failed" if math.isnan(loss) else "diverged" if math.isinf(loss) else "ok"
        loss = {"ok": loss, "diverged": math.inf}.get(status, math.nan)
        seed = None if self.seed is None else label_text(self.seed)
        changes = {"lr": read_lr(self.lr, self.where), "schedule": label_text(self.schedule), "seed": seed}
        for name, value in (changes | {"status": status, "loss": loss}).items():
            object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        """What tells one run from another."""
        return (
            f"Run(lr={self.lr!r}, schedule={self.schedule!r}, seed={self.seed!r}, loss={self.loss!r}, "
            f"status={self.status!r})"
        )

    @property
    def has_result(self) -> bool:
        """Whether there is a loss, or the run diverged."""
        return not self.excluded and not math.isnan(self.loss)

    @property
    def _key(self) -> tuple[str, float, object]:
        return self.schedule, self.lr, self.seed


@dataclass(frozen=True)
class Arranged:
    """Runs as the trials of one sweep: a result for each trial, the spec of each schedule by its name, and notes."""

    results: tuple[TrialResult, ...]
    specs: Mapping[str, str]
    notes: tuple[str, ...]


def arrange(
    runs: Iterable[Run],
    *,
    repeats: Repeats = "refuse",
    direction: Direction = "minimize",
    source: str = "the data",
    notes: Sequence[str] = (),
) -> Arranged:
    """Return the trials that these runs are, and notes on what a reader of the figures cannot see.

    Runs without seeds that share a learning rate are replicates, paired in their order, unless all of a schedule's
    repeats are identical: then they are duplicates. Seeds that were drawn anew for each learning rate are ignored. A
    run without a result counts as a failure where no other run of its trial has one.

    Args:
        runs: in the order in which they were run.
        repeats: what happens when two runs have the same learning rate, schedule and seed, but different losses:
            "refuse" raises, with "first" the first complete run counts.
        direction: "maximize" where a larger value is better; the loss is then its negative.
        source: names the data in errors.
        notes: known already, said first.

    Raises:
        DataError: when no run has a result, or repeats contradict each other.
    """
    sign, runs = sign_of(direction), list(runs)
    said = [*notes, *on_direction(direction)]
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
    return Arranged(tuple(results), {run.schedule: run.spec for run in counted}, tuple(said))


def read_lr(value: object, where: str) -> float:
    """Return a learning rate as a sweep holds it, with 12 significant digits; `where` names its run in errors.

    Raises:
        DataError: when it is not a positive number.
    """
    if not isinstance(value, Real) or isinstance(value, bool):
        raise DataError(f"{where}: lr must be a number, got {value!r}")
    lr = float(value)
    if not 1e-100 <= lr <= 1e100:
        raise DataError(f"{where}: lr must be positive (1e-100 to 1e100), got {lr!r}")
    return float(f"{lr:.{SIGNIFICANT_DIGITS}g}")


def label_text(value: object) -> str:
    """Return the text of a schedule or seed, one for all ways to write a whole number: "3" for 3.0."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def sign_of(direction: Direction) -> float:
    """Return what turns a value into a loss: 1, or -1 where a larger value is better.

    Raises:
        OptionError: when the direction is neither "minimize" nor "maximize".
    """
    if direction not in ("minimize", "maximize"):
        raise OptionError(f"direction must be 'minimize' or 'maximize', got {direction!r}")
    return 1.0 if direction == "minimize" else -1.0


def on_direction(direction: Direction) -> list[str]:
    """Return the note of a sweep whose losses are negatives, in a list; an empty list for any other."""
    return ["larger is better: each loss here is the negative of the value"] if direction == "maximize" else []


def _without_repeats(runs: Sequence[Run], repeats: Repeats) -> tuple[list[Run], list[str]]:
    by_trial: dict[tuple[str, float, object], list[int]] = {}
    for position, run in enumerate(runs):
        by_trial.setdefault(run._key, []).append(position)
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
        f"losses, {first.loss:g} and {other.loss:g}; name the column that tells them apart, as the seed or a group"
    )


def _duplicated_schedules(trials: Iterable[Sequence[Run]]) -> set[str]:
    """The schedules without seeds that repeat every learning rate with the same loss, not all of them diverged."""
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
    """The runs without their seeds where each learning rate has one of several: such seeds pair no runs."""
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


def mixed_params(params: Sequence[Mapping[str, object]]) -> list[str]:
    """Return the names of the hyperparameters that are not the same in all of these."""
    names = sorted({name for each in params for name in each})
    return [name for name in names if len({_shown(each.get(name)) for each in params}) > 1]


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


def _shown(value: object) -> str:
    """A value as a text in which equal values are the same; an object that only prints its address does not count."""
    text = repr(value)
    return type(value).__name__ if " at 0x" in text else text
