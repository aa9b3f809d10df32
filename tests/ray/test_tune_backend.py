"""A sweep through Ray Tune: the results of any runner, as the trials end."""

from __future__ import annotations

import functools
import logging
import math
import os
import threading
import time
from collections import Counter

import pytest

from robust_lr import FunctionSchedule, RobustLRError, TrialSpec, run_sweep
from robust_lr.exceptions import ScheduleError
from robust_lr.runners import evaluate_trial
from robust_lr.testing import SCHEDULES, train_quadratic
from robust_lr_ray.cells import schedule_of, spec_of
from robust_lr_ray.tune_backend import report_result, run_with_tune

pytestmark = pytest.mark.usefixtures("ray_local")


class TuneBackendRunner:
    def __init__(self, **options):
        self.options = {
            "resources": {"cpu": 1},
            "storage_path": None,
            "name": None,
            "max_failures": 1,
            "max_concurrent": 1,
        } | options

    def run(self, train, trials, schedules):
        return run_with_tune(train, trials, schedules, **self.options)


def one(train, lr=0.5, **options):
    (result,) = TuneBackendRunner(**options).run(train, [TrialSpec("constant", lr, 0)], SCHEDULES)
    return result


def test_a_trial_whose_process_dies_is_run_again_and_then_failed(tmp_path):
    def dies(*, lr, schedule, seed):
        with (tmp_path / "tries").open("a") as tries:
            tries.write("x")
        os._exit(3)

    result = one(dies)
    assert result.status == "failed" and "died unexpectedly" in result.error
    assert (tmp_path / "tries").read_text() == "xx"


def test_run_sweep_writes_each_trial_as_it_ends_and_tune_its_own_files(tmp_path, capfd):
    def train(*, lr, schedule, seed):
        return {"loss": lr * schedule(0, 10), "error": seed, "status": 2}

    runner = TuneBackendRunner(storage_path=str(tmp_path / "tune"), name="digits", max_concurrent=2)
    sweep = run_sweep(train, [0.25, 0.5], ["warmup(0.5)+cosine"], [1], runner=runner, progress=False)
    plain = run_sweep(train, [0.25, 0.5], ["warmup(0.5)+cosine"], [1], progress=False)
    assert sweep.loss.tolist() == plain.loss.tolist() and sweep.metrics["error"].tolist() == [[[1], [1]]]
    assert len(list((tmp_path / "tune" / "digits").glob("warmup-*_lr=0.25_seed=1_*"))) == 1
    assert capfd.readouterr() == ("", ""), "neither a table nor a log on the screen"


def test_results_come_while_others_run_and_closing_ends_those(ray_local):
    def train(*, lr, schedule, seed):
        time.sleep(300 if seed else 0)
        return lr

    threads = set(threading.enumerate())
    results = TuneBackendRunner().run(train, [TrialSpec("constant", 0.5, seed) for seed in range(4)], SCHEDULES)
    assert next(results).spec.seed == 0
    time.sleep(1)
    began = time.monotonic()
    results.close()
    assert time.monotonic() - began < 8 and not set(threading.enumerate()) - threads
    while ray_local.available_resources().get("CPU") != ray_local.cluster_resources()["CPU"]:
        assert time.monotonic() - began < 60, "the processes of trials were left behind"
        time.sleep(0.1)


def test_a_trainable_of_ones_own_may_report_on_its_way_which_ends_there_when_the_loss_is_not_finite():
    def make_trainable(train):
        def trainable(config):
            from ray import tune

            for loss in (7.0, math.nan if config["lr"] == 1.0 else 8.0):
                tune.report({"loss": loss, "epoch": 3})
            time.sleep(300 if config["lr"] == 1.0 else 0)
            report_result(evaluate_trial(train, spec_of(config), schedule_of(config)))

        return trainable

    trials = [TrialSpec("constant", lr, 0) for lr in (0.5, 1.0)]
    runner = TuneBackendRunner(make_trainable=make_trainable)
    found = {result.spec.lr: result for result in runner.run(train_quadratic, trials, SCHEDULES)}
    plain = train_quadratic(lr=0.5, schedule=SCHEDULES["constant"], seed=0)
    assert {"loss": found[0.5].loss} | found[0.5].metrics == plain
    assert (found[1.0].status, found[1.0].loss, found[1.0].metrics) == ("diverged", math.inf, {"epoch": 3.0})


def test_a_callback_of_tune_sees_the_trials_and_one_that_raises_fails_them():
    from ray import tune

    ended = Counter()

    class Counts(tune.Callback):
        def on_trial_complete(self, iteration, trials, trial, **info):
            ended[trial.config["lr"]] += 1
            if trial.config["lr"] == 1.0:
                raise OSError("no space left on the device")

    trials = [TrialSpec("constant", lr, 0) for lr in (0.5, 1.0)]
    found = {
        r.spec.lr: r
        for r in TuneBackendRunner(callbacks=[Counts()], max_failures=0).run(train_quadratic, trials, SCHEDULES)
    }
    assert found[0.5].status == "ok" and "no space left on the device" in found[1.0].error
    assert ended == {0.5: 1, 1.0: 1}


def test_what_goes_wrong_with_the_whole_experiment_is_one_line(tmp_path):
    with pytest.raises(RobustLRError, match=r"the experiment of Ray Tune failed: .*relative/path"):
        one(train_quadratic, storage_path="relative/path")
    assert not logging.getLogger("ray").handlers[0].filters


@pytest.mark.parametrize("options", [{"max_failures": -1}, {"max_concurrent": 0}])
def test_wrong_arguments_are_refused(options):
    with pytest.raises(RobustLRError, match=f"{next(iter(options))} must be a whole number of at least"):
        one(train_quadratic, **options)


def test_what_cannot_travel_is_refused_before_anything_runs():
    with pytest.raises(RobustLRError, match="train must pickle to get to the workers of Ray"):
        one(functools.partial(train_quadratic, lock=threading.Lock()))
    trials, schedules = [TrialSpec("mine", 0.5, 0)], {"mine": FunctionSchedule(lambda step, total_steps: step * 0 + 1)}
    with pytest.raises(ScheduleError, match="a schedule travels to the cluster as its text, and function"):
        TuneBackendRunner().run(train_quadratic, trials, schedules)
