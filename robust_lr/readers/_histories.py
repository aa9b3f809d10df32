"""One row for each run: the last of a history, which has a row for each epoch or step."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from .._text import count_of
from ..exceptions import DataError
from ._columns import Columns, are_histories
from ._names import sets_length
from ._rows import Row, is_missing, number_or_nan, refuse

_THOUSANDS = re.compile(r"\d{1,3}(,\d{3})+")
_STEP = re.compile(r"(\d[\d.,]*) ?([kKmM]?)")
_EXPONENTS = {"k": "e3", "m": "e6"}
_UNFINISHED = "ended before the last {step} of the others; a loss before the end of training is not comparable with it"
_LONGER = (
    "went on after {step} {end:g}, where the others ended; a loss after longer training is not comparable with theirs"
)
_MIXED = "several runs wrote {loss} into one folder, where their values cannot be told apart"


def last_rows(path: str | Path, rows: Sequence[Row], columns: Columns) -> tuple[list[tuple[Row, str]], list[str]]:
    """Return the last row with a loss of each run, with the reason why it does not count or "", and notes.

    Raises:
        DataError: when a step is no number, or rows without the name of a run seem to be the log of one.
    """
    if any(row.steps for row in rows):
        return _of_whole_runs(rows, columns)
    _refuse_unread_steps(path, rows, columns)
    _refuse_one_log(path, rows, columns)
    by_run = rows_by_run(rows, columns)
    if all(len({row.cells[columns.step] for row in each}) == 1 for each in by_run.values()):
        return _once_each(rows, columns), []
    last = [_last(each, columns) for each in by_run.values()]
    reached = [number_or_nan(row.cells[columns.step]) for row in last]
    reasons, on_ends = _by_their_ends(last, reached, columns, columns.step)
    runs = count_of(len(last), "run")
    notes = [f"{len(rows)} rows are the histories of {runs} over {columns.step}: the last row counts", *on_ends]
    if any(len({row.cells[columns.lr] for row in each}) > 1 for each in by_run.values()):
        last = [_at_peak(row, each, columns.lr) for row, each in zip(last, by_run.values(), strict=True)]
        notes.append(varying_rate(columns.lr))
    return list(zip(last, reasons, strict=True)), notes


def varying_rate(lr: str) -> str:
    """Return the note on a learning rate that was logged at each step."""
    return f"{lr} varies within runs, as under a schedule: its highest value counts"


def _of_whole_runs(rows: Sequence[Row], columns: Columns) -> tuple[list[tuple[Row, str]], list[str]]:
    """The records of a tracker, one for each run."""
    reached = [row.steps.get(columns.loss, math.nan) for row in rows]
    broke_off = [row.restarts.get(columns.loss, math.nan) for row in rows]
    mixed = [before >= step for before, step in zip(broke_off, reached, strict=True)]
    notes = []
    if n := sum(before < step for before, step in zip(broke_off, reached, strict=True)):
        notes.append(f"{count_of(n, 'run')} broke off and began again at the first step: the last start counts")
    if n := sum(map(math.isnan, reached)) if not all(map(math.isnan, reached)) else 0:
        notes.append(f"{count_of(n, 'run')} logged {columns.loss} without a step: it counts as the final value")
    single = [row for row, several in zip(rows, mixed, strict=True) if not several]
    ends = [step for step, several in zip(reached, mixed, strict=True) if not several]
    reasons, on_ends = _by_their_ends(single, ends, columns, "step")
    each = iter(reasons)
    return [
        (row, _MIXED.format(loss=columns.loss) if several else next(each))
        for row, several in zip(rows, mixed, strict=True)
    ], [*notes, *on_ends]


def _by_their_ends(
    rows: Sequence[Row], reached: Sequence[float], columns: Columns, step: str
) -> tuple[list[str], list[str]]:
    """Why runs do not count that ended before the others of their group with a loss, or long after them; and notes."""
    key = [*columns.groups, *filter(sets_length, columns.settings)]
    groups: dict[tuple[str, ...], list[int]] = {}
    for position, row in enumerate(rows):
        groups.setdefault(tuple(row.cells[column] for column in key), []).append(position)
    reasons, uneven = [""] * len(rows), list[float]()
    for group in groups.values():
        finite = [i for i in group if math.isfinite(number_or_nan(rows[i].cells[columns.loss]))]
        known = [i for i in finite if not math.isnan(reached[i])]
        longest = max((reached[i] for i in known), default=math.inf)
        # One that diverged may have ended anywhere, but it shows that training goes on at least until then.
        ends = [(reached[i], "") for i in group if i not in finite and reached[i] > longest]
        end = _common_end([*ends, *((reached[i], rows[i].cells[columns.lr]) for i in known)])
        if math.isnan(end):
            uneven += [reached[i] for i in known]
        for i in known:
            if reached[i] != end and not math.isnan(end):
                reasons[i] = (_UNFINISHED if reached[i] < end else _LONGER).format(step=step, end=end)
    if not uneven:
        return reasons, []
    span = f"{min(uneven):g} to {max(uneven):g}"
    return reasons, [
        f"{count_of(len(uneven), 'run')} ended at different {step}s ({span}), and all count: if training was not over, "
        "their losses are not comparable"
    ]


def _common_end(ends: Sequence[tuple[float, str]]) -> float:
    """The last step at which runs of two learning rates, or half of the runs, ended; NaN if there is none."""
    rates: dict[float, list[str]] = {}
    for step, lr in ends:
        rates.setdefault(step, []).append(lr)
    shared = [step for step, each in rates.items() if len(set(each)) > 1 or 2 * len(each) >= len(ends)]
    return max(shared, default=math.nan)


def _refuse_unread_steps(path: str | Path, rows: Sequence[Row], columns: Columns) -> None:
    """Refuse steps such as "10k" and "10,000" if a run has several: its last row is unknown."""
    trial = (columns.lr, columns.schedule, columns.seed, *columns.groups, *columns.settings)
    key = [columns.run] if columns.run else [name for name in trial if name]
    steps: dict[tuple[str, ...], set[str]] = {}
    for row in rows if columns.step else ():
        steps.setdefault(tuple(row.cells[column] for column in key), set()).add(row.cells[columns.step])
    if any(len(each) > 1 for each in steps.values()):
        texts = [(row.where, row.cells[columns.step]) for row in rows]
        refuse(
            path,
            [
                f"{where}: {columns.step} must be a plain number, got {text!r}"
                for where, text in texts
                if _THOUSANDS.fullmatch(text)
                or (not is_missing(text) and text.lower() != "nan" and math.isnan(number_or_nan(text)))
            ],
            way_out="; without it the last row of a run is unknown",
        )


def _refuse_one_log(path: str | Path, rows: Sequence[Row], columns: Columns) -> None:
    """Refuse rows of one seed and configuration whose learning rate varies from step to step."""
    key = [name for name in (columns.schedule, columns.seed, *columns.groups, *columns.settings) if name]
    if columns.run or not columns.step:
        return
    rows = [row._replace(cells={**row.cells, columns.step: _step_in(row.cells[columns.step])}) for row in rows]
    if not are_histories(rows, key, columns.step):
        return
    logs: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        logs.setdefault(tuple(row.cells[column] for column in key), []).append(row)
    rising = all(
        number_or_nan(a.cells[columns.step]) < number_or_nan(b.cells[columns.step])
        for log in logs.values()
        for a, b in pairwise(log)
    )
    if rising and any(_is_curve([number_or_nan(row.cells[columns.lr]) for row in log]) for log in logs.values()):
        raise DataError(
            f"{path} looks like the training log of {count_of(len(logs), 'run')}: {columns.step} rises while "
            f"{columns.lr} varies; name the run of each row in a column run_id"
        )


def _step_in(text: str) -> str:
    """The number in a step such as "10k", "1,000" or "epoch 3"."""
    found = _STEP.search(text) if math.isnan(number_or_nan(text)) or _THOUSANDS.fullmatch(text) else None
    return found[1].replace(",", "") + _EXPONENTS.get(found[2].lower(), "") if found else text


def _is_curve(rates: Sequence[float]) -> bool:
    # Whether rates vary and mostly go on in one direction, as under a schedule; those of a random search do not.
    moves = [b > a for a, b in pairwise(rates) if a != b]
    turns = sum(a != b for a, b in pairwise(moves))
    return bool(moves) and 2 * turns < max(len(rates) - 2, 1)


def rows_by_run(rows: Sequence[Row], columns: Columns) -> dict[tuple[str, ...], list[Row]]:
    """The rows of each run, if the table holds histories."""
    trial = (columns.lr, columns.schedule, columns.seed, *columns.groups)
    by_run: dict[tuple[str, ...], list[Row]] = {}
    for names in ((columns.run,),) if columns.run else (trial, (*trial, *columns.settings)):
        key, by_run = [name for name in names if name], {}
        if not columns.step or not (columns.run or are_histories(rows, key, columns.step)):
            continue
        for position, row in enumerate(rows):
            name = tuple(row.cells[column] for column in key)
            by_run.setdefault(name if any(name) else (str(position),), []).append(row)
        if all(len({row.cells[columns.step] for row in each}) == len(each) for each in by_run.values()):
            break  # no step twice: these names tell the runs apart
    return by_run


def _last(rows: Sequence[Row], columns: Columns) -> Row:
    with_loss = [row for row in rows if not is_missing(row.cells[columns.loss])] or rows
    # Of equal steps the last row.
    return max(reversed(with_loss), key=lambda row: number_or_nan(row.cells[columns.step]))


def _at_peak(last: Row, rows: Sequence[Row], lr: str) -> Row:
    known = [row for row in rows if number_or_nan(row.cells[lr]) > 0] or [last]
    peak = max(known, key=lambda row: number_or_nan(row.cells[lr]))
    return last._replace(cells={**last.cells, lr: peak.cells[lr]})


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
