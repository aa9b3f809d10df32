"""A comparison of two sides in words and tables."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from .._metrics import quantity
from .._page import Block, Box, Line, Table
from .._text import count_of, listed, loss_text
from ..analysis._pair_figures import PairFigures
from ..analysis._pairs import Gap
from ..analysis.noise import NoiseFloor
from .words import under

MOST_ROWS = 12  # sweeps that are listed one by one
BLIND = (
    "  One seed a sweep shows only what neighboring learning rates do not share: runs may differ more, two to four "
    "times if all learning rates use the same seed. A second seed at the best learning rates of some sweeps would tell."
)
MOST_PAIRS = 1000  # nobody runs more


def pair_blocks(found: PairFigures) -> list[Block]:
    """Return the verdict in a box, the notes, and the differences one by one."""
    of_schedule = "" if found.schedules[0] != found.schedules[1] else under(found.schedules[0])
    one = len(found.sweeps) == 1
    blocks: list[Block] = [Box(f"{' or '.join(found.names)}{of_schedule}?", list(_rows(found)))]
    blocks += [Line(f"Note: {note}.") for note in _notes(found)]
    if one and len(found.learning_rates):
        blocks.append(_table_of_rates(found))
    if not one and len(found.sweeps) <= MOST_ROWS:
        blocks.append(_table_of_sweeps(found))
    return blocks


def verdict_text(found: PairFigures) -> str:
    """Return the verdict in one sentence."""
    (a, b), gap, d = found.names, found.at_best, found.at_best.difference
    better = b if d < 0 else a
    sure = f"{found.confidence_level:.1%}".replace(".0%", "%")
    by = f"{_comparative(found)} by {_size(found, gap)} ({sure} confidence, {_basis(found)})"
    if found.verdict in ("A", "B"):
        return f"{better} is better: at the best learning rate of each, its {quantity(found.direction)} is {by}."
    if math.isnan(gap.interval[0]):
        return f"No verdict: {better} is {_comparative(found)} by {loss_text(abs(d))}, but nothing shows the noise."
    if found.verdict == "equal":
        return f"No difference that matters: {better} is {by}, all within {found.tolerance:.3g}."
    return f"No verdict: {better} is {by}, which is within the noise."


def noise_sentences(floors: Sequence[NoiseFloor]) -> list[str]:
    """Return the noise under each schedule in words, with what it means and what it misses."""
    found = []
    for floor in floors:
        found.append(f"{floor}.")
        if floor.shared > 0:
            shared = f"{floor.shared:.2g}"
            found.append(f"  Of this, {shared} is the same at all learning rates: it cancels when they are compared.")
        if floor.source == "curves":
            found.append(BLIND)
        chance = f"{2 * math.sqrt(2) * floor.sd:.2g}"
        found.append(
            f"  Two single runs differ by up to {chance} by chance. For one-seed sweeps: --noise {floor.sd:.2g}"
        )
    return found


def _rows(found: PairFigures) -> Iterator[tuple[str, str]]:
    yield "Verdict", verdict_text(found)
    yield "Best learning rates", _bests(found)
    yield "Equal learning rates", _at_equal(found)
    if found.verdict == "":
        yield "What would tell", _more(found)


def _bests(found: PairFigures) -> str:
    if len(found.sweeps) > 1:
        ratio, n = found.best_lrs[:, 1] / found.best_lrs[:, 0], len(found.sweeps)
        lower = int(np.sum(found.best_losses[:, 1] < found.best_losses[:, 0]))
        return (
            f"{found.names[1]} is {_comparative(found)} in {lower} of {n} sweeps; its best learning rate is "
            f"{np.median(ratio):.3g} times that of {found.names[0]} (median)"
        )
    return "; ".join(
        f"{name}: {lr:g}, {quantity(found.direction)} {_shown(found, loss)}"
        for name, lr, loss in zip(found.names, found.best_lrs[0], found.best_losses[0], strict=True)
    )


def _at_equal(found: PairFigures) -> str:
    gap = found.at_equal
    if math.isnan(gap.difference):
        return "none in common around the best with results on both sides"
    better = found.names[1] if gap.difference < 0 else found.names[0]
    low, high = gap.interval
    is_clear = "beyond the noise" if low > 0 or high < 0 else "within the noise"
    noise = "nothing shows the noise" if math.isnan(low) else is_clear
    return f"around the best, {better} is {_comparative(found)} by {_size(found, gap)} on average, {noise}"


def _more(found: PairFigures) -> str:
    gap, n = found.at_best, found.enough_pairs()
    (a, b), size = found.names, found.tolerance or abs(gap.difference)
    what = f"a difference of {size:.2g}" + ("" if found.tolerance else ", as it looks now,")
    one = len(found.sweeps) == 1
    if n is None:
        rates = listed(f"{lr:g} ({name})" for name, lr in zip(found.names, found.best_lrs[0], strict=True))
        second = f"a second seed at {rates}, the same on both sides; or the noise of a run, if you know it (--noise)"
        return second if one else "a second pair of sweeps"
    if n > MOST_PAIRS:
        return f"hardly anything: {what} would need about {n} {'seeds' if one else 'sweeps'}"
    if n <= gap.n_pairs and found.tolerance is None:
        return "a few more of the same: the interval just misses"
    if n <= gap.n_pairs:
        return f"{what} would probably have shown; only a smaller one is left"
    if not one:
        return f"about {n} pairs of sweeps would show {what} with a probability of 80 %, {n - gap.n_pairs} more"
    rates = f"{found.best_lrs[0, 0]:g} ({a}) and {found.best_lrs[0, 1]:g} ({b})"
    more = count_of(n - gap.n_pairs, "more seed") if gap.n_pairs else count_of(n, "seed")
    return f"{more} on each side at {rates}: about {n} would show {what} with a probability of 80 %"


def _notes(found: PairFigures) -> Iterator[str]:
    n = len(found.sweeps)
    for name, at_edge in zip(found.names, found.edges, strict=True):
        if at_edge:
            where = "" if n == 1 else f" in {at_edge} of {n} sweeps"
            yield f"the best learning rate of {name} is at the edge of its sweep{where}: it may be better beyond"
    yield from found.left_out[:3]
    if len(found.left_out) > 3:
        yield f"{len(found.left_out) - 3} more pairs are left out in the same way"


def _table_of_rates(found: PairFigures) -> Table:
    a, b = found.names
    rows = [
        [f"{lr:g}", _signed(found, d), _band(found, interval)]
        for lr, d, interval in zip(found.learning_rates, found.at_rates, found.at_rates_interval, strict=True)
    ]
    header = ["learning rate", f"{b} - {a}", f"{found.confidence_level:.0%} band"]
    n = 3 if np.isfinite(found.at_rates_interval).any() else 2
    return Table("At equal learning rates", header[:n], [row[:n] for row in rows])


def _table_of_sweeps(found: PairFigures) -> Table:
    a, b = found.names
    rows = [
        [name, f"{lr_a:g}", f"{lr_b:g}", _shown(found, of_a), _shown(found, of_b), _signed(found, of_b - of_a)]
        for name, (lr_a, lr_b), (of_a, of_b) in zip(found.sweeps, found.best_lrs, found.best_losses, strict=True)
    ]
    what = quantity(found.direction)
    return Table("Sweep by sweep", ["sweep", f"lr {a}", f"lr {b}", f"{what} {a}", f"{what} {b}", f"{b} - {a}"], rows)


def _basis(found: PairFigures) -> str:
    n = found.at_best.n_pairs
    if len(found.sweeps) > 1:
        return f"{n} pairs of sweeps"
    return count_of(n, "paired seed") if n else "seeds not paired"


def _comparative(found: PairFigures) -> str:
    return "higher" if found.direction == "maximize" else "lower"


def _size(found: PairFigures, gap: Gap) -> str:
    # A difference and its interval, positive in favor of the better side.
    low, high = sorted((-1 if gap.difference < 0 else 1) * end for end in gap.interval)
    band = "" if math.isnan(low) else f" [{loss_text(low)}, {loss_text(high)}]"
    return f"{loss_text(abs(gap.difference))}{band}"


def _shown(found: PairFigures, loss: float) -> str:
    return loss_text(-loss if found.direction == "maximize" else loss)


def _signed(found: PairFigures, d: float) -> str:
    if math.isnan(d):
        return "-"
    if math.isinf(d):
        return f"only {found.names[0] if d > 0 else found.names[1]} trains"
    return f"{-d if found.direction == 'maximize' else d:+.4f}"


def _band(found: PairFigures, interval: NDArray[np.float64]) -> str:
    low, high = sorted(-interval if found.direction == "maximize" else interval)
    return "-" if math.isnan(low) else f"[{low:+.4f}, {high:+.4f}]"
