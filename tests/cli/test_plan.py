"""`robust-lr plan`: the coarsest grid that theory allows."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest

from robust_lr.theory import grid_guarantee
from tests.cli.command_line import (
    said,
)


def planned(answer):
    text = said(answer)
    return {
        "ratio": float(re.search(r"ratio at most ([\d.e+]+)", text)[1]),
        "grid": [float(x) for x in re.search(r"grid: (.*?) (\d+) trials", text)[1].split(", ")],
        "trials": int(re.search(r"(\d+) trials, ratio", text)[1]),
        "worst": float(re.search(r"suboptimality at most ([\d.e+]+) times", text)[1]),
        "constant": float(re.search(r"constant needs ratio ([\d.e+]+)", text)[1]),
    }


@pytest.mark.parametrize("schedule", ["cosine", "linear", "wsd(0.2)", "warmup(0.05)+polynomial(2)", "inverse-sqrt"])
@pytest.mark.parametrize("tolerance", [0.1, 0.5])
def test_the_planned_ratio_is_the_coarsest_that_the_guarantee_allows(robust_lr, schedule, tolerance):
    plan = planned(
        robust_lr(
            "plan", "--schedule", schedule, "--lr-min", 1e-4, "--lr-max", 1, "--max-suboptimality-increase", tolerance,
            "--total-steps", 1000,
        )
    )  # fmt: skip
    for spec, ratio in ((schedule, plan["ratio"]), ("constant", plan["constant"])):
        assert grid_guarantee(spec, ratio / 1.02, total_steps=1000).worst <= 1 + tolerance
        assert grid_guarantee(spec, ratio * 1.02, total_steps=1000).worst >= 1 + tolerance
    grid = np.array(plan["grid"])
    assert len(grid) == plan["trials"]
    assert (grid[0], grid[-1]) == (1e-4, 1)
    assert (grid[1:] / grid[:-1] <= plan["ratio"] * 1.001).all()
    assert 1 <= plan["worst"] <= 1 + tolerance + 1e-3


def test_an_annealed_schedule_is_planned_with_fewer_trials(robust_lr):
    plan = planned(
        robust_lr("plan", "--schedule", "cosine", "--lr-min", 1e-4, "--lr-max", 1, "--max-suboptimality-increase", 0.25)
    )
    assert plan["ratio"] > plan["constant"]


def test_a_plan_takes_its_tolerance_as_a_fraction_or_in_percent(robust_lr):
    options = ["plan", "--schedule", "cosine", "--lr-min", 1e-4, "--lr-max", 1, "--max-suboptimality-increase"]
    assert robust_lr(*options, "50%").out == robust_lr(*options, "0.5").out
    answer = robust_lr(*options, "1%")
    assert answer.code == 0
    assert "suboptimality at most 1.01 times the tuned one: ratio" in answer.out


def test_a_plan_for_one_learning_rate_is_that_one(robust_lr):
    answer = robust_lr(
        "plan", "--schedule", "cosine", "--lr-min", 0.1, "--lr-max", 0.1, "--max-suboptimality-increase", 0.25
    )
    assert answer.code == 0
    assert "grid: 0.1" in answer.out
    assert "1 trial, " in answer.out


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"schedule": "cosin"}, "unknown schedule 'cosin'"),
        ({"schedule": "cosine(flor=1)"}, "flor"),
        ({"schedule": ""}, "cannot read ''"),
        ({"lr-min": 0}, "lr_min must be a finite number > 0"),
        ({"lr-min": 2}, "lr_min must be below lr_max"),
        ({"lr-max": "inf"}, "lr_max"),
        ({"max-suboptimality-increase": 0}, "max_suboptimality_increase"),
        ({"max-suboptimality-increase": -1}, "max_suboptimality_increase"),
        ({"max-suboptimality-increase": "nan"}, "max_suboptimality_increase"),
        (
            {"max-suboptimality-increase": "few"},
            "must be a positive number such as 0.003, or a share such as '1%', got 'few'",
        ),
        (
            {"max-suboptimality-increase": 1e-9},
            "points, and a grid has at most 10000: allow a larger ratio",
        ),
        ({"max-suboptimality-increase": 1e-30}, "ratio"),
        ({"schedule": "warmup(steps=20000)+cosine"}, "warm-up"),
    ],
)
def test_a_plan_that_cannot_be_says_why_in_one_line(one_line, changes, says):
    options = {"schedule": "cosine", "lr-min": 1e-4, "lr-max": 1, "max-suboptimality-increase": 0.1} | changes
    assert says in one_line("plan", *itertools.chain(*((f"--{k}", v) for k, v in options.items())))


def test_the_option_by_its_old_name_works_with_a_warning(robust_lr):
    options = ["plan", "--schedule", "cosine", "--lr-min", 1e-4, "--lr-max", 1]
    answer = robust_lr(*options, "--tolerance", 0.25)
    assert answer.out == robust_lr(*options, "--max-suboptimality-increase", 0.25).out
    assert "--tolerance is now --max-suboptimality-increase" in answer.err


def test_a_plan_needs_to_know_what_may_be_lost(one_line):
    assert "--max-suboptimality-increase" in one_line("plan", "--schedule", "cosine", "--lr-min", 1e-4, "--lr-max", 1)
