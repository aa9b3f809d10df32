"""`robust-lr run`: a sweep that continues, grows, and says why it cannot begin."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest

from robust_lr.journal.journal import read_journal
from tests.cli.command_line import (
    PACKABLE,
    TRAIN,
    n_calls,
    said,
    sweep_arguments,
)


def test_a_sweep_runs_continues_and_grows_without_a_trial_run_twice(robust_lr, module):
    arguments = f"{module()}:train"
    answer = robust_lr(*sweep_arguments(arguments, journal="j.jsonl"))
    assert answer.code == 0
    assert "j.jsonl: 10 results; look again with: robust-lr analyze j.jsonl" in said(answer)
    assert n_calls() == 10
    assert robust_lr(*sweep_arguments(arguments, journal="j.jsonl")).code == 0
    assert n_calls() == 10
    robust_lr(*sweep_arguments(arguments, journal="j.jsonl", **{"n-points": 9}))
    assert n_calls() == 18
    robust_lr(*sweep_arguments(arguments, journal="j.jsonl", seeds=3, **{"n-points": 9}))
    assert n_calls() == 27
    assert len(set(Path("calls.txt").read_text().splitlines())) == 27
    assert len(read_journal("j.jsonl").results) == 27


def test_a_grid_is_grown_by_adding_an_option_to_the_old_command(robust_lr, module):
    function = f"{module()}:train"
    old = {"lr-min": 1e-3, "journal": "j.jsonl"}
    robust_lr(*sweep_arguments(function, **old))
    assert n_calls() == 5 * 2
    for options, n_lrs in (
        ({"extend-above": 1}, 6),
        ({"extend-above": 1, "refine": 1}, 11),
        ({"extend-above": 1, "refine": 1, "extend-below": 2}, 15),
        ({"extend-above": 1, "refine": 2, "extend-below": 2}, 29),
    ):
        robust_lr(*sweep_arguments(function, **old, **options))
        assert n_calls() == len(set(Path("calls.txt").read_text().splitlines())) == n_lrs * 2
        assert len(read_journal("j.jsonl").header.learning_rates) == n_lrs


def test_a_function_without_a_telling_name_runs_with_a_label(robust_lr, one_line, module):
    function = f"{module('train = lambda *, lr, schedule, seed: lr')}:train"
    assert "--label" in one_line(*sweep_arguments(function, journal="j.jsonl"))
    robust_lr(*sweep_arguments(function, journal="j.jsonl", label="first try"))
    assert read_journal("j.jsonl").header.train == "first try"


def test_a_killed_sweep_runs_only_what_is_left(robust_lr, module):
    arguments = sweep_arguments(f"{module()}:train", journal="j.jsonl")
    robust_lr(*arguments)
    lines = Path("j.jsonl").read_text().splitlines(keepends=True)
    Path("j.jsonl").write_text("".join(lines[:7]) + lines[7][:20])
    Path("calls.txt").unlink()
    robust_lr(*arguments)
    assert n_calls() == 4


def test_the_function_may_stand_in_a_file_or_inside_another_object(robust_lr, module, tmp_path):
    name = module()
    folder = tmp_path / "deep"
    folder.mkdir()
    (folder / f"{name}_too.py").write_text(TRAIN)
    assert robust_lr(*sweep_arguments(f"deep/{name}_too.py:train", journal="a.jsonl")).code == 0
    assert robust_lr(*sweep_arguments(f"{folder / name}_too.py:train", journal="b.jsonl")).code == 0
    assert robust_lr(*sweep_arguments(f"{name}:train.twice", journal="c.jsonl")).code == 0


def test_commas_inside_brackets_belong_to_the_schedule(robust_lr, module):
    schedules = "constant, wsd(0.2, shape=1-sqrt),warmup(0.1)+polynomial(power=2, floor=0.1) ,cosine"
    robust_lr(*sweep_arguments(f"{module()}:train", journal="j.jsonl", schedules=schedules))
    assert list(read_journal("j.jsonl").header.schedules) == [
        "constant", "wsd(cooldown=0.2, shape=1-sqrt)", "warmup(0.1)+polynomial(power=2, floor=0.1)", "cosine",
    ]  # fmt: skip


def test_a_ratio_stands_for_the_number_of_points(robust_lr, module):
    options = {"n-points": None, "ratio": 10, "journal": "j.jsonl"}
    robust_lr(*sweep_arguments(f"{module()}:train", **options))
    assert read_journal("j.jsonl").header.learning_rates == (0.01, 0.1, 1)


def test_two_processes_give_the_same_journal_as_one(robust_lr, module):
    name = module()
    robust_lr(*sweep_arguments(f"{name}:train", journal="one.jsonl"))
    robust_lr(*sweep_arguments(f"{name}:train", journal="two.jsonl", **{"n-jobs": 2}))
    one, two = ({r.spec: r.loss for r in read_journal(f"{n}.jsonl").results} for n in ("one", "two"))
    assert one == two
    assert len(one) == 10


def without_trials(err):
    """What stderr says besides its line for each trial."""
    return [line for line in err.splitlines() if not line.startswith("trial ")]


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_packed_sweep_gives_the_same_journal_and_says_how_it_was_packed(robust_lr, module, jobs):
    function = f"{module(PACKABLE)}:task"
    alone = robust_lr(*sweep_arguments(function, journal="one.jsonl")).err
    assert without_trials(alone) == ["0 results from one.jsonl, 10 new"]
    trials = [line.split(":")[0] for line in alone.splitlines() if line.startswith("trial ")]
    assert trials == [f"trial {i}/10" for i in range(1, 11)]
    answer = robust_lr(*sweep_arguments(function, journal="packed.jsonl", **{"n-jobs": jobs}), "--packed")
    counts, choice = "0 results from packed.jsonl, 10 new", f"packed, 5 slots in each of {jobs}: 7.0 times as fast"
    assert (answer.code, without_trials(answer.err)) == (0, [choice, counts])
    one, packed = ({r.spec: r.loss for r in read_journal(f"{n}.jsonl").results} for n in ("one", "packed"))
    assert one == packed
    assert len(one) == 10
    assert not logging.getLogger("robust_lr").handlers


def test_a_function_that_cannot_be_packed_is_run_all_the_same(robust_lr, module):
    answer = robust_lr(*sweep_arguments(f"{module()}:train", journal="j.jsonl"), "--packed")
    assert (answer.code, n_calls()) == (0, 10)
    warning, _ = without_trials(answer.err)
    assert warning.startswith("warning: training sequentially: ")


@pytest.mark.parametrize(
    ("text", "where", "says"),
    [
        ("", "cli_no_such_module:train", "No module named 'cli_no_such_module'"),
        ("", "none.py:train", "no file none.py in "),
        ("", "NAME", "expected module:function or file.py:function"),
        ("", "NAME:", "expected module:function or file.py:function"),
        ("", ":train", "expected module:function or file.py:function"),
        ("", ".NAME:train", "cannot import"),
        ("", "NAME:train", "has no 'train'"),
        (TRAIN, "NAME:train.thrice", "has no 'train.thrice'"),
        (TRAIN, "NAME:number", "must be callable as function(*, lr, schedule, seed), got 7"),
        ("import cli_no_such_dependency", "NAME:train", "No module named 'cli_no_such_dependency'"),
        ("from math import cosinus", "NAME:train", "cannot import name 'cosinus'"),
        ("def train(:", "NAME:train", "SyntaxError"),
        ("\n\nx = 1 / 0", "NAME:train", "ZeroDivisionError: division by zero"),
        ("\n\nx = 1 / 0", "NAME:train", ".py, line 3"),
        ("raise ValueError('a\\nb')", "NAME:train", "ValueError: a"),
    ],
)
def test_a_function_that_cannot_be_had_says_why_in_one_line(one_line, module, text, where, says):
    assert says in one_line(*sweep_arguments(where.replace("NAME", module(text))))
    assert not Path("sweep.jsonl").exists()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"schedules": "cosine,nope"}, "unknown schedule 'nope'"),
        ({"schedules": ","}, "the schedules must be distinct, and at least one"),
        ({"schedules": "cosine,cosine"}, "distinct"),
        ({"schedules": "cosine(floor=0.1"}, "cannot read"),
        ({"lr-min": -1}, "lr_min"),
        ({"n-points": 0}, "n_points must be a whole number of at least 1"),
        ({"n-points": None, "ratio": 1}, "max_ratio must be a finite number > 1"),
        ({"n-points": None, "ratio": 0}, "max_ratio must be a finite number > 1"),
        ({"journal": "no/such/folder/j.jsonl"}, "cannot open the journal"),
        ({"journal": "."}, "cannot open the journal"),
    ],
)
def test_a_sweep_that_cannot_begin_says_why_in_one_line(one_line, module, changes, says):
    assert says in one_line(*sweep_arguments(f"{module()}:train", **changes))
    assert not Path("calls.txt").exists()


WRONG = {"seeds": 0, "n-jobs": 0, "refine": -1, "extend-above": "two", "n-points": "few"}


@pytest.mark.parametrize("changes", [{"ratio": 2}, {"n-points": None}, *({name: text} for name, text in WRONG.items())])
def test_wrong_options_of_a_sweep_are_wrong_usage(robust_lr, module, changes):
    assert robust_lr(*sweep_arguments(f"{module()}:train", **changes)).code == 2
    assert not Path("calls.txt").exists()


def test_a_function_that_fails_at_once_stops_the_sweep_with_its_error(robust_lr, module):
    answer = robust_lr(*sweep_arguments(f"{module()}:bad"))
    *attempts, error = without_trials(answer.err)
    assert (answer.code, answer.out) == (1, "")
    assert error.startswith("error: train failed on each of the first 3 trials")
    assert "MemoryError: too small a machine" in error and "line 9)" in error
    assert len(attempts) == 3 * 2 and all("too small a machine" in attempt for attempt in attempts)


def test_some_failed_trials_are_shown_and_the_sweep_goes_on(robust_lr, module):
    answer = robust_lr(*sweep_arguments(f"{module()}:half_bad", **{"n-points": 5, "lr-max": 1}))
    assert "\nwarning: 4 of 10 trials failed and count as missing; the first: MemoryError" in answer.err
    assert "Failed: cosine, lr 0.1, seed 0: MemoryError: too small a machine" in answer.out
    assert answer.out.count("Failed: ") == 3 and "\nand 1 more\n" in answer.out


def test_a_sweep_in_which_all_diverges_is_told_as_a_result(robust_lr, module):
    answer = robust_lr(*sweep_arguments(f"{module()}:explode"))
    assert "10 results, 10 diverged" in said(answer)
    assert "needed: learning rates below 0.01" in said(answer)


NOISY = """
import random
def train(*, lr, schedule, seed):
    with open("calls.txt", "a") as file:
        print(lr, seed, file=file)
    return (lr - 0.1) ** 2 + 0.01 * random.Random(f"{lr:.6g} {seed}").gauss(0, 1)
"""


def test_adaptive_seeds_say_what_they_saved_and_continue(robust_lr, module):
    arguments = sweep_arguments(
        f"{module(NOISY)}:train", journal="j.jsonl", seeds="adaptive", tolerance=0.05, **{"n-points": 9}
    )
    answer = robust_lr(*arguments)
    n = n_calls()
    assert 18 < n < 45
    assert f"adaptive seeds: {n} trainings instead of 45" in said(answer)
    assert f"adaptive seeds: {n} trainings instead of 45" in said(robust_lr(*arguments))
    assert n_calls() == n


def test_a_number_of_seeds_that_is_none_is_refused(one_line, module):
    said = one_line(*sweep_arguments(f"{module()}:train", seeds="adaptve"))
    assert "--seeds: expected a whole number of at least 1, or adaptive, got 'adaptve'" in said


def test_a_function_that_hangs_is_ended_by_its_time_limit(robust_lr, module):
    name = module("import time\n\ndef train(*, lr, schedule, seed):\n    time.sleep(60 * (lr == 0.1))\n    return lr\n")
    answer = robust_lr(
        "run", f"{name}:train", "--lr-min", 0.1, "--lr-max", 10, "--n-points", 3, "--schedules", "constant",
        "--seeds", 1, "--trial-timeout", "1.5s", "--max-retries", 0,
    )  # fmt: skip
    assert "1 of 3 trials failed and count as missing; the first: timed out after 1.5 s" in answer.err
    assert "2 results" in answer.out


def test_a_sweep_with_a_time_budget_says_what_is_left(robust_lr, module):
    name = module("import time\n\ndef train(*, lr, schedule, seed):\n    time.sleep(0.1)\n    return lr + seed\n")
    words = [
        "run", f"{name}:train", "--lr-min", 0.1, "--lr-max", 10, "--n-points", 9, "--schedules", "constant",
        "--seeds", 2,
    ]  # fmt: skip
    part = robust_lr(*words, "--time-budget", "0.35")
    assert "the time budget of 0.35 s is used up with" in said(part) and "the same command" in said(part)
    n_left = 18 - int(re.search(r"(\d+) results, 0 diverged", part.out)[1])
    next_run = f"Run next the same run command again (in Python: the same call): {n_left} trials are left"
    for answer in (part, robust_lr("analyze", "sweep.jsonl")):
        assert next_run in " ".join(said(answer).split())
        assert "more learning rates" not in answer.out and "add " not in answer.out and "Until then" not in answer.out
    assert "18 results" in robust_lr(*words).out


@pytest.mark.parametrize("wrong", ["0", "soon", "1w", "nan"])
def test_a_time_that_is_none_is_refused(robust_lr, wrong):
    answer = robust_lr("run", "train:train", "--time-budget", wrong)
    assert answer.code == 2
    assert "expected a time above 0, such as 90, 30m or 2h" in answer.err
