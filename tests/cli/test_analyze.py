"""`robust-lr analyze`: the right figures from journals and tables, in words, JSON and HTML."""

from __future__ import annotations

import itertools
import json
import math
import re
from pathlib import Path

import pytest

from robust_lr.report.answer import conclusion
from tests.cli.command_line import (
    GOOD,
    LLAMA,
    LRS,
    VALLEY,
    WITH_METRIC,
    said,
    sweep_arguments,
    write,
)


def test_a_good_table_gives_the_ratio_and_exit_code_zero(robust_lr):
    write("good.csv", GOOD)
    answer = robust_lr("analyze", "good.csv", "--tolerance", 0.0501)
    assert answer.code == 0
    assert "3 trials (ratio 8) lose at most 0.0500 (measured 0.0500" in said(answer)
    assert answer.err == ""


def test_a_journal_is_recognized_by_its_content_whatever_its_name(robust_lr, module):
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
    assert re.search(r"\d+ results?, \d+ diverged\.\n", answer.out)


@pytest.mark.parametrize(
    ("content", "options", "says"),
    [
        (b"", [], "no column 'lr', 'loss'"),
        (b"\x00\xff\xfe\x80", [], "as CSV"),
        (b"SQLite format 3\x00\x10\x00\xff", [], "not a database"),
        (b"{}", [], "neither a journal nor a table"),
        (b'{"record": "sweep"}\n', [], "line 1 of the journal"),
        (b"[1, 2]", [], "its JSON is no list of records"),
        (b"lr,loss\n0.1,1\nx,1\n", [], "line 3: lr must be a number"),
        (GOOD.encode(), ["--lr-name", "eta"], "no column 'eta'; its columns are lr, seed, loss"),
        (GOOD.encode(), ["--metric", "val"], "no column 'val'"),
        (GOOD.encode(), ["--schedule-name", "x"], "no column 'x'"),
        (GOOD.encode(), ["--seed-name", "x"], "no column 'x'"),
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
    assert "holds no results: looked for a journal" in one_line("analyze", tmp_path)


@pytest.mark.parametrize("option", ["--report", "--json"])
def test_a_place_that_cannot_be_written_is_one_line(robust_lr, option):
    write("good.csv", GOOD)
    answer = robust_lr("analyze", "good.csv", option, "no/such/folder/file")
    assert answer.code == 2
    assert "error: cannot write no/such/folder/file: No such file or directory" in answer.err
    assert answer.err.count("\n") == 1


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "", "%", "1%%", "one", "1e400", "0%", "1 percent"])
@pytest.mark.parametrize("command", ["analyze", "run"])
def test_a_tolerance_that_is_none_is_wrong_usage_and_says_how_to_write_one(robust_lr, module, command, text):
    write("good.csv", GOOD)
    arguments = ["analyze", "good.csv"] if command == "analyze" else sweep_arguments(f"{module()}:train")
    answer = robust_lr(*arguments, "--tolerance", text)
    assert answer.code == 2
    assert "such as 0.003, or a share such as '1%'" in answer.err
    assert not Path("calls.txt").exists()


@pytest.mark.parametrize(("text", "value"), [("0.003", 0.003), ("1%", 0.01), ("2.5 %", 0.025), ("1e-2", 0.01)])
def test_a_tolerance_in_percent_is_of_the_lowest_loss(robust_lr, text, value):
    for low, high, factor in ((4.0, 8.0, 4.0), (-4.0, -1.0, 4.0), (0.0, 3.0, 1.0)):
        write("runs.csv", f"lr,loss\n1,{high}\n2,{low}\n4,{high}\n8,inf\n")
        robust_lr("analyze", "runs.csv", "--tolerance", text, "--json", "a.json")
        tolerance = json.loads(Path("a.json").read_text())["tolerance"]
        assert tolerance == pytest.approx(value * factor if "%" in text else value)


def test_groups_are_analyzed_apart_in_their_natural_order(robust_lr):
    cells = itertools.product((100, 50, 2000), zip(LRS, VALLEY, strict=True), range(2))
    rows = [f"{lr},{s},{v + s + 10 * (b == 50)},{b},m" for b, (lr, v), s in cells]
    write("runs.csv", "lr,seed,loss,steps,model\n" + "\n".join(rows))
    answer = robust_lr(
        "analyze", "runs.csv", "--group-by", "steps, model", "--json", "a.json", "--report", "r.html",
        "--tolerance", 0.0501,
    )  # fmt: skip
    assert answer.code == 0
    content = json.loads(Path("a.json").read_text())
    assert content.pop("pooled")["n_sweeps"] == 3
    assert list(content) == ["steps = 50, model = m", "steps = 100, model = m", "steps = 2000, model = m"]
    assert content["steps = 50, model = m"]["schedules"][0]["best_loss"] == pytest.approx(11.5)
    assert "Answer for each group" in answer.out
    report = Path("r.html").read_text()
    assert all(f"<h2>{name}</h2>" in report for name in content)


def test_one_group_without_an_answer_does_not_keep_the_others_from_theirs(robust_lr):
    rows = [f"{lr},{s},{v + s},good" for lr, v in zip(LRS, VALLEY, strict=True) for s in range(2)]
    rows += ["1,0,inf,bad", "2,0,nan,bad"]
    write("runs.csv", "lr,seed,loss,which\n" + "\n".join(rows))
    assert robust_lr("analyze", "runs.csv", "--group-by", "which", "--report", "r.html").code == 0


@pytest.mark.parametrize("option", ["--group-by", "--lr-name", "--schedule-name", "--seed-name", "--where"])
def test_a_journal_has_no_columns(robust_lr, module, option):
    robust_lr(*sweep_arguments(f"{module()}:train", journal="j.jsonl"))
    answer = robust_lr("analyze", "j.jsonl", option, "seed")
    assert answer.code == 2
    assert "is for tables; j.jsonl is a journal" in answer.err


def test_a_journal_is_judged_by_the_metric_that_is_asked_for(robust_lr, module):
    write_journal = sweep_arguments(f"{module(WITH_METRIC)}:train", journal="j.jsonl")
    robust_lr(*write_journal)
    for options, best in (([], 0.01), (["--metric", "loss"], 0.01), (["--metric", "validation_loss"], 0.1)):
        robust_lr("analyze", "j.jsonl", "--json", "a.json", *options)
        content = json.loads(Path("a.json").read_text())
        assert content["schedules"][0]["best_lr"] == best
        assert content["n_diverged"] == 2
        assert content["notes"] == (["judged by the metric 'validation_loss'"] if best == 0.1 else [])


def test_the_only_metric_of_a_journal_without_a_loss_is_taken(robust_lr, module):
    code = "def train(*, lr, schedule, seed):\n    return {'val_loss': lr + seed}\n"
    robust_lr(*sweep_arguments(f"{module(code)}:train", journal="j.jsonl"), "--metric", "val_loss")
    answer = robust_lr("analyze", "j.jsonl")
    assert "judged by the metric 'val_loss'" in answer.out and "10 results" in answer.out


def test_tasks_that_were_taken_for_seeds_are_refused_with_the_command_to_type(robust_lr, one_line):
    rows = [
        "batch_size,lr,loss",
        *(f"{b},{lr},{3 + 1 / b + (lr - 0.01) ** 2}" for b in (16, 32, 64) for lr in (0.001, 0.003, 0.01, 0.03, 0.1)),
    ]
    write("runs.csv", "\n".join(rows))
    line = one_line("analyze", "runs.csv", "--tolerance", 0.01)
    assert "they differ in batch_size" in line and "--group-by batch_size " in line
    assert robust_lr("analyze", "runs.csv", "--group-by", "batch_size").out.count("Next sweep") == 1


def test_a_metric_that_a_journal_does_not_have_is_answered_with_those_it_has(robust_lr, module, one_line):
    robust_lr(*sweep_arguments(f"{module(WITH_METRIC)}:train", journal="j.jsonl"))
    line = one_line("analyze", "j.jsonl", "--metric", "val")
    assert line.startswith("error: the sweep has no metric 'val'; it has loss, validation_loss: choose one")


def test_the_report_needs_nothing_beside_it_and_says_how_it_was_made(robust_lr):
    write("it's good.csv", GOOD)
    answer = robust_lr("analyze", "it's good.csv", "--report", "my [b]report.html", "--tolerance", "5%")
    assert "report: my [b]report.html" in answer.out
    report = Path("my [b]report.html").read_text()
    assert not re.search(r"""(?:src|href)\s*=\s*["'](?!data:)""", report)
    assert "http" not in report
    assert report.count("<img") == report.count("data:image/svg+xml;base64,") == 3
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
    page = (pytestconfig.rootpath / "docs" / "reference" / "analysis-json.md").read_text(encoding="utf-8")
    for field in json.loads(Path("a.json").read_text()):
        assert f"`{field}`" in page, field


def test_a_hundred_learning_rates_are_analyzed_in_a_moment(robust_lr):
    rows = [f"{10 ** (i / 20)},{s},{math.hypot(i - 40, 1) + s}" for i in range(100) for s in range(5)]
    write("runs.csv", "lr,seed,loss\n" + "\n".join(rows))
    assert robust_lr("analyze", "runs.csv").code == 0


WANDB = '"Name","State","seed","lr","val/loss"\n' + "".join(
    f'"r{lr}-{s}","{state}","{s}","{lr}","{loss}"\n'
    for lr, v in zip(LRS, VALLEY, strict=True)
    for s in range(3)
    for state, loss in ((("crashed", 0.001),) if s == 1 else ()) + (("finished", v + s),)
)


def test_an_export_with_crashed_runs_is_analyzed_as_it_is(robust_lr):
    write("wandb.csv", WANDB)
    write("good.csv", GOOD)
    answer = robust_lr("analyze", "wandb.csv", "--tolerance", 0.0501, "--json", "a.json")
    robust_lr("analyze", "good.csv", "--tolerance", 0.0501, "--json", "b.json")
    assert answer.code == 0 and answer.err == ""
    assert "learning rate: lr; loss: val/loss; seed: seed; state: State" in said(answer)
    assert "9 trials left out: State is crashed" in said(answer)
    exported, clean = (json.loads(Path(name).read_text()) for name in ("a.json", "b.json"))
    assert exported["schedules"] == clean["schedules"]


def test_conditions_and_repeats_are_options(robust_lr, one_line):
    write("wandb.csv", WANDB)
    assert "9 rows left out: not State=finished" in said(robust_lr("analyze", "wandb.csv", "--where", "State=finished"))
    both = ["analyze", "wandb.csv", "--where", "State=finished", "--where", "State=crashed"]
    assert "two losses" in one_line(*both) and "(--repeats)" in one_line(*both)
    best = {}
    for which in ("first", "last"):
        robust_lr(*both, "--repeats", which, "--json", "a.json")
        best[which] = json.loads(Path("a.json").read_text())["schedules"][0]["best_loss"]
    assert best["first"] < best["last"] == pytest.approx(2.0)
    assert "--where is for tables" in one_line("analyze", "--optuna", "study.db", "--where", "a=b")
    assert "where must be like" in one_line("analyze", "wandb.csv", "--where", "State")
