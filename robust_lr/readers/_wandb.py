"""W&B's runs in the folders that it leaves on this machine, synced or not."""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from ..exceptions import DataError, OptionError
from ._names import is_lr
from ._tracked import History, TrackedRun
from ._tracked_tables import TrackedRuns
from ._walk import is_folder, is_plain_file
from ._yaml import read_yaml

_FOLDER = re.compile(r"(?:offline-)?run-(\d{8}_\d{6})-(\w+)")
_BLOCK, _HEAD = 32768, 7  # bytes of a block and of the head of each of its pieces
_HIDDEN = ("_step", "_runtime", "_timestamp", "_wandb", "wandb_version")
_NUMBERS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_WHOLE, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4


def is_wandb_run(path: Path) -> bool:
    """Return whether a folder is that of one run, such as run-20260301_093000-k2xq4w1z."""
    return _FOLDER.fullmatch(path.name) is not None and is_folder(path)


def read_wandb_runs(paths: Sequence[Path], root: Path) -> TrackedRuns:
    """Return the runs in these folders; what a run wrote into its summary last counts."""
    return TrackedRuns(runs=[_run(path) for path in paths], tool="W&B")


def _run(path: Path) -> TrackedRun:
    start, run_id = _FOLDER.fullmatch(path.name).groups()  # type: ignore[union-attr]
    log, config, summary = path / f"run-{run_id}.wandb", path / "files/config.yaml", path / "files/wandb-summary.json"
    found = _Log(run_id, start)
    has_files = is_plain_file(config) and is_folder(path / "files")
    if is_plain_file(log) and not (has_files and _library() is None):
        found.read(log)
    try:
        if has_files:
            found.config |= {
                name: value["value"] if isinstance(value, dict) and "value" in value else value
                for name, value in read_yaml(config).items()
            }
        if has_files and is_plain_file(summary):
            found.summary |= _content(summary)
    except DataError as error:  # damaged, or just being written
        found.problem = str(error)
    return found.run()


class _Log:
    """What a run's log and files say."""

    def __init__(self, run_id: str, start: str) -> None:
        self.run_id, self.name, self.problem = run_id, "", ""
        self.about: dict[str, Any] = {"start_time": datetime.strptime(start, "%Y%m%d_%H%M%S").isoformat()}
        self.config, self.summary, self.history = dict[str, Any](), dict[str, Any](), History()

    def read(self, log: Path) -> None:
        record_of = _library()
        if record_of is None:
            raise OptionError(f"{log} is a log of W&B, which needs its library: pip install wandb")
        self.about["state"] = "running"  # until the log says how it ended
        for data in _records(log):
            try:
                record = record_of(data)
            except Exception:  # an error of protobuf, whose class depends on its version
                return  # damaged from here on
            kind = record.WhichOneof("record_type") or ""
            if handle := getattr(self, f"_see_{kind}", None):
                handle(getattr(record, kind))

    def _see_run(self, run: Any) -> None:
        self.name = run.display_name or self.name
        self.about["start_time"] = run.start_time.seconds + run.start_time.nanos / 1e9 or self.about["start_time"]
        about = {"group": run.run_group, "job_type": run.job_type, "project": run.project}
        self.about |= {name: value for name, value in about.items() if value}
        self._see_config(run.config)

    def _see_config(self, config: Any) -> None:
        for item in config.update:
            _put(self.config, item)

    def _see_history(self, history: Any) -> None:
        cells: dict[str, Any] = {}
        for item in history.item:
            _put(cells, item)
        step = cells.get("_step", history.step.num)
        for name, value in cells.items():
            self.history.add(name, _plain(value), step)

    def _see_summary(self, summary: Any) -> None:
        for item in summary.update:
            _put(self.summary, item)

    def _see_exit(self, end: Any) -> None:
        self.about["state"] = "failed" if end.exit_code else "finished"

    def run(self) -> TrackedRun:
        for name, value in self.summary.items():
            if not is_lr(name):  # of the history of a learning rate the highest value counts
                self.history.last[name] = _plain(value)
            self.history.last.setdefault(name, _plain(value))
            self.history.steps.setdefault(name, self.summary.get("_step", math.nan))
        for name in _HIDDEN:
            self.history.last.pop(name, None)
            self.config.pop(name, None)
        return TrackedRun(
            run_id=self.run_id, name=self.name, about=self.about, config=self.config, history=self.history,
            excluded=self.problem,
        )  # fmt: skip


def _put(cells: dict[str, Any], item: Any) -> None:
    try:
        value = json.loads(item.value_json)
    except (ValueError, RecursionError):
        return
    *outer, name = item.nested_key or [item.key]
    for key in outer:
        inner = cells.get(key)
        cells = cells.setdefault(key, {}) if isinstance(inner, dict | None) else {}
    cells[name] = value


def _plain(value: Any) -> Any:
    return _NUMBERS.get(value, value) if isinstance(value, str) else value


def _library() -> Any:
    """The parser of one record, None if W&B is not installed."""
    try:
        from wandb.proto.wandb_internal_pb2 import Record
    except ImportError:
        return None
    return Record.FromString


def _content(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8", errors="replace") or "{}")
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"cannot read {path}: {' '.join(str(error).split())}") from None
    return found if isinstance(found, dict) else {}


def _records(log: Path) -> Iterator[bytes]:
    """The records in a log, which has the form of LevelDB's; half a record at its end is being written."""
    try:
        data = log.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {log}: {error.strerror}") from None
    if not data.startswith(b":W&B"):
        return
    at, parts = _HEAD, b""
    while at + _HEAD <= len(data):
        if (left := _BLOCK - at % _BLOCK) < _HEAD:
            at += left
            continue
        length, kind = struct.unpack_from("<HB", data, at + 4)
        piece = data[at + _HEAD : at + _HEAD + length]
        at += _HEAD + length
        if kind not in (_WHOLE, _FIRST, _MIDDLE, _LAST) or len(piece) < length:
            return
        parts = piece if kind in (_WHOLE, _FIRST) else parts + piece
        if kind in (_WHOLE, _LAST):
            yield parts
