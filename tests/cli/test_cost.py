"""`robust-lr run --dry-run`: what a sweep costs, before it runs and in its middle."""

from __future__ import annotations

from pathlib import Path

import pytest

from robust_lr.cli.cost import Cost

TRAIN = """
def train(*, lr, schedule, seed):
    return {"loss": (lr - 0.1) ** 2 + seed, "gpu_memory_gib": 3 + seed}
"""
SWEEP = ("--lr-min", 0.01, "--lr-max", 1, "--n-points", 5, "--schedules", "constant,cosine", "--seeds", 2)


@pytest.fixture
def run(robust_lr, module):
    """Run `robust-lr run` with a training function, and return the answer."""
    where = f"{module(TRAIN)}:train"
    return lambda *arguments, sweep=SWEEP: robust_lr("run", where, *sweep, *arguments)


def test_the_cost_of_a_function_is_its_trials_if_nobody_knows_their_time(run):
    answer = run("--dry-run")
    assert answer.code == 0
    assert answer.out.startswith("20 trials\nhours unknown: give --seconds-per-trial, or run some trials first")
    assert not list(Path().glob("*.jsonl"))


def test_the_hours_follow_from_the_time_of_a_trial_and_how_many_run_at_a_time(run):
    lines = run("--dry-run", "--seconds-per-trial", "30m", "--n-jobs", 3).out.splitlines()
    assert lines[1] == "10 hours of trials, 30 min each; done in 3.5 hours with 3 at a time"


def test_gpus_are_counted_with_all_workers_of_a_trial(run):
    ray = ("--ray", "--dry-run", "--seconds-per-trial", "30m", "--gpus-per-trial")
    half = run(*ray, 0.5, "--max-concurrent", 8).out.splitlines()[1]
    assert half.endswith("5 GPU-hours, 0.5 GPUs a trial; done in 1.5 hours with 8 at a time")
    whole = run(*ray, 1, "--num-workers", 4).out.splitlines()[1]
    assert whole.endswith("40 GPU-hours, 4 GPUs a trial")  # the cluster decides how many at a time


def test_the_journal_tells_what_is_left_how_long_a_trial_takes_and_its_memory(run):
    run(sweep=(*SWEEP[:-1], 1))
    lines = run("--dry-run").out.splitlines()
    assert lines[0] == "20 trials, 10 finished, 10 left"
    assert " hours of trials, " in lines[1]
    assert lines[2] == "memory: gpu_memory_gib at most 3 in the finished trials"


def test_adaptive_seeds_may_need_more(run):
    assert run("--dry-run", sweep=(*SWEEP[:-1], "adaptive")).out.startswith("20 trials, up to 50 with further seeds\n")


def test_the_commands_are_on_standard_output_and_their_cost_beside_it(robust_lr):
    answer = robust_lr(
        "run", "--command", "echo {lr} {schedule} {seed}", *SWEEP, "--dry-run", "--seconds-per-trial", "2h"
    )
    assert len(answer.out.splitlines()) == 20
    assert "20 trials\n40 hours of trials" in answer.err


def test_the_time_of_a_trial_is_for_a_dry_run(one_line):
    assert "--seconds-per-trial is for --dry-run" in one_line("run", "tr.py:train", *SWEEP, "--seconds-per-trial", 3)


def test_the_dry_run_of_a_search_is_for_commands(one_line):
    assert "--dry-run is for --command" in one_line(
        "search", "tr.py:train", "--lr-min", 0.1, "--lr-max", 1, "--dry-run"
    )


def test_a_finished_sweep_costs_nothing():
    assert Cost(0, (), 3600.0, 1, 4).trial_hours == 0
