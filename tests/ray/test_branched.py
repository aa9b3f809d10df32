"""Branches on a cluster: each actor trains those of a learning rate and seed from one trunk."""

from __future__ import annotations

import numpy as np
import pytest

from robust_lr import BranchedSweep
from robust_lr_ray import RayRunner

pytestmark = pytest.mark.slow


class Descent:
    def __init__(self, lr):
        self.lr, self.w = lr, 1.0

    def advance(self, multipliers):
        for multiplier in multipliers:
            self.w -= self.lr * multiplier * self.w

    def save(self):
        return self.w

    def load(self, state):
        self.w = state

    def evaluate(self):
        return self.w**2 / 2


class Task:
    label = "descent"

    def start(self, *, lr, seed):
        return Descent(lr + seed / 100)


def test_actors_train_the_branches_of_a_trunk_with_the_losses_of_this_process():
    sweep = BranchedSweep(Task(), horizons=[20, 30], cooldowns=[0.2, 0.5])
    result = sweep.run([0.05, 0.1], 2, runner=RayRunner({"cpu": 1}, slots="auto", max_concurrent=2))
    assert np.array_equal(result.sweep.loss, sweep.run([0.05, 0.1], 2).sweep.loss)


def test_without_packs_each_branch_is_trained_from_scratch():
    sweep = BranchedSweep(Task(), horizons=[20, 30], cooldowns=[0.2])
    result = sweep.run([0.05], 1, runner=RayRunner({"cpu": 1}))
    assert np.array_equal(result.sweep.loss, sweep.run([0.05], 1).sweep.loss)
