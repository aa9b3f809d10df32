"""One row for each run: the last of a history, which has a row for each epoch or step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from .._text import count_of
from ._columns import Columns
from ._rows import Row, is_missing, number_or_nan

_UNFINISHED = "ended before the last {step} of the others; a loss before the end of training is not comparable with it"
_FEWEST_STEPS = 3  # that make a history of rows without the name of a run


def last_rows(rows: Sequence[Row], columns: Columns) -> tuple[list[tuple[Row, str]], list[str]]:
    """Return the last row with a loss of each run, with the reason why it does not count or "", and notes."""
    if not columns.step:
        return _once_each(rows, columns), []
    by_run = _by_run(rows, columns)
    histories = [run for run, each in by_run.items() if len({row.cells[columns.step] for row in each}) > 1]
    if not histories or not (columns.run or _begin_alike(by_run, columns.step)):
        return _once_each(rows, columns), []
    last = [_last(each, columns) for each in by_run.values()]
    reached = [number_or_nan(row.cells[columns.step]) for row in last]
    end = max((step for step in reached if step == step), default=0.0)
    most_reach_it = 2 * sum(step == end for step in reached) >= len(reached)
    why = _UNFINISHED.format(step=columns.step)
    kept = [
        (
            row,
            why if most_reach_it and step < end and abs(number_or_nan(row.cells[columns.loss])) < float("inf") else "",
        )
        for row, step in zip(last, reached, strict=True)
    ]
    note = (
        f"{len(rows)} rows are the histories of {count_of(len(last), 'run')} over {columns.step}: the last row counts"
    )
    return kept, [note]


def _by_run(rows: Sequence[Row], columns: Columns) -> dict[tuple[str, ...], list[Row]]:
    trial = (columns.lr, columns.schedule, columns.seed, *columns.groups)
    by_run: dict[tuple[str, ...], list[Row]] = {}
    for key in ((columns.run,),) if columns.run else (trial, (*trial, *columns.settings)):
        by_run = {}
        for position, row in enumerate(rows):
            name = tuple(row.cells[column] for column in key if column)
            by_run.setdefault(name if any(name) else (str(position),), []).append(row)
        if all(len({row.cells[columns.step] for row in each}) == len(each) for each in by_run.values()):
            break  # no step twice: these names tell the runs apart
    return by_run


def _last(rows: Sequence[Row], columns: Columns) -> Row:
    with_loss = [row for row in rows if not is_missing(row.cells[columns.loss])] or list(rows)
    ordered = enumerate(with_loss)
    return max(ordered, key=lambda each: (number_or_nan(each[1].cells[columns.step]), each[0]))[1]


def _begin_alike(by_run: dict[tuple[str, ...], list[Row]], step: str) -> bool:
    # Without names, rows of one learning rate and seed may be replicates that ended at different epochs.
    steps = [sorted({number_or_nan(row.cells[step]) for row in rows}) for rows in by_run.values()]
    many = [each for each in steps if len(each) >= _FEWEST_STEPS and 2 * each[0] <= each[-1]]
    _, alike = Counter(each[0] for each in steps).most_common(1)[0]
    return 2 * len(many) >= len(steps) and 2 * alike >= len(steps)


def _once_each(rows: Sequence[Row], columns: Columns) -> list[tuple[Row, str]]:
    # A row that stands there twice is one run if the table names its runs, or says when they began.
    named = (columns.run, columns.lr, columns.loss, columns.schedule, columns.seed, columns.state)
    identity = [tuple(row.cells[c] for c in named if c) if columns.run else tuple(row.cells.values()) for row in rows]
    if columns.run and len({texts[0] for texts in identity}) < len(set(identity)):
        return [(row, "") for row in rows]  # names of configurations, not of runs
    is_one = bool(columns.run or columns.time)
    seen: set[tuple[str, ...]] = set()
    found = []
    for row, texts in zip(rows, identity, strict=True):
        found.append((row, "exact duplicates of others" if is_one and texts in seen and any(texts) else ""))
        seen.add(texts)
    return found
