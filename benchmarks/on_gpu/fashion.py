"""The full tier of examples/wrn.py on Fashion-MNIST, as far as the time goes; a later run continues its journal."""

from __future__ import annotations

import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from images.data import ImageData
from wrn import SCHEDULES, TIERS, Tier, make_trial

from robust_lr import RobustLRError, SweepResult, analyze_sweep, run_sweep
from robust_lr.report.tables import degradation_rows

DEBIAN = Path("/usr/share/datasets/fashion-mnist")
TOLERANCE = 0.02
SLICE = 20.0  # seconds between two reports of what there is so far


@contextmanager
def unpacked(path: Path) -> Iterator[Path]:
    """Give the folder of the four IDX files: the path itself, or a folder with the files of that archive."""
    if path.is_dir():
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(path) as archive:
            for member in archive:  # whatever the folders in the archive are called
                if member.isfile() and (file := archive.extractfile(member)) is not None:
                    Path(folder, Path(member.name).name).write_bytes(file.read())
        yield Path(folder)


def tier_of(*, tiny: bool) -> Tier:
    """Return the full tier with WRN-16-4 and 5 epochs."""
    if tiny:
        return replace(TIERS["smoke"], network="cnn", n_epochs=1)
    return replace(TIERS["full"], network="16-4", n_epochs=5)


def train_on_fashion(
    device: str, write: Callable[[Any], None], *, images: Path, journal: Path, seconds: float, tiny: bool
) -> None:
    """Train one seed of all schedules and learning rates after another, and write what came of it.

    Args:
        device: "cpu" or "cuda".
        write: gets what there is, every `SLICE` seconds.
        images: folder or archive of the four IDX files.
        journal: keeps the trials that are done.
        seconds: after which this process is ended; the time for its start and for the last trial is set apart.
        tiny: train a small CNN on 72 images.
    """
    end = time.perf_counter() + 0.85 * seconds - 10
    tier = tier_of(tiny=tiny)
    with unpacked(images) as folder:
        data = ImageData("fashion-mnist", str(folder), tier.max_images)
        train, grid = make_trial(tier, data, "sgd", device), tier.grids["sgd"]
        for n_seeds in range(1, tier.n_seeds + 1):
            is_complete = False
            while not is_complete and (left := end - time.perf_counter()) > 0:
                budget = min(left, SLICE)
                sweep = run_sweep(train, grid, SCHEDULES, n_seeds, journal=journal, time_budget=budget, progress=False)
                print(f"{n_seeds} seeds, {left:.0f} s left: {sweep}", flush=True)
                write(figures(sweep, tier))
                is_complete = not sweep.n_left


def figures(sweep: SweepResult, tier: Tier) -> dict[str, Any]:
    """Return the losses, how much is done, and the table of degradation where there are data enough."""
    found: dict[str, Any] = {
        "network": tier.network,
        "epochs": tier.n_epochs,
        "schedules": list(sweep.schedules),
        "learning_rates": [float(lr) for lr in sweep.learning_rates],
        "loss": sweep.loss.tolist(),
        "trials": int(sweep.loss.size) - sweep.n_left,
        "of": len(sweep.schedules) * len(sweep.learning_rates) * tier.n_seeds,
    }
    found |= {name: values.tolist() for name, values in sweep.metrics.items() if name.startswith("test")}
    try:
        analysis = analyze_sweep(sweep, tolerance=TOLERANCE)
        found["degradation"] = degradation_rows(analysis, bands=True)
    except RobustLRError as error:
        found["degradation"] = ([], [])
        found["note"] = str(error)
    return found
