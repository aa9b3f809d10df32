"""Small tasks for the tests of packed training, and the two ways to train them: alone and in a pack."""

from __future__ import annotations

import os
from pathlib import Path
from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional

from robust_lr import FunctionSchedule, TrialSpec, parse_schedule
from robust_lr.runners import TrialList
from robust_lr_torch import SupervisedTask
from robust_lr_torch.packing._optimizers import rule_of
from robust_lr_torch.packing._pack import PackEvaluator

ROOT = Path(__file__).resolve().parents[2]
# Of a Python that is started by a test: it finds the packages and the tests, whatever the folder and the installation.
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "integrations")])}
N, D, K = 40, 8, 3
SCHEDULES = {name: parse_schedule(name) for name in ("constant", "cosine")}


def examples(n=N, d=D, dtype=torch.float32, seed=1):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, d, generator=generator)
    return x.to(dtype), (x[:, 0] > 0).long() + (x[:, 1 % d] > 0.5).long()


def make_network():
    return nn.Sequential(nn.Linear(D, 11), nn.Tanh(), nn.Linear(11, K))


def make_dropout_network():
    return nn.Sequential(nn.Linear(D, 11), nn.Dropout(0.4), nn.Sigmoid(), nn.Linear(11, K))


class In64:
    """Makes the models of another function in float64."""

    def __init__(self, make_model):
        self.make_model = make_model

    def __call__(self):
        return self.make_model().double()


def task(make_model=make_network, dtype=torch.float32, **changes):
    options = {
        "make_model": In64(make_model) if dtype == torch.float64 else make_model,
        "train_data": examples(dtype=dtype),
        "loss": functional.cross_entropy,
        "total_steps": 8,
        "batch_size": 7,
        "check_every": 5,
    }
    return SupervisedTask(**{**options, **changes})


def trials(lrs=(0.01, 0.1), seeds=(0, 1), schedules=("cosine",)):
    return [TrialSpec(schedule, lr, seed) for lr in lrs for seed in seeds for schedule in schedules]


def alone(t, specs, schedules=SCHEDULES):
    """The slow obvious twin: what the task returns for each trial, one after the other."""
    return {spec: t(lr=spec.lr, schedule=schedules[spec.schedule], seed=spec.seed) for spec in specs}


def packed(t, specs, slots, schedules=SCHEDULES, **options):
    """What a pack returns for each trial, in the form of `alone`."""
    evaluator = PackEvaluator(t, schedules, slots, **options)
    results = {}
    for result in evaluator.results(TrialList(specs)):
        assert result.status != "failed", result.error
        assert result.spec not in results
        results[result.spec] = {"loss": result.loss, **result.metrics}
    return results


class Shapes(nn.Module):
    """Parameters of 0, 1, 2 and 4 dimensions."""

    shapes: ClassVar = {"scalar": (), "bias": (5,), "weight": (3, 17), "kernel": (2, 3, 2, 2), "wide": (70,)}

    def __init__(self):
        super().__init__()
        for name, shape in self.shapes.items():
            self.register_parameter(name, nn.Parameter(torch.zeros(shape)))


def rule_for(make_optimizer, **changes):
    """The rule of an optimizer of all the parameters of `Shapes`, whatever learning rate it is made with."""

    def optimizer(parameters, lr):
        made = make_optimizer(list(parameters))
        for group in getattr(made, "param_groups", []):
            if isinstance(group.get("lr"), float):
                group["lr"] = lr
        return made

    return rule_of(task(Shapes, optimizer=optimizer, **changes), Shapes())


def halves(step, total_steps):
    return 0.5 ** (4 * step / total_steps)


def every_schedule():
    names = (
        "constant",
        "inverse-sqrt",
        "linear",
        "polynomial(2)",
        "cosine(floor=0.1)",
        "wsd(0.2)",
        "warmup(0.3)+cosine",
        "warmup(steps=3)+inverse-sqrt+cooldown(0.3)",
    )
    return {**{name: parse_schedule(name) for name in names}, "halves": FunctionSchedule(halves)}


class Rows:
    """Data that is no tensor, such as a memory map."""

    def __init__(self, tensor):
        self.tensor = tensor

    def __len__(self):
        return len(self.tensor)

    def __getitem__(self, rows):
        return self.tensor[rows].clone()
