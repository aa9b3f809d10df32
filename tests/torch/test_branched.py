"""Branched sweeps of networks: at least three times fewer steps, and the losses from scratch to the last bit."""

from __future__ import annotations

import importlib
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from robust_lr import BranchedSweep, GeometricGrid, run_sweep

from .tasks import ROOT


def compare(task, grid, horizons):
    """Count the steps of a sweep in branches and of the same trainings from scratch, whose losses must be equal."""

    class Counting(task.optimizer):
        n_steps = 0

        def step(self, closure=None):
            Counting.n_steps += 1
            return super().step(closure)

    counted = replace(task, optimizer=Counting)
    sweep = BranchedSweep(counted, horizons, [0.1, 0.2], warmup_steps=5)
    result = sweep.run(grid, 1)
    in_branches, Counting.n_steps = Counting.n_steps, 0
    for horizon in horizons:
        own = run_sweep(replace(counted, total_steps=horizon), grid, sweep.cooldowns, 1)
        at = result.at(horizon)
        assert np.isfinite(own.loss).all()
        assert np.array_equal(own.loss, at.loss)
        assert all(np.array_equal(own.metrics[name], at.metrics[name]) for name in own.metrics)
    assert (in_branches, Counting.n_steps) == (3 * sweep.steps, 3 * sweep.steps_from_scratch)
    assert Counting.n_steps >= 3 * in_branches


@pytest.fixture
def example(monkeypatch):
    """Import an example by its name."""
    monkeypatch.setattr(sys, "path", [str(ROOT / "examples"), *sys.path])
    return importlib.import_module


def test_the_digits_network(example):
    compare(example("digits_torch").make_task(), GeometricGrid(0.25, 1.0, n_points=3), [40, 50, 60, 70])


@pytest.mark.slow
@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_the_character_transformer(dropout, example):
    torch.set_num_threads(1)
    task = example("char_lm_packed").make_task(70, dropout=dropout)
    compare(task, GeometricGrid(2.0**-11, 2.0**-7, n_points=3), [40, 50, 60, 70])
