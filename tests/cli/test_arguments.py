"""What a user types on the command line means what it says."""

import sys

import pytest

from robust_lr.cli.arguments import import_function, split_specs
from robust_lr.exceptions import DataError
from tests.cli.command_line import GOOD, TRAIN, said, sweep_arguments, write

RANGE = ["--lr-min", "0.01", "--lr-max", "1"]
SCORED = """
import math
def train(*, lr, schedule, seed):
    error = 0.03 * math.log(lr / 0.1) ** 2 + 0.0001 * seed * lr
    return {"val_loss": 0.3 + error, "acc": 0.9 - error}
def accuracy(*, lr, schedule, seed):
    return train(lr=lr, schedule=schedule, seed=seed)["acc"]
def raises(*, lr, schedule, seed):
    if lr > 0.05:
        raise RuntimeError("CUDA error: device-side assert triggered\\nCompile with `TORCH_USE_CUDA_DSA`")
    return 1 - lr - 0.001 * seed
"""


def test_commas_inside_brackets_do_not_split_schedules():
    assert split_specs("constant, wsd(0.2, shape=1-sqrt),cosine") == ["constant", "wsd(0.2, shape=1-sqrt)", "cosine"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path


def test_a_function_is_found_by_module_or_by_file(folder):
    (folder / "my_training_a.py").write_text("def train(*, lr, schedule, seed):\n    return lr\n")
    assert import_function("my_training_a:train") is import_function("my_training_a.py:train")


def test_a_file_that_another_module_hides_is_refused_rather_than_mistaken(folder):
    (folder / "random.py").write_text("def train(*, lr, schedule, seed):\n    return lr\n")
    with pytest.raises(DataError, match="another module has the name 'random'; rename the file"):
        import_function("random.py:train")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["serch"], "unknown command 'serch'; did you mean 'search'? See: robust-lr --help"),
        (
            ["wibble"],
            "unknown command 'wibble'; known: plan, run, search, collect, analyze, check, compare, noise, learn, "
            "suggest, doctor and demo",
        ),
        (
            ["search", "t.py:train", "--tolerence", "1%"],
            "unrecognized argument '--tolerence'; did you mean '--tolerance'?",
        ),
        (["run", "t.py:train", "--schedule=cosine"], "unrecognized argument '--schedule'; did you mean '--schedules'?"),
        (["analyze", "a.csv", "--metrics", "x"], "did you mean '--metric'?"),
        (
            ["run", "t.py:train", *RANGE, "--n-points=3", "--schedules", "constant", "linear"],
            "as in --schedules constant,",
        ),
        (["analyze", "swep.csv"], "cannot read swep.csv: No such file or directory; did you mean 'sweep.csv'?"),
        (["analyze", "sweep.csv", "--confidence-level", "95"], "got 95.0; 95% is 0.95"),
        (["search", "trian.py:train", *RANGE], "no file trian.py in "),
        (["search", "NAMEE.py:train", *RANGE], "did you mean 'NAME.py'?"),
        (["search", "nowhere/t.py:train", *RANGE], "no file t.py: there is no folder "),
        (["search", "NAME.py:trian", *RANGE], "NAME.py has no 'trian'; did you mean 'train'?"),
        (
            ["search", "NAME.py:zzz", *RANGE],
            "has no 'zzz'; it has train, bad, half_bad, explode and positional",
        ),
        (["search", "NAME.py:positional", *RANGE], "positional(lr, seed) does not take schedule by keyword"),
        (["plan", "--schedule", "cosine", *RANGE, "--max-suboptimality-increase", "50"], "do you mean 50%?"),
    ],
)
def test_a_near_miss_is_named_in_one_line(one_line, module, words, says):
    write("sweep.csv", GOOD)
    name = module(TRAIN + "def positional(lr, seed):\n    return lr\n")
    words, says = ([text.replace("NAME", name) for text in texts] for texts in (words, [says]))
    assert says[0] in one_line(*words)


def test_a_metric_is_maximized_and_the_journal_says_how_to_look_again(robust_lr, module):
    name = module(SCORED)
    answer = robust_lr(*sweep_arguments(f"{name}:train", metric="acc", direction="maximize", journal="j.jsonl"))
    assert "look again with: robust-lr analyze j.jsonl --metric acc --direction maximize" in said(answer)
    assert "score 0.9" in said(answer)
    again = robust_lr("analyze", "j.jsonl", "--metric", "acc", "--direction", "maximize")
    assert "score 0.9" in said(again)
    found = robust_lr("search", f"{name}:train", *RANGE, "--metric", "acc", "--direction", "maximize")
    assert "(score 0.89999" in said(found)


def test_a_function_named_like_a_score_gets_a_note_in_both_commands(robust_lr, module):
    name = module(SCORED)
    note = "'accuracy' looks like a score, but smaller counts as better here"
    assert note in said(robust_lr(*sweep_arguments(f"{name}:accuracy", journal="j.jsonl")))
    assert f"warning: {note}" in robust_lr("search", f"{name}:accuracy", *RANGE).err


def test_a_mapping_without_a_loss_is_answered_with_its_keys(robust_lr, module):
    name = module(SCORED)
    says = "it returned 'val_loss', 'acc'; to optimize another, pass metric='val_loss' (--metric val_loss)"
    answer = robust_lr(*sweep_arguments(f"{name}:train"))
    assert answer.code == 1 and says in answer.err.splitlines()[-1]


def test_trials_that_fail_above_are_named_and_can_count_as_diverged(robust_lr, module):
    words = sweep_arguments(f"{module(SCORED)}:raises", journal="j.jsonl", **{"max-retries": 0})
    answer = robust_lr(*words)
    assert "warning: 6 of 10 trials failed and count as missing; the first: RuntimeError: CUDA error: " in answer.err
    assert "TORCH_USE_CUDA_DSA" not in answer.err + answer.out
    assert "learning rate above" not in said(answer)
    for again in (robust_lr(*words, "--failed-as-diverged"), robust_lr("analyze", "j.jsonl", "--failed-as-diverged")):
        assert "6 failed trials counted as diverged" in said(again)
