"""run_sweep: what it accepts, what it says, and that nothing is lost or done twice, whatever is killed."""

from __future__ import annotations

import functools
import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from robust_lr import (
    Constant,
    CosineDecay,
    FunctionSchedule,
    GeometricGrid,
    RobustLRError,
    TrialDiverged,
    TrialResult,
    TrialSpec,
    Warmup,
)
from robust_lr.exceptions import GridError, JournalError, OptionError, RobustLRWarning, ScheduleError, TrialError
from robust_lr.journal.journal import read_journal
from robust_lr.runners import ProcessPoolRunner, SerialRunner
from robust_lr.sweep.results import SweepResult
from robust_lr.sweep.run import run_sweep

GRID = GeometricGrid(0.1, 1.6, 3)
calls = Counter()


@pytest.fixture(autouse=True)
def fresh_calls():
    calls.clear()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "sweep.jsonl"


def train(*, lr, schedule, seed):
    calls[lr, str(schedule), seed] += 1
    return {"loss": lr + seed + float(schedule(50, 100)), "twice": 2 * lr}


def train_another(*, lr, schedule, seed):
    return lr


# What it does


def test_the_losses_are_where_they_belong():
    sweep = run_sweep(train, GRID, {"flat": Constant(), "cos": "cosine"}, 2)
    assert sweep.schedules == ("flat", "cos") and sweep.seeds == (0, 1)
    np.testing.assert_array_equal(sweep.learning_rates, GRID.values)
    expected = np.array([1, 0.5])[:, None, None] + GRID.values[:, None] + np.arange(2)
    np.testing.assert_allclose(sweep.loss, expected)
    np.testing.assert_allclose(sweep.metrics["twice"], np.broadcast_to(2 * GRID.values[:, None], (2, 3, 2)))
    assert set(calls.values()) == {1} and np.all(sweep.seconds >= 0)


def test_what_may_be_given():
    assert run_sweep(train, [1.0, 0.1], ["cosine", CosineDecay(floor=0.1)], [3, 1]).schedules == (
        "cosine",
        "cosine(floor=0.1)",
    )
    sweep = run_sweep(train, np.array([0.5]), (Constant(),), range(2, 4))
    assert sweep.seeds == (2, 3) and sweep.loss.shape == (1, 1, 2)
    assert run_sweep(train, iter([1, 2]), {"a": "linear", "b": "linear"}, np.int64(1)).loss.shape == (2, 2, 1)


@pytest.mark.parametrize(
    "changes, error, says",
    [
        ({"train": 3}, RobustLRError, "train must be callable"),
        ({"runner": "serial"}, OptionError, "runner must be a runner, such as SerialRunner"),
        ({"runner": SerialRunner}, OptionError, "runner must be a runner, such as SerialRunner"),
        ({"grid": []}, GridError, "at least one"),
        ({"grid": [0.1, 0.1]}, GridError, "distinct"),
        ({"grid": [0.1, -1]}, GridError, "positive finite numbers, got -1"),
        ({"grid": [0.1, math.nan]}, GridError, "positive finite"),
        ({"grid": [0.1, math.inf]}, GridError, "positive finite"),
        ({"grid": ["0.1"]}, GridError, "positive finite"),
        ({"grid": "0.1"}, GridError, "must be a sequence"),
        ({"grid": 0.1}, GridError, "must be a sequence"),
        ({"schedules": []}, ScheduleError, "at least one"),
        ({"schedules": "cosine"}, ScheduleError, "must be a sequence"),
        ({"schedules": ["cosine", CosineDecay()]}, ScheduleError, "distinct"),
        ({"schedules": ["cosin"]}, ScheduleError, "unknown schedule"),
        ({"schedules": {"a": 3}}, ScheduleError, "expected a schedule"),
        ({"seeds": 0}, RobustLRError, "at least 1"),
        ({"seeds": True}, RobustLRError, "seeds must be a sequence"),
        ({"seeds": []}, RobustLRError, "at least one"),
        ({"seeds": [1, 1]}, RobustLRError, "distinct"),
        ({"seeds": [0.5]}, RobustLRError, "whole numbers"),
    ],
)
def test_what_may_not_is_said_at_the_door(changes, error, says, path):
    arguments = {"train": train, "grid": GRID, "schedules": ["cosine"], "seeds": 2, **changes}
    with pytest.raises(error, match=says) as caught:
        run_sweep(**arguments, journal=path)
    assert "\n" not in str(caught.value) and not calls and not path.exists()


def test_four_ends_of_a_trial_are_told_apart():
    def eventful(*, lr, schedule, seed):
        if lr == 0.2:
            raise TrialDiverged("too large")
        if lr == 0.3:
            raise MemoryError("CUDA out of memory")
        return {0.1: math.nan, 0.4: math.inf}.get(lr, 0.25)

    with pytest.warns(RobustLRWarning, match="1 of 5 trials failed and count as missing; the first: MemoryError: CUDA"):
        sweep = run_sweep(eventful, [0.1, 0.2, 0.3, 0.4, 0.5], ["cosine"], 1)
    np.testing.assert_array_equal(sweep.loss[0, :, 0], [math.inf, math.inf, math.nan, math.inf, 0.25])
    assert [f.spec.lr for f in sweep.failures] == [0.3]


def test_a_sweep_in_which_all_diverged_is_a_result():
    sweep = run_sweep(lambda *, lr, schedule, seed: math.nan, GRID, ["cosine"], 2)
    assert sweep.diverged.all() and not sweep.failures


@pytest.mark.parametrize(
    "n_lrs, says", [(5, "each of the first 3 trials; the first"), (2, "first 2"), (1, "only trial")]
)
def test_a_training_function_that_always_fails_stops_the_sweep(path, n_lrs, says):
    def broken(*, lr, schedule, seed):
        calls[lr] += 1
        raise ValueError("no such file: data.csv")

    where = rf"\(.*test_run.py, line {broken.__code__.co_firstlineno + 2}\)"
    with pytest.raises(TrialError, match=rf"{says}.*: ValueError: no such file: data.csv {where}$"):
        run_sweep(broken, [0.1 * 2**i for i in range(n_lrs)], ["cosine"], 1, journal=path, label="broken")
    assert len(calls) == len(read_journal(path).results) == min(n_lrs, 3)


def test_the_place_of_a_failure_is_in_the_users_code_not_in_the_library_that_it_calls():
    def calls_a_library(*, lr, schedule, seed):
        return json.loads("{")

    line = calls_a_library.__code__.co_firstlineno + 1
    with pytest.raises(TrialError, match=rf"JSONDecodeError: .* \(.*test_run.py, line {line}\)$"):
        run_sweep(calls_a_library, GRID, ["cosine"], 1)
    with pytest.raises(TrialError, match=r"got None$"):  # no exception, no place
        run_sweep(lambda *, lr, schedule, seed: None, GRID, ["cosine"], 1)


def test_failures_after_a_result_do_not_stop_the_sweep(path):
    def broken_but_once(*, lr, schedule, seed):
        if lr == 0.1:
            return 1.0
        raise ValueError("oh no")

    for _ in range(2):  # in the second the result comes from the journal
        with pytest.warns(RobustLRWarning, match="4 of 5"):
            sweep = run_sweep(broken_but_once, [0.1, 0.2, 0.3, 0.4, 0.5], ["cosine"], 1, journal=path, label="broken")
        assert sweep.n_trials == 1 and len(sweep.failures) == 4


# Runners


class Forgetful:
    def __init__(self, results):
        self.results, self.closed = results, False

    def run(self, train, source, schedules):
        source.take(9)
        try:
            yield from self.results
        finally:
            self.closed = True


SPEC = TrialSpec("cosine", 0.1, 0)


@pytest.mark.parametrize(
    "specs, says",
    [([], "no result for 1 trials"), ([SPEC, SPEC], "twice"), ([TrialSpec("x", 1.0, 0)], "it was not given")],
)
def test_a_runner_that_breaks_its_contract_is_named(specs, says):
    runner = Forgetful([TrialResult(spec, 0.5, "ok") for spec in specs])
    with pytest.raises(RobustLRError, match=f"Forgetful.*{says}"):
        run_sweep(train, [0.1], ["cosine"], 1, runner=runner)
    assert runner.closed


def test_four_processes_run_eight_cells_eight_times(path):
    lrs = [2.0**i for i in range(8)]
    serial = run_sweep(train, lrs, ["cosine"], 1)
    sweep = run_sweep(train, lrs, ["cosine"], 1, runner=ProcessPoolRunner(4), journal=path)
    assert len(path.read_text().splitlines()) == 1 + 8
    np.testing.assert_array_equal(sweep.loss, serial.loss)


# The journal


def test_a_finished_sweep_runs_nothing_again(path):
    first = run_sweep(train, GRID, ["cosine"], 2, journal=path)
    calls.clear()
    again = run_sweep(train, GRID, ["cosine"], 2, journal=str(path), runner=Forgetful([]))
    assert not calls
    np.testing.assert_array_equal(again.loss, first.loss)
    np.testing.assert_array_equal(again.metrics["twice"], first.metrics["twice"])


@pytest.mark.parametrize("grid", [GRID.refine(), GRID.extend(above=1), GRID.refine().extend(below=2)])
def test_a_grown_grid_runs_only_what_is_new(path, grid):
    run_sweep(train, GRID, ["cosine"], 2, journal=path)
    calls.clear()
    sweep = run_sweep(train, grid, ["cosine", "linear"], 3, journal=path)
    assert len(calls) == 2 * 3 * len(grid) - 6 and set(calls.values()) == {1}
    assert not np.isnan(sweep.loss).any()
    calls.clear()
    part = run_sweep(train, GRID, ["cosine"], 2, journal=path)  # a part of what is there needs no training
    assert not calls and part.loss.shape == (1, len(GRID), 2) and not np.isnan(part.loss).any()


def test_another_training_function_is_refused_unless_labeled_the_same(path):
    run_sweep(train, GRID, ["cosine"], 1, journal=path)
    with pytest.raises(JournalError, match=r"test_run:train in the journal and .*test_run:train_another here"):
        run_sweep(train_another, GRID, ["cosine"], 1, journal=path)
    label = read_journal(path).header.train
    run_sweep(train_another, GRID, ["cosine"], 1, journal=path, label=label, keep_results=True)


def train_wide(*, lr, schedule, seed, width=1, data=None):
    return lr * width


class Nameless:
    """It has parameters, and does not say which."""

    degree = None

    def __init__(self, parameter=1):
        self.parameter = parameter

    def __call__(self, step=None, total_steps=None, **trial):
        return np.full(np.shape(step), 1.0) if trial == {} else trial["lr"] * self.parameter

    def train(self, *, lr, schedule, seed):
        return lr * self.parameter


class Named(Nameless):
    def __repr__(self):
        return f"Named({self.parameter})"


class Labeled(Nameless):
    @property
    def label(self):
        return f"labeled {self.parameter}"


def make_function(parameter):
    def local(*arguments, **trial):
        return parameter if trial else parameter * np.ones(np.shape(arguments[0]))

    return local


def halving(step, total_steps, *, by=0.5):
    return by ** (step / total_steps)


@pytest.mark.parametrize(
    "ours, theirs",
    [
        (functools.partial(train_wide, width=1), functools.partial(train_wide, width=100)),
        (functools.partial(train_wide, data=np.zeros(9999)), functools.partial(train_wide, data=np.eye(9999, 1)[:, 0])),
        (functools.partial(train_wide, data=[1] * 99), functools.partial(train_wide, data=[1] * 98 + [2])),
        (functools.partial(train_wide, width=1), train_wide),
        (Named(1), Named(2)),
        (Named(1).train, Named(2).train),
        (Labeled(1), Labeled(2)),
        (functools.partial(Labeled(1), data=1), functools.partial(Labeled(2), data=1)),
    ],
)
def test_a_training_function_with_other_parameters_is_another_one(path, ours, theirs):
    run_sweep(ours, GRID, ["cosine"], 1, journal=path)
    run_sweep(ours, GRID, ["cosine"], 1, journal=path, runner=Forgetful([]))
    with pytest.raises(JournalError, match="another sweep: the training function is") as caught:
        run_sweep(theirs, GRID, ["cosine"], 1, journal=path)
    assert " at 0x" not in str(caught.value) and len(str(caught.value)) < 600


@pytest.mark.parametrize(
    "ours, theirs",
    [
        (Named(1), Named(2)),
        (Warmup(Named(1), 0.1), Warmup(Named(2), 0.1)),
        (FunctionSchedule(Named(1)), FunctionSchedule(Named(2))),
        (FunctionSchedule(functools.partial(halving, by=0.1)), FunctionSchedule(functools.partial(halving, by=0.9))),
    ],
)
def test_a_schedule_with_other_parameters_is_another_one(path, ours, theirs):
    run_sweep(train, GRID, {"mine": ours}, 1, journal=path)
    with pytest.raises(JournalError, match=r"schedule 'mine' is .* in the journal and"):
        run_sweep(train, GRID, {"mine": theirs}, 1, journal=path)


@pytest.mark.parametrize(
    "function",
    [
        lambda *, lr, schedule, seed: lr,
        make_function(1),
        Nameless(),
        Nameless().train,
        functools.partial(Nameless()),
        functools.partial(train_wide, data=make_function(1)),
        functools.partial(train_wide, data=[Nameless()]),
    ],
)
def test_a_journal_wants_a_label_for_a_function_that_its_name_does_not_tell(path, function):
    with pytest.raises(JournalError, match=r"cannot identify train .*label=") as caught:
        run_sweep(function, GRID, ["cosine"], 1, journal=path)
    assert "\n" not in str(caught.value) and not path.exists()
    first = run_sweep(function, GRID, ["cosine"], 1)
    np.testing.assert_array_equal(
        run_sweep(function, GRID, ["cosine"], 1, journal=path, label="width 1").loss, first.loss
    )
    run_sweep(function, GRID, ["cosine"], 1, journal=path, label="width 2")  # a name of one's own begins anew
    for label in ("width 1", "width 2"):
        run_sweep(function, GRID, ["cosine"], 1, journal=path, label=label, runner=Forgetful([]))
    with pytest.raises(JournalError, match=r"width 2 in the journal and .*:train here"):
        run_sweep(train, GRID, ["cosine"], 1, journal=path)


@pytest.mark.parametrize(
    "schedule",
    [
        Nameless(),
        Warmup(Nameless(), 0.1),
        FunctionSchedule(make_function(1)),
        FunctionSchedule(lambda step, total_steps: np.ones_like(step)),
        FunctionSchedule(Nameless()),
        Warmup(FunctionSchedule(make_function(1)), 0.1),
    ],
)
def test_a_journal_refuses_a_schedule_that_its_text_does_not_tell(path, schedule):
    with pytest.raises(JournalError, match=r"cannot identify schedule 'mine' .*module level, or .*__str__") as caught:
        run_sweep(train, GRID, {"mine": schedule}, 1, journal=path, label="known")
    assert "\n" not in str(caught.value) and not path.exists()
    assert run_sweep(train, GRID, {"mine": schedule}, 1).n_trials == 3


def test_the_journal_is_the_sweep(path):
    sweep = run_sweep(train, GRID, ["cosine", "constant"], 2, journal=path)
    contents = read_journal(path)
    header = contents.header
    read = SweepResult.from_trials(header.schedules, header.learning_rates, header.seeds, contents.results)
    np.testing.assert_array_equal(read.loss, sweep.loss)


def test_ctrl_c_keeps_every_finished_trial(path):
    def interrupted(*, lr, schedule, seed):
        if len(calls) == 4:
            raise KeyboardInterrupt
        return train(lr=lr, schedule=schedule, seed=seed)

    with pytest.raises(KeyboardInterrupt):
        run_sweep(interrupted, GRID, ["cosine"], 3, journal=path, label="f")
    assert len(read_journal(path).results) == 4
    run_sweep(train, GRID, ["cosine"], 3, journal=path, label="f", keep_results=True)
    assert set(calls.values()) == {1} and len(calls) == 9


def test_progress_counts_the_journal_too(path, capfd):
    run_sweep(train, GRID, ["cosine"], 1, journal=path)
    assert capfd.readouterr().err == ""
    run_sweep(train, GRID.refine(), ["cosine"], 1, journal=path, progress=True)
    assert "5/5" in capfd.readouterr().err


# Kills

KILLED = """
import os, sys, time
from pathlib import Path
from robust_lr import GeometricGrid
from robust_lr.runners import ProcessPoolRunner
from robust_lr.sweep import run_sweep

def train(*, lr, schedule, seed):
    Path(sys.argv[2], str(os.getpid())).touch()
    time.sleep(0.08)
    return lr + seed

if __name__ == "__main__":
    grid, runner = GeometricGrid(0.1, 1.6, 5), ProcessPoolRunner(2)
    sweep = run_sweep(train, grid, ["cosine"], 4, runner=runner, max_retries=5, journal=sys.argv[1])
    raise SystemExit(0 if sweep.n_trials == 20 else 1)
"""


def start(tmp_path, path):
    script, pids = tmp_path / "script.py", tmp_path / "pids"
    script.write_text(KILLED)
    pids.mkdir(exist_ok=True)
    return subprocess.Popen([sys.executable, str(script), str(path), str(pids)], start_new_session=True)


def check(path):
    records = [json.loads(line) for line in path.read_text().splitlines()]
    trials = Counter((r["lr"], r["seed"]) for r in records if r["record"] == "trial")
    assert len(records) == 1 + 20 and set(trials.values()) == {1} and len(trials) == 20
    assert all(r["loss"] == r["lr"] + r["seed"] for r in records if r["record"] == "trial")


def count(path):
    return max(path.read_bytes().count(b"\n") - 1, 0) if path.exists() else 0


def test_a_sweep_killed_at_any_moment_loses_and_repeats_nothing(tmp_path, path):
    rng = random.Random(0)
    done = n_midway = 0
    for more, kill in ((0, os.kill), (2, os.killpg), (1, os.kill), (3, os.killpg), (2, os.kill), (1, os.killpg)):
        process = start(tmp_path, path)
        while count(path) < done + more and process.poll() is None:
            time.sleep(0.005)
        time.sleep(rng.uniform(0, 0.1))
        kill(process.pid, signal.SIGKILL)  # the whole group, or only the parent
        process.wait()
        assert count(path) >= done
        done = count(path)
        n_midway += 0 < done < 20
    assert n_midway >= 2
    assert start(tmp_path, path).wait(timeout=250) == 0
    check(path)


def test_a_sweep_whose_workers_are_killed_loses_and_repeats_nothing(tmp_path, path):
    rng = random.Random(1)
    process = start(tmp_path, path)
    killed = 0
    while process.poll() is None:
        time.sleep(rng.uniform(0.2, 0.4))
        workers = [int(p.name) for p in (tmp_path / "pids").iterdir()]
        running = [pid for pid in workers if Path(f"/proc/{pid}").exists()]
        if running and killed < 4:
            os.kill(rng.choice(running), signal.SIGKILL)
            killed += 1
    assert process.returncode == 0 and killed
    check(path)
