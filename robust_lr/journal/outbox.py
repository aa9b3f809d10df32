"""The outbox: workers leave each result here before they send it, so that no finished trial dies with the driver."""

from __future__ import annotations

import contextlib
import hashlib
import json
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .._text import first_line, without_passwords
from ..exceptions import JournalError, OptionError
from ..trials import TrialResult, TrialSpec
from ._format import dump_record, load_record, read_trial, trial_record

_DIGITS = 12


@dataclass(frozen=True)
class Outbox:
    """A folder with one small file for each finished trial that may not be in the journal yet.

    The driver removes a file once its result is in the journal. What a killed driver leaves, the next one takes over.

    Args:
        uri: path of the folder, or its URI on any file system that fsspec knows, such as "s3://bucket/sweep".
        label: name of the training function; the results of others in the folder are left alone.
        fingerprint: digest of each part of the training function.
        journal: path of the journal, in a folder that several may share; or "".
        beside: a file that shows a worker that it sees the folder's file system, and not one of its own; or "".

    Example:
        >>> import tempfile
        >>> outbox = Outbox(tempfile.mkdtemp(), "my_model:train")
        >>> outbox.put(TrialResult(TrialSpec("cosine", 0.1, 0), 0.25, "ok"))
        >>> [result.loss for result in outbox.take()]
        [0.25]
    """

    uri: str
    label: str = ""
    fingerprint: Mapping[str, str] = field(default_factory=dict)
    journal: str = ""
    beside: str = ""

    def check(self) -> None:
        """Raise an OptionError unless files can be written and removed here, and make the folder."""
        try:
            name = f"robust-lr-{uuid.uuid4().hex}"  # the folder may hold files of others
            self._folder.write(name, b"")
            self._folder.remove(name)
        except OptionError:
            raise
        except Exception as error:  # each file system has errors of its own
            said = first_line(error) or type(error).__name__
            raise OptionError(f"results_uri: cannot write to {without_passwords(self.uri)}: {said}") from None

    def put(self, result: TrialResult) -> None:
        """Leave a result, unless it is a failure, or this machine does not see the folder."""
        if not result.is_final or (self.beside and not Path(self.beside).exists()):
            return
        with contextlib.suppress(Exception):  # the driver gets it all the same
            self._folder.write(self._name(result.spec), dump_record(trial_record(result)))

    def take(self, *, of_any_code: bool = False) -> Iterator[TrialResult]:
        """Yield and remove the results of this training function; those of other code are removed only.

        Raises:
            JournalError: when the folder cannot be read.
        """
        try:
            for name, data in self._folder.files(self._of_label):
                record = load_record(data) if of_any_code or name.startswith(self._prefix) else None
                if record is not None:  # else the code has changed, or a kill has cut it off
                    yield self._read(record, name)
                self._folder.remove(name)
        except (OSError, ValueError) as error:
            raise JournalError(f"cannot read the results in {without_passwords(self.uri)}: {error}") from None

    def find(self, trials: Iterable[TrialSpec]) -> list[TrialResult]:
        """Return the results that are here of these trials, whose worker was lost before it could send them."""
        found = list[TrialResult]()
        for spec in trials:
            with contextlib.suppress(Exception):  # without a result the trial runs again
                if record := load_record(self._folder.read(self._name(spec))):
                    found.append(read_trial(record))
        return found

    def _read(self, record: Mapping[str, Any], name: str) -> TrialResult:
        try:
            return read_trial(record)
        except (KeyError, TypeError, ValueError, AttributeError):
            file = f"{without_passwords(self.uri)}/{name}"
            raise JournalError(f"{file} is no result; remove it, and its trial runs again") from None

    def remove(self, spec: TrialSpec) -> None:
        """Remove the result of a trial, which the journal now has."""
        with contextlib.suppress(Exception):  # the next driver finds it in the journal, and tries again
            self._folder.remove(self._name(spec))

    def close(self) -> None:
        """Remove the folder if it is empty, and is one that was made beside a journal."""
        if self.beside:
            with contextlib.suppress(OSError):
                Path(self.uri).rmdir()

    @property
    def _folder(self) -> _LocalFolder | _RemoteFolder:
        return _RemoteFolder(self.uri) if "://" in self.uri else _LocalFolder(Path(self.uri))

    @property
    def _prefix(self) -> str:
        return f"{self._of_label}-{_digest(dict(self.fingerprint))}"

    @property
    def _of_label(self) -> str:
        return f"{_digest(self.journal)}-{_digest(self.label)}" if self.journal else _digest(self.label)

    def _name(self, spec: TrialSpec) -> str:
        return f"{self._prefix}-{_digest([spec.schedule, float(spec.lr), int(spec.seed)])}.json"


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:_DIGITS]


@dataclass(frozen=True)
class _LocalFolder:
    path: Path

    def write(self, name: str, data: bytes) -> None:
        self.path.mkdir(exist_ok=True)
        (self.path / name).write_bytes(data)

    def files(self, prefix: str) -> Iterator[tuple[str, bytes]]:
        for path in sorted(self.path.glob(f"{prefix}*")):
            if path.is_file():  # reading a pipe would wait for ever
                yield path.name, path.read_bytes()

    def read(self, name: str) -> bytes:
        return (self.path / name).read_bytes() if (self.path / name).is_file() else b""

    def remove(self, name: str) -> None:
        (self.path / name).unlink(missing_ok=True)


@dataclass(frozen=True)
class _RemoteFolder:
    uri: str

    def write(self, name: str, data: bytes) -> None:
        files, folder = self._opened()
        with contextlib.suppress(FileExistsError):
            files.makedirs(folder, exist_ok=True)
        files.pipe_file(f"{folder}/{name}", data)

    def files(self, prefix: str) -> Iterator[tuple[str, bytes]]:
        files, folder = self._opened()
        files.invalidate_cache()  # workers write from other machines
        with contextlib.suppress(FileNotFoundError):
            for path in sorted(files.ls(folder, detail=False)):  # glob would read the folder's name as a pattern
                if (name := path.rpartition("/")[2]).startswith(prefix):
                    yield name, files.cat_file(path)

    def read(self, name: str) -> bytes:
        files, folder = self._opened()
        data: bytes = files.cat_file(f"{folder}/{name}")
        return data

    def remove(self, name: str) -> None:
        files, folder = self._opened()
        with contextlib.suppress(FileNotFoundError):
            files.rm_file(f"{folder}/{name}")

    def _opened(self) -> tuple[Any, str]:
        try:
            from fsspec.core import url_to_fs  # type: ignore[import-untyped]
        except ImportError:
            raise OptionError("a results_uri with :// needs fsspec: pip install fsspec") from None
        files, folder = url_to_fs(self.uri)
        return files, folder.rstrip("/")
