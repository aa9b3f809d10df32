"""A training that is saved and taken up again ends as one that was not, to the last bit."""

from __future__ import annotations

import copy
import pickle
import random
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from robust_lr import BranchedSweep, FunctionSchedule, run_sweep
from robust_lr.sweep.branching import Branchable

from .tasks import D, K, examples, make_dropout_network, make_network, task

MULTIPLIERS = [0.5, 1.0, 1.0, 1.0, 0.7, 0.4, 0.2]
AT = 3


class Restless(nn.Module):
    """Draws noise, counts its calls, and keeps a buffer that is not in its state dict."""

    def __init__(self, draw):
        super().__init__()
        self.linear, self.draw, self.n_calls, self.training_mean = nn.Linear(D, K), draw, 0, 0.0
        self.register_buffer("smooth", torch.zeros(()), persistent=False)

    def forward(self, x):
        self.n_calls += self.training
        noise = self.draw() if self.training else 0.0
        y = self.linear(x) * (1 + 0.01 * self.n_calls + noise)
        with torch.no_grad():
            self.smooth.mul_(0.9).add_(0.1 * y.mean())
        return y * (1 + self.smooth)


def torch_draw():
    return 0.1 * torch.randn(())


def numpy_draw():
    return 0.1 * float(np.random.standard_normal())


def python_draw():
    return 0.1 * random.gauss(0, 1)


def restless(draw):
    np.random.seed(0)
    random.seed(0)
    return Restless(draw)


def make_norm_network():
    return nn.Sequential(nn.Linear(D, 11), nn.BatchNorm1d(11), nn.ReLU(), nn.Linear(11, K))


def two_groups(model, *, lr):
    weights, biases = [p for p in model.parameters() if p.ndim > 1], [p for p in model.parameters() if p.ndim == 1]
    return [{"params": weights, "weight_decay": 0.1}, {"params": biases, "lr": 0.1 * lr}]


class Lookahead(torch.optim.Optimizer):
    """Wraps another optimizer and counts its own steps, as such wrappers do."""

    def __init__(self, parameters, lr):
        self.inner, self.n_steps = torch.optim.Adam(parameters, lr=lr), 0
        super().__init__(self.inner.param_groups, {"lr": lr})
        self.inner.param_groups = self.param_groups
        for group in self.param_groups:
            for parameter in group["params"]:
                self.state[parameter]["slow"] = parameter.detach().clone()

    def step(self, closure=None):
        self.inner.step()
        self.n_steps += 1
        if self.n_steps % 2 == 0:
            with torch.no_grad():
                for parameter, state in self.state.items():
                    parameter.copy_(state["slow"].lerp_(parameter, 0.5))


def loader():
    return DataLoader(TensorDataset(*examples()), batch_size=7, shuffle=True)


TASKS = {
    "plain SGD": {},
    "momentum": {"optimizer_options": {"momentum": 0.9, "nesterov": True}},
    "Adam": {"optimizer": torch.optim.Adam},
    "AdamW with amsgrad": {"optimizer": torch.optim.AdamW, "optimizer_options": {"amsgrad": True}},
    "LBFGS": {"optimizer": torch.optim.LBFGS, "optimizer_options": {"max_iter": 3}},
    "an optimizer in another": {"optimizer": Lookahead},
    "two groups": {"parameter_groups": two_groups},
    "dropout": {"make_model": make_dropout_network},
    "batch norm": {"make_model": make_norm_network, "validation_data": examples(9)},
    "torch's generator": {"make_model": partial(restless, torch_draw)},
    "numpy's generator": {"make_model": partial(restless, numpy_draw)},
    "Python's generator": {"make_model": partial(restless, python_draw)},
    "a loader": {"train_data": loader(), "batch_size": None},
    "clipping": {"clip_norm": 0.1},
    "float64": {"dtype": torch.float64},
}


def to_the_end(run):
    run.advance(MULTIPLIERS[AT:])
    return run.evaluate()


@pytest.mark.parametrize("changes", TASKS.values(), ids=TASKS)
def test_a_run_taken_up_again_ends_as_one_that_never_stopped(changes):
    t = task(**changes)
    whole = t.start(lr=0.1, seed=2)
    whole.advance(MULTIPLIERS)
    expected = whole.evaluate()
    run = t.start(lr=0.1, seed=2)
    run.advance(MULTIPLIERS[:AT])
    state = run.save()
    assert to_the_end(run) == expected
    for _ in range(2):  # the first must leave the state as it was
        again = t.start(lr=0.1, seed=2)
        again.load(state)
        assert to_the_end(again) == expected
    run.load(pickle.loads(pickle.dumps(state)))
    assert to_the_end(run) == expected


def test_a_task_trains_as_its_run_does():
    t = task(make_model=make_dropout_network, total_steps=len(MULTIPLIERS))
    run = t.start(lr=0.1, seed=1)
    run.advance([float(m) for m in np.cos(np.pi / 4 * np.arange(7) / 7) ** 2])
    assert isinstance(t, Branchable)
    half_cosine = lambda step, total_steps: np.cos(np.pi / 4 * step / total_steps) ** 2  # noqa: E731
    assert run.evaluate() == t(lr=0.1, schedule=FunctionSchedule(half_cosine), seed=1)


def test_the_evaluation_in_the_middle_does_not_change_what_is_loaded_afterwards():
    t = task(make_model=partial(restless, torch_draw))
    run, other = t.start(lr=0.1, seed=0), t.start(lr=0.1, seed=0)
    run.advance(MULTIPLIERS[:AT])
    state = run.save()
    run.evaluate()
    run.load(state)
    other.advance(MULTIPLIERS[:AT])
    assert to_the_end(run) == to_the_end(other)


@pytest.mark.parametrize("lr", [0.1, 1e3, 1e30])
def test_a_branched_sweep_of_a_task_has_the_losses_and_the_divergences_from_scratch(lr):
    t = task(
        make_model=make_dropout_network, optimizer_options={"momentum": 0.9}, validation_data=examples(9),
        divergence_factor=100.0, divergence_patience=4, check_every=3,
    )  # fmt: skip
    sweep = BranchedSweep(t, horizons=[12, 17, 21], cooldowns=[0.3, 0.5], warmup_steps=2)
    result = sweep.run([lr], 2)
    for horizon in sweep.horizons:
        own = run_sweep(replace(t, total_steps=horizon), [lr], sweep.cooldowns, 2)
        at = result.at(horizon)
        assert np.array_equal(own.loss, at.loss)
        assert own.metrics.keys() == at.metrics.keys()
        assert all(np.array_equal(own.metrics[name], at.metrics[name], equal_nan=True) for name in own.metrics)
        assert (lr > 1) == bool(own.diverged.any())


def test_the_random_state_of_the_caller_stays_as_it_was():
    before = torch.get_rng_state()
    run = task(make_model=partial(restless, torch_draw)).start(lr=0.1, seed=0)
    run.advance(MULTIPLIERS)
    run.load(copy.deepcopy(run.save()))
    run.evaluate()
    assert torch.equal(torch.get_rng_state(), before)


def test_a_sweep_grows_by_a_horizon_in_one_journal(tmp_path):
    t = task(make_model=make_network)
    journal = tmp_path / "sweep.jsonl"
    first = BranchedSweep(t, horizons=[12], cooldowns=[0.5]).run([0.1], 1, journal=journal)
    grown = BranchedSweep(t, horizons=[12, 20], cooldowns=[0.5]).run([0.1], 1, journal=journal)
    assert first.sweep.loss[0] == grown.at(12).loss[0]
