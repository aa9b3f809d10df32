"""An analysis of many sweeps as a list of blocks, in reading order and short however many there are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from .._metrics import quantity
from .._page import Block, Box, Line, Table
from .._text import count_of, listed, loss_text
from ..collection._analyzed import AnalyzedCollection
from ..collection._excess import SweepExcess
from ..collection.paired import PairedSchedules, lowest_comparable
from ..collection.pooled import PooledRatio, PooledRecommendation
from ..collection.sweeps import SweepCollection
from ..readers.runs import called
from .answer import SHORT
from .words import under

SHOWN = 8  # sweeps that lose most, in a table; half as many below several schedules
MOST_NOTES, MOST_PAIRS, MOST_SCHEDULES = 4, 4, 9


def collection_blocks(analysis: AnalyzedCollection, *, n_shown: int | None = None) -> list[Block]:
    """Return the answer in a box, then caveats, what each ratio costs, the schedules, and the sweeps that lose most.

    Args:
        analysis: of a collection.
        n_shown: sweeps in the last table, by default a few.
    """
    few = SHOWN if len(analysis.pooled) == 1 else SHOWN // 2
    return list(_blocks(analysis, few if n_shown is None else n_shown))


def _blocks(analysis: AnalyzedCollection, n_shown: int) -> Iterator[Block]:
    answer, collection = analysis.answer, analysis.collection
    yield Box("Answer", list(_answer_rows(analysis)))
    yield from (Line(f"Note: {note}.") for note in _notes(analysis))
    yield Table(*_ratio_table(answer))
    if len(analysis.pooled) > 1:
        header, rows = _schedule_table(analysis)
        yield Table("Over the groups", header, rows[:MOST_SCHEDULES])
        if len(rows) > MOST_SCHEDULES:
            yield Line(f"and {len(rows) - MOST_SCHEDULES} more schedules")
        yield from (Line(_pair_sentence(pair)) for pair in _pairs_of(answer, analysis.pairs))
    if n_shown:
        yield Table(*_sweep_table(answer, n_shown))
    yield Line(f"{collection.describe()}.")


def _answer_rows(analysis: AnalyzedCollection) -> Iterator[tuple[str, str]]:
    answer = analysis.answer
    where = under(answer.schedule)
    if answer.beyond:
        wider = "higher" if answer.beyond == "upper" else "lower"
        n = sum(each.edge == answer.beyond for each in answer.sweeps)
        why = f"the best of {n} of {answer.n_sweeps} sweeps is at that edge"
        yield "Next sweep", f"{wider} learning rates{where}, at ratio {answer.ratio:.3g} as here: {why}"
    elif answer.keeps_the_grid:
        yield "Next sweep", f"keep the grid{where}: ratio {answer.ratio:.3g}, {count_of(answer.n_trials, 'trial')}"
        yield "Why not coarser", answer.why
    else:
        trials = f"{count_of(answer.n_trials, 'trial')} instead of {answer.n_trials_full}"
        yield "Next sweep", f"ratio {answer.ratio:.3g}{where}, {trials}"
        loss = f"at most {answer.excess_text(answer.bound)} against the full grid"
        yield "Loses", f"{loss}, in {answer.share:.0%} of such sweeps"
        yield "Why not coarser", answer.why
    low, high = answer.lr_range
    if answer.beyond:
        edge, step = (high, answer.ratio) if answer.beyond == "upper" else (low, 1 / answer.ratio)
        yield "Next grid", f"also {', '.join(f'{edge * step**i:.3g}' for i in range(1, 4))} and further"
    else:
        yield "Next grid", _grid_text(answer)
        yield (
            "Holds for",
            (
                f"{answer.share:.0%} of further sweeps like these, against a full grid from {low:.3g} to {high:.3g}; a "
                "best learning rate beyond that is not covered"
            ),
        )
    yield "Measured", measured_text(answer)
    best = sorted(each.best_lr for each in answer.sweeps)
    low, high = best[len(best) // 20], best[-1 - len(best) // 20]
    yield "Best learning rates", f"{low:.3g} to {high:.3g} in nine of ten sweeps" if high > low else f"{low:.3g}"


def _grid_text(answer: PooledRecommendation) -> str:
    lrs = answer.learning_rates
    if len(lrs) <= SHORT:
        return ", ".join(f"{lr:.3g}" for lr in lrs)
    return f"{count_of(len(lrs), 'learning rate')} from {lrs[0]:.3g} to {lrs[-1]:.3g} (ratio {answer.ratio:.4g})"


def measured_text(answer: PooledRecommendation) -> str:
    """Return what the sweeps show, in one sentence."""
    costs = [(f"{row.ratio:.3g}", answer.excess_text(row.high)) for row in answer.ratios[1:4] if row.n_sweeps]
    across = f"across {count_of(answer.n_sweeps, 'sweep')} ({clusters_text(answer)}),"
    if not costs:
        return f"{across} which are too narrow to judge a coarser grid"
    (ratio, cost), *others = costs
    first = f"grids of ratio {ratio} lose at most {cost} in {answer.share:.0%} of them"
    return f"{across} {', '.join([first, *(f'ratio {ratio} {cost}' for ratio, cost in others)])}"


def clusters_text(answer: PooledRecommendation) -> str:
    """Return how the sweeps are clustered."""
    if not answer.cluster_by:
        return "each counted as independent"
    return f"{count_of(answer.n_clusters, 'cluster')} of equal {listed(answer.cluster_by)}"


def _notes(analysis: AnalyzedCollection) -> list[str]:
    answer, collection = analysis.answer, analysis.collection
    kind = listed(answer.cluster_by or collection.covariates)
    one_seed = sum(each.one_seed for each in answer.sweeps)
    found = [
        f"the bounds are for further sweeps like these at other values of {kind}; they say nothing about other kinds",
        *answer.warnings,
        *(f"{count_of(n, 'sweep')} left out: {why}" for why, n in answer.left_out.items()),
    ]
    if unjudged := [name for name in collection.schedules if name not in {each.schedule for each in analysis.pooled}]:
        found.append(f"nothing is said of {listed(unjudged)}: two sweeps of three learning rates are needed")
    paired = {name for pair in _pairs_of(answer, analysis.pairs, None) for name in (pair.lower, pair.higher)}
    if alone := [each.schedule for each in analysis.pooled if each is not answer and each.schedule not in paired]:
        found.append(
            f"{called(answer.schedule)} is not compared with {listed(alone)}: no sweep tried the same "
            "learning rates under both"
        )
    if one_seed:
        some = f"{count_of(one_seed, 'sweep')} {'has' if one_seed == 1 else 'have'}"
        found.append(
            f"{'each sweep has' if one_seed == answer.n_sweeps else some} one run per learning "
            "rate: the excess is that of the run which a coarser grid would have kept, its luck included"
        )
    return found + data_notes(collection)


def data_notes(collection: SweepCollection) -> list[str]:
    """Return what was noted when the sweeps were read, the same note of several once."""
    counts = Counter(note for each in collection for note in each.sweep.caveats)
    of_data = [*collection.notes]
    for note, n in counts.most_common(MOST_NOTES):
        of_data.append(note if n == len(collection) else f"in {count_of(n, 'sweep')}: {note}")
    if len(counts) > MOST_NOTES:
        of_data.append(f"{len(counts) - MOST_NOTES} further notes on single sweeps; --details shows them")
    return of_data


def _ratio_table(answer: PooledRecommendation) -> tuple[str, list[str], list[list[str]]]:
    share = f"{answer.share:.0%}"
    header = [
        "ratio",
        "trials",
        "sweeps",
        "half lose at most",
        f"{share} lose at most",
        f"{share} of further sweeps",
        "",
    ]
    allowed = answer.excess_text(answer.tolerance)
    name = f"Excess loss of coarser grids{under(answer.schedule)}, tolerance {allowed}"
    return name, header, [_ratio_row(row, answer) for row in answer.ratios]


def _ratio_row(row: PooledRatio, answer: PooledRecommendation) -> list[str]:
    if row is answer.ratios[0]:
        cells = ["0", "0", "0"]
    else:
        cells = [answer.excess_text(value) for value in (row.median, row.high)]
        cells.append("unknown" if row.bound == np.inf and np.isfinite(row.high) else answer.excess_text(row.bound))
    mark = "next sweep" if row.ratio == answer.ratio else ""
    return [f"{row.ratio:.3g}", str(row.n_trials), str(row.n_sweeps), *cells, mark]


def _schedule_table(analysis: AnalyzedCollection) -> tuple[list[str], list[list[str]]]:
    header = ["schedule", "sweeps", "best lr", "at the edge", "lowest in", "ratio", "trials", "excess at most"]
    lowest = Counter(min(group, key=lambda pair: pair[1])[0] for group in _losses(analysis.pooled).values())
    rows = []
    for each in analysis.pooled:
        best = sorted(sweep.best_lr for sweep in each.sweeps)
        span = f"{best[0]:.3g}" if best[0] == best[-1] else f"{best[0]:.3g} to {best[-1]:.3g}"
        rows.append([
            called(each.schedule), str(each.n_sweeps), span, str(sum(bool(sweep.edge) for sweep in each.sweeps)),
            f"{lowest[each.schedule]} of {each.n_sweeps}", f"{each.ratio:.3g}", str(each.n_trials),
            "0" if each.keeps_the_grid else each.excess_text(each.bound),
        ])  # fmt: skip
    return header, rows


def _losses(pooled: Sequence[PooledRecommendation]) -> dict[int, list[tuple[str, float]]]:
    found: dict[int, list[tuple[str, float]]] = {}
    groups: dict[int, list[tuple[str, SweepExcess]]] = {}
    for each in pooled:
        for sweep in each.sweeps:
            groups.setdefault(id(sweep.sweep), []).append((each.schedule, sweep))
    for key, group in groups.items():
        if losses := lowest_comparable([sweep for _, sweep in group]):
            found[key] = [(name, loss) for (name, _), loss in zip(group, losses, strict=True)]
    return found


def _pairs_of(
    answer: PooledRecommendation, pairs: Sequence[PairedSchedules], n: int | None = MOST_PAIRS
) -> list[PairedSchedules]:
    own = [pair for pair in pairs if answer.schedule in (pair.lower, pair.higher)]
    return sorted(own, key=lambda pair: -pair.n_sweeps)[:n]


def _pair_sentence(pair: PairedSchedules) -> str:
    low, high = pair.interval
    band = f" [{loss_text(low)}, {loss_text(high)}]" if np.isfinite(low) else ""
    verdict = "; this may be noise" if pair.tied else ""
    shared = ", at the learning rates that both tried" if pair.on_shared else ""
    return (
        f"{called(pair.lower)} ends {loss_text(pair.difference)}{band} below {called(pair.higher)} on average, and in "
        f"{pair.n_lower} of {count_of(pair.n_sweeps, 'sweep')} with both{shared}{verdict}."
    )


def _sweep_table(answer: PooledRecommendation, n_shown: int) -> tuple[str, list[str], list[list[str]]]:
    """The sweeps that lose most at the first ratio that is not recommended, or else at the one that is."""
    coarser = [row.ratio for row in answer.ratios if row.ratio > answer.ratio and row.n_sweeps]
    ratio = answer.ratio if not answer.keeps_the_grid or not coarser else coarser[0]
    ordered = sorted(answer.sweeps, key=lambda each: -_known(answer.excess_of(each, ratio)))
    what = quantity(answer.sweeps[0].sweep.sweep.direction)
    header = ["sweep", "trials", "best lr", what, "edge", f"excess at ratio {ratio:.3g}"]
    more = len(ordered) > n_shown
    name = (
        f"The {n_shown} of {len(ordered)} sweeps that lose most" if more else "The sweeps, those that lose most first"
    )
    return name, header, [_sweep_row(answer, each, ratio) for each in ordered[:n_shown]]


def _known(excess: float) -> float:
    return -1.0 if np.isnan(excess) else excess


def _sweep_row(answer: PooledRecommendation, each: SweepExcess, ratio: float) -> list[str]:
    loss = float(each.sweep.sweep.shown(np.array(each.best_loss)))
    return [
        each.sweep.label, str(each.n_trials), f"{each.best_lr:.4g}", loss_text(loss), each.edge or "-",
        answer.excess_text(answer.excess_of(each, ratio)),
    ]  # fmt: skip
