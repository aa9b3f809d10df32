"""Branches of a training loop: the losses from scratch, the shared steps once, and what goes wrong on the way."""

from __future__ import annotations

import math
import random

import pytest

from robust_lr import BranchedSweep, TrialDiverged, TrialSpec
from robust_lr.runners import TrialList
from robust_lr.sweep._trunks import TrunkFiles
from robust_lr.sweep.branching import Branchable, BranchEvaluator

TRUNK = [1.0] * 6


class Descent:
    """Noisy descent on w**2 / 2; it counts its steps, and may break at one of them."""

    def __init__(self, task, lr, seed):
        self.task, self.lr, self.w, self.random = task, lr, 1.0, random.Random(seed)
        self.step = 0

    def advance(self, multipliers):
        for multiplier in multipliers:
            if self.step == self.task.breaks_at and self.lr >= self.task.breaks_from:
                raise self.task.error
            self.task.n_steps += 1
            self.step += 1
            self.w -= self.lr * multiplier * (self.w + self.random.gauss(0, 0.1))

    def save(self):
        self.task.n_saved += 1
        return self.w, self.random.getstate() if self.task.saves_everything else None, self.step

    def load(self, state):
        self.w, noise, self.step = state
        if noise is not None:
            self.random.setstate(noise)

    def evaluate(self):
        return {"loss": self.w**2 / 2, "steps": float(self.step)}


class Task:
    label = "descent"

    def __init__(self, *, breaks_at=-1, breaks_from=0.0, error=None, saves_everything=True):
        self.n_steps = self.n_saved = 0
        self.breaks_at, self.breaks_from, self.error = breaks_at, breaks_from, error
        self.saves_everything = saves_everything

    def start(self, *, lr, seed):
        return Descent(self, lr, seed)


def sweep_of(task, **changes):
    return BranchedSweep(task, **{"horizons": [20, 30, 40], "cooldowns": [0.1, 0.5], "warmup_steps": 3, **changes})


def trained(task, trials=None, slots=6, trunks=None, **changes):
    sweep = sweep_of(task, **changes)
    trials = trials or [TrialSpec(name, 0.1, seed) for seed in (0, 1) for name in sweep.branches]
    evaluator = BranchEvaluator(task, sweep.branches, slots, trunks)
    return {result.spec: result for result in evaluator.results(TrialList(trials))}


def test_a_run_and_its_task_are_what_the_protocols_ask_for():
    assert isinstance(Task(), Branchable)


def test_branches_end_as_trainings_from_scratch_do_and_take_the_planned_steps():
    task, sweep = Task(), sweep_of(Task())
    results = trained(task)
    assert task.n_steps == 2 * sweep.steps < 2 * sweep.steps_from_scratch
    for spec, result in results.items():
        alone = sweep.training(lr=spec.lr, schedule=sweep.branches[spec.schedule], seed=spec.seed)
        assert {"loss": result.loss, **result.metrics} == alone
        assert alone["steps"] == sweep.branches[spec.schedule].total_steps


@pytest.mark.parametrize("slots", [1, 4, 6, 50])
def test_however_many_trials_are_taken_at_a_time_the_losses_are_the_same(slots):
    expected = {spec: result.loss for spec, result in trained(Task()).items()}
    assert {spec: result.loss for spec, result in trained(Task(), slots=slots).items()} == expected


def test_a_part_that_is_left_over_does_not_split_the_branches_of_the_next_trunk():
    task, sweep = Task(), sweep_of(Task())
    names = list(sweep.branches)
    left = [TrialSpec(names[-1], 0.1, 0)]
    trials = left + [TrialSpec(name, 0.1, seed) for seed in (1, 2) for name in names]
    trained(task, trials)
    assert task.n_steps == 40 + 2 * sweep.steps


def test_a_trunk_that_diverges_makes_its_branches_diverge_without_further_steps():
    task = Task(breaks_at=7, error=TrialDiverged("the loss is 1e9"))
    results = trained(task)
    assert {(r.status, r.loss, r.error) for r in results.values()} == {("diverged", math.inf, "the loss is 1e9")}
    assert task.n_steps == 2 * 7


def test_a_branch_that_diverges_leaves_the_others_as_they_are():
    task = Task(breaks_at=35, error=TrialDiverged())
    steps = {name: branch.total_steps for name, branch in sweep_of(task).branches.items()}
    results = trained(task)
    assert {r.status for r in results.values() if steps[r.spec.schedule] > 35} == {"diverged"}
    assert {r.status for r in results.values() if steps[r.spec.schedule] < 35} == {"ok"}


def test_an_error_in_the_trunk_is_the_failure_of_each_branch_and_says_where_it_was():
    results = list(trained(Task(breaks_at=7, error=OSError("no space left"))).values())
    assert {r.status for r in results} == {"failed"}
    assert "OSError: no space left" in results[0].error
    assert f"the steps that it shares with {results[0].spec.schedule} failed: no space left" in results[1].error


def test_a_lack_of_memory_in_the_trunk_is_one_of_its_branches_too():
    results = trained(Task(breaks_at=7, error=MemoryError("out of memory")))
    assert {r.status for r in results.values()} == {"out_of_memory"}


@pytest.mark.parametrize("horizon", [40, 80])
def test_a_trunk_is_taken_up_from_its_file_where_its_last_branch_began(horizon, tmp_path):
    trunks = TrunkFiles(tmp_path / "trunks", "this training")
    trained(Task(), [TrialSpec(name, 0.1, 0) for name in sweep_of(Task()).branches], trunks=trunks)
    again, last = Task(), f"warmup(steps=3)+wsd(cooldown=0.1) for {horizon} steps"
    results, expected = (
        trained(task, [TrialSpec(last, 0.1, 0)], trunks=files, horizons=[horizon])
        for task, files in ((again, trunks), (Task(), None))
    )
    assert [(r.loss, r.metrics) for r in results.values()] == [(r.loss, r.metrics) for r in expected.values()]
    assert again.n_steps == horizon - 28  # 3 of warm-up, 90 % of the other 27 of 30 steps, and one more at the peak


@pytest.mark.parametrize(
    ("identity", "lr", "multipliers", "damage"),
    [
        ("another training", 0.1, TRUNK, None),
        ("this training", 0.2, TRUNK, None),
        ("this training", 0.1, [0.5, *TRUNK[1:]], None),
        ("this training", 0.1, TRUNK[:3], None),
        ("this training", 0.1, TRUNK, b"damaged"),
    ],
)
def test_a_file_of_another_trunk_is_not_used(identity, lr, multipliers, damage, tmp_path):
    trunks = TrunkFiles(tmp_path, "this training")
    trunks.write(0.1, 0, TRUNK[:4], "state")
    assert trunks.find(0.1, 0, TRUNK) == (4, "state")
    if damage:
        next(tmp_path.iterdir()).write_bytes(damage)
    assert TrunkFiles(tmp_path, identity).find(lr, 0, multipliers) == (0, None)


def test_one_file_is_kept_for_each_trunk(tmp_path):
    trained(Task(), trunks=TrunkFiles(tmp_path, "this training"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lr-0.1-seed-0.trunk", "lr-0.1-seed-1.trunk"]
