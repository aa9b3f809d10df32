"""Journals of `run_sweep` among the kinds of results."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..sweep.results import SweepResult
from ._files import is_journal
from .reader import ReadOptions, one_each

_OF_TABLES = ("lr_name", "schedule_name", "seed_name", "group_by", "where")


class _Journals:
    name = "journals"
    looks_for = "a journal of robust-lr"

    def recognizes(self, path: Path) -> bool:
        return is_journal(path)

    def read(self, paths: Sequence[Path], root: Path, options: ReadOptions) -> dict[str, SweepResult]:
        def read(path: Path) -> dict[str, SweepResult]:
            options.refuse(_OF_TABLES, path, "a journal, which is one sweep without columns")
            metric, direction = options.metric or "loss", options.direction
            return {"": SweepResult.from_journal(path, metric=metric, direction=direction)}

        return one_each(paths, root, read)


JOURNALS = _Journals()
