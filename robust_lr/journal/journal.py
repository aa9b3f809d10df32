"""The journal of a sweep or a search: an append-only file of JSON lines from which a killed run continues.

The first line describes the sweep, each further line one finished trial:

    {"record": "sweep", "format": 1, "library": "0.1.0", "learning_rates": [0.01, 0.1],
     "schedules": {"cosine": "cosine"}, "seeds": [0, 1], "train": "my_model:train",
     "created": "2026-01-31T12:00:00+00:00"}
    {"record": "trial", "schedule": "cosine", "lr": 0.1, "seed": 0, "status": "ok", "loss": 0.25, "seconds": 1.5,
     "metrics": {}, "error": null}

It is strict JSON: numbers that are not finite are null. A sweep that has grown writes another "sweep" line; a search
writes one for each new learning rate.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Self

from ..exceptions import JournalError
from ..trials import TrialResult, TrialSpec
from ._file import JournalFile
from ._format import JournalContents as JournalContents
from ._format import SweepHeader as SweepHeader
from ._format import dump_record, header_record, parse_journal, trial_record


class Journal:
    """A journal open for writing, by this process only. Get one from `Journal.open`, and close it after use.

    The operating system locks the file itself, so a killed process leaves no lock behind.

    Example:
        >>> import tempfile
        >>> path = tempfile.mkdtemp() + "/sweep.jsonl"
        >>> sweep = dict(learning_rates=[0.1, 1.0], schedules={"cosine": "cosine"}, seeds=[0])
        >>> with Journal.open(path, **sweep) as journal:
        ...     journal.append(TrialResult(TrialSpec("cosine", 0.1, 0), 0.25, "ok"))
        >>> with Journal.open(path, **sweep) as journal:
        ...     [spec.lr for spec in journal.finished]
        [0.1]
    """

    def __init__(self, file: JournalFile, header: SweepHeader, results: Iterable[TrialResult]) -> None:
        self._file, self._header = file, header
        self._lrs, self._seeds = set(header.learning_rates), set(header.seeds)
        self._finished, self._given_up = dict[TrialSpec, TrialResult](), dict[TrialSpec, TrialResult]()
        for result in results:
            self._note(result)

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        schedules: Mapping[str, str],
        learning_rates: Sequence[float] = (),
        seeds: Sequence[int] = (),
        train: str | None = None,
    ) -> Self:
        """Begin a journal, or continue one of the same training function, which then holds the trials of both.

        A last line cut off by a kill is removed; its trial counts as not run.

        Args:
            path: the file, created if missing; its folder must exist.
            schedules: spec of each schedule by its name.
            learning_rates: those known in advance; others follow with their results.
            seeds: likewise.
            train: label of the training function; None if unknown, which keeps the one in the journal.

        Raises:
            JournalError: when another process is writing it, it belongs to another training function, it holds a
                schedule of the same name with another spec, or the file is not a journal.
        """
        new = SweepHeader(tuple(map(float, learning_rates)), dict(schedules), tuple(seeds), train)
        file = JournalFile(path)
        try:
            contents, n_good_bytes = parse_journal(file.path, file.read())
            old = None if contents is None else contents.header
            header = new if old is None else _merged(file.path, old, new)
            if header == old:
                file.truncate(n_good_bytes)
            else:
                file.append(_header_line(header), after=n_good_bytes)
        except BaseException:
            file.close()
            raise
        return cls(file, header, contents.results if contents else ())

    @property
    def finished(self) -> Mapping[TrialSpec, TrialResult]:
        """The trials that need not run again: "ok" and "diverged" ones, in order of completion."""
        return MappingProxyType(self._finished)

    @property
    def given_up(self) -> Mapping[TrialSpec, TrialResult]:
        """The trials whose retries all failed, in order."""
        return MappingProxyType(self._given_up)

    def append(self, result: TrialResult) -> None:
        """Write one result to the disk; once this returns, it survives a kill and a power failure."""
        line, header = dump_record(trial_record(result)), self._header
        if result.spec.lr not in self._lrs or result.spec.seed not in self._seeds:
            header = _grown(header, result.spec)
            line = _header_line(header) + line
        self._file.append(line)
        self._header = header
        self._lrs.add(result.spec.lr)
        self._seeds.add(result.spec.seed)
        self._note(result)

    def _note(self, result: TrialResult) -> None:
        if result.is_final:
            self._given_up.pop(result.spec, None)
        (self._finished if result.is_final else self._given_up)[result.spec] = result

    def close(self) -> None:
        """Close the file and release its lock."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def read_journal(path: str | os.PathLike[str]) -> JournalContents:
    """Return the contents of a journal, also while a sweep is writing it; an incomplete last line is ignored.

    Raises:
        JournalError: when there is no such file, or it is not a journal.
    """
    path = Path(path)
    try:
        contents, _ = parse_journal(path, path.read_bytes())
    except OSError as error:
        raise JournalError(f"cannot read the journal {path}: {error.strerror}") from None
    if contents is None:
        raise JournalError(f"the journal {path} is empty: no sweep was begun in it")
    return contents


def _merged(path: Path, old: SweepHeader, new: SweepHeader) -> SweepHeader:
    """The header for the union of the journal and the new sweep; raise if the two contradict each other."""
    changed = [
        f"schedule {name!r} is {spec} in the journal and {new.schedules[name]} here"
        for name, spec in old.schedules.items()
        if new.schedules.get(name, spec) != spec
    ]
    if None not in (old.train, new.train) and old.train != new.train:
        changed.append(f"the training function is {old.train} in the journal and {new.train} here")
    if changed:
        hint = "name another journal, or give the label that the journal has if nothing else has changed"
        raise JournalError(f"{path} is the journal of another sweep: {'; '.join(changed)}; {hint}")
    return replace(
        old,
        learning_rates=tuple(sorted({*old.learning_rates, *new.learning_rates})),
        schedules={**old.schedules, **new.schedules},
        seeds=old.seeds + tuple(seed for seed in new.seeds if seed not in old.seeds),
        train=old.train if new.train is None else new.train,
    )


def _grown(header: SweepHeader, spec: TrialSpec) -> SweepHeader:
    lrs = header.learning_rates if spec.lr in header.learning_rates else (*header.learning_rates, spec.lr)
    seeds = header.seeds if spec.seed in header.seeds else (*header.seeds, spec.seed)
    return replace(header, learning_rates=tuple(sorted(lrs)), seeds=seeds)


def _header_line(header: SweepHeader) -> bytes:
    from .._version import __version__

    now = datetime.now(UTC).isoformat(timespec="seconds")
    return dump_record(header_record(replace(header, created=now, library=__version__)))
