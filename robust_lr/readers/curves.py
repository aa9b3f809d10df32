"""Read the loss curves of runs from their histories: a table with a row for each step or epoch, or a tracker."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from .._text import count_of
from ..exceptions import DataError
from ..loss_curves import LossCurve
from ._columns import choose_columns
from ._conditions import left_out, read_conditions
from ._histories import rows_by_run
from ._kinds import read_histories
from ._rows import is_missing, number_or_nan
from .runs import Direction


class Curves(NamedTuple):
    """The curves in a table, and notes on what was left out."""

    curves: list[LossCurve]
    notes: list[str]


def read_curves(
    path: str | Path,
    *,
    lr_name: str | None = None,
    metric: str | None = None,
    schedule_name: str | None = None,
    seed_name: str | None = None,
    where: Sequence[str] = (),
    direction: Direction | None = None,
) -> Curves:
    """Return the loss curve of each run in a table of histories or in the files of a tracker, for `audit_ranking`.

    The options are those of `read_sweeps`. The learning rate of a run is its highest. A run that ended before the last
    step of the others with a finite loss was stopped, and is left out; one without a finite loss diverged.

    Raises:
        DataError: when the table cannot be read, or holds one row for each run.
    """
    table = read_histories(path)
    columns = choose_columns(
        path, table, lr_name=lr_name, metric=metric, schedule_name=schedule_name, seed_name=seed_name, group_by=(),
        maximize=direction == "maximize",
    )  # fmt: skip
    conditions = read_conditions(path, table, where)
    by_run = rows_by_run([row for row in table.rows if not left_out(conditions, row)], columns)
    if all(len(rows) == 1 for rows in by_run.values()):
        raise DataError(f"{path} holds no histories: a pruning audit needs a row for each step of a run, and its steps")
    sign = -1.0 if direction == "maximize" else 1.0
    read, lost = list[LossCurve](), Counter[str]()
    for rows in by_run.values():
        known = [row for row in rows if not is_missing(row.cells[columns.loss])]  # others may hold other metrics
        losses = {
            number_or_nan(row.cells[columns.step]): sign * number_or_nan(row.cells[columns.loss]) for row in known
        }
        steps = sorted(step for step in losses if math.isfinite(step))
        rates = [rate for row in rows if (rate := number_or_nan(row.cells[columns.lr])) > 0]
        if not steps or not rates:
            lost["no steps" if rates else "no learning rate"] += 1
            continue
        curve = tuple(losses[step] for step in steps)
        named = {name: rows[0].cells[column] for name, column in
                 (("schedule", columns.schedule), ("seed", columns.seed)) if column}  # fmt: skip
        read.append(LossCurve(lr=max(rates), steps=tuple(steps), losses=curve, final=curve[-1], **named))
    end = max((curve.steps[-1] for curve in read), default=0.0)
    stopped = [curve for curve in read if curve.ended and curve.steps[-1] < end]
    lost["stopped before the last step of the others; it might have become the best"] += len(stopped)
    notes = [f"{count_of(n, 'run')} left out: {why}" for why, n in lost.items() if n]
    return Curves([curve for curve in read if curve not in stopped], notes)
