"""A sweep out of the trials of somebody else's search: which of them count, and what a reader must know of the rest."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from numbers import Real
from types import MappingProxyType

from ..exceptions import DataError
from ..grids import SIGNIFICANT_DIGITS
from ..sweep.results import SweepResult
from ..trials import TrialResult, TrialSpec
from .table import TableRow, replicate_seeds

_MOST_NAMES = 20
_UNEVEN = 8.5  # longest step over shortest, in logarithms


@dataclass(frozen=True)
class ForeignTrial:
    """A trial that a search of any kind ran.

    Attributes:
        number: its place in the order of the search.
        seed: text of its seed, None in a search without seeds.
        result: what came of it; the seed in its spec has no meaning.
        is_complete: whether it ran to its end. Of two results of one trial that of a complete one counts.
    """

    number: int
    seed: str | None
    result: TrialResult
    is_complete: bool = True


def counted_trials(trials: Sequence[ForeignTrial]) -> tuple[list[ForeignTrial], list[str]]:
    """Return the trials that count, and a note on the others.

    The first result for each learning rate, schedule and seed counts, of a complete trial if there is one; without
    seeds all results do. A failed trial counts where there is no result.

    Example:
        >>> tries = [TrialResult(TrialSpec("cosine", 0.1, 0), loss, "ok") for loss in (0.5, 0.4)]
        >>> counted, notes = counted_trials([ForeignTrial(i, "7", result) for i, result in enumerate(tries)])
        >>> [trial.result.loss for trial in counted], notes
        ([0.5], ['1 trial left out: another has its learning rate, schedule and seed, and came first'])
    """
    kept: dict[tuple[str, float, str | None], list[ForeignTrial]] = {}
    repeated = 0
    for trial in sorted(trials, key=lambda trial: (not trial.result.is_final, not trial.is_complete, trial.number)):
        same = kept.setdefault((trial.result.spec.schedule, trial.result.spec.lr, trial.seed), [])
        if not same or (trial.seed is None and trial.result.is_final):
            same.append(trial)
        elif trial.result.is_final:
            repeated += 1
    counted = sorted((trial for same in kept.values() for trial in same), key=lambda trial: trial.number)
    why = "another has its learning rate, schedule and seed, and came first"
    return counted, [f"{trials_in_words(repeated)} left out: {why}"] if repeated else []


def sweep_of_trials(
    trials: Sequence[ForeignTrial],
    *,
    notes: Sequence[str] = (),
    differ_in: Sequence[str] = (),
    specs: Mapping[str, str] = MappingProxyType({}),
) -> SweepResult:
    """Return the sweep that these trials make up, with notes on what its reader cannot see.

    In a search without seeds the trials of one learning rate are replicates, paired in their order, unless all of a
    schedule's are identical.

    Args:
        trials: as `counted_trials` returned them, at least one with a result.
        notes: what is known already, said before the rest.
        differ_in: names of further hyperparameters that are not the same in all trials.
        specs: spec of each schedule by its name, where known.

    Raises:
        DataError: when the trials cannot be paired.

    Example:
        >>> tries = [TrialResult(TrialSpec("cosine", lr, 0), loss, "ok") for lr, loss in ((0.1, 0.5), (0.1, 0.4))]
        >>> sweep = sweep_of_trials([ForeignTrial(i, None, result) for i, result in enumerate(tries)])
        >>> sweep.seeds, sweep.notes
        ((0, 1), ('without seeds, trials of one learning rate are taken for replicates, paired in their order',))
    """
    rows, on_seeds = _without_drawn_seeds([_row(i, trial) for i, trial in enumerate(trials)])
    results = [
        replace(trials[row.line].result, spec=TrialSpec(row.schedule, row.lr, seed))
        for row, seed in replicate_seeds(rows)
    ]
    lrs = sorted({row.lr for row in rows})
    return SweepResult.from_trials(
        {row.schedule: specs.get(row.schedule, "") for row in rows},
        lrs,
        sorted({result.spec.seed for result in results}),
        results,
        notes=[*notes, *on_seeds, *_on_replicates(rows, results), *_on_mixture(differ_in), *_on_spacing(lrs)],
    )


def read_lr(value: object, what: str) -> float:
    """Return a learning rate as the sweep holds it, with 12 significant digits.

    Args:
        value: what the search holds.
        what: whose it is, and its name there, for the error.

    Raises:
        DataError: when it is not a positive number.

    Example:
        >>> read_lr(0.30000000000000004, "trial 7: lr")
        0.3
    """
    if not isinstance(value, Real) or isinstance(value, bool):
        raise DataError(f"{what} must be a number, got {value!r}")
    lr = float(value)
    if not 1e-100 <= lr <= 1e100:
        raise DataError(f"{what} must be positive (1e-100 to 1e100), got {lr!r}")
    return float(f"{lr:.{SIGNIFICANT_DIGITS}g}")


def label_text(value: object) -> str:
    """Return the text of a schedule or seed, one for all ways to write a whole number.

    Example:
        >>> label_text(3.0), label_text("cosine")
        ('3', 'cosine')
    """
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def trials_in_words(n: int) -> str:
    """Return "1 trial" or "2 trials"."""
    return "1 trial" if n == 1 else f"{n} trials"


def listed(names: Sequence[str]) -> str:
    """Return names as a text, cut short where there are very many."""
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return ", ".join(names[:_MOST_NAMES]) + more


def _row(line: int, trial: ForeignTrial) -> TableRow:
    result = trial.result
    loss = {"ok": result.loss, "diverged": math.inf}.get(result.status, math.nan)
    return TableRow(line, (), result.spec.schedule, result.spec.lr, trial.seed, loss)


def _without_drawn_seeds(rows: list[TableRow]) -> tuple[list[TableRow], list[str]]:
    """Return the rows without their seeds, and a note, where each learning rate was run with one seed of several.

    Such a seed was drawn with the learning rate. Seeds pair the runs of an axis, and there is none.
    """
    places = {(row.schedule, row.lr) for row in rows}
    if len({row.seed for row in rows}) < 2 or len(places) < len(rows):
        return rows, []
    note = "no learning rate was run with two seeds: the seeds are taken for noise, and nothing tells how much of it"
    return [replace(row, seed=None) for row in rows], [note]


def _on_replicates(rows: Sequence[TableRow], results: Sequence[TrialResult]) -> list[str]:
    notes = []
    if len(results) < len(rows):
        notes.append(
            f"{trials_in_words(len(rows) - len(results))} left out: without seeds, identical repeats of every learning "
            "rate are taken for one run"
        )
    if any(row.seed is None for row in rows) and any(result.spec.seed for result in results):
        notes.append("without seeds, trials of one learning rate are taken for replicates, paired in their order")
    return notes


def _on_mixture(names: Sequence[str]) -> list[str]:
    if not names:
        return []
    return [
        f"the trials differ in {', '.join(names)} as well, and the loss at a learning rate is that of whatever values "
        "were tried with it: hold them fixed to see the learning rate alone, or name one as the schedule to compare "
        "its values"
    ]


def _on_spacing(lrs: Sequence[float]) -> list[str]:
    steps = [above / below for below, above in pairwise(lrs)]
    # Neighbours on a grid that is refined in part are at most a few levels apart.
    if len(steps) < 2 or math.log(max(steps)) < _UNEVEN * math.log(min(steps)):
        return []
    return [
        f"the learning rates are no geometric grid, neighbours are {min(steps):.4g} to {max(steps):.4g} times apart: "
        "they show about where the optimum lies, but a ratio is that of their widest gap, the number of trials beside "
        "it is theirs and not that of a grid, and a learning rate that was tried once shows its luck too; a geometric "
        "grid with seeds measures what a coarser grid costs"
    ]
