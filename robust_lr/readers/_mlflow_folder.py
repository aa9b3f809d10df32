"""MLflow's runs in folders, such as mlruns: a file for each parameter, tag and metric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..exceptions import DataError
from ._mlflow_runs import MLflowRun, as_mlflow_runs
from ._tracked import History
from ._tracked_tables import TrackedRuns
from ._walk import is_folder, is_plain_file, walk
from ._yaml import read_yaml

_STATUS = {1: "RUNNING", 2: "SCHEDULED", 3: "FINISHED", 4: "FAILED", 5: "KILLED"}


def is_mlflow_run(path: Path) -> bool:
    """Return whether a folder holds one run of MLflow."""
    return is_plain_file(path / "meta.yaml") and is_folder(path / "params") and is_folder(path / "metrics")


def read_mlflow_folders(paths: Sequence[Path], root: Path) -> TrackedRuns:
    """Return the runs in these folders, without deleted ones; the last value of each metric counts."""
    experiments = {folder: _experiment(folder) for folder in {path.parent for path in paths}}
    runs = [run for path in paths if (run := _run(path, experiments[path.parent])) is not None]
    return as_mlflow_runs(runs)


def _experiment(folder: Path) -> Mapping[str, Any]:
    meta = folder / "meta.yaml"
    return read_yaml(meta) if is_plain_file(meta) else {}


def _run(path: Path, experiment: Mapping[str, Any]) -> MLflowRun | None:
    try:
        meta = read_yaml(path / "meta.yaml")
        if "status" not in meta:
            raise DataError(f"{path / 'meta.yaml'} is cut off")
    except DataError as error:  # damaged, or just being written
        return MLflowRun(run_id=path.name, excluded=str(error))
    if "deleted" in (meta.get("lifecycle_stage"), experiment.get("lifecycle_stage")):
        return None
    return MLflowRun(
        run_id=str(meta.get("run_id", path.name)),
        name=str(meta.get("run_name") or ""),
        status=_STATUS.get(meta.get("status"), str(meta.get("status", ""))),  # type: ignore[arg-type]
        start_time=meta.get("start_time"),
        experiment=str(experiment.get("name", path.parent.name)),
        params=_texts(path / "params"),
        tags=_texts(path / "tags"),
        history=_history(path / "metrics"),
    )


def _texts(folder: Path) -> dict[str, str]:
    """The texts of the files in a folder by name; a name may have slashes."""
    files = list[Path]()

    def is_file(path: Path) -> bool:
        if is_plain_file(path):
            files.append(path)
        return path.is_file()

    walk(folder, is_file)
    return {file.relative_to(folder).as_posix(): _text(file).strip() for file in files}


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise DataError(f"cannot read {file}: {error.strerror}") from None


def _history(folder: Path) -> History:
    history = History()
    for name, text in _texts(folder).items():
        for step, _, value in sorted(filter(None, map(_point, text.splitlines())), key=lambda each: each[:2]):
            history.add(name, value, step)
    return history


def _point(line: str) -> tuple[int, int, float] | None:
    """Step, time and value of a line "time value step"; None for half a line."""
    try:
        time, value, step, *_ = [*line.split(), "0"] if len(line.split()) == 2 else line.split()
        return int(step), int(time), float(value)
    except ValueError:
        return None
