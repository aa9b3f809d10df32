"""Which columns of a table hold what: as the user said, or else as their names and values suggest."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from .._metrics import looks_like_a_score
from .._text import did_you_mean
from ..exceptions import DataError
from ._names import (
    flag_word,
    inner,
    is_config,
    is_lr,
    is_schedule,
    is_seed,
    is_setting,
    is_state,
    is_step,
    is_time,
    loss_rank,
    run_id_rank,
    words,
)
from ._rows import Row, Table, is_missing, number_or_nan, read_time
from ._states import ending, is_flag

_OURS = ("schedule", "lr", "seed", "loss", "seconds")  # how `SweepResult.to_csv` begins
_MOST_NAMES = 40  # of columns in an error
_FEWEST_STEPS = 3  # of a history without the name of a run
_OPTIONS = {"lr": "lr_name", "loss": "metric"}
_TITLES = {"lr": "learning rate", "loss": "loss", "schedule": "schedule", "seed": "seed", "state": "state"}


@dataclass(frozen=True, kw_only=True)
class Columns:
    """The column of each kind, "" if the table has none.

    Attributes:
        lr, loss, schedule, seed: of the trial.
        state: how the run ended.
        flags: true and false of how it ended, such as "diverged".
        step: counts the steps or epochs of a run.
        time: when the run began.
        run: names the run.
        settings: hyperparameters of the run besides these, with at least two values.
        groups: those by which the table is split.
        said: which columns were guessed, in one line; "" if none was.
    """

    lr: str
    loss: str
    schedule: str
    seed: str
    state: str
    flags: tuple[str, ...]
    step: str
    time: str
    run: str
    settings: tuple[str, ...]
    groups: tuple[str, ...]
    said: str


class _Choice:
    """Finds columns of one table, and keeps what is to be said about them."""

    def __init__(self, path: str | Path, table: Table) -> None:
        self.path, self.table = path, table
        self.missing: list[str] = []
        self.found: dict[str, str] = {}
        self.said: list[str] = []
        self.guessed = self.was_given = False

    def given(self, name: str, *, is_measured: bool = False) -> str:
        """Return the column of that name, however its blanks and capitals are written."""
        if name in self.table.columns:
            return name
        alike = columns_like(name, self.table.columns, is_measured=is_measured)
        if len(alike) == 1:
            self.guessed = True
            return alike[0]
        self.missing.append(name)
        self.was_given = True
        return ""

    def candidates(self, fits: Callable[[str], object]) -> list[str]:
        """Return the columns whose name fits, without blank ones."""
        return [c for c in dict.fromkeys(self.table.columns) if fits(c) and any(self.values(c))]

    def named(self, fits: Callable[[str], object]) -> list[str]:
        """Return the columns whose name fits, blank ones only if there is no other."""
        return self.candidates(fits) or [column for column in dict.fromkeys(self.table.columns) if fits(column)]

    def values(self, column: str) -> list[str]:
        return ["" if is_missing(row.cells[column]) else row.cells[column] for row in self.table.rows]

    def numbers(self, column: str) -> list[float]:
        return [number_or_nan(text) for text in self.values(column)]

    def with_numbers(self, columns: Sequence[str]) -> list[str]:
        """Return the columns that hold mostly numbers, or all if none does."""
        numeric = [column for column in columns if self._is_numeric(column)]
        return numeric or list(columns)

    def _is_numeric(self, column: str) -> bool:
        texts = [text for text in self.values(column) if text]
        numbers = [text for text in texts if text.lower() == "nan" or not math.isnan(number_or_nan(text))]
        return 2 * len(numbers) >= len(texts)

    def use(self, kind: str, column: str, *, default: bool, instead_of: Sequence[str] = (), why: str = "") -> None:
        """Note that a column was chosen; `default` if the user knows without being told."""
        self.found[kind] = column
        self.guessed |= not default or bool(instead_of)
        others = f" (not {', '.join(instead_of)}{why})" if instead_of else ""
        self.said.append(f"{_TITLES[kind]}: {column}{others}")

    def ambiguous(self, kind: str, columns: Sequence[str]) -> DataError:
        option = _OPTIONS[kind]
        return DataError(
            f"{self.path}: {', '.join(map(repr, columns))} may each be the {_TITLES[kind]}; choose with {option} "
            f"(--{option.replace('_', '-')})"
        )

    def choose(self, kind: str, given: str | None, candidates: Sequence[str], default: str) -> None:
        """Choose one of equally likely candidates, or take the column that was given."""
        if given is not None:
            self.found[kind] = self.given(given, is_measured=kind == "loss")
            self.said.append(f"{_TITLES[kind]}: {self.found[kind]}")
        elif candidates:
            self.use(kind, candidates[0], default=candidates[0] == default)
        elif kind in _OPTIONS:
            self.missing.append(default)


def choose_columns(
    path: str | Path,
    table: Table,
    *,
    lr_name: str | None,
    metric: str | None,
    schedule_name: str | None,
    seed_name: str | None,
    group_by: Sequence[str],
    maximize: bool,
) -> Columns:
    """Return the columns of a table.

    Raises:
        DataError: when a column does not exist, or several may be meant.
    """
    choice = _Choice(path, table)
    _choose_lr(choice, lr_name)
    _choose_loss(choice, metric, maximize)
    groups = tuple(choice.given(column) for column in group_by)
    choice.choose("schedule", schedule_name, choice.named(is_schedule), "schedule")
    choice.choose("seed", seed_name, sorted(choice.named(is_seed), key=lambda c: c != "seed"), "seed")
    _refuse_missing(choice, lr_name is None or metric is None)
    states = [c for c in choice.candidates(is_state) if any(map(ending, choice.values(c)))]
    if states:
        choice.use("state", states[0], default=False)
    found = choice.found
    wanted = [*groups, *(column for column in found.values() if column)]
    if twice := [column for column in dict.fromkeys(wanted) if table.columns.count(column) > 1]:
        raise DataError(f"{path} has more than one column {', '.join(map(repr, twice))}")
    steps = [c for c in choice.candidates(is_step) if c not in wanted]
    step = max(steps, key=lambda c: len(set(choice.values(c))), default="")
    run = _run_column(choice, wanted, step)
    return Columns(
        **{kind: found.get(kind, "") for kind in _TITLES},
        flags=tuple(c for c in choice.candidates(flag_word) if c not in wanted and _is_boolean(choice, c)),
        step=step,
        time=next((c for c in choice.candidates(is_time) if _has_times(choice, c)), ""),
        run=run,
        settings=tuple(c for c in dict.fromkeys(table.columns) if c not in (*wanted, run) and _is_setting(choice, c)),
        groups=groups,
        said="; ".join(choice.said) if choice.guessed else "",
    )


def _choose_lr(choice: _Choice, given: str | None) -> None:
    found = choice.with_numbers(choice.named(is_lr) or choice.candidates(lambda c: is_config(c) and is_lr(inner(c))))
    configured = [column for column in found if is_config(column)]
    if given is not None or len(found) < 2:
        return choice.choose("lr", given, found, "lr")
    if len(configured) == 1:
        choice.use("lr", configured[0], default=False)
        return None
    numbers = {column: choice.numbers(column) for column in found}
    for column in found:
        others = [other for other in found if other != column]
        pairs = [(a, b) for o in others for a, b in zip(numbers[column], numbers[o], strict=True) if a == a and b == b]
        if pairs and all(a >= b * (1 - 1e-6) for a, b in pairs):  # a schedule ends below its peak
            is_lower = any(a > b * (1 + 1e-6) for a, b in pairs)
            why = ", which is never above it: probably the last value of a schedule" if is_lower else ""
            choice.use("lr", column, default=False, instead_of=others if is_lower else (), why=why)
            return None
    raise choice.ambiguous("lr", found)


def _choose_loss(choice: _Choice, given: str | None, maximize: bool) -> None:
    found = choice.with_numbers(choice.named(loss_rank))
    if maximize:
        found = [c for c in found if looks_like_a_score(c) or loss_rank(c) == (-1,)] or found
    if given is not None or not found or choice.table.columns[:5] == _OURS:
        return choice.choose("loss", given, ["loss"] if choice.table.columns[:5] == _OURS else [], "loss")
    ranks = {column: loss_rank(column) or () for column in found}
    best = [column for column in found if ranks[column] == min(ranks.values())]
    in_training = [column for column in found if ranks[column][:1] == (1,)]
    if looks_like_a_score(best[0]) and in_training and not maximize:
        best += in_training
    if len(best) > 1 and len({tuple(choice.values(column)) for column in best}) > 1:
        raise choice.ambiguous("loss", best)
    losses = [c for c in found if c not in best and ranks[c][0] == 0 and not looks_like_a_score(c)]
    return choice.use("loss", best[0], default=best[0] == "loss", instead_of=losses)


def _refuse_missing(choice: _Choice, was_guessed: bool) -> None:
    if choice.missing:
        names = ", ".join(map(repr, choice.missing))
        way = "; name the right ones with lr_name (--lr-name) and metric (--metric)" if was_guessed else ""
        asked = choice.missing[0] if choice.was_given else ""
        raise DataError(f"{choice.path} has no column {names}; {columns_of(choice.table, asked, way)}")


def columns_like(name: str, columns: Sequence[str], *, is_measured: bool = False) -> list[str]:
    """Return the columns with the words of a name; of "params.lr" and "metrics.lr" only one, if a tracker has both."""
    alike = [column for column in dict.fromkeys(columns) if words(column) == words(name)]
    return [column for column in alike if is_config(column) != is_measured] or alike


def columns_of(table: Table, asked: str, way_out: str = "") -> str:
    """Return the end of an error about a missing column: those that there are, and the one that was probably meant."""
    names = list(filter(None, table.columns))
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    by_words = {" ".join(words(name)): name for name in reversed(names)}
    near = did_you_mean(" ".join(words(asked)), by_words)
    meant = next((f"; did you mean {name!r}?" for text, name in by_words.items() if repr(text) in near), "")
    return f"its columns are {' '.join(', '.join(names[:_MOST_NAMES]).splitlines()) or 'none'}{more}{way_out}{meant}"


def _run_column(choice: _Choice, wanted: Sequence[str], step: str) -> str:
    """The column that names the runs: each of its values has one learning rate, seed and schedule.

    In a history the learning rate may also be the one of each step.
    """
    lr, *others = (choice.found[kind] for kind in ("lr", "seed", "schedule") if choice.found.get(kind))
    ranked = [c for c in choice.candidates(lambda c: run_id_rank(c) is not None) if c not in wanted]
    for trial in ([lr, *others], others):
        for column in sorted(ranked, key=lambda c: run_id_rank(c) or 0):
            named = [row for row in choice.table.rows if row.cells[column] and row.cells[lr]]
            runs = {(row.cells[column], *(row.cells[c] for c in trial)) for row in named}
            if len(runs) == len({run[0] for run in runs}) and (lr in trial or are_histories(named, [column], step)):
                return column
    return ""


def are_histories(rows: Sequence[Row], key: Sequence[str], step: str) -> bool:
    """Return whether the rows of most runs, named by the columns `key`, are steps from an early one on.

    Others may be runs of one learning rate and seed, or of one configuration, that ended at different epochs.
    """
    steps: dict[tuple[str, ...], set[float]] = {}
    for row in rows if step else ():
        steps.setdefault(tuple(row.cells[c] for c in key), set()).add(number_or_nan(row.cells[step]))
    long = [each for each in steps.values() if len(each) >= _FEWEST_STEPS and 2 * min(each) <= max(each)]
    alike = Counter(min(each) for each in steps.values()).most_common(1)
    return bool(alike) and 2 * len(long) >= len(steps) and 2 * alike[0][1] >= len(steps)


def _is_boolean(choice: _Choice, column: str) -> bool:
    return all(is_flag(text) for text in choice.values(column) if text)


def _has_times(choice: _Choice, column: str) -> bool:
    return any(not math.isnan(read_time(text)) for text in choice.values(column))


def _is_setting(choice: _Choice, column: str) -> bool:
    values = [text for text in choice.values(column) if text and text.lower() != "nan"]
    if len(set(values)) < 2:
        return False
    by_name = is_setting(column)
    if by_name is not None:
        return by_name
    # Neither a measured number nor a text of its own for each run: few values that come again.
    return 2 * len(set(values)) <= len(values) and all(math.isfinite(x) for x in choice.numbers(column) if x == x)
