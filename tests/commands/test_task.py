"""`CommandTask`: a script without an edit is a training function, and says what went wrong in its own words."""

from __future__ import annotations

import json
import math
import os
import pickle
import re
import shlex
from pathlib import Path

import pytest

from robust_lr import CommandTask, Constant, CosineDecay, TrialSpec, parse_schedule, run_sweep, search_learning_rate
from robust_lr.exceptions import JournalError, OptionError, TrialError
from robust_lr.journal.journal import read_journal
from robust_lr.runners import evaluate_trial
from tests.commands.scripts import GPT, PYTHON, write_script

COMMAND = f"{PYTHON} train.py --lr {{lr}} --schedule {{schedule}} --seed {{seed}} --steps {{total_steps}}"
SPEC = TrialSpec("cosine", 0.5, 3)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def gpt(**options):
    write_script("train.py", GPT)
    return CommandTask(COMMAND, **{"metric": "val_loss", "total_steps": 20, "trials_dir": "trials", **options})


def python(code, **options):
    """A task that runs a few lines of Python."""
    write_script("code.py", code)
    return CommandTask(f"{PYTHON} code.py {{lr}}", **{"trials_dir": "trials", **options})


def result_of(task, spec=SPEC):
    return evaluate_trial(task, spec, parse_schedule(spec.schedule))


def test_a_script_is_swept_without_an_edit_and_keeps_all_that_it_printed():
    sweep = run_sweep(gpt(), [0.1, 1.0, 2000.0], ["constant", "cosine"], 2, metric="val_loss", journal="sweep.jsonl")
    assert sweep.n_trials == 12 and math.isinf(sweep.loss[0][2][0]), "a NaN is a divergence"
    assert sweep.loss[0][1][0] != sweep.loss[1][1][0], "the schedule reaches the script"
    assert sweep.loss[0][1][0] != sweep.loss[0][1][1], "the seed reaches the script"
    finite = [result for result in read_journal("sweep.jsonl").results if result.spec.lr < 2000]
    assert all({"step", "val_loss", "train_loss"} == set(result.metrics) for result in finite)
    again = run_sweep(gpt(), [0.1, 1.0], ["constant"], 2, metric="train_loss", journal="sweep.jsonl")
    assert again.n_trials == 4, "another metric of the same line needs no training"


def test_a_script_is_searched_without_an_edit():
    found = search_learning_rate(gpt(total_steps=10), 0.01, 10.0, tolerance=0.2, metric="val_loss")
    assert found.lr is not None and 0.01 <= found.lr <= 10 and found.n_trials >= 3


def test_every_trial_has_a_folder_with_its_command_its_log_and_what_it_wrote(folder):
    task = gpt()
    assert result_of(task).status == "ok"
    trial = task.trial_dir(lr=0.5, schedule=CosineDecay(), seed=3)
    assert trial == folder / "trials" / "cosine-lr0.5-seed3"
    assert {each.name for each in trial.iterdir()} == {"log.txt", "command.txt", "ckpt.json"}
    log = (trial / "log.txt").read_text()
    assert "step 10: val loss" in log and '"val_loss"' in log, "standard error and standard output"
    command = (trial / "command.txt").read_text().splitlines()[0]
    assert shlex.split(command)[1:4] == [str(folder / "train.py"), "--lr", "0.5"]


def test_the_environment_holds_the_values_too():
    names = ("LR", "SCHEDULE", "SEED", "TOTAL_STEPS", "TRIAL_DIR")
    code = f"""import json, os
open("env", "w").write(json.dumps([os.environ["ROBUST_LR_" + name] for name in {names}]))
print(json.dumps({{"loss": 1}}))
"""
    task = python(code, total_steps=7)
    assert task(lr=1e-05, schedule=parse_schedule("wsd(0.2)"), seed=4) == {"loss": 1.0}
    trial = task.trial_dir(lr=1e-05, schedule=parse_schedule("wsd(0.2)"), seed=4)
    assert json.loads((trial / "env").read_text()) == ["1e-05", "wsd(cooldown=0.2)", "4", "7", str(trial)]


@pytest.mark.parametrize("lr", [1e-300, 0.1 + 0.2, 3.0, 1e22])
def test_the_script_gets_the_learning_rate_to_the_last_bit(lr):
    task = CommandTask("""echo '{"loss": {lr}}'""", trials_dir="trials")
    assert task(lr=lr, schedule=Constant(), seed=0) == {"loss": lr}


def test_schedules_with_similar_texts_have_folders_of_their_own():
    task, specs = CommandTask("true"), ["cosine", "cosine(floor=0.1)", "wsd(0.2)", "warmup(0.1)+cosine"]
    names = [task.trial_dir(lr=0.1, schedule=parse_schedule(spec), seed=0).name for spec in specs] + [
        task.trial_dir(lr=0.1, schedule=text, seed=0).name for text in ("a(b)", "a-b", "a/b", "../a", "a b")
    ]
    assert len(set(names)) == len(names)
    assert all(set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789.=-_") for name in names)


@pytest.mark.parametrize(
    ("printed", "metrics"),
    [
        ('{"loss": 0.5}', {"loss": 0.5}),
        ('{"loss": 2}\n{"loss": 0.5, "n": 3}\n{"time": 1.0}\ndone', {"loss": 0.5, "n": 3.0}),
        ('{"eval": {"f1": 0.5}, "loss": 1, "name": "x", "ok": true}', {"eval/f1": 0.5, "loss": 1.0}),
        ('{"loss": 2}\n{"loss": NaN}', {"loss": math.nan}),
        ('{"loss": 2}\n{"loss": nan, "step": 3}', {"loss": math.nan, "step": 3.0}),
        ('{"loss": 2}\n{"loss":-inf}', {"loss": -math.inf}),
        ('{"loss": 2}\n{"loss": "Infinity"}', {"loss": math.inf}),
        ('{"loss": 2}\n{"loss": null}\n{broken', {"loss": math.nan}),
        ('{"loss": 2}\nINFO {"loss": 0.5, "lr": 1} done', {"loss": 0.5, "lr": 1.0}),
        ('{"loss": true}\n{"loss": 0.5}\n{"train": {"loss": 3}}', {"loss": 0.5}),
        ('{"loss": 2}\nthe "loss" is plotted', {"loss": 2.0}),
        ('{"loss": 2}\n' + '{"a":' * 3000 + "1" + "}" * 3000, {"loss": 2.0}),
    ],
)
def test_the_last_line_of_json_that_holds_the_metric_counts(printed, metrics):
    found = python(f"print({printed!r})")(lr=0.1, schedule=Constant(), seed=0)
    assert found == pytest.approx(metrics, nan_ok=True)


@pytest.mark.parametrize(
    ("last", "says"),
    [
        ("{'loss': 9.5}", "is no JSON: .*json.dumps"),
        ('{\n  "loss": 9.5\n}', "is no JSON"),
        ('{"loss": 9.5', "is no JSON"),
        ('{"loss": [1, 2]}', "must be a number, got"),
        ('{"loss": true}', "must be a number, got"),
    ],
)
def test_an_unreadable_last_line_with_the_metric_never_lets_an_earlier_step_count(last, says):
    code = f"""print('{{"loss": 2}}')\nprint({last!r})\nfor _ in range(3000): print("x" * 100)"""
    result = result_of(python(code, trial_timeout=60))
    assert result.status == "failed" and re.search(says, result.error)


def test_lines_on_standard_error_neither_count_nor_break_a_line_of_standard_output():
    code = """import json, sys
for i in range(300):
    print(json.dumps({"loss": i, "pad": "x" * 500}))
    print(json.dumps({"loss": -1}), file=sys.stderr)
"""
    assert python(code)(lr=0.1, schedule=Constant(), seed=0) == {"loss": 299.0}


@pytest.mark.parametrize(
    ("pattern", "printed", "value"),
    [
        (r"val loss (\S+)", "val loss 2.5, lr 1\nval loss 1.25, lr 1\nbye", 1.25),
        (r"val loss ([\d.]+)", "val loss 2.5\nval loss 1.25", 1.25),
        (r"val loss ([\d.]+)", "val loss 2.5\nval loss nan", math.nan),
        (r"val loss (\d+\.\d+)", "val loss 2.5\nval loss inf", math.nan),
        (r"val loss (\S+)", "val loss 2.5\nval loss -inf", math.nan),
        (r"loss ([\d.]+)", "loss 2.5\nloss 9.5e-05", 9.5e-05),
        (r"loss ([\d.]+)", "loss 2.5\nloss -nan", math.nan),
        (r"loss ([\d.]+)", "loss 2.5\nloss -1.5, epoch 3", -1.5),
        (r"loss.*?([\d.]+)", "loss=-1.5", -1.5),
        (r"loss (\d)", "loss 2.5 at -3", 2.5),
        (r"loss (\d\.\d+e-\d+)$", "lr 1e-3, loss 2.5e-01\nlr 1e-3, loss nan", math.nan),
        (r"loss ([\d.]+)", "lr 1e-5, -0.5, loss 2.5.\nepoch-3", 2.5),
        (r"^acc=([-+.\de]+)$", "acc=1e-3\nacc=x", 1e-3),
    ],
)
def test_a_pattern_reads_its_last_match_and_never_an_earlier_number_for_nan(pattern, printed, value):
    found = python(f"print({printed!r})", metric_regex=pattern)(lr=0.1, schedule=Constant(), seed=0)
    assert found == pytest.approx({"loss": value}, nan_ok=True)


def test_a_last_match_that_is_no_number_is_refused():
    for last in ("None", "1.2.3"):
        result = result_of(python(f"print('loss 2.5'); print('loss {last}')", metric_regex=r"loss ([\d.]+)"))
        assert result.status == "failed" and f"{last!r}, which is no number" in result.error


@pytest.mark.parametrize(
    ("name", "content", "metrics"),
    [
        ("m.json", '{"loss": 0.5, "steps": 10}', {"loss": 0.5, "steps": 10.0}),
        ("m.json", '{"eval": {"x": 1}, "loss": 0.5, "curve": [1, 2]}', {"loss": 0.5, "eval/x": 1.0}),
        ("m.jsonl", '{"loss": 2}\n{"loss": 0.5}\n{"time": 1}\n', {"loss": 0.5}),
        ("m.jsonl", '{"loss": 2}\n{"loss": null}\n{"time": 1}\n', {"loss": math.nan}),
        ("m.json", '[{"loss": 2}, {"loss": null}]', {"loss": math.nan}),
        ("sub/m.csv", "step,loss\n1,2.0\n2,0.5\n", {"step": 2.0, "loss": 0.5}),
        ("m.csv", "step,loss\n1,2.0\n2,nan\n", {"step": 2.0, "loss": math.nan}),
    ],
)
def test_a_file_in_the_folder_of_the_trial_may_hold_the_metric(name, content, metrics):
    code = f"import os; os.makedirs('sub', exist_ok=True); open({name!r}, 'w').write({content!r})"
    assert python(code, metric_file=name)(lr=0.1, schedule=Constant(), seed=0) == pytest.approx(metrics, nan_ok=True)


def test_a_blank_last_cell_is_an_error_and_no_earlier_row_counts():
    result = result_of(python("open('m.csv', 'w').write('step,loss\\n1,2.0\\n2,\\n')", metric_file="m.csv"))
    assert result.status == "failed" and "line 3 has no 'loss', and an earlier row is no result" in result.error


def test_the_file_of_an_earlier_attempt_is_no_result_but_its_checkpoint_stays():
    code = """import os, pathlib, sys
if os.path.exists('ckpt'): sys.exit()
pathlib.Path('ckpt').touch(); pathlib.Path('m.json').write_text('{"loss": 1}'); sys.exit(3)
"""
    task = python(code, metric_file="m.json")
    assert "exit code 3" in result_of(task).error
    second = result_of(task)
    assert second.status == "failed" and "the command wrote no file m.json" in second.error


def test_an_edited_script_does_not_find_the_checkpoints_of_the_old_one():
    assert python("open('ckpt', 'w'); print('{\"loss\": 1}')")(lr=0.1, schedule=Constant(), seed=0)
    edited = python("import os; print('{\"loss\": %d}' % os.path.exists('ckpt'))")
    assert edited(lr=0.1, schedule=Constant(), seed=0) == {"loss": 0.0}
    kept = edited.trial_dir(lr=0.1, schedule=Constant(), seed=0)
    assert (kept.with_name(f"{kept.name}.old1") / "ckpt").exists()


def test_divergence_is_said_by_a_value_an_exit_code_or_the_log():
    assert result_of(python("print('{\"loss\": NaN}')")).status == "diverged"
    assert result_of(python("raise SystemExit(7)", diverged_exit_code=7)).status == "diverged"
    assert result_of(python("raise SystemExit(8)", diverged_exit_code=7)).status == "failed"
    task = python("import sys; sys.exit('error: loss is NaN at step 3')", diverged_pattern="loss is (nan|NaN)")
    assert (result_of(task).status, result_of(task).error) == ("diverged", "the log says 'loss is NaN'")


def test_a_script_that_fails_shows_the_last_lines_of_its_log():
    result = result_of(python("print('loading')\nraise ValueError('no such data')"))
    assert result.status == "failed" and result.is_worth_retrying
    for words in ("exit code 1", "loading", "ValueError: no such data", "cosine-lr0.5-seed3/log.txt"):
        assert words in result.error
    assert result_of(python("raise RuntimeError('CUDA out of memory')")).status == "out_of_memory"


def test_a_sweep_of_a_script_that_fails_ends_with_the_error_of_the_script():
    task = python("print('loading')\n\nraise ValueError('no such data')")
    with pytest.raises(TrialError, match=r"ValueError: no such data \(.*code.py, line 3\)"):
        run_sweep(task, [0.1, 1.0], ["cosine"], 2, max_retries=0)


def test_a_wrong_name_of_the_metric_ends_the_sweep_at_once_and_says_what_was_printed():
    with pytest.raises(TrialError, match=r"holds 'val_los': it holds 'step', 'val_loss'.*did you mean 'val_loss'"):
        run_sweep(gpt(metric="val_los"), [0.1, 1.0], ["cosine"], 2, metric="val_los")
    assert len(list(Path("trials").iterdir())) == 1, "no second trial, and no retry"


def test_relative_paths_in_the_command_mean_the_folder_where_the_sweep_began(folder):
    (folder / "data").mkdir()
    write_script("data/config.json", "{}")
    code = """import os, sys
files = [word.split("=")[-1] for word in sys.argv[1:]]
print('{"loss": %d}' % sum(map(os.path.isfile, files)))
"""
    write_script("code.py", code)
    (folder / "model").mkdir()
    task = CommandTask(f"{PYTHON} ./code.py model data/config.json --config=data/config.json", trials_dir="trials")
    words = task.words(lr=0.1, schedule="cosine", seed=0)
    assert words[2:] == ["model", str(folder / "data/config.json"), f"--config={folder / 'data/config.json'}"]
    os.chdir("/")
    assert task(lr=0.1, schedule=Constant(), seed=0) == {"loss": 2.0}


def test_a_path_with_a_placeholder_means_that_folder_too_and_a_value_never_does(folder):
    for name in ("0.1", "seed-0.yaml", "wsd(cooldown=0.2)"):
        write_script(name, "")
    task = CommandTask(f"true {{lr}} --config=seed-{{seed}}.yaml {{schedule}} {'x' * 300}.y")
    words = task.words(lr=0.1, schedule=parse_schedule("wsd(0.2)"), seed=0)
    assert words[1:4] == ["0.1", f"--config={folder / 'seed-0.yaml'}", "wsd(cooldown=0.2)"]
    assert task.words(lr=0.1, schedule="cosine", seed=1)[2] == "--config=seed-1.yaml", "there is no such file"
    assert task.__robust_lr_fingerprint__()["command"] == task.command


def test_a_script_that_reads_relative_paths_runs_in_a_folder_that_is_named(folder):
    write_script("data.txt", "2.5")
    code = "print('{\"loss\": %s}' % open('data.txt').read())"
    assert "--cwd . (cwd=) runs it in this one" in result_of(python(code)).error
    assert python(code, cwd=".")(lr=0.1, schedule=Constant(), seed=0) == {"loss": 2.5}


def test_a_module_of_the_current_folder_runs_too(folder):
    (folder / "pack").mkdir()
    write_script("pack/train.py", "print('{\"loss\": 4}')")
    task = CommandTask(f"{PYTHON} -m pack.train", trials_dir="trials")
    assert task(lr=0.1, schedule=Constant(), seed=0) == {"loss": 4.0}


def test_no_shell_reads_the_command_unless_asked_for():
    words = CommandTask("echo '{lr}; $HOME' {{lr}} ${HOME} > x", trials_dir="trials")
    assert words.words(lr=0.1, schedule="cosine", seed=0) == ["echo", "0.1; $HOME", "{lr}", "${HOME}", ">", "x"]
    shell = CommandTask("""A=2; echo "{\\"loss\\": ${A}5}" | cat""", shell=True, trials_dir="trials")
    assert shell(lr=0.1, schedule=Constant(), seed=0) == {"loss": 25.0}
    quoted = CommandTask("echo {schedule}", shell=True)
    assert quoted.words(lr=0.1, schedule="wsd(0.2); rm x", seed=0)[2] == "echo 'wsd(0.2); rm x'"


@pytest.mark.parametrize(
    ("command", "options", "says"),
    [
        ("", {}, "command must be a command line"),
        ("echo 'a", {}, "no closing quotation: echo 'a"),
        ("echo {shedule}", {}, r"unknown placeholder \{shedule\}; did you mean 'schedule'\? Known: \{lr\}, "),
        ("echo {learning_rate}", {}, r"unknown placeholder \{learning_rate\}; known: \{lr\}, \{schedule\}"),
        ("echo {lr:.2e}", {}, r"takes no format: write \{lr\} for \{lr:.2e\}"),
        ("echo {total_steps}", {}, "--total-steps"),
        ("pyton train.py", {}, "no program 'pyton' to run; did you mean 'python'"),
        ("sh tran.py", {}, r"names tran.py, but there is no such file; did you mean 'train.py'\?"),
        ("true", {"metric_regex": "loss"}, "must have one group"),
        ("true", {"metric_regex": "(["}, "is no regular expression"),
        ("true", {"diverged_pattern": "(["}, "diverged_pattern is no regular expression"),
        ("true", {"metric_regex": "(.)", "metric_file": "x"}, "give one of metric_regex and metric_file"),
        ("true", {"metric_file": "../x"}, "a file in the trial's folder"),
        ("true", {"trial_timeout": 0}, "trial_timeout must be a finite number > 0"),
        ("true", {"total_steps": 0}, "total_steps must be a whole number of at least 1"),
        ("true", {"cwd": "nowhere"}, "cwd must be a folder, got 'nowhere'"),
    ],
)
def test_a_wrong_option_is_an_error_before_any_trial(command, options, says):
    write_script("train.py", "")
    with pytest.raises(OptionError, match=says):
        CommandTask(command, **options)


def test_a_journal_notices_an_edit_of_the_command_its_script_and_what_the_script_imports():
    write_script("helper.py", "SCALE = 1")
    sweep = {"grid": [0.1], "schedules": ["cosine"], "seeds": 1, "journal": "j.jsonl"}
    code = "import sys, helper\nprint('{\"loss\": %s}' % sys.argv[1])"
    run_sweep(python(code), **sweep)
    run_sweep(python(code + "  # a comment"), **sweep)
    with pytest.raises(JournalError, match=r"code.py.* changed since"):
        run_sweep(python(code.replace("%s", "1%s")), **sweep)
    with pytest.raises(JournalError, match="command changed since"):
        write_script("code.py", code)
        run_sweep(CommandTask(f"{PYTHON} code.py {{lr}} --more", trials_dir="trials"), **sweep)
    write_script("helper.py", "SCALE = 2")
    with pytest.raises(JournalError, match=r"^file helper.py changed since"):
        run_sweep(python(code), **sweep)
    write_script("helper.py", "SCALE = 1")
    run_sweep(python(code, trial_timeout=100, trials_dir="elsewhere"), **sweep)


def test_a_journal_notices_packages_around_imported_modules_and_the_main_module_of_a_package(folder):
    (folder / "pack/sub").mkdir(parents=True)
    names = ("pack/__init__.py", "pack/__main__.py", "pack/sub/__init__.py", "pack/sub/a.py", "helper.py")
    for name in names:
        write_script(name, "")
    write_script("pack/__main__.py", "import pack.sub.a")
    write_script("pack/sub/a.py", "import helper")
    module = CommandTask(f"{PYTHON} -m pack").__robust_lr_fingerprint__()
    script = python("import pack.sub.a").__robust_lr_fingerprint__()
    assert {f"file {name}" for name in names} <= set(module)
    assert {f"file {name}" for name in names if "main" not in name} <= set(script)


def test_a_task_is_a_value_that_pickles():
    task = gpt(metric_regex=r"val loss (\S+)")
    assert pickle.loads(pickle.dumps(task)) == task
    with pytest.raises(AttributeError):
        task.command = "true"
