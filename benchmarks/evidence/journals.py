"""Journals cut at each byte, as a kill or a power failure leaves them, and continued. A round is a cell."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from robust_lr import GeometricGrid, run_sweep

from .cells import results_in
from .rows import Row, main

_IN_MEMORY = Path("/dev/shm")


class Counting:
    """A training that counts itself."""

    label = "evidence"
    n = 0

    def __call__(self, *, lr: float, schedule: object, seed: int) -> float:
        """Train a cell."""
        self.n += 1
        return lr + seed


def sweeps(rounds: int = 40) -> Iterable[Row]:
    """Cut the journal of a sweep."""
    lrs = GeometricGrid(1e-3, 1.0, max(2, rounds // 2))
    with tempfile.TemporaryDirectory(dir=_IN_MEMORY if _IN_MEMORY.is_dir() else None) as folder:
        path = Path(folder, "sweep.jsonl")
        whole = run_sweep(Counting(), lrs, ["cosine"], 2, journal=path, progress=False)
        data, n_right = path.read_bytes(), 0
        for end in range(len(data)):
            path.write_bytes(data[:end])
            train, held = Counting(), results_in(path).total()
            again = run_sweep(train, lrs, ["cosine"], 2, journal=path, progress=False)
            cells = results_in(path)
            is_whole = len(cells) == cells.total() == whole.loss.size
            n_right += int(is_whole and train.n == whole.loss.size - held and bool((again.loss == whole.loss).all()))
    yield Row(
        "a sweep's journal cut at each byte, and continued", f"{len(data):,} bytes, {whole.loss.size} cells",
        f"{n_right:,} of {len(data):,} continue to the same losses, and train only what the cut took away",
        n_right == len(data),
    )  # fmt: skip


def study(path: Path, n_lrs: int) -> int:
    """Run a study to its end; return the number of its cells that are completed, 0 if one is twice."""
    import optuna

    from robust_lr_optuna import GeometricGridSampler, journal_storage

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    found = optuna.create_study(
        study_name="study", storage=journal_storage(path), load_if_exists=True,
        sampler=GeometricGridSampler(GeometricGrid(1e-3, 1.0, n_lrs)),
    )  # fmt: skip
    found.optimize(lambda trial: trial.suggest_float("lr", 1e-4, 10.0))
    done = [t.params["lr"] for t in found.get_trials(deepcopy=False) if t.state == optuna.trial.TrialState.COMPLETE]
    return len(done) if len(set(done)) == len(done) else 0


def studies(rounds: int = 8) -> Iterable[Row]:
    """Cut the journal file of an Optuna study, which a process wrote that is gone."""
    with tempfile.TemporaryDirectory(dir=_IN_MEMORY if _IN_MEMORY.is_dir() else None) as folder:
        path = Path(folder, "study.log")
        subprocess.run([sys.executable, "-m", __spec__.name, "--study", str(path), str(rounds)], check=True)
        data, n_right = path.read_bytes(), 0
        for end in range(len(data)):
            path.write_bytes(data[:end])
            n_right += study(path, rounds) == rounds
    yield Row(
        "a study's journal file cut at each byte, and continued", f"{len(data):,} bytes, {rounds} cells",
        f"{n_right:,} of {len(data):,} continue until each cell is completed once", n_right == len(data),
    )  # fmt: skip


if __name__ == "__main__":
    if sys.argv[1:2] == ["--study"]:
        study(Path(sys.argv[2]), int(sys.argv[3]))
    else:
        main(sweeps, studies)
