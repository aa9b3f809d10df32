"""Trials that break their process, never end, or leak memory, in the process pool. A round is one such trial."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from robust_lr import GeometricGrid, ProcessPoolRunner, run_sweep

from .cells import begun, note
from .rows import Row, main

_LIMIT = 3.0  # seconds
_LEAKS_ALLOWED = 5
_is_poisoned, _leaked = False, list[int]()


class _Faulty:
    """Trains the first `n_faulty` cells badly, each once."""

    label = "evidence"

    def __init__(self, folder: str, n_faulty: int, lrs: tuple[float, ...]) -> None:
        self.folder, self.faulty = folder, set(lrs[::2][:n_faulty])

    def __call__(self, *, lr: float, schedule: object, seed: int) -> float:
        note(f"{self.folder}/log", "begin", lr)
        mark = Path(self.folder, f"{lr}.fault")
        is_faulty = lr in self.faulty and not mark.exists()
        if is_faulty:
            mark.touch()
        self.train(is_faulty)
        note(f"{self.folder}/log", "end", lr)
        return lr

    def train(self, is_faulty: bool) -> None:
        """Train a cell."""
        raise NotImplementedError


class Poisoning(_Faulty):
    """A faulty trial fails, and so does every later one of its process, as after an assertion on a GPU."""

    def train(self, is_faulty: bool) -> None:
        """Fail if anything has failed in this process."""
        global _is_poisoned  # noqa: PLW0603
        _is_poisoned |= is_faulty
        if _is_poisoned:
            raise RuntimeError("device-side assert triggered")


class Hanging(_Faulty):
    """A faulty trial never ends."""

    def train(self, is_faulty: bool) -> None:
        """Hang."""
        while is_faulty:
            time.sleep(1)


class Leaking(_Faulty):
    """Every trial leaks, and the process is full after a few."""

    def train(self, is_faulty: bool) -> None:
        """Run out of memory after a few trials."""
        _leaked.append(1)
        if len(_leaked) > _LEAKS_ALLOWED:
            raise MemoryError("the process is full")


def _swept(kind: type[_Faulty], n_faulty: int, runner: ProcessPoolRunner) -> tuple[int, int, int, float]:
    lrs, began = tuple(GeometricGrid(1e-3, 1.0, max(40, 2 * n_faulty)).values), time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        sweep = run_sweep(kind(folder, n_faulty, lrs), lrs, ["constant"], 1, runner=runner, progress=False)
        n_begun = begun(Path(folder, "log"))[1].total()
    return sweep.n_trials, sweep.loss.size, n_begun, time.perf_counter() - began


def poisoned(rounds: int = 20) -> Iterable[Row]:
    """Processes in which every trial fails after one has."""
    found, cells, n_begun, _ = _swept(Poisoning, rounds, ProcessPoolRunner(2))
    yield Row(
        "poisoned processes", f"{rounds} of {cells} trials leave their process so that every later trial in it fails",
        f"{found} of {cells} cells with a result; {n_begun - cells} trainings lost", found == cells,
    )  # fmt: skip


def hung(rounds: int = 20) -> Iterable[Row]:
    """Trials that never end."""
    found, cells, n_begun, seconds = _swept(Hanging, rounds, ProcessPoolRunner(4, trial_timeout=_LIMIT))
    yield Row(
        "hung trials", f"{rounds} of {cells} trials never end at first; time limit {_LIMIT:g} s, 4 workers",
        f"{found} of {cells} cells with a result; {n_begun - cells} trainings lost; {seconds:.0f} s in all",
        found == cells,
    )  # fmt: skip


def leaking(rounds: int = 40) -> Iterable[Row]:
    """Training that leaks, with and without `trials_per_worker`."""
    for most, words in ((None, "without an option"), (_LEAKS_ALLOWED, f"trials_per_worker={_LEAKS_ALLOWED}")):
        found, cells, n_begun, _ = _swept(Leaking, rounds, ProcessPoolRunner(2, trials_per_worker=most))
        yield Row(
            f"training that leaks, {words}", f"a process is full after {_LEAKS_ALLOWED} of {cells} trials",
            f"{found} of {cells} cells with a result; {n_begun - cells} trainings lost", found == cells,
        )  # fmt: skip


if __name__ == "__main__":
    main(poisoned, hung, leaking)
