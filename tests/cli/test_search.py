"""`robust-lr search` as its users type it: resumable, in plain words, with the right exit code."""

from __future__ import annotations

import io
import itertools
import math
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from robust_lr.cli import main as cli
from robust_lr.journal.journal import read_journal
from robust_lr.search import LearningRateSearch
from robust_lr.search.progress import SearchProgress
from robust_lr.trials import TrialResult, TrialSpec

TRAIN = """
import math, time
def train(*, lr, schedule, seed):
    with open("calls.txt", "a") as file:
        print(lr, seed, file=file)
    return 0.3 + 0.03 * math.log(lr / 0.02) ** 2 if lr < 0.2 else float("nan")
def slow(*, lr, schedule, seed):
    time.sleep(1)
    return train(lr=lr, schedule=schedule, seed=seed)
def bad(*, lr, schedule, seed):
    raise OSError("the disk is away")
def flaky(*, lr, schedule, seed):
    with open("tries.txt", "a+") as file:
        file.write(".")
        if file.tell() <= 2:  # what the runner tries before it gives up
            raise OSError("not yet")
    return train(lr=lr, schedule=schedule, seed=seed)
def explode(*, lr, schedule, seed):
    return float("nan")
def long(*, lr, schedule, seed, total_steps):
    with open("calls.txt", "a") as file:
        print(total_steps, lr, file=file)
    return 3 / total_steps + 0.03 * math.log(lr / 0.02) ** 2
def edge(*, lr, schedule, seed):
    with open("calls.txt", "a") as file:
        print(lr, seed, file=file)
    return 0.3 + 0.03 * math.log(lr / 0.001) ** 2
"""
RANGE = ("--lr-min", "1e-4", "--lr-max", "1")
names = itertools.count()


@pytest.fixture
def search(capsys, monkeypatch, tmp_path):
    """Run `robust-lr search` in tmp_path on a function of TRAIN; return exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    module = f"search_module_{next(names)}"
    (tmp_path / f"{module}.py").write_text(TRAIN)

    def run(function, *arguments, command="search"):
        target = f"{module}:{function}" if command == "search" else function
        monkeypatch.setattr(sys, "argv", ["robust-lr", command, target, *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            cli.main()
            raise SystemExit(0)
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        return stop.value.code or 0, out, err

    return run


def test_it_ends_with_the_best_learning_rate_and_what_any_other_could_still_give(search):
    code, out, err = search("train", *RANGE, "--tolerance", "0.005")
    assert code == 0
    first, note, second, *_ = out.splitlines()
    assert note.startswith("Note: repeats have the same loss to the last bit")
    found = re.fullmatch(r"Best learning rate: (\S+) \(loss (\S+), (\d+) trials\)", first)
    assert found
    assert 0.3 <= float(found[2]) <= 0.305
    bound = re.match(r"No learning rate from 0.0001 to \S+ is better by more than (\S+), if the loss is convex", second)
    assert bound
    assert float(bound[1]) <= 0.005
    assert re.search(r"From \S+ to \S+ the loss is surely within 0\.005 of the best tried; others may be, too\.\n", out)
    assert re.search(r"Training breaks at \S+, \S+ times the best\.\n", out)
    assert "Stopped: nothing in the range is better by more than the tolerance.\n" in out
    start, *trials, counts = err.splitlines()
    assert start == "search from 0.0001 to 1: schedule cosine, seed 0, minimize the loss"
    assert len(trials) == int(found[3])
    assert all(line.startswith(f"trial {i}: lr ") for i, line in enumerate(trials, 1))
    assert counts == f"0 results from search.jsonl, {found[3]} new"
    assert "Schedule cosine, seeds 0 to 1, minimize the loss.\n" in out
    assert "For more: a smaller --tolerance continues from these trials.\n" in out
    assert "the same command" not in out


def test_the_same_command_continues_the_search_and_then_has_nothing_to_run(search, tmp_path):
    assert search("train", *RANGE, "--tolerance", "0.1%", "--max-trials", 3)[0] == 1
    code, out, _ = search("train", *RANGE, "--tolerance", "0.1%")
    calls = (tmp_path / "calls.txt").read_text().splitlines()
    assert code == 0
    assert f"{len(calls)} trials" in out
    assert len(set(calls)) == len(calls)
    counts = f"{len(calls)} results from search.jsonl, 0 new\n"
    assert search("train", *RANGE, "--tolerance", "0.1%")[1:] == (out, counts)
    assert (tmp_path / "calls.txt").read_text().splitlines() == calls


def test_its_journal_can_be_analyzed(search):
    search("train", *RANGE)
    _, out, err = search("search.jsonl", command="analyze")
    assert "best learning rate 0.0" in " ".join(out.lower().split())
    assert err == ""
    assert "Run next            the command of the search again: it prints its answer, without training" in out
    assert "Grid for" not in out and len(out.splitlines()) < 10


def test_it_says_why_when_it_stops_without_a_bound(search):
    code, out, _ = search("explode", *RANGE)
    assert code == 1
    assert out.startswith("No learning rate has a finite loss (")
    assert "How much another learning rate could gain is unknown: no loss is finite.\n" in out
    assert "Stopped: every learning rate diverged.\n" in out


def test_a_function_that_always_fails_ends_the_search_with_the_reason_and_exit_code_one(search):
    code, out, err = search("bad", *RANGE)
    assert code == 1
    assert out.startswith("No learning rate has a finite loss (0 trials)\n")
    assert re.search(r"Stopped: trials at lr = \S+, \S+ and \S+ failed; 3 failures end a search\.\n", out)
    assert "warning: 3 of 3 trials failed and count as missing; the first: OSError: the disk is away (" in err


def test_only_results_are_counted(search):
    _, out, err = search("flaky", *RANGE, "--tolerance", "0.005")
    _, first, second, *results, _ = err.splitlines()
    assert "attempt 1 of 3 failed; retrying: OSError: not yet" in first and "attempt 2 of 3" in second
    assert all(line.startswith(f"trial {i}: lr ") for i, line in enumerate(results, 1))
    assert f"{len(results)} trials" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([*RANGE, "--tolerance", "none"], "error: tolerance must be a positive number"),
        (["--lr-min", "1", "--lr-max", "0.1"], "error: lr_min must be below lr_max"),
        ([*RANGE, "--schedule", "cosin"], "error: "),
        ([*RANGE, "--start", "7"], "error: start must be a finite number"),
        ([*RANGE, "--start", "0.1", "--start-factor", "1"], "error: start_factor must be a finite number > 1"),
        ([*RANGE, "--start-factor", "2"], "error: start_factor is the spread of a start: give start too"),
        ([*RANGE, "--horizons", "0.1,1"], "error: --horizons are shares of --total-steps: give it too"),
        ([*RANGE, "--horizons", "0.1,1", "--total-steps", "100"], "error: total_steps needs a training function that"),
        ([*RANGE, "--noise", "nan"], "error: noise must be a finite number >= 0, got nan"),
        ([*RANGE, "--address", "auto"], "--address is for --ray"),
        ([], "--lr-min"),
    ],
)
def test_wrong_usage_is_exit_code_two_and_leaves_no_journal(search, tmp_path, arguments, words):
    code, out, err = search("train", *arguments)
    assert (code, out) == (2, "")
    assert words in err
    assert not (tmp_path / "search.jsonl").exists()


def test_a_start_and_a_range_that_is_too_low_find_the_way(search):
    code, out, _ = search("edge", "--lr-min", "1e-5", "--lr-max", "1e-4", "--tolerance", "0.005", "--start", "5e-5")
    assert code in (0, 1)
    assert re.match(r"Best learning rate: 0.00[01]", out)


def test_a_start_with_a_small_spread_begins_with_small_steps(search, tmp_path):
    search("train", *RANGE, "--tolerance", "0.005", "--start", "0.02", "--start-factor", "1.44")
    tried = [float(line.split()[0]) for line in (tmp_path / "calls.txt").read_text().splitlines()]
    assert tried[0] == 0.02
    assert tried[0] / tried[1] == pytest.approx(1.2, rel=1e-3)


def test_horizons_search_short_trainings_first_and_a_second_call_trains_nothing(search, tmp_path):
    arguments = [*RANGE, "--tolerance", "0.005", "--total-steps", "1000", "--horizons", "0.1,1"]
    code, out, err = search("long", *arguments)
    assert code == 0
    steps = [int(line.split()[0]) for line in (tmp_path / "calls.txt").read_text().splitlines()]
    assert steps == sorted(steps) and set(steps) == {100, 1000}
    assert f"{steps.count(1000)} trials of full length and {steps.count(100)} shorter, at the cost of" in out
    assert "100 steps" in err
    again, same, _ = search("long", *arguments)
    assert (again, same) == (code, out)
    assert len((tmp_path / "calls.txt").read_text().splitlines()) == len(steps)


def test_horizons_of_a_command_need_its_placeholder(robust_lr, one_line, tmp_path):
    lines = ["import json, math, sys", "lr, n = map(float, sys.argv[1:3])",
             "print(json.dumps({'loss': 3 / n + 0.03 * math.log(lr / 0.02) ** 2}))"]  # fmt: skip
    (tmp_path / "job.py").write_text("\n".join(lines))
    options = ["--lr-min", 0.005, "--lr-max", 0.1, "--tolerance", 0.01, "--total-steps", 1000, "--horizons", "0.1,1",
               "--noise", 0]  # fmt: skip
    command = f"{sys.executable} job.py {{lr}}"
    assert "the command has no {total_steps}: add it" in one_line(
        "search", "--command", f"{command} 5 {{schedule}}", *options
    )
    answer = robust_lr("search", "--command", f"{command} {{total_steps}} {{schedule}}", *options)
    assert answer.code == 0
    assert sorted(each.name for each in (tmp_path / "search-trials").iterdir()) == ["100-steps", "1000-steps"]


def test_without_extension_it_stays_in_the_range_and_says_that_more_lies_beyond(search, tmp_path):
    _, out, _ = search("edge", "--lr-min", "1e-5", "--lr-max", "1e-4", "--tolerance", "0.005", "--no-extend")
    assert out.startswith("Best learning rate: 0.0001 (")
    assert "The best lies on the upper end of the range: look beyond it.\n" in out
    tried = [float(line.split()[0]) for line in (tmp_path / "calls.txt").read_text().splitlines()]
    assert max(tried) == 1e-4


def test_the_seed_is_that_of_the_first_trial_at_each_learning_rate(search, tmp_path):
    assert search("train", *RANGE, "--tolerance", "0.005", "--seed", 7)[0] == 0
    seeds = [line.split()[1] for line in (tmp_path / "calls.txt").read_text().splitlines()]
    assert (set(seeds), seeds.count("8")) == ({"7", "8"}, 1)  # one repeat shows how much noise there is


def test_noise_that_hides_the_rest_ends_the_search(search):
    code, out, _ = search("train", *RANGE, "--tolerance", "0.005", "--noise", "0.05")
    assert code == 1  # the answer is not within the tolerance that was asked for
    assert re.search(
        r"Stopped: seeds differ by about 0\.05; it would take (?:about \d+|over 1000) more trials[^\n]*\.\n", out
    )
    assert "return the mean over several seeds from each training, or accept a --tolerance of " in out


def test_a_report_shows_the_answer_the_picture_and_the_trials(search, tmp_path):
    code, out, _ = search("train", *RANGE, "--tolerance", "0.005", "--report", "search.html")
    page = (tmp_path / "search.html").read_text(encoding="utf-8")
    assert code == 0 and "report: search.html\n" in out
    assert out.splitlines()[0] in page
    assert "For more: a smaller --tolerance" in page
    assert "<img " in page and "diverged" in page
    assert "--report search.html" in page


def test_a_score_is_searched_without_a_bound_if_it_moves_in_steps(search):
    code, out, _ = search("train", *RANGE, "--tolerance", "0.005", "--stepwise", "yes")
    assert code == 0
    assert "How much another learning rate could gain is unknown: the metric moves in steps.\n" in out


def test_an_interrupt_is_one_line_and_the_same_command_goes_on(tmp_path):
    (tmp_path / "module.py").write_text(TRAIN)
    # A job in the background of a shell is born with interrupts ignored.
    interruptible = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    code = f"{interruptible}\nfrom robust_lr.cli.main import main; main()"
    command = [sys.executable, "-c", code, "search", "module:slow", *RANGE]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    deadline, journal = time.monotonic() + 30, tmp_path / "search.jsonl"
    while not (journal.exists() and b'"trial"' in journal.read_bytes()) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert out == ""
    assert err.splitlines()[-1].startswith("interrupted; every finished trial is in the journal")
    assert 1 <= len(read_journal(journal).results) <= 2


def test_on_a_terminal_a_table_shows_the_bracket_the_best_the_bound_and_what_runs_next():
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=100, color_system=None)
    search = LearningRateSearch(1e-3, 0.1, tolerance=0.01)
    with SearchProgress(show=True, console=console) as progress:
        for loss in (0.4013, 0.5021, 0.6037):
            (lr,) = search.ask()
            trial = TrialSpec("cosine", lr, 0)
            progress.begin([trial], search.result)
            search.tell(lr, loss)
            progress.add(TrialResult(trial, loss, "ok"), search.result)
        lrs = search.ask(2)
        progress.begin([TrialSpec("cosine", lr, 0) for lr in lrs], search.result)
    last = screen.getvalue().rpartition("\x1b[2K")[2]  # what was drawn after all else was wiped
    assert re.search(rf" {search.result.lr:.4g} +0\.4013 +best", last)
    assert last.count("bracket") == 2
    assert last.count("next") == len(lrs)
    assert "is better by more than" in last


def test_the_help_and_the_page_agree_on_the_exit_codes(robust_lr):
    said = " ".join(robust_lr("search", "--help").out.split())
    assert "Exit codes: 0 the best is within --tolerance" in said and "limited by noise" in said.partition("; 1 ")[2]
    docs = Path(__file__).parents[2] / "docs"
    page = " ".join((docs / "explanation" / "search.md").read_text(encoding="utf-8").split())
    assert "exits with 0 if the best is within the tolerance" in page
    assert "exits with 1 if the search ended short of that: limited by noise" in page


def test_a_search_out_of_time_says_that_the_same_command_continues_and_exits_with_one(search):
    code, out, _ = search("slow", *RANGE, "--tolerance", "0.005", "--time-budget", "0.5")
    assert code == 1
    assert re.search(r"Note: the time budget of 0\.5 s is used up with 1 trial left; the same command ", out)


FULL = [*RANGE, "--tolerance", "0.005", "--total-steps", "1000", "--noise", "0"]


def check_that_the_bound_builds_on_horizons(run):
    _, first, _ = run("--horizons", "0.1,1")
    assert "keep --total-steps and leave out --horizons: an ordinary search proves a bound" in first
    n_full = int(re.search(r"(\d+) trials? of full length", first)[1])
    code, second, err = run()
    assert code == 0
    assert re.search(r"No learning rate from \S+ to \S+ is better by more than 0\.00", second)
    assert re.search(rf"^{n_full} results? from search\.jsonl, \d new$", err, re.MULTILINE)


def test_after_horizons_the_same_search_without_them_uses_the_full_length_trials_and_proves_a_bound(search):
    check_that_the_bound_builds_on_horizons(lambda *more: search("long", *FULL, *more))


def test_after_horizons_of_a_command_the_same_command_without_them_proves_a_bound(robust_lr, tmp_path):
    lines = ["import json, math, sys", "lr, n = map(float, sys.argv[1:3])",
             "print(json.dumps({'loss': 3 / n + 0.03 * math.log(lr / 0.02) ** 2}))"]  # fmt: skip
    (tmp_path / "job.py").write_text("\n".join(lines))
    command = ("--command", f"{sys.executable} {tmp_path / 'job.py'} {{lr}} {{total_steps}}")

    def run(*more):
        answer = robust_lr("search", *command, *FULL, *more)
        return answer.code, answer.out, answer.err

    check_that_the_bound_builds_on_horizons(run)


def test_a_prior_is_used_at_each_horizon_with_the_tokens_of_its_length(search, tmp_path):
    def valley(lr):
        return 0.03 * math.log(lr / 0.02) ** 2

    rows = [
        f"{tokens},{batch},{lr},{3 + valley(lr / (batch / 64) ** 0.3) + 0.0005 * math.sin(1e5 * lr)}"
        for tokens in (1e8, 2e8, 4e8, 8e8, 1.6e9, 3.2e9)
        for batch in (32, 64, 128, 256)
        for lr in (0.02 * 2**k for k in range(-4, 5))
    ]
    (tmp_path / "runs.csv").write_text("\n".join(["tokens,batch_size,lr,loss", *rows]))
    group = ("--group-by", "tokens,batch_size")
    assert search("runs.csv", *group, "--output", "prior.json", command="learn")[0] == 0
    code, out, _ = search(
        "long", *RANGE, "--tolerance", "0.005", "--total-steps", 1000, "--horizons", "0.2,1", "--prior", "prior.json",
        "--at", "tokens=2e9,batch_size=64",
    )  # fmt: skip
    assert code == 0 and "Stopped: " in out
    tried = [line.split() for line in (tmp_path / "calls.txt").read_text().splitlines()]
    assert [steps for steps, _ in tried][:: len(tried) - 1] == ["200", "1000"]
    assert all(0.005 < float(lr) < 0.08 for _, lr in tried)  # where the prior expects the best, not all over the range
    plain = search(
        "long", *RANGE, "--tolerance", "0.005", "--total-steps", 1000, "--prior", "prior.json", "--at", "a=1"
    )
    assert plain[0] == 2
