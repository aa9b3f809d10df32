"""Make the tables of measured losses in benchmarks/tables: three models, three schedules, a fine grid, five seeds.

    python benchmarks/make_tables.py                    all three tables
    python benchmarks/make_tables.py --tables digits-mlp --seeds 3

- digits-softmax: softmax regression on the digits of scikit-learn, 2000 steps of SGD on batches of 16;
- digits-mlp: a layer of 128 between the same digits and their classes, 1000 steps of SGD on batches of 32;
- char-mlp: the next character of `pydoc_data.topics` from the 8 before it, an embedding and one hidden layer, 1000
  steps of Adam on batches of 32.

A row is one training: its final loss over all training data and over the validation data, inf where it diverged. The
README.md beside the tables says with what they were made.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import logging
import math
import platform
import time
from collections.abc import Callable
from pathlib import Path
from pydoc_data.topics import topics

import numpy as np
import sklearn
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

import robust_lr
from robust_lr import GeometricGrid, PackedRunner, SweepResult, TrainFunction, run_sweep
from robust_lr.linear.models import LinearModelTask
from robust_lr_torch import SupervisedTask

TABLES = Path(__file__).parent / "tables"
SCHEDULES = ("constant", "linear", "cosine")
COLUMNS = ("schedule", "lr", "seed", "train_loss", "validation_loss", "status")
TEXT = "\n".join(topics[name] for name in sorted(topics))
ALPHABET = sorted(set(TEXT))
CONTEXT = 8


def digits_mlp() -> nn.Module:
    """One hidden layer of 128."""
    return nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))


def char_mlp() -> nn.Module:
    """Eight characters to the logits of the ninth."""
    return nn.Sequential(
        nn.Embedding(len(ALPHABET), 16),
        nn.Flatten(-2),
        nn.Linear(CONTEXT * 16, 64),
        nn.ReLU(),
        nn.Linear(64, len(ALPHABET)),
    )


def digits() -> tuple[np.ndarray, np.ndarray]:
    """The digits in a fixed random order, pixels from -0.3 to 0.7."""
    data, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(data))
    return data[order] / 16 - 0.3, labels[order].astype(np.int64)


def characters(text: str, n: int) -> tuple[Tensor, Tensor]:
    """Return n pieces of the text, (n, 8), evenly spread, and the character after each."""
    code = {character: i for i, character in enumerate(ALPHABET)}
    starts = np.linspace(0, len(text) - CONTEXT - 1, n).astype(int)
    rows = torch.tensor([[code[c] for c in text[i : i + CONTEXT + 1]] for i in starts])
    return rows[:, :-1].contiguous(), rows[:, -1].contiguous()


def digits_softmax_task() -> tuple[TrainFunction, GeometricGrid]:
    """Softmax regression by SGD."""
    x, y = digits()
    task = LinearModelTask(
        kind="softmax",
        train_data=(x[:1200], y[:1200]),
        validation_data=(x[1200:], y[1200:]),
        total_steps=2000,
        batch_size=16,
    )
    return task, grid(-12, 16)


def digits_mlp_task() -> tuple[TrainFunction, GeometricGrid]:
    """The MLP by SGD."""
    x, y = digits()
    inputs, targets = torch.as_tensor(x, dtype=torch.float32), torch.as_tensor(y)
    task = SupervisedTask(
        make_model=digits_mlp,
        train_data=(inputs[:1200], targets[:1200]),
        validation_data=(inputs[1200:], targets[1200:]),
        loss=nn.functional.cross_entropy,
        total_steps=1000,
        batch_size=32,
    )
    return task, grid(-14, 14)


def char_mlp_task() -> tuple[TrainFunction, GeometricGrid]:
    """The character model by Adam."""
    end = len(TEXT) * 9 // 10
    task = SupervisedTask(
        make_model=char_mlp,
        train_data=characters(TEXT[:end], 8192),
        validation_data=characters(TEXT[end:], 4096),
        loss=nn.functional.cross_entropy,
        total_steps=1000,
        batch_size=32,
        optimizer=torch.optim.Adam,
    )
    return task, grid(-21, 7)


def grid(first: int, last: int) -> GeometricGrid:
    """The learning rates from 2**first to 2**last, two per octave."""
    return GeometricGrid(2.0**first, 2.0**last, n_points=2 * (last - first) + 1)


TASKS: dict[str, Callable[[], tuple[TrainFunction, GeometricGrid]]] = {
    "digits-softmax": digits_softmax_task,
    "digits-mlp": digits_mlp_task,
    "char-mlp": char_mlp_task,
}


def write_table(path: Path, sweep: SweepResult) -> None:
    """Write one row per training; six digits of a loss are far below its spread over seeds."""
    validation = sweep.metrics["validation_loss"]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for (s, i, k), train_loss in np.ndenumerate(sweep.loss):
            if math.isnan(train_loss):
                raise SystemExit(f"the training of {sweep.schedules[s]} at lr={sweep.learning_rates[i]:g} failed")
            losses = (train_loss, validation[s, i, k])
            status = "ok" if np.isfinite(losses).all() else "diverged"
            texts = [f"{loss:.6g}" if status == "ok" else "inf" for loss in losses]
            writer.writerow([sweep.schedules[s], float(sweep.learning_rates[i]), sweep.seeds[k], *texts, status])


def write_note(name: str, sweep: SweepResult, seconds: float) -> None:
    """Write this table's line into the README beside it, and leave the others."""
    page = TABLES / "README.md"
    versions = f"robust-lr {robust_lr.__version__}, Python {platform.python_version()}, numpy {np.__version__}"
    versions += f", torch {torch.__version__}, scikit-learn {sklearn.__version__}"
    if name == "char-mlp":
        versions += f"; {text_identity()}"
    line = f"| {name} | {sweep.n_trials} | {int(sweep.diverged.sum())} | {seconds:.0f} | {versions} |"
    lines = page.read_text(encoding="utf-8").splitlines()
    at = next((i for i, old in enumerate(lines) if old.startswith(f"| {name} |")), len(lines))
    lines[at : at + 1] = [line]
    page.write_text("\n".join(lines) + "\n", encoding="utf-8")


def text_identity() -> str:
    """Return size and digest of the text, which differs between versions of Python."""
    encoded = TEXT.encode()
    return f"a text of {len(encoded)} bytes, sha256 {hashlib.sha256(encoded).hexdigest()}"


def main() -> None:
    """Make the requested tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tables", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=1, help="packs at a time, one process each")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    for name in args.tables:
        task, learning_rates = TASKS[name]()
        begin = time.perf_counter()
        sweep = run_sweep(task, learning_rates, SCHEDULES, args.seeds, runner=PackedRunner(args.jobs))
        write_table(TABLES / f"{name}.csv", sweep)
        write_note(name, sweep, time.perf_counter() - begin)
        print(f"{name}: {sweep}")


if __name__ == "__main__":
    main()
