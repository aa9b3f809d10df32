"""Disks that fill while a sweep writes its journal, and that get more space later.

A round is a disk: a tmpfs, or a limit on the size of a file where no file system can be mounted. The sizes differ.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from robust_lr import GeometricGrid, run_sweep

from .cells import LoggedTrain, begun, results_in
from .rows import Row, main

_LRS = GeometricGrid(1e-3, 1.0, 100)
_PAGE = 4096


class Disk:
    """A folder that holds so many bytes."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._size = folder, 0
        self.kind = "tmpfs" if _mounts(folder, "size=64k") else "RLIMIT_FSIZE"

    def resize(self, size: int) -> None:
        """Make it hold so many bytes."""
        self._size = size
        if self.kind == "tmpfs":
            _mounts(self.folder, f"remount,size={size}")

    def run(self, module: str, task: str) -> int:
        """Run a task of this module on the disk, in a process of its own; return its exit code."""
        command = [sys.executable, "-m", module, "--on-disk", task, str(self.folder)]
        return subprocess.run(command, stderr=subprocess.DEVNULL, preexec_fn=self._limit, check=False).returncode

    def _limit(self) -> None:
        if self.kind != "tmpfs":
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (self._size, resource.RLIM_INFINITY))


def _mounts(folder: Path, options: str) -> bool:
    mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    with contextlib.suppress(OSError):
        return subprocess.run(mount, capture_output=True, check=False).returncode == 0
    return False


@contextlib.contextmanager
def _disk() -> Iterator[Disk]:
    with tempfile.TemporaryDirectory() as name:
        (folder := Path(name, "disk")).mkdir()
        disk = Disk(folder)
        try:
            yield disk
        finally:
            if disk.kind == "tmpfs":
                subprocess.run(["umount", str(folder)], check=False)


def sweep(folder: Path) -> None:
    """Run a sweep whose journal is on the disk, and whose log is not."""
    train = LoggedTrain(str(folder.parent / "log"), 0.0)
    run_sweep(train, _LRS, ["constant"], 2, journal=folder / "sweep.jsonl", progress=False)


def study(folder: Path) -> None:
    """Run a study on a journal file on the disk."""
    import optuna

    from robust_lr_optuna import GeometricGridSampler, journal_storage

    train = LoggedTrain(str(folder.parent / "log"), 0.0)
    found = optuna.create_study(
        study_name="study", storage=journal_storage(folder / "study.log"), load_if_exists=True,
        sampler=GeometricGridSampler(_LRS, seeds=2),
    )  # fmt: skip
    found.optimize(lambda t: train(lr=t.suggest_float("lr", 1e-4, 10), schedule="", seed=t.suggest_int("seed", 0, 9)))


def _completed(folder: Path) -> int:
    import optuna

    from robust_lr_optuna import journal_storage

    study = optuna.load_study(study_name="study", storage=journal_storage(folder / "study.log"))
    done = study.get_trials(deepcopy=False, states=[optuna.trial.TrialState.COMPLETE])
    return len({(trial.params["lr"], trial.params["seed"]) for trial in done})


def filled(rounds: int = 15) -> Iterable[Row]:
    """Fill disks of several sizes, under a sweep and under a study."""
    tasks = (("sweep", "a sweep's journal", 4 * _PAGE), ("study", "a study's journal file", 10 * _PAGE))
    for task, words, least in tasks:
        cells, n_lost, n_stopped, n_whole, kind = 2 * len(_LRS), 0, 0, 0, ""
        for each in range(rounds):
            with _disk() as disk:
                kind, log = disk.kind, disk.folder.parent / "log"
                disk.resize(least + each % 5 * _PAGE)
                n_stopped += disk.run(__spec__.name, task) != 0
                disk.resize(1 << 20)
                code = disk.run(__spec__.name, task)
                held = results_in(disk.folder / "sweep.jsonl").total() if task == "sweep" else _completed(disk.folder)
                n_whole += code == 0 and held == cells
                n_lost += begun(log)[1].total() - cells
        yield Row(
            f"disks filled under {words}",
            f"{rounds} disks of {least >> 10} to {(least >> 10) + 16} kB ({kind}), {n_stopped} full before the end of "
            f"{cells} cells; then more space",
            f"{n_whole} of {rounds} with {cells} of {cells} results; {n_lost} trainings lost",
            n_whole == rounds == n_stopped,
        )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--on-disk"]:
        os.environ["OMP_NUM_THREADS"] = "1"
        {"sweep": sweep, "study": study}[sys.argv[2]](Path(sys.argv[3]))
    else:
        main(filled)
