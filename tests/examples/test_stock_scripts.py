"""Stock scripts of three libraries, with at most three lines changed, and the pages: the rates are the closed form."""

import contextlib
import difflib
import functools
import json
import math
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from robust_lr import CommandTask, parse_schedule
from tests.examples.changes import CHANGES, SCHEDULE, changed_text, stock_text
from tests.examples.record import rates_of
from tests.hf.tiny import QUIET as OF_HF
from tests.hf.tiny import cheap_collections
from tests.lightning.tiny import QUIET as OF_LIGHTNING

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "integrations"))),
    "OMP_NUM_THREADS": "1",
}
RECORD = ROOT / "tests" / "examples" / "record.py"
LIBRARIES = sorted(CHANGES)
pytestmark = [
    *(pytest.mark.filterwarnings(line) for line in [*OF_HF, *OF_LIGHTNING]),
    pytest.mark.filterwarnings("ignore:.*log_every_n_steps"),
]

# Three epochs of ten batches on one rank. The arguments of a longer run, and what continues from step 16.
ARGUMENTS = {
    "hf": "--output_dir out --per_device_train_batch_size 4 --num_train_epochs 3 --learning_rate 0.01 --save_steps 8 "
    "--use_cpu --report_to none --disable_tqdm True",
    "lightning": "",
    "accelerate": "",
}
RESUME = {
    "hf": "--resume_from_checkpoint out/checkpoint-16",
    "lightning": "--ckpt_path checkpoints/epoch=1-step=16.ckpt",
    "accelerate": "--resume_from_checkpoint step_16",
}
FOUR_EPOCHS = {"hf": "--num_train_epochs 4", "lightning": "--max_epochs 4", "accelerate": "--epochs 4"}
ACCUMULATED = {
    "hf": "--gradient_accumulation_steps 4",
    "lightning": "--accumulate 4",
    "accelerate": "--gradient_accumulation_steps 4",
}


def closed_form(n_steps, lr=0.01):
    schedule = parse_schedule(SCHEDULE)
    return [lr * float(schedule(step, n_steps)) for step in range(n_steps)]


def all_equal(rates, expected):
    """Each parameter group of each step has the expected rate."""
    assert len(rates) == len(expected)
    for found, one in zip(rates, expected, strict=True):
        assert found == pytest.approx([one] * len(found), rel=1e-12, abs=0)
    return True


def run_in(folder, library, arguments="", stop_before=None, text=None):
    script = folder / f"train_{library}.py"
    script.write_text(text or changed_text(library))
    with contextlib.chdir(folder):
        return rates_of(script, [*ARGUMENTS[library].split(), *arguments.split()], stop_before)


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory):
    """The folder of a library's run that was killed before step 18, and its rates until then."""

    @functools.cache
    def run(library):
        folder = tmp_path_factory.mktemp(library)
        return folder, run_in(folder, library, stop_before=18)

    return run


@pytest.mark.parametrize("library", LIBRARIES)
def test_at_most_three_lines_of_the_stock_script_change(library):
    old, new = stock_text(library).splitlines(), changed_text(library).splitlines()
    changed = [
        line for line in difflib.unified_diff(old, new, n=0, lineterm="") if line[0] == "+" and line[:3] != "+++"
    ]
    assert 1 <= len(changed) <= 3
    assert all(len(line) <= 1 + 120 for line in changed), "as many columns as the house allows"


@pytest.mark.parametrize("library", LIBRARIES)
def test_the_rate_of_each_step_is_the_closed_form_also_after_a_resume_in_the_middle_of_an_epoch(library, interrupted):
    folder, rates = interrupted(library)
    assert all_equal(rates, closed_form(30)[:18])
    assert all_equal(run_in(folder, library, RESUME[library]), closed_form(30)[16:])


@pytest.mark.parametrize("library", LIBRARIES)
def test_accumulated_gradients_make_a_step_of_the_schedule_for_each_step_of_the_optimizer(library, tmp_path):
    assert all_equal(run_in(tmp_path, library, ACCUMULATED[library]), closed_form(3 * 3))


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_longer_run_from_a_checkpoint_is_an_error_or_does_what_the_script_says(library, interrupted):
    folder, _ = interrupted(library)
    longer = f"{RESUME[library]} {FOUR_EPOCHS[library]}"
    with pytest.raises(Exception, match="saved with total_steps=30, this scheduler has 40"):
        run_in(folder, library, longer)
    stretched = changed_text(library, 'on_new_horizon="stretch"')
    assert all_equal(run_in(folder, library, longer, text=stretched), closed_form(40)[16:])


@pytest.mark.slow  # two more trainings of a Trainer
def test_what_a_resumed_trainer_learns_is_that_of_the_uninterrupted_run(interrupted, tmp_path, capsys):
    def final(folder, arguments=""):
        capsys.readouterr()
        run_in(folder, "hf", arguments)
        return json.loads(capsys.readouterr().out.strip().splitlines()[-1])["eval_loss"]

    assert final(interrupted("hf")[0], RESUME["hf"]) == final(tmp_path)


COMMANDS = {
    "hf": "--learning_rate {lr} --seed {seed} --output_dir {trial_dir} --max_steps 12 --save_strategy no --use_cpu "
    "--report_to none",
    "lightning": "--lr {lr} --seed {seed}",
}


@pytest.mark.slow  # each trial imports a library
@pytest.mark.parametrize(("library", "metric"), [("hf", "eval_loss"), ("lightning", "val_loss")])
def test_a_script_is_a_command_whose_metric_and_divergence_are_read(library, metric, tmp_path, monkeypatch):
    script = tmp_path / "train.py"
    text = changed_text(library).replace(f'"{SCHEDULE}"', 'os.environ["ROBUST_LR_SCHEDULE"]')
    script.write_text(text.replace('"""\n\n', '"""\n\nimport os\n', 1))
    monkeypatch.setenv("PYTHONPATH", ENVIRONMENT["PYTHONPATH"])
    task = CommandTask(
        f"{sys.executable} {script} {COMMANDS[library]}",
        metric=metric,
        trials_dir=tmp_path / "trials",
        trial_timeout=200,
    )
    loss = {name: task(lr=0.01, schedule=parse_schedule(name), seed=0)[metric] for name in ("cosine", "linear")}
    assert loss["cosine"] != loss["linear"]
    assert all(0 < value < 10 for value in loss.values())
    assert math.isnan(task(lr=3e37, schedule=parse_schedule("cosine"), seed=0)[metric])


@pytest.mark.slow  # two processes that import a library each; tests/hf and tests/torch have the parts in less time
@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("more", ["", "accumulated"])
def test_two_ranks_have_the_closed_form_also_after_a_resume_in_the_middle_of_an_epoch(library, more, tmp_path):
    n_steps = 15 if not more else 3 * 3  # five batches an epoch and rank; they make three steps of two
    accumulated = ACCUMULATED[library].replace("4", "2") if more else ""
    script = tmp_path / "train.py"
    script.write_text(changed_text(library))

    def torchrun(*arguments):
        devices = ["--devices", "2"] if library == "lightning" else []
        words = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone", RECORD]
        words += ["rates", script, *ARGUMENTS[library].split(), *devices, *accumulated.split(), *arguments]
        with subprocess.Popen(
            [str(word) for word in words],
            cwd=tmp_path,
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        ) as process:
            try:
                output, _ = process.communicate(timeout=200)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                raise
        assert process.returncode == 0, output
        return [json.loads((tmp_path / f"rates.{rank}").read_text()) for rank in (0, 1)]

    by_rank = torchrun()
    assert all(all_equal(rates, closed_form(n_steps)) for rates in by_rank)
    resume = {"hf": ["--resume_from_checkpoint", "out/checkpoint-8"]}
    resume["lightning"] = ["--ckpt_path", str(next((tmp_path / "checkpoints").glob("*step=8.ckpt"), ""))]
    resume["accelerate"] = ["--resume_from_checkpoint", "step_12" if more else "step_8"]
    by_rank = torchrun(*resume[library])
    first = {"hf": 8, "lightning": 8, "accelerate": 7 if more else 8}[library]
    assert all(all_equal(rates, closed_form(n_steps)[first:]) for rates in by_rank)


@pytest.mark.parametrize(
    ("page", "prints"),
    [
        ("tutorials/huggingface", r"2 learning rates 0.001..0.01; 2 seeds; 8 results, 0 diverged"),
        ("tutorials/lightning", r"\{'train_loss': \d"),
        ("how-to/accelerate", r'\[0.0\]\n(.*\n)*\{"loss": \d.\d+\}'),
    ],
    ids=["huggingface", "lightning", "accelerate"],
)
def test_the_python_of_a_page_runs_and_prints_what_it_should(page, prints, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    names = {}
    with cheap_collections():
        for code in re.findall(r"```python\n(.*?)```", (ROOT / "docs" / f"{page}.md").read_text(), re.DOTALL):
            exec(compile(code, f"{page}.md", "exec"), names)
    assert re.search(prints, capsys.readouterr().out)
