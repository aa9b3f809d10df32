"""The journal of a sweep: an append-only file of JSON lines that a killed sweep continues from.

The first line describes the sweep, each further line one finished trial:

    {"record": "sweep", "format": 1, "library": "0.1.0", "learning_rates": [0.01, 0.1],
     "schedules": {"cosine": "cosine"}, "seeds": [0, 1], "train": "my_model:train",
     "created": "2026-01-31T12:00:00+00:00"}
    {"record": "trial", "schedule": "cosine", "lr": 0.1, "seed": 0, "status": "ok", "loss": 0.25, "seconds": 1.5,
     "metrics": {}, "error": null}

It is strict JSON: numbers that are not finite are null. A sweep that has grown writes a further "sweep" line.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

from ..exceptions import JournalError
from ..trials import TrialResult, TrialSpec
from ._file import JournalFile
from ._format import JournalContents as JournalContents
from ._format import SweepHeader as SweepHeader
from ._format import dump_record, header_record, parse_journal, trial_record


class Journal:
    """A journal open for writing, by this process only; make one with `Journal.open`, and close it after use.

    The lock is one of the operating system on the file itself, so a killed process leaves none behind.

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

    def __init__(self, file: JournalFile, results: Iterable[TrialResult]) -> None:
        self._file = file
        self._finished = {r.spec: r for r in results if r.is_final}

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        learning_rates: Sequence[float],
        schedules: Mapping[str, str],
        seeds: Sequence[int],
        train: str | None = None,
    ) -> Self:
        """Begin a journal, or continue one of the same sweep or of a part of it (a coarser grid, fewer seeds).

        A last line that was cut off by a kill is removed; its trial counts as not run.

        Args:
            path: the file; made when missing, its folder is not.
            learning_rates: all learning rates of the sweep.
            schedules: spec of each schedule by its name.
            seeds: all seeds of the sweep.
            train: label of the training function, None when unknown.

        Raises:
            JournalError: when another process writes it, it is of another sweep, or the file is no journal.
        """
        from .._version import __version__

        now = datetime.now(UTC).isoformat(timespec="seconds")
        header = SweepHeader(
            tuple(float(lr) for lr in learning_rates), dict(schedules), tuple(seeds), train, now, __version__
        )
        file = JournalFile(path)
        try:
            contents, n_good_bytes = parse_journal(file.path, file.read())
            if contents is None or _has_grown(file.path, contents.header, header):
                file.append(dump_record(header_record(header)), after=n_good_bytes)
            else:
                file.truncate(n_good_bytes)
        except BaseException:
            file.close()
            raise
        return cls(file, contents.results if contents else ())

    @property
    def finished(self) -> Mapping[TrialSpec, TrialResult]:
        """The trials that need not run again: "ok" and "diverged" ones, in order of completion."""
        return MappingProxyType(self._finished)

    def append(self, result: TrialResult) -> None:
        """Write one result to the disk; when this returns, it survives a kill and a loss of power."""
        self._file.append(dump_record(trial_record(result)))
        if result.is_final:
            self._finished[result.spec] = result

    def close(self) -> None:
        """Close the file and give up its lock."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def read_journal(path: str | os.PathLike[str]) -> JournalContents:
    """Return what a journal holds, also while a sweep writes it; a last line that was cut off is left out.

    Raises:
        JournalError: when there is no such file, or it is no journal.
    """
    path = Path(path)
    try:
        contents, _ = parse_journal(path, path.read_bytes())
    except OSError as error:
        raise JournalError(f"cannot read the journal {path}: {error.strerror}") from None
    if contents is None:
        raise JournalError(f"the journal {path} is empty: no sweep was begun in it")
    return contents


def _has_grown(path: Path, old: SweepHeader, new: SweepHeader) -> bool:
    """Return whether the sweep is larger than the journal's; raise unless it holds all of the journal's."""
    changed = [
        f"schedule {name!r} is {spec} in the journal and {new.schedules[name]} here"
        for name, spec in old.schedules.items()
        if new.schedules.get(name, spec) != spec
    ]
    if None not in (old.train, new.train) and old.train != new.train:
        changed.append(f"the training function is {old.train} in the journal and {new.train} here")
    axes = [
        (name, getattr(old, attribute), getattr(new, attribute))
        for name, attribute in (("learning rates", "learning_rates"), ("schedules", "schedules"), ("seeds", "seeds"))
    ]
    added = [f"{name} {_some(set(ours) - set(theirs))}" for name, theirs, ours in axes if set(ours) - set(theirs)]
    left_out = [f"{name} {_some(set(theirs) - set(ours))}" for name, theirs, ours in axes if set(theirs) - set(ours)]
    if left_out and not changed and not added:
        raise JournalError(
            f"{path} is the journal of a larger sweep (this one leaves out {', '.join(left_out)}): "
            "nothing is left to run, analyse the journal instead"
        )
    differences = changed + ([f"this one leaves out {', '.join(left_out)}"] if left_out else [])
    if set(old.learning_rates) - set(new.learning_rates) and not changed:
        differences.append(
            "to grow that sweep keep its grid and add --refine 1 or --extend-above 1 "
            "(in Python grid.refine() or grid.extend(above=1))"
        )
    if differences:
        raise JournalError(f"{path} is the journal of another sweep: {'; '.join(differences)}")
    return bool(added)


def _some(values: set[Any]) -> str:
    names = [str(v) for v in sorted(values)]
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
