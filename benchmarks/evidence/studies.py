"""Kills in an Optuna study: four workers on one storage, two of them killed while the grid grows and trials fail.

A round is one study of `benchmarks/optuna_chaos.py`.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterable

from benchmarks.optuna_chaos import postgresql_programs, postgresql_server, run, scenarios

from .rows import Row, main


def _storms(kind: str, name: str, rounds: int, seed: int) -> Row:
    kills = [scenario for group, scenario in scenarios(rounds) if group == "kills"]
    outcomes = []
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        server = stack.enter_context(postgresql_server()) if kind == "postgresql" else ""
        for i, scenario in enumerate(kills):
            url = server or (f"{folder}/{i}" if kind == "journal" else f"sqlite:///{folder}/{i}.db")
            outcomes.append(run(kind, url, scenario, seed + i))
    cells, extra = sum(each.cells for each in outcomes), sum(each.failed + each.superfluous for each in outcomes)
    return Row(
        f"kills in a study on {name}",
        f"{rounds} studies of four workers, {sum(each.killed for each in outcomes)} killed (SIGKILL), 15 % of the "
        "trials fail, the grid grows",
        f"{sum(each.is_exact for each in outcomes)} of {rounds} studies exact: {sum(o.completed for o in outcomes)} of "
        f"{cells} cells completed, {sum(o.twice for o in outcomes)} twice, {sum(o.missing for o in outcomes)} missing; "
        f"{extra} trials failed or ended in vain, {sum(o.running for o in outcomes)} left running",
        all(each.is_exact for each in outcomes),
    )  # fmt: skip


def journal(rounds: int = 14, seed: int = 0) -> Iterable[Row]:
    """`journal_storage`, the one that we recommend."""
    yield _storms("journal", "a journal file", rounds, seed)


def safe_sqlite(rounds: int = 13, seed: int = 0) -> Iterable[Row]:
    """`safe_sqlite_storage`."""
    yield _storms("safe sqlite", "safe_sqlite_storage", rounds, seed)


def sqlite(rounds: int = 13, seed: int = 0) -> Iterable[Row]:
    """SQLite as Optuna opens it."""
    yield _storms("sqlite", "plain SQLite", rounds, seed)


def postgresql(rounds: int = 14, seed: int = 0) -> Iterable[Row]:
    """A PostgreSQL server of its own, where that is installed."""
    if postgresql_programs() is None:
        print("PostgreSQL is not installed")
        return
    yield _storms("postgresql", "PostgreSQL", rounds, seed)


if __name__ == "__main__":
    main(journal, safe_sqlite, sqlite, postgresql)
