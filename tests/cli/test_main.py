"""The command line as its users type it: the right figures, the right exit code, and never a traceback."""

from __future__ import annotations

import itertools
import json
import logging
import math
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from robust_lr.cli import main as cli
from robust_lr.exceptions import RobustLRWarning
from robust_lr.journal.journal import read_journal
from robust_lr.report.words import conclusion
from robust_lr.theory import grid_guarantee

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
    return {"loss": lr, "validation_loss": (lr - 0.1) ** 2 + 0.01 * seed} if lr < 0.9 else float("inf")
"""
names = itertools.count()


class Answer:
    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err


@pytest.fixture
def robust_lr(capsys, monkeypatch, tmp_path):
    """Run the command line in tmp_path, in this process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["robust-lr", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            cli.main()
            raise SystemExit(0)
        out, err = capsys.readouterr()
        code = stop.value.code or 0
        assert "Traceback" not in out + err
        return Answer(code, out, err)

    return run


@pytest.fixture
def one_line(robust_lr):
    """Run what cannot work, and return the one line that says why."""

    def run(*arguments, code=2):
        answer = robust_lr(*arguments)
        assert answer.code == code
        assert answer.out == ""
        assert answer.err.startswith("error: ")
        assert answer.err.count("\n") == 1
        return answer.err.strip()

    return run


@pytest.fixture
def module(tmp_path):
    """Write a module with a name of its own and return that name."""

    def write(text=TRAIN):
        name = f"cli_module_{next(names)}"
        (tmp_path / f"{name}.py").write_text(text)
        return name

    return write


def write(name, text):
    Path(name).write_text(text)
    return name


def said(answer):
    """The words of an answer, without the layout."""
    return " ".join(answer.out.split())


# --- the program itself


def test_the_version_and_the_help_are_there(robust_lr):
    assert re.fullmatch(r"\d+\.\d+\.\d+\n", robust_lr("--version").out)
    answer = robust_lr("--help")
    assert answer.code == 0
    assert all(command in answer.out for command in ("plan", "run", "analyze", "demo"))
    assert robust_lr().out.count("plan") >= 1


@pytest.mark.parametrize(
    "arguments",
    [["fly"], ["plan"], ["analyze"], ["run"], ["plan", "--schedule", "cosine", "--lr-min", "x"], ["analyze", "--nope"]],
)
def test_wrong_usage_is_exit_code_two(robust_lr, arguments):
    answer = robust_lr(*arguments)
    assert answer.code == 2
    assert answer.err


def test_the_console_script_sets_the_exit_code_of_the_process(tmp_path):
    (tmp_path / "good.csv").write_text(GOOD)
    (tmp_path / "edge.csv").write_text("lr,seed,loss\n1,0,1\n2,0,2\n3,0,3\n")
    script = Path(sys.executable).with_name("robust-lr")
    expected = {("analyze", "good.csv"): 0, ("analyze", "edge.csv"): 1, ("analyze", "none.csv"): 2}
    for arguments, code in expected.items():
        done = subprocess.run(
            [script, *arguments], check=False, cwd=tmp_path, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == code
        assert "Traceback" not in done.stderr
        assert (done.stderr == "") == (code < 2)


def test_an_interrupt_says_that_nothing_is_lost(robust_lr, module, monkeypatch):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "run_sweep", interrupted)
    answer = robust_lr(
        "run", f"{module()}:train", "--lr-min", 0.01, "--lr-max", 1, "--schedules", "cosine", "--n-points", 3
    )
    assert answer.code == 130
    assert answer.err == "interrupted; every finished trial is in the journal, and the same command continues\n"


# --- plan


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
            "plan", "--schedule", schedule, "--lr-min", 1e-4, "--lr-max", 1, "--tolerance", tolerance,
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
    plan = planned(robust_lr("plan", "--schedule", "cosine", "--lr-min", 1e-4, "--lr-max", 1, "--tolerance", 0.25))
    assert plan["ratio"] > plan["constant"]


def test_a_plan_takes_its_tolerance_as_a_fraction_or_in_percent(robust_lr):
    options = ["plan", "--schedule", "cosine", "--lr-min", 1e-4, "--lr-max", 1, "--tolerance"]
    assert robust_lr(*options, "50%").out == robust_lr(*options, "0.5").out
    answer = robust_lr(*options, "1%")
    assert answer.code == 0
    assert "tolerance 0.01:" in answer.out


def test_a_plan_for_one_learning_rate_is_that_one(robust_lr):
    answer = robust_lr("plan", "--schedule", "cosine", "--lr-min", 0.1, "--lr-max", 0.1, "--tolerance", 0.25)
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
        ({"tolerance": 0}, "tolerance"),
        ({"tolerance": -1}, "tolerance"),
        ({"tolerance": "nan"}, "tolerance"),
        ({"tolerance": "few"}, "tolerance must be a positive number such as 0.003 or 1%, got 'few'"),
        ({"tolerance": 1e-9}, "points"),
        ({"tolerance": 1e-30}, "ratio"),
        ({"schedule": "warmup(steps=20000)+cosine"}, "warm-up"),
    ],
)
def test_a_plan_that_cannot_be_says_why_in_one_line(one_line, changes, says):
    options = {"schedule": "cosine", "lr-min": 1e-4, "lr-max": 1, "tolerance": 0.1} | changes
    assert says in one_line("plan", *itertools.chain(*((f"--{k}", v) for k, v in options.items())))


# --- run


def sweep_arguments(function, **changes):
    options = {"lr-min": 0.01, "lr-max": 1, "schedules": "cosine", "n-points": 5, "seeds": 2} | changes
    return ["run", function, *itertools.chain(*((f"--{k}", v) for k, v in options.items() if v is not None))]


def n_calls():
    return len(Path("calls.txt").read_text().splitlines())


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


def test_a_grid_is_grown_by_adding_an_option_to_the_old_command(robust_lr, one_line, module):
    function = f"{module()}:train"
    old = {"lr-min": 1e-3, "journal": "j.jsonl"}
    robust_lr(*sweep_arguments(function, **old))
    says = one_line(*sweep_arguments(function, **old | {"lr-max": 10, "n-points": 6}))
    assert "leaves out learning rates" in says and "--refine 1 or --extend-above 1" in says
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
    robust_lr(*sweep_arguments(f"{name}:train", journal="two.jsonl", jobs=2))
    one, two = ({r.spec: r.loss for r in read_journal(f"{n}.jsonl").results} for n in ("one", "two"))
    assert one == two
    assert len(one) == 10


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_packed_sweep_gives_the_same_journal_and_says_how_it_was_packed(robust_lr, module, jobs):
    function = f"{module(PACKABLE)}:task"
    assert robust_lr(*sweep_arguments(function, journal="one.jsonl")).err == ""
    answer = robust_lr(*sweep_arguments(function, journal="packed.jsonl", jobs=jobs), "--packed")
    assert (answer.code, answer.err) == (0, f"packed, 5 slots in each of {jobs}: 7.0 times as fast\n")
    one, packed = ({r.spec: r.loss for r in read_journal(f"{n}.jsonl").results} for n in ("one", "packed"))
    assert one == packed
    assert len(one) == 10
    assert not logging.getLogger("robust_lr").handlers


def test_a_function_that_cannot_be_packed_is_run_all_the_same(robust_lr, module):
    with pytest.warns(RobustLRWarning, match="running one after the other"):
        answer = robust_lr(*sweep_arguments(f"{module()}:train", journal="j.jsonl"), "--packed")
    assert (answer.code, answer.err, n_calls()) == (0, "", 10)


@pytest.mark.parametrize(
    ("text", "where", "says"),
    [
        ("", "cli_no_such_module:train", "No module named 'cli_no_such_module'"),
        ("", "none.py:train", "No module named 'none'"),
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


@pytest.mark.parametrize("changes", [{"ratio": 2}, {"n-points": None}, {"seeds": 0}, {"jobs": 0}, {"n-points": "few"}])
def test_wrong_options_of_a_sweep_are_wrong_usage(robust_lr, module, changes):
    assert robust_lr(*sweep_arguments(f"{module()}:train", **changes)).code == 2
    assert not Path("calls.txt").exists()


def test_a_function_that_fails_at_once_stops_the_sweep_with_its_error(one_line, module):
    line = one_line(*sweep_arguments(f"{module()}:bad"), code=1)
    assert "MemoryError: too small a machine" in line


def test_some_failed_trials_are_shown_and_the_sweep_goes_on(robust_lr, module):
    with pytest.warns(RobustLRWarning, match="4 of 10 trials failed"):
        answer = robust_lr(*sweep_arguments(f"{module()}:half_bad", **{"n-points": 5, "lr-max": 1}))
    assert "Failed: cosine, lr 0.1, seed 0: MemoryError: too small a machine" in answer.out
    assert answer.out.count("Failed: ") == 3 and "\nand 1 more\n" in answer.out


def test_a_sweep_in_which_all_diverges_is_told_as_a_result(robust_lr, module):
    answer = robust_lr(*sweep_arguments(f"{module()}:explode"))
    assert "10 results, 10 diverged" in said(answer)
    assert "needed: learning rates below 0.01" in said(answer)


# --- analyze


def test_a_good_table_gives_the_ratio_and_exit_code_zero(robust_lr):
    write("good.csv", GOOD)
    answer = robust_lr("analyze", "good.csv", "--tolerance", 0.0501)
    assert answer.code == 0
    assert "Under sweep a ratio of 8, 3 trials, costs you at most 0.0500" in said(answer)
    assert answer.err == ""


def test_a_journal_is_recognised_by_its_content_whatever_its_name(robust_lr, module):
    robust_lr(*sweep_arguments(f"{module()}:train", journal="runs.csv"))
    assert "10 results" in said(robust_lr("analyze", "runs.csv"))


def test_the_language_models_are_understood_as_a_cliff_without_recommendation(robust_lr):
    write("llama.csv", LLAMA)
    answer = robust_lr("analyze", "llama.csv", "--report", "r.html", "--json", "a.json")
    assert answer.code == 1
    assert "Stability cliff: between 0.002 and 0.005 the loss jumps from 2.9534 to 7.5850" in said(answer)
    assert "One seed" in said(answer)
    assert json.loads(Path("a.json").read_text())["schedules"][0]["cliff"] == 0.005
    assert "Stability cliff" in Path("r.html").read_text()


@pytest.mark.parametrize(
    "table",
    [
        "lr,loss\n0.1,1\n",
        "lr,loss\n0.1,1\n0.2,2\n",
        "lr,loss\n0.1,nan\n0.2,inf\n0.3,-inf\n",
        "lr,loss\n0.1,1\n0.2,1\n0.3,1\n0.4,1\n",
        "lr,loss,seed\n0.1,0,0\n0.2,0,0\n0.3,0,0\n0.1,0,1\n0.2,0,1\n0.3,0,1\n",
        "lr,loss\n0.1,-1\n0.2,-2\n0.3,-1\n",
        "lr,loss,seed\n0.1,-1,a\n0.2,-2,a\n0.3,-1,a\n0.1,-3,b\n0.2,-1,b\n0.3,inf,b\n",
        "lr,loss,seed\n0.1,1,0\n0.2,2,1\n0.4,3,2\n",
        "lr,loss\n0.1,1e308\n0.2,-1e308\n0.4,1e-308\n0.8,2e307\n",
        "lr,loss\n1e-100,1\n1,0.5\n1e100,1\n",
        "lr,loss\n1e-30,1\n1,1e-300\n1e30,1\n1e90,1e200\n",
        "lr,loss\n1,1\n1.0000000001,0.5\n1.0000000002,1\n",
        'lr,loss,schedule\n1,1,"<script>alert(1)</script>"\n2,0.5,"<script>alert(1)</script>"\n',
        "lr,loss,schedule\n1,1,[/red]\n2,0.5,[/red]\n4,1,[/red]\n1,1,a$b$\\x$\n2,0.5,a$b$\\x$\n4,1,a$b$\\x$\n",
        'lr,loss,schedule\n1,1,"two\nlines"\n2,0.5,"two\nlines"\n4,1,"two\nlines"\n',
        "lr,loss,schedule\n0.1,nan,a\n0.2,nan,a\n0.1,1,b\n0.2,2,b\n0.3,3,c\n",
        "lr,loss\n0.1,1\n0.2,\n0.3,\n",
        "lr,loss\n" + "".join(f"{2.0**i},{abs(i - 7)}\n" for i in range(15)) * 2,
    ],
)
def test_any_table_of_losses_gives_a_report_a_figure_file_and_no_traceback(robust_lr, table):
    write("runs.csv", table)
    answer = robust_lr("analyze", "runs.csv", "--report", "r.html", "--json", "a.json")
    assert answer.code in (0, 1)
    assert answer.err == ""
    content = json.loads(Path("a.json").read_text(), parse_constant=pytest.fail)
    assert (answer.code == 0) == any(s["recommendation"] for s in content["schedules"])
    assert "<script" not in Path("r.html").read_text()
    assert "SweepResult(" in answer.out


@pytest.mark.parametrize(
    ("content", "options", "says"),
    [
        (b"", [], "no column 'lr', 'loss'"),
        (b"\x00\xff\xfe\x80", [], "as CSV"),
        (b"SQLite format 3\x00\x10\x00\xff", [], "as CSV"),
        (b"{}", [], "not a journal"),
        (b'{"record": "sweep"}\n', [], "line 1 of the journal"),
        (b"[1, 2]", [], "no column"),
        (b"lr,loss\n0.1,1\nx,1\n", [], "line 3: lr must be a number"),
        (GOOD.encode(), ["--lr-column", "eta"], "no column 'eta'; its columns are lr, seed, loss"),
        (GOOD.encode(), ["--loss-column", "val"], "no column 'val'"),
        (GOOD.encode(), ["--schedule-column", "x"], "no column 'x'"),
        (GOOD.encode(), ["--seed-column", "x"], "no column 'x'"),
        (GOOD.encode(), ["--group-by", "x,y"], "no column 'x', 'y'"),
        (GOOD.encode(), ["--confidence-level", "95"], "confidence_level must be"),
        (b"lr,loss,seed\n1,1,0\n1,2,0\n", [], "two losses, 1 and 2"),
        (b"lr,loss,lr\n1,1,0\n", [], "more than one column 'lr'"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_line_that_says_where(one_line, content, options, says):
    Path("runs").write_bytes(content)
    assert says in one_line("analyze", "runs", *options)


def test_a_missing_file_and_a_folder_are_one_line_each(one_line, tmp_path):
    assert "No such file" in one_line("analyze", "none.csv")
    assert "Is a directory" in one_line("analyze", tmp_path)


@pytest.mark.parametrize("option", ["--report", "--json"])
def test_a_place_that_cannot_be_written_is_one_line(robust_lr, option):
    write("good.csv", GOOD)
    answer = robust_lr("analyze", "good.csv", option, "no/such/folder/file")
    assert answer.code == 2
    assert "error: cannot write no/such/folder/file: No such file or directory" in answer.err
    assert answer.err.count("\n") == 1


def test_an_error_of_the_system_that_is_not_about_writing_is_not_said_to_be(robust_lr, monkeypatch):
    def no_memory(*arguments, **options):
        raise OSError(12, "Cannot allocate memory")

    write("good.csv", GOOD)
    monkeypatch.setattr(cli, "analyze_sweep", no_memory)
    answer = robust_lr("analyze", "good.csv")
    assert (answer.code, answer.err) == (2, "error: [Errno 12] Cannot allocate memory\n")


@pytest.mark.parametrize("arguments", [["analyze", "good.csv"], ["--version"], ["--help"]])
def test_a_reader_that_has_seen_enough_ends_it_quietly(tmp_path, arguments):
    (tmp_path / "good.csv").write_text(GOOD)
    script = Path(sys.executable).with_name("robust-lr")
    with subprocess.Popen(
        [script, *arguments], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        process.stdout.close()
        assert process.stderr.read() == ""


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "", "%", "1%%", "one", "1e400", "0%", "1 percent"])
@pytest.mark.parametrize("command", ["analyze", "run"])
def test_a_tolerance_that_is_none_is_wrong_usage_and_says_how_to_write_one(robust_lr, module, command, text):
    write("good.csv", GOOD)
    arguments = ["analyze", "good.csv"] if command == "analyze" else sweep_arguments(f"{module()}:train")
    answer = robust_lr(*arguments, "--tolerance", text)
    assert answer.code == 2
    assert "such as 0.003 or 1%" in " ".join(answer.err.replace("│", " ").split())
    assert not Path("calls.txt").exists()


@pytest.mark.parametrize(("text", "value"), [("0.003", 0.003), ("1%", 0.01), ("2.5 %", 0.025), ("1e-2", 0.01)])
def test_a_tolerance_in_percent_is_of_the_lowest_loss(robust_lr, text, value):
    for low, high, factor in ((4.0, 8.0, 4.0), (-4.0, -1.0, 4.0), (0.0, 3.0, 1.0)):
        write("runs.csv", f"lr,loss\n1,{high}\n2,{low}\n4,{high}\n8,inf\n")
        robust_lr("analyze", "runs.csv", "--tolerance", text, "--json", "a.json")
        tolerance = json.loads(Path("a.json").read_text())["tolerance"]
        assert tolerance == pytest.approx(value * factor if "%" in text else value)


def test_groups_are_analysed_apart_in_their_natural_order(robust_lr):
    cells = itertools.product((100, 50, 2000), zip(LRS, VALLEY, strict=True), range(2))
    rows = [f"{lr},{s},{v + s + 10 * (b == 50)},{b},m" for b, (lr, v), s in cells]
    write("runs.csv", "lr,seed,loss,steps,model\n" + "\n".join(rows))
    answer = robust_lr(
        "analyze", "runs.csv", "--group-by", "steps, model", "--json", "a.json", "--report", "r.html",
        "--tolerance", 0.0501,
    )  # fmt: skip
    assert answer.code == 0
    content = json.loads(Path("a.json").read_text())
    assert list(content) == ["steps = 50, model = m", "steps = 100, model = m", "steps = 2000, model = m"]
    assert content["steps = 50, model = m"]["schedules"][0]["best_loss"] == pytest.approx(11.5)
    assert "Over the groups" in answer.out
    report = Path("r.html").read_text()
    assert all(f"<h2>{name}</h2>" in report for name in content)


def test_one_group_without_an_answer_does_not_keep_the_others_from_theirs(robust_lr):
    rows = [f"{lr},{s},{v + s},good" for lr, v in zip(LRS, VALLEY, strict=True) for s in range(2)]
    rows += ["1,0,inf,bad", "2,0,nan,bad"]
    write("runs.csv", "lr,seed,loss,which\n" + "\n".join(rows))
    assert robust_lr("analyze", "runs.csv", "--group-by", "which", "--report", "r.html").code == 0


@pytest.mark.parametrize("option", ["--group-by", "--lr-column", "--schedule-column", "--seed-column"])
def test_a_journal_has_no_columns(robust_lr, module, option):
    robust_lr(*sweep_arguments(f"{module()}:train", journal="j.jsonl"))
    answer = robust_lr("analyze", "j.jsonl", option, "seed")
    assert answer.code == 2
    assert "is for tables; j.jsonl is a journal" in answer.err


def test_a_journal_is_judged_by_the_metric_that_is_asked_for(robust_lr, module):
    write_journal = sweep_arguments(f"{module(WITH_METRIC)}:train", journal="j.jsonl")
    robust_lr(*write_journal)
    for options, best in (([], 0.01), (["--loss-column", "loss"], 0.01), (["--loss-column", "validation_loss"], 0.1)):
        robust_lr("analyze", "j.jsonl", "--json", "a.json", *options)
        content = json.loads(Path("a.json").read_text())
        assert content["schedules"][0]["best_lr"] == best
        assert content["n_diverged"] == 2
        assert content["notes"] == (["judged by the metric 'validation_loss'"] if best == 0.1 else [])


def test_a_metric_that_a_journal_does_not_have_is_answered_with_those_it_has(robust_lr, module, one_line):
    robust_lr(*sweep_arguments(f"{module(WITH_METRIC)}:train", journal="j.jsonl"))
    line = one_line("analyze", "j.jsonl", "--loss-column", "val")
    assert line == "error: the sweep has no metric 'val'; it has validation_loss"


def test_the_report_needs_nothing_beside_it_and_says_how_it_was_made(robust_lr):
    write("it's good.csv", GOOD)
    answer = robust_lr("analyze", "it's good.csv", "--report", "my [b]report.html", "--tolerance", "5%")
    assert "report: my [b]report.html" in answer.out
    report = Path("my [b]report.html").read_text()
    assert not re.search(r"""(?:src|href)\s*=\s*["'](?!data:)""", report)
    assert "http" not in report
    assert report.count("<img") == report.count("data:image/svg+xml;base64,") == 2
    shown = re.search(r"<pre>(.*?)</pre>", report)[1].replace("&#x27;", "'").replace("&quot;", '"')
    assert shown == """robust-lr analyze 'it'"'"'s good.csv' --report 'my [b]report.html' --tolerance 5%"""


def test_the_json_of_a_file_is_what_the_library_gives(robust_lr):
    from robust_lr import SweepResult
    from robust_lr.analysis import analyze_sweep

    write("good.csv", GOOD)
    robust_lr("analyze", "good.csv", "--json", "a.json", "--tolerance", 0.1, "--confidence-level", 0.9)
    analysis = analyze_sweep(SweepResult.from_csv("good.csv"), tolerance=0.1, confidence_level=0.9)
    content = json.loads(Path("a.json").read_text())
    assert content == analysis.to_dict() | {"conclusion": conclusion(analysis)}


def test_every_field_of_the_json_file_is_documented(robust_lr, pytestconfig):
    write("good.csv", GOOD)
    robust_lr("analyze", "good.csv", "--json", "a.json")
    page = (pytestconfig.rootpath / "docs" / "analysis-json.md").read_text(encoding="utf-8")
    for field in json.loads(Path("a.json").read_text()):
        assert f"`{field}`" in page, field


def test_a_hundred_learning_rates_are_analysed_in_a_moment(robust_lr):
    rows = [f"{10 ** (i / 20)},{s},{math.hypot(i - 40, 1) + s}" for i in range(100) for s in range(5)]
    write("runs.csv", "lr,seed,loss\n" + "\n".join(rows))
    assert robust_lr("analyze", "runs.csv").code == 0
