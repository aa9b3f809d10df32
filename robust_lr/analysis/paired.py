"""Is this change better than that one? Two sides, A and B, paired over seeds or over sweeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._checks import check_confidence_level
from .._page import Block, to_html, to_text
from .._tolerance import read_tolerance
from ..exceptions import DataError, InsufficientDataError
from ..sweep.results import SweepResult
from ._as_dict import plain_values
from ._pair_figures import PairFigures
from ._pairs import Pair, gap_at_rates, gap_of_seeds, gap_of_sweeps, gaps_at_rates
from ._selection import LossBlock, loss_block

Array = NDArray[np.float64]
Sweeps = SweepResult | Mapping[str, SweepResult]


@dataclass(frozen=True, eq=False, repr=False)
class PairedComparison(PairFigures):
    """Side B against side A, each at its own best learning rate, and at equal learning rates; ``print`` shows it.

    Differences are B - A in units of the loss, so a negative one says that B is better.

    Attributes:
        names: of the sides.
        schedules: under which each was trained; the same unless the schedules are what is compared.
        sweeps: names of the pairs of sweeps, N of them.
        best_lrs: best learning rate of each side, shape (N, 2).
        best_losses: mean loss there, likewise.
        edges: at how many sweeps each side has its best at the edge of its learning rates, so that it may be better.
        at_best: the difference between the best learning rates; of several pairs of sweeps, the mean.
        at_equal: the difference at equal learning rates, on average over those from one best to the other and one
            beyond each.
        learning_rates: those in common, with one pair of sweeps, shape (L,).
        at_rates: difference at each of these, and `at_rates_interval`, shape (L, 2), each interval by itself.
        tolerance: the difference that matters, if it was given.
        left_out: pairs of sweeps that are left out because a side always diverged or has no result, in words.
        confidence_level: of the intervals; with several schedules it holds for all their verdicts together.
        direction: that of the sweeps.
    """

    def to_dict(self) -> dict[str, Any]:
        """Return the attributes as JSON-able values, with the verdict in words; a number that is not finite is None."""
        from ..report.pair_words import verdict_text

        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        values |= {name: vars(values[name]) for name in ("at_best", "at_equal")}
        more = {"verdict": self.verdict, "enough_pairs": self.enough_pairs(), "conclusion": verdict_text(self)}
        content: dict[str, Any] = plain_values(values | more)
        return content

    def __repr__(self) -> str:
        low, high = self.at_best.interval
        a, b = self.names
        return f"PairedComparison({b} - {a}: {self.at_best.difference:.4g} [{low:.4g}, {high:.4g}])"

    def __str__(self) -> str:
        """The verdict, the best learning rates of both sides, and how many more runs would tell."""
        return to_text(self._blocks())

    def _repr_html_(self) -> str:
        return to_html(self._blocks())

    def _blocks(self) -> list[Block]:
        from ..report.pair_words import pair_blocks

        return pair_blocks(self)


def compare_sweeps(
    a: Sweeps,
    b: Sweeps,
    *,
    names: tuple[str, str] = ("A", "B"),
    schedules: tuple[str, str] | None = None,
    tolerance: float | str | None = None,
    confidence_level: float = 0.95,
    noise: float | None = None,
) -> tuple[PairedComparison, ...]:
    """Compare two sides under each schedule that both have; if each has one, they may differ.

    Two sweeps are paired over the seeds in common; without any, the noise of both sides adds up. Two collections are
    paired over the sweeps of the same name, such as ``steps = 1000``: the mean difference has a t interval over these.
    The interval allows for the luck of choosing the best learning rate on either side. Without any difference, one side
    is called better with a probability of at most 5 % (docs/how-to/compare.md has the measurement).

    Args:
        a: sweep of one side, or several by name.
        b: the same of the other side.
        names: of the sides, for messages.
        schedules: one of each side; by default each that both have.
        tolerance: the difference that matters to you: a number in units of the loss, or "1%" of the lower best loss.
        confidence_level: in (0, 1).
        noise: standard deviation of the loss over seeds, if you know it: then one seed on each side is enough.

    Raises:
        InsufficientDataError: when no pair of sweeps has a converged run on both sides.
        DataError: when the sides have no schedule or no sweep in common, or are optimized in different directions.
        OptionError: when an option is out of range.

    Example:
        >>> lrs, loss = [0.1, 0.2, 0.4], np.array([[[1.2, 1.1, 1.1], [1.0, 0.9, 1.0], [1.1, 1.0, 1.1]]])
        >>> a = SweepResult(("cosine",), lrs, (0, 1, 2), loss)
        >>> b = SweepResult(("cosine",), lrs, (0, 1, 2), loss - [0.5, 0.51, 0.49])
        >>> (found,) = compare_sweeps(a, b, names=("SGD", "Adam"))
        >>> found.verdict, round(found.at_best.difference, 3)
        ('B', -0.5)
    """
    check_confidence_level(confidence_level)
    sides = [{"": side} if isinstance(side, SweepResult) else dict(side) for side in (a, b)]
    shared = [name for name in sides[0] if name in sides[1]]
    if not shared:
        some = [next(iter(side), "none") for side in sides]
        raise DataError(f"{names[0]} and {names[1]} have no sweep in common: {some[0]!r} and {some[1]!r}, for instance")
    directions = {sweep.direction for side in sides for sweep in side.values()}
    if len(directions) > 1:
        raise DataError(f"{names[0]} and {names[1]} are optimized in different directions; give the same one for both")
    wanted = _schedules(sides, names) if schedules is None else [schedules]
    level = 1 - (1 - confidence_level) / len(wanted)
    return tuple(_compare(sides, shared, both, names, tolerance, level, noise) for both in wanted)


def _schedules(sides: list[dict[str, SweepResult]], names: tuple[str, str]) -> list[tuple[str, str]]:
    a, b = (list(dict.fromkeys(s for sweep in side.values() for s in sweep.schedules)) for side in sides)
    if common := [name for name in a if name in b]:
        return [(name, name) for name in common]
    if len(a) == len(b) == 1:
        return [(a[0], b[0])]
    raise DataError(f"no schedule in common: {names[0]} has {', '.join(a)}, {names[1]} has {', '.join(b)}")


def _compare(
    sides: list[dict[str, SweepResult]], shared: list[str], schedules: tuple[str, str], names: tuple[str, str],
    tolerance: float | str | None, level: float, noise: float | None,
) -> PairedComparison:  # fmt: skip
    found, left_out = _pairs(sides, shared, schedules, names, noise)
    pairs = list(found.values())
    lowest = np.array([[block.mean[block.best] for block in pair] for pair in pairs])
    edges = [[block.best in (0, len(block.learning_rates) - 1) for block in pair] for pair in pairs]
    if len(shared) == 1:
        at_best, rates = gap_of_seeds(pairs[0], level), gaps_at_rates(pairs[0], level)
    else:
        at_best, rates = gap_of_sweeps(pairs, level), (np.zeros(0), np.zeros(0), np.zeros((0, 2)))
    at_a, at_b = np.sum(edges, axis=0).tolist()
    return PairedComparison(
        names=names,
        schedules=schedules,
        sweeps=tuple(found),
        best_lrs=np.array([[block.learning_rates[block.best] for block in pair] for pair in pairs]),
        best_losses=lowest,
        edges=(at_a, at_b),
        at_best=at_best,
        at_equal=gap_at_rates(pairs, level),
        learning_rates=rates[0],
        at_rates=rates[1],
        at_rates_interval=rates[2],
        tolerance=None if tolerance is None else read_tolerance(tolerance).of(float(lowest.min(axis=1).mean())),
        left_out=tuple(left_out),
        confidence_level=level,
        direction=sides[0][shared[0]].direction,
    )


def _pairs(
    sides: list[dict[str, SweepResult]], shared: list[str], schedules: tuple[str, str], names: tuple[str, str],
    noise: float | None,
) -> tuple[dict[str, Pair], list[str]]:  # fmt: skip
    found, left_out = dict[str, Pair](), list[str]()
    for sweep in shared:
        blocks = list[LossBlock]()
        for side, schedule, name in zip(sides, schedules, names, strict=True):
            try:
                blocks.append(loss_block(side[sweep].without_repeated_seeds(), schedule, noise=noise))
            except (InsufficientDataError, DataError) as error:
                where = f" at {sweep}" if sweep else ""
                left_out.append(f"{name}{where}: {str(error).removeprefix(f'{schedule}: ').partition('; needed')[0]}")
        if len(blocks) == 2:
            found[sweep] = blocks[0], blocks[1]
    if not found:
        raise InsufficientDataError(f"nothing to compare: {left_out[0]}", needed="a converged run on both sides")
    return found, left_out
