"""TensorBoard's event files: scalars, and settings in the form of its hparams plug-in."""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..exceptions import DataError, OptionError
from ._tracked import History, TrackedRun, settings_in
from ._tracked_tables import TrackedRuns

_SETTINGS, _ENDED = "_hparams_/session_start_info", "_hparams_/session_end_info"
_STATES = {1: "finished", 2: "failed", 3: "running"}
_SPLITS = frozenset(("train", "training", "val", "valid", "validation", "dev", "eval", "evaluation", "test"))
_SCALAR_TYPES = {1: "<f", 2: "<d", 3: "<i", 9: "<q"}  # of a tensor, by its dtype


def is_event_file(path: Path) -> bool:
    """Return whether a file is one of TensorBoard's, by its name."""
    return ".tfevents." in path.name and path.is_file()


class _Folder:
    """What the event files of one folder say, in the order in which they were written."""

    def __init__(self) -> None:
        self.history, self.about = History(), dict[str, Any]()
        self.config: dict[str, Any] | None = None
        self.n_configs = 0

    def read(self, file: Path) -> None:
        try:
            from tensorboard.compat.proto.event_pb2 import Event
            from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
        except ImportError:
            way_out = "a library: pip install tensorboard"
            raise OptionError(f"{file} is an event file of TensorBoard, which needs {way_out}") from None
        before, seen = dict(self.history.last), set[str]()
        for data in _records(file):
            try:
                event = Event.FromString(data)
            except Exception:  # an error of protobuf, whose class depends on its version
                return  # damaged from here on
            self.about.setdefault("start_time", event.wall_time)
            for value in event.summary.value:
                if value.metadata.plugin_data.plugin_name == "hparams":
                    self._settings(value.tag, HParamsPluginData, value.metadata.plugin_data.content)
                elif (number := _scalar(value)) is not None:
                    if value.tag in before.keys() - seen and before[value.tag] != number:  # another writer
                        self.history.begin_again(value.tag, event.step)
                    seen.add(value.tag)
                    self.history.add(value.tag, number, event.step)

    def _settings(self, tag: str, message: Any, content: bytes) -> None:
        try:
            data = message.FromString(content)
        except Exception:  # as above
            return
        if tag == _SETTINGS:
            found = data.session_start_info.hparams
            config = {name: _setting(value) for name, value in found.items()}
            self.n_configs += config != self.config
            self.config = config
        elif tag == _ENDED:
            self.about["state"] = _STATES.get(data.session_end_info.status, "")


def _setting(value: Any) -> Any:
    setting = getattr(value, value.WhichOneof("kind") or "null_value")
    return int(setting) if isinstance(setting, float) and setting.is_integer() else setting


def _records(file: Path) -> Iterator[bytes]:
    """The records in a file; half a record at its end is being written."""
    try:
        data = file.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {file}: {error.strerror}") from None
    at = 0
    while at + 12 <= len(data):
        (length,) = struct.unpack_from("<Q", data, at)
        end = at + 12 + length
        if end + 4 > len(data):
            return
        yield data[at + 12 : end]
        at = end + 4


def _scalar(value: Any) -> float | None:
    kind = value.WhichOneof("value")
    if kind == "simple_value":
        return float(value.simple_value)
    form = _SCALAR_TYPES.get(value.tensor.dtype) if kind == "tensor" else None
    if form is None or any(dim.size != 1 for dim in value.tensor.tensor_shape.dim):
        return None
    tensor = value.tensor
    numbers = [*tensor.float_val, *tensor.double_val, *tensor.int_val, *tensor.int64_val]
    if len(tensor.tensor_content) == struct.calcsize(form):
        numbers = [struct.unpack(form, tensor.tensor_content)[0]]
    return float(numbers[0]) if len(numbers) == 1 else None


def read_event_files(paths: Sequence[Path], root: Path) -> TrackedRuns:
    """Return the runs in event files, one for each folder; the last value of each scalar counts."""
    folders: dict[Path, _Folder] = defaultdict(_Folder)
    for file in sorted(paths, key=lambda each: (each.parent, each.name)):
        folders[file.parent].read(file)
    parts: dict[Path, list[tuple[_Place, _Folder]]] = defaultdict(list)
    for path, folder in folders.items():
        if folder.config is None and not folder.history.last:
            continue  # the writer of several `add_hparams`
        place = _place_of(path, folders, root)
        parts[place.run].append((place, folder))
    runs = [_run(path, sorted(each, key=lambda part: part[1].config is not None), root) for path, each in parts.items()]
    return TrackedRuns(runs=runs, config="hparams/", tool="TensorBoard")


class _Place(NamedTuple):
    """The folder of the run to which a folder of event files belongs, and what stands around its tags there."""

    run: Path
    prefix: str = ""
    suffix: str = ""


def _place_of(path: Path, folders: dict[Path, _Folder], root: Path) -> _Place:
    if folders[path].config is not None:
        return _Place(path)
    above = [each for each in path.parents if each.is_relative_to(root)]
    if above and above[0] in folders and (name := _name_in_add_scalars(path, folders[path])):
        return _place_of(above[0], folders, root)._replace(suffix=f"/{name}")
    for each in above:
        if each in folders and folders[each].config is not None:
            return _Place(each, f"{path.relative_to(each).as_posix()}/")
    inside = [each for each, folder in folders.items() if each.parent == path and folder.config is not None]
    if len(inside) == 1:  # as `SummaryWriter.add_hparams` writes it
        return _Place(inside[0])
    if path.name.lower() in _SPLITS and above:
        return _Place(path.parent, f"{path.name}/")
    return _Place(path)


def _name_in_add_scalars(path: Path, folder: _Folder) -> str:
    """The name of a curve for which `SummaryWriter.add_scalars` made this folder, "" if it is the folder of a run."""
    tag = next(iter(folder.history.last), "")
    found = path.name.removeprefix(f"{tag.replace('/', '_')}_")
    is_one = len(folder.history.last) == 1 and found != path.name
    return "" if not is_one or "lr" in settings_in(path.name) else found


def _run(path: Path, parts: Sequence[tuple[_Place, _Folder]], root: Path) -> TrackedRun:
    history, about, config = History(), dict[str, Any](), dict[str, Any]()
    for (_, prefix, suffix), folder in parts:
        history.take(folder.history, lambda name, prefix=prefix, suffix=suffix: f"{prefix}{name}{suffix}")  # type: ignore[misc]
        about, config = about | folder.about, config | (folder.config or {})
    start = min(folder.about.get("start_time", float("inf")) for _, folder in parts)
    name = path.relative_to(root).as_posix() if path != root else path.resolve().name
    several = max(folder.n_configs for _, folder in parts) > 1
    return TrackedRun(
        run_id=name,
        name=name,
        about=about | {"start_time": start},
        config=config,
        history=history,
        excluded="several runs wrote into one folder" if several else "",
    )
