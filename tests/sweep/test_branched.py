"""A sweep over horizons and cooldowns: what it accepts, what it returns and prints, and how it goes on."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from robust_lr import BranchedSweep, PackedRunner, SerialRunner, SweepResult, analyze_sweep, parse_schedule, run_sweep
from robust_lr.exceptions import DataError, JournalError, OptionError, ScheduleError
from robust_lr.schedules import WarmupStableDecay

from .test_branching import Task, sweep_of

GRID = [0.05, 0.1, 0.2]
ROOT = Path(__file__).resolve().parents[2]


def test_it_is_one_sweep_whose_schedules_are_the_branches_with_the_losses_from_scratch():
    branched, alone = (sweep_of(Task()).run(GRID, 2, runner=runner) for runner in (PackedRunner(), SerialRunner()))
    assert np.array_equal(branched.sweep.loss, alone.sweep.loss)
    assert branched.sweep.schedules == tuple(branched.branches)
    assert branched.sweep.schedules[0] == "warmup(steps=3)+wsd(cooldown=0.1) for 20 steps"
    assert {name: parse_schedule(spec) for name, spec in branched.sweep.specs.items()} == branched.branches


def test_each_horizon_is_the_sweep_that_it_would_have_been_alone():
    result = sweep_of(Task()).run(GRID, 2)

    def train(*, lr, schedule, seed):
        run = Task().start(lr=lr, seed=seed)
        run.advance([float(schedule(step, 30)) for step in range(30)])
        return run.evaluate()

    schedules = ["warmup(steps=3)+wsd(0.1)", "warmup(steps=3)+wsd(0.5)"]
    own, at = run_sweep(train, GRID, schedules, 2), result.at(30)
    assert (own.schedules, own.seeds) == (at.schedules, at.seeds)
    assert np.array_equal(own.loss, at.loss)
    assert np.array_equal(own.metrics["steps"], at.metrics["steps"])
    assert analyze_sweep(own).to_dict()["schedules"] == analyze_sweep(at).to_dict()["schedules"]


@pytest.mark.parametrize(
    "cooldown", [0.5, "wsd(0.5)", "wsd(50%)", WarmupStableDecay(0.5), "warmup(steps=3)+wsd(cooldown=0.5)"]
)
def test_a_cooldown_is_found_by_its_fraction_or_its_schedule(cooldown):
    found = sweep_of(Task()).run(GRID, 1).at(40, cooldown)
    assert found.schedules == ("warmup(steps=3)+wsd(cooldown=0.5)",)


def test_a_branch_that_does_not_exist_is_an_error():
    result = sweep_of(Task()).run(GRID, 1)
    for horizon, cooldown in ((41, None), (40, 0.2)):
        with pytest.raises(DataError, match=r"no such branch; the branches are warmup\(steps=3\)\+wsd"):
            result.at(horizon, cooldown)


@pytest.mark.parametrize("shape", ["linear", "1-sqrt", "cosine"])
def test_schedules_of_any_kind_branch_from_what_they_have_in_common(shape):
    schedules = [f"wsd(0.2, shape={shape}, floor=0.1)", "wsd(0.2)", "inverse-sqrt(timescale=9)+cooldown(0.2)"]
    task = Task()
    sweep = sweep_of(task, cooldowns=[*dict.fromkeys(schedules)], warmup_steps=0)
    branched, steps = sweep.run(GRID, 1), task.n_steps
    assert steps == 3 * sweep.steps < 3 * sweep.steps_from_scratch
    assert np.array_equal(branched.sweep.loss, sweep.run(GRID, 1, runner=SerialRunner()).sweep.loss)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"task": lambda **trial: 0.5}, OptionError, r"task must have start\(lr=, seed=\), as a SupervisedTask has"),
        ({"task": Task}, OptionError, r"task must have start"),
        ({"horizons": []}, OptionError, "horizons must be distinct, and at least one, got none"),
        ({"horizons": [30, 30]}, OptionError, "horizons must be distinct"),
        ({"horizons": [0.1, 1]}, OptionError, "a horizon must be a whole number of at least 1, got 0.1"),
        ({"horizons": 30}, OptionError, "horizons must be a sequence, got 30"),
        ({"cooldowns": [0.1, "wsd(0.1)"]}, OptionError, "cooldowns must be distinct"),
        ({"cooldowns": [20]}, OptionError, "a cooldown must be a finite number > 0 and <= 1, got 20"),
        ({"cooldowns": ["wsd"]}, ScheduleError, "wsd"),
        ({"cooldowns": ["warmup(0.1)+wsd(0.2)"]}, OptionError, "as warmup_steps=, a number of steps"),
        ({"warmup_steps": 20}, ScheduleError, "a warm-up of 20 steps leaves nothing of 20 total_steps"),
        ({"warmup_steps": 0.1}, OptionError, "warmup_steps must be a whole number"),
    ],
)
def test_a_wrong_argument_is_said_in_one_line_before_the_first_step(changes, error, message):
    options = {"task": Task(), "horizons": [20, 30], "cooldowns": [0.1], **changes}
    with pytest.raises(error, match=message) as raised:
        BranchedSweep(options.pop("task"), **options)
    assert "\n" not in str(raised.value)


def test_a_warm_up_in_steps_may_stand_in_the_schedule():
    given = sweep_of(Task(), cooldowns=["warmup(steps=3)+wsd(0.1)", "warmup(steps=3)+wsd(0.5)"], warmup_steps=0)
    assert given.branches == sweep_of(Task()).branches


class Interrupted(Task):
    """Stopped by Ctrl-C after so many steps."""

    def __init__(self, n_steps):
        super().__init__()
        self.left = n_steps

    def __robust_lr_fingerprint__(self):
        return {"breaks_at": self.breaks_at}  # not the counts

    def start(self, *, lr, seed):
        run = super().start(lr=lr, seed=seed)
        advance = run.advance

        def stopping(multipliers):
            for multiplier in multipliers:
                if self.n_steps == self.left:
                    raise KeyboardInterrupt
                advance([multiplier])

        run.advance = stopping
        return run


@pytest.mark.parametrize("keeps_trunks", [False, True])
def test_a_stopped_sweep_goes_on_with_the_branches_that_are_not_in_its_journal(keeps_trunks, tmp_path):
    journal, trunk_dir = tmp_path / "sweep.jsonl", tmp_path / "trunks" if keeps_trunks else None
    expected, task = sweep_of(Task()).run(GRID, 2), Interrupted(240)
    with pytest.raises(KeyboardInterrupt):
        sweep_of(task, trunk_dir=trunk_dir).run(GRID, 2, journal=journal)
    n_finished = SweepResult.from_journal(journal).n_trials
    assert 6 < n_finished < 36
    again = Interrupted(10**9)
    result = sweep_of(again, trunk_dir=trunk_dir).run(GRID, 2, journal=journal)
    assert np.array_equal(result.sweep.loss, expected.sweep.loss)
    n_twice = task.n_steps + again.n_steps - 6 * sweep_of(Task()).steps
    assert 0 <= n_twice < (12 if keeps_trunks else 40)
    assert json.loads(journal.read_text().splitlines()[1])["schedule"] in result.branches
    assert not result.sweep.failures


def test_a_sweep_that_grows_by_a_horizon_trains_only_its_branches(tmp_path):
    journal, first, second = tmp_path / "sweep.jsonl", Task(), Task()
    sweep_of(first, horizons=[20, 30]).run(GRID, 1, journal=journal)
    grown = sweep_of(second).run(GRID, 1, journal=journal)
    assert grown.sweep.n_trials == 18
    assert second.n_steps == 3 * sweep_of(Task(), horizons=[40]).steps


def test_a_journal_refuses_the_branches_of_another_task(tmp_path):
    sweep_of(Task()).run(GRID, 1, journal=tmp_path / "sweep.jsonl")

    class Other(Task):
        label = "another"

    with pytest.raises(JournalError, match="the training function is descent in the journal and another here"):
        sweep_of(Other()).run(GRID, 1, journal=tmp_path / "sweep.jsonl")


def test_the_answer_says_how_long_to_train_how_coarse_the_grid_may_be_and_what_it_cost():
    sweep = sweep_of(Task())
    text = str(sweep.run([0.02 * 1.5**k for k in range(8)], 3))
    assert re.search(r"How long +(20|30|40) steps", text)
    assert re.search(r"How coarse +warmup\(steps=3\)\+wsd\(cooldown=0\.1\): ", text)
    assert (
        f"{sweep.steps} steps a learning rate and seed instead of {sweep.steps_from_scratch}: 2.2 times fewer"
        in " ".join(text.split())
    )
    assert re.search(r"^20 +0\.0\d+ at 0\.\d+", text, re.MULTILINE)


def losses(*ends):
    """The result of a sweep at horizons 20, 30, .. whose best loss ends like this."""
    sweep = sweep_of(Task(), horizons=[20 + 10 * i for i in range(len(ends))], cooldowns=[0.5])
    result = sweep.run([0.05, 0.1, 0.2, 0.4, 0.8], 2)
    grid = np.array([[[0.4, 0.41], [0.1, 0.11], [0.0, 0.001], [0.1, 0.11], [0.4, 0.41]]])
    loss = np.concatenate([grid + end for end in ends])
    known = result.sweep
    made = SweepResult(known.schedules, known.learning_rates, known.seeds, loss, specs=known.specs)
    return type(result)(made, result.branches, sweep.steps, sweep.steps_from_scratch)


@pytest.mark.parametrize(
    ("ends", "says"),
    [
        ((2.0, 1.5, 1.2), r"40 steps or more: from 30 to 40 the loss falls by 0.3000, more than the"),
        ((2.0, 1.5, 1.495), r"30 steps: 40 end only 0.0050 lower, within the tolerance of 0.01"),
        ((2.0, 1.5, 1.6), r"30 steps: 40 end no lower, within the tolerance of 0.01"),
        ((2.0,), "one horizon, 20 steps, cannot say"),
        ((2.0, np.inf), "one horizon, 20 steps, cannot say"),
        ((np.inf, np.inf), "no training has a finite loss"),
    ],
)
def test_how_long_to_train_is_where_longer_gains_no_more_than_the_tolerance(ends, says):
    text = losses(*ends).answer(tolerance=0.01)
    assert says in " ".join(text.split())


def test_the_ratio_of_a_cooldown_is_the_finest_of_its_horizons():
    text = " ".join(losses(2.0, 1.5).answer(tolerance=0.2).split())
    assert re.search(r"wsd\(cooldown=0.5\): ratio [\d.]+, \d trials? at every horizon", text)


def test_check_accepts_a_run_whose_state_is_complete():
    sweep_of(Task()).check(lr=0.1)


def test_check_refuses_a_run_whose_state_lacks_something():
    with pytest.raises(DataError, match=r"in a branch and ok \{.*from scratch: save\(\) leaves out something"):
        sweep_of(Task(saves_everything=False)).check(lr=0.1, seed=3)


def test_an_engine_that_branches_lack_is_said_and_they_train_from_scratch():
    with pytest.warns(UserWarning, match="without an engine 'compiled'"):
        result = sweep_of(Task()).run(GRID, 1, runner=PackedRunner(engine="compiled"))
    assert result.sweep.n_trials == 18


def test_a_device_is_for_a_task_that_can_be_moved():
    with pytest.raises(OptionError, match="is for a task with a field device"):
        sweep_of(Task()).run(GRID, 1, runner=PackedRunner(device="cuda"))


def test_two_processes_train_two_trunks_at_a_time_with_the_same_losses(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}")
    sweep = sweep_of(Task())
    result = sweep.run(GRID, 2, runner=PackedRunner(n_jobs=2))
    assert np.array_equal(result.sweep.loss, sweep.run(GRID, 2).sweep.loss)
