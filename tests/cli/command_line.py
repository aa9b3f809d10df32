"""What the tests of the command line share: tables, training functions, the words of a command."""

from __future__ import annotations

import itertools
from pathlib import Path

VALLEY = [3.0, 1.5, 1.2, 1.05, 1.0, 1.04, 1.3, 2.0, 4.0]
LRS = [2.0**i for i in range(9)]
GOOD = "lr,seed,loss\n" + "".join(f"{lr},{s},{v + s}\n" for lr, v in zip(LRS, VALLEY, strict=True) for s in range(3))
LLAMA = "lr,loss\n1e-4,3.13406\n5e-4,2.98243\n1e-3,2.96353\n2e-3,2.95337\n5e-3,7.58503\n"
TRAIN = """
def train(*, lr, schedule, seed):
    with open("calls.txt", "a") as file:
        print(lr, seed, file=file)
    return (lr - 0.1) ** 2 + 0.01 * seed
train.twice = train
number = 7
def bad(*, lr, schedule, seed):
    raise MemoryError("too small a machine")
def half_bad(*, lr, schedule, seed):
    if lr > 0.05 and lr < 0.5:
        raise MemoryError("too small a machine")
    return lr
def explode(*, lr, schedule, seed):
    return float("nan")
"""
PACKABLE = """
from robust_lr.runners import PackPlan, SequentialEvaluator
class Valley:
    label = "valley"
    def __call__(self, *, lr, schedule, seed):
        return (lr - 0.1) ** 2 + 0.01 * seed
    def plan_packs(self, trials, schedules, *, slots, n_workers, **options):
        note = f"packed, 5 slots in each of {n_workers}: 7.0 times as fast"
        return PackPlan("packed", 5, 7.0, lambda slots: SequentialEvaluator(self, schedules), note)
task = Valley()
"""
WITH_METRIC = """
def train(*, lr, schedule, seed):
    return {"loss": lr + 1e-4 * seed, "validation_loss": (lr - 0.1) ** 2 + 0.01 * seed} if lr < 0.9 else float("inf")
"""


class Answer:
    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err


def write(name, text):
    Path(name).write_text(text)
    return name


def said(answer):
    """The words of an answer, without the layout."""
    return " ".join(answer.out.split())


def sweep_arguments(function, **changes):
    options = {"lr-min": 0.01, "lr-max": 1, "schedules": "cosine", "n-points": 5, "seeds": 2} | changes
    return ["run", function, *itertools.chain(*((f"--{k}", v) for k, v in options.items() if v is not None))]


def n_calls():
    return len(Path("calls.txt").read_text().splitlines())
