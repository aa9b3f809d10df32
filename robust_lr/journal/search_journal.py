"""The journal of a search: that of a sweep, whose learning rates become known as the search goes."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Self

from ..exceptions import JournalError
from ..trials import TrialSpec
from ._format import dump_record, header_record
from .journal import Journal, SweepHeader, read_journal


class SearchJournal(Journal):
    """A `Journal` that grows while it is open; make one with `SearchJournal.begin`, and close it after use."""

    _header: SweepHeader

    @classmethod
    def begin(cls, path: str | os.PathLike[str], *, schedules: Mapping[str, str], train: str | None = None) -> Self:
        """Begin a journal, or continue one that is there, of a search or of a sweep; `expect` makes room for trials.

        Args:
            path: the file; made when missing, its folder is not.
            schedules: spec of each schedule of the search by its name; those of the journal stay in it.
            train: label of the training function, None when unknown; then that of the journal stays.

        Raises:
            JournalError: when another process writes it, it is of another training function, or the file is no journal.
        """
        header = SweepHeader((), schedules, (), train)
        with contextlib.suppress(JournalError):  # none yet, or one that `open` is about to refuse
            old = read_journal(path).header
            train = old.train if train is None else train
            header = dataclasses.replace(old, schedules={**old.schedules, **schedules}, train=train)
        journal = cls.open(
            path,
            learning_rates=header.learning_rates,
            schedules=header.schedules,
            seeds=header.seeds,
            train=header.train,
        )
        journal._header = header
        return journal

    def expect(self, trials: Iterable[TrialSpec]) -> None:
        """Make the sweep in the journal large enough for these trials, before they run."""
        from .._version import __version__

        grown = _grown(self._header, trials)
        if grown != self._header:
            now = datetime.now(UTC).isoformat(timespec="seconds")
            self._header = dataclasses.replace(grown, created=now, library=__version__)
            self._file.append(dump_record(header_record(self._header)))


def _grown(header: SweepHeader, trials: Iterable[TrialSpec]) -> SweepHeader:
    trials = list(trials)
    lrs = {*header.learning_rates, *(trial.lr for trial in trials)}
    seeds = {*header.seeds, *(trial.seed for trial in trials)}
    return dataclasses.replace(header, learning_rates=tuple(sorted(lrs)), seeds=tuple(sorted(seeds)))
