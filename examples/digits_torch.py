"""An honest counter-example: a small MLP on the digits breaks at the same learning rate under every schedule.

    python examples/digits_torch.py

Annealing forgives noise, and a stability cliff is not noise. The analysis tells the two apart and says so.
"""

import logging

import torch
from sklearn.datasets import load_digits
from torch import nn

from robust_lr import GeometricGrid, PackedRunner, run_sweep
from robust_lr.analysis import analyze_sweep
from robust_lr.report.console import make_console, print_analysis
from robust_lr_torch import SupervisedTask


def make_model() -> nn.Module:
    """One hidden layer of 64."""
    return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))


def make_task() -> SupervisedTask:
    """The digits, 1500 to train on, by plain SGD."""
    data, labels = load_digits(return_X_y=True)
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(0))
    inputs = torch.as_tensor(data, dtype=torch.float32)[order] / 16 - 0.3  # one scale for all: some pixels never vary
    targets = torch.as_tensor(labels)[order]
    return SupervisedTask(
        make_model=make_model,
        train_data=(inputs[:1500], targets[:1500]),
        validation_data=(inputs[1500:], targets[1500:]),
        loss=nn.functional.cross_entropy,
        total_steps=400,
        batch_size=32,
    )


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")  # the runner reports its measurement and choice
    torch.set_num_threads(1)
    grid = GeometricGrid(2.0**-4, 2.0**4, n_points=9)
    schedules = ["constant", "linear", "cosine"]
    sweep = run_sweep(make_task(), grid, schedules, seeds=3, runner=PackedRunner())
    analysis = analyze_sweep(sweep, tolerance=0.02)
    print_analysis(analysis, make_console(), every_detail=False)
    cliffs = {entry.profile.cliff for entry in analysis.schedules if entry.profile is not None}
    if len(cliffs) == 1 and None not in cliffs:
        print(f"Every schedule breaks at the same learning rate, {cliffs.pop():g}: no schedule moves this cliff.")
    else:
        print(f"The schedules break at {sorted(c for c in cliffs if c is not None)}.")
