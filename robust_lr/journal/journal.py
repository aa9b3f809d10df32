"""The journal of a sweep or a search: an append-only file of JSON lines from which a killed run continues.

The first line describes the sweep, each further line one finished trial:

    {"record": "sweep", "format": 1, "library": "0.1.0", "learning_rates": [0.01, 0.1],
     "schedules": {"cosine": "cosine"}, "seeds": [0, 1], "train": "my_model:train",
     "created": "2026-01-31T12:00:00+00:00", "fingerprint": {"my_model.py:train": "27f8100fa2e4"}}
    {"record": "trial", "schedule": "cosine", "lr": 0.1, "seed": 0, "status": "ok", "loss": 0.25, "seconds": 1.5,
     "metrics": {}, "error": null}

It is strict JSON: numbers that are not finite are null. A sweep that has grown writes another "sweep" line; a search
writes one for each new learning rate. A trial was trained by the code of the last fingerprint above it, and belongs to
the last label ("train") above it.
"""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

from .._fingerprint import changed_parts
from .._paths import exists, is_file
from .._text import count_of, listed
from ..exceptions import JournalError
from ..trials import TrialResult, TrialSpec
from ._file import JournalFile
from ._format import JournalContents as JournalContents
from ._format import SweepHeader as SweepHeader
from ._format import dump_record, header_record, parse_journal, trial_record
from ._owner import machine
from .outbox import Outbox


class Journal:
    """A journal open for writing, by this process only. Get one from `Journal.open`, and close it after use.

    The operating system locks the file itself, so a killed process leaves no lock behind. Where such locks do not reach
    other machines, the file FILE.lock beside it names the process that writes it.

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

    def __init__(
        self, file: JournalFile, header: SweepHeader, results: Iterable[TrialResult], *, on_disk: SweepHeader
    ) -> None:
        self._file, self._header, self._on_disk = file, header, on_disk
        left = file.owner.left
        self._crashes = _crashes_in(left) if left.get("label") == header.train else {}
        self._outbox: Outbox | None = None
        self._uses_outbox = False
        self._found_fingerprint = bool(on_disk.fingerprint)
        self._had_another_prior = on_disk.prior != header.prior
        self._lrs, self._seeds = set(header.learning_rates), set(header.seeds)
        self._finished, self._given_up = dict[TrialSpec, TrialResult](), dict[TrialSpec, TrialResult]()
        for result in results:
            self._note(result)
        for spec in self._finished:
            self._crashes.pop(spec, None)

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        schedules: Mapping[str, str],
        learning_rates: Sequence[float] = (),
        seeds: Sequence[int] = (),
        train: str | None = None,
        fingerprint: Mapping[str, str] = MappingProxyType({}),
        keep_results: bool = False,
        new_label: bool = False,
        prior: str = "",
        outbox: Outbox | None = None,
    ) -> Self:
        """Begin a journal, or continue one of the same training function, which then holds the trials of both.

        A last line cut off by a kill is removed; its trial counts as not run.

        Args:
            path: the file, created if missing; its folder must exist.
            schedules: spec of each schedule by its name.
            learning_rates: those known in advance; others follow with their results.
            seeds: likewise.
            train: label of the training function; None if unknown, which keeps the one in the journal.
            fingerprint: digest of each part of the training function; empty if unknown.
            keep_results: whether the results stay valid although parts of the training function have changed.
            new_label: whether another label may begin its own results in this journal.
            prior: digest of the prior of a search, empty without one.
            outbox: where workers leave results; those that a killed process has left there are taken over.

        Raises:
            JournalError: when another process is writing it, it belongs to another training function, that function
                has changed, it holds a schedule of the same name with another spec, or the file is not a journal.
        """
        new = SweepHeader(tuple(map(float, learning_rates)), dict(schedules), tuple(seeds), train, "", "", fingerprint)
        new = replace(new, prior=prior)
        file = JournalFile(path)
        try:
            contents, n_good_bytes = parse_journal(file.path, file.read())
            mine = _of_label(contents, train, new_label=new_label)
            header = new if mine is None else _merged(file.path, mine.header, new)
            changed = _changes(file.path, mine, new, keep_results=keep_results)
            # A fingerprint alone is not written before there is a result of its code.
            on_disk = header
            if mine is not None:
                on_disk = replace(header, fingerprint=mine.header.fingerprint, prior=mine.header.prior)
            is_current = mine is not None and mine is contents and on_disk == mine.header and not changed
            journal = cls(file, header, mine.results if mine else (), on_disk=on_disk)
            if is_current:
                file.truncate(n_good_bytes)
            else:
                file.append(_header_line(header, earlier=None if mine is None else mine.header), after=n_good_bytes)
                journal._on_disk = header
            if outbox is not None:
                journal._take_over(outbox, is_new=mine is None, of_any_code=keep_results)
        except BaseException:
            file.close()
            raise
        return journal

    def _take_over(self, outbox: Outbox, *, is_new: bool, of_any_code: bool) -> None:
        self._outbox = outbox
        for result in outbox.take(of_any_code=of_any_code):
            if not is_new and result.spec not in self._finished:  # a new journal begins anew
                self.append(result)

    def use_outbox(self) -> Outbox | None:
        """Return the outbox for workers, if there is one; from now on each result that is written is removed there."""
        self._uses_outbox = self._outbox is not None
        return self._outbox

    @property
    def crashes(self) -> Mapping[TrialSpec, int]:
        """How often each trial has ended the process of an earlier run that left no result, as a segfault does."""
        return MappingProxyType(self._crashes)

    def note_begun(self, spec: TrialSpec) -> None:
        """Note that a trial now runs in this process, for `crashes` of the next one."""
        crashes = [[*_as_list(each), n] for each, n in self._crashes.items()]
        self._file.owner.note(label=self._header.train, trial=_as_list(spec), crashes=crashes)

    @property
    def path(self) -> Path:
        """The file."""
        return self._file.path

    @property
    def has_results_of_unknown_code(self) -> bool:
        """Whether it holds results from before fingerprints were kept, so that an edit since cannot be noticed."""
        return bool(self._finished) and not self._found_fingerprint

    @property
    def has_results_of_another_prior(self) -> bool:
        """Whether its results were chosen by another prior, or without this one."""
        return bool(self._finished) and self._had_another_prior

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
        if header != self._on_disk:
            line = _header_line(header, earlier=self._on_disk) + line
        self._file.append(line)
        self._header = self._on_disk = header
        self._lrs.add(result.spec.lr)
        self._seeds.add(result.spec.seed)
        self._note(result)
        if self._outbox is not None and self._uses_outbox:
            self._outbox.remove(result.spec)

    def ask(self, trials: Iterable[TrialSpec]) -> None:
        """Note trials that the sweep asks for because of its results, so that it is unfinished without them."""
        if new := [trial for trial in trials if trial not in self._header.further]:
            header = replace(self._header, further=(*self._header.further, *new))
            self._file.append(_header_line(header, earlier=self._on_disk))
            self._header = self._on_disk = header

    def _note(self, result: TrialResult) -> None:
        if result.is_final:
            self._given_up.pop(result.spec, None)
        (self._finished if result.is_final else self._given_up)[result.spec] = result

    def close(self) -> None:
        """Close the file and release its lock."""
        self._file.close()
        if self._outbox is not None:
            self._outbox.close()

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
    if exists(path) and not is_file(path):  # reading it might never end
        raise JournalError(f"the journal must be a regular file, but {path} is a folder, a pipe or a device")
    try:
        contents, _ = parse_journal(path, path.read_bytes())
    except OSError as error:
        raise JournalError(f"cannot read the journal {path}: {error.strerror}") from None
    if contents is None:
        raise JournalError(f"the journal {path} is empty: no sweep was begun in it")
    return contents


def _of_label(contents: JournalContents | None, label: str | None, *, new_label: bool) -> JournalContents | None:
    """What a journal holds under a label; None if the label begins here."""
    if contents is None or label in (None, contents.header.train):
        return contents
    is_new = new_label and contents.header.train is not None
    return contents.others.get(label, None if is_new else contents)


def _changes(path: Path, mine: JournalContents | None, new: SweepHeader, *, keep_results: bool) -> list[str]:
    n_results = 0 if mine is None else sum(result.is_final for result in mine.results)
    if mine is None or not n_results:
        return []
    changed = changed_parts(mine.header.fingerprint, new.fingerprint)
    if changed and not keep_results:
        raise JournalError(
            f"{listed(map(_part_name, changed), at_most=4)} changed since {path} was written, so its "
            f"{count_of(n_results, 'result')} may be stale: keep them with --keep-results (keep_results=True), train "
            "anew under another name with --label NAME (label=), or name another journal"
        )
    return changed


def _part_name(key: str) -> str:
    """The name of a part for people: the scripts of a command are its attributes."""
    return key.removeprefix("attribute ") if key.startswith(("attribute file ", "attribute command")) else key


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
        hint = "name another journal, or give a label (--label, label=): a new one begins anew, the journal's continues"
        raise JournalError(f"{path} is the journal of another sweep: {'; '.join(changed)}; {hint}")
    merged = replace(
        old,
        learning_rates=tuple(sorted({*old.learning_rates, *new.learning_rates})),
        schedules={**old.schedules, **new.schedules},
        seeds=old.seeds + tuple(seed for seed in new.seeds if seed not in old.seeds),
        train=old.train if new.train is None else new.train,
    )
    if merged != old:
        merged = replace(merged, requested=(new.learning_rates, tuple(new.schedules), new.seeds), further=())
    return replace(merged, fingerprint=new.fingerprint or old.fingerprint, prior=new.prior)


def _grown(header: SweepHeader, spec: TrialSpec) -> SweepHeader:
    lrs = header.learning_rates if spec.lr in header.learning_rates else (*header.learning_rates, spec.lr)
    seeds = header.seeds if spec.seed in header.seeds else (*header.seeds, spec.seed)
    return replace(header, learning_rates=tuple(sorted(lrs)), seeds=seeds)


def _header_line(header: SweepHeader, *, earlier: SweepHeader | None) -> bytes:
    from .._version import __version__

    if earlier is not None and header.fingerprint == earlier.fingerprint:
        header = replace(header, fingerprint={})  # a line without one leaves that of the line before
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return dump_record(header_record(replace(header, created=now, library=__version__)))


def _as_list(spec: TrialSpec) -> list[str | float]:
    return [spec.schedule, float(spec.lr), int(spec.seed)]


def _crashes_in(left: Mapping[str, Any]) -> dict[TrialSpec, int]:
    """What a process that did not close its journal has left in the owner file: crashes before, and its own."""
    found = Counter[TrialSpec]()
    with contextlib.suppress(TypeError, ValueError):
        for name, lr, seed, n in left.get("crashes", ()):
            found[TrialSpec(str(name), float(lr), int(seed))] += int(n)
        if left.get("trial") and left.get("machine") == machine():  # else the machine has ended, not the process
            name, lr, seed = left["trial"]
            found[TrialSpec(str(name), float(lr), int(seed))] += 1
    return dict(found)
