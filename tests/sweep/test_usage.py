"""What a sweep took is added up over all attempts, whoever ran them."""

from __future__ import annotations

import time

import pytest

from robust_lr import ProcessPoolRunner, SerialRunner, TrialResult, TrialSpec, run_sweep
from robust_lr.runners import PackedRunner
from robust_lr.sweep.ledger import TrialLedger
from robust_lr.sweep.usage import SweepUsage, report_usage

SPECS = [TrialSpec("constant", lr, 0) for lr in (0.1, 0.2, 0.3)]


class Plan:
    def __init__(self):
        self.trials = list(SPECS)

    def next_trials(self):
        trials, self.trials = self.trials, []
        return trials

    def add(self, result):
        pass


def test_results_losses_and_retries_are_added_up():
    ledger = TrialLedger(Plan(), max_retries=1)
    one, two, three = ledger.take(3)
    ledger.record(TrialResult(one, 0.5, "ok", 10.0))
    ledger.record(TrialResult(two, float("nan"), "failed", 3.0))
    ledger.give_back([three])
    two, three = ledger.take(2)
    ledger.record(TrialResult(two, float("inf"), "diverged", 5.0))
    ledger.record(TrialResult(three, 0.5, "ok", 1.0))
    usage = ledger.usage
    assert (usage.n_trials, usage.seconds, usage.n_retries) == (3, 16.0, 1)
    assert usage.lost_seconds == pytest.approx(3.0, abs=0.5)


def test_an_attempt_whose_worker_died_counts_from_when_it_was_handed_out():
    ledger = TrialLedger(Plan(), max_retries=0)
    (one,) = ledger.take(1)
    ledger._has_result = True
    time.sleep(0.05)
    ledger.record(TrialResult(one, float("nan"), "failed"))
    assert ledger.usage.lost_seconds >= 0.05 and ledger.usage.n_retries == 0


@pytest.mark.parametrize(
    ("usage", "text"),
    [
        (SweepUsage(1, 30.0), "1 trial took 30 s of worker time"),
        (SweepUsage(2, 600.0, 0.5, 1), "2 trials took 10 min of worker time; 1 retry"),
        (SweepUsage(9, 36000, 3600, 2, 0.5), "9 trials took 5.0 h of GPU time; 30 min more were lost; 2 retries"),
    ],
    ids=str,
)
def test_it_is_one_line(usage, text):
    assert str(usage) == text


def test_the_figures_have_gpu_seconds_where_there_are_gpus():
    assert "gpu_seconds" not in SweepUsage(2, 60.0).to_dict()
    figures = SweepUsage(2, 60.0, 10.0, gpus_per_trial=4).to_dict()
    assert (figures["gpu_seconds"], figures["lost_gpu_seconds"], figures["worker_seconds"]) == (240.0, 40.0, 60.0)


def test_workers_that_share_a_gpu_count_for_a_share_of_it():
    assert ProcessPoolRunner(4, devices=("0", "1")).gpus_per_trial == 0.5
    assert ProcessPoolRunner(devices=("0", "1")).gpus_per_trial == 1
    assert ProcessPoolRunner(2).gpus_per_trial == 0


def nap(*, lr, schedule, seed):
    time.sleep(0.05)
    return lr


@pytest.mark.parametrize("runner", [SerialRunner(), ProcessPoolRunner(1), PackedRunner(engine="sequential")], ids=repr)
def test_every_runner_has_its_account(runner):
    usage = run_sweep(nap, [0.1, 0.2], ["constant"], 1, runner=runner).usage
    assert (usage.n_trials, usage.n_retries, usage.gpus_per_trial) == (2, 0, 0)
    assert usage.seconds >= 0.1


def test_a_short_run_says_nothing(capsys):
    report_usage(SweepUsage(9, 0.5), show=True)
    report_usage(SweepUsage(9, 5.0), show=True)
    assert capsys.readouterr().err == "9 trials took 5 s of worker time\n"
