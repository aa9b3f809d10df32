"""A command is a training function on Ray too: results, the time limit, and no process left."""

from __future__ import annotations

import pytest

from robust_lr import CommandTask, run_sweep
from robust_lr.exceptions import TrialError
from robust_lr_ray import RayRunner
from tests.commands.scripts import GPT, HANGS, PYTHON, is_alive, pids_in, wait_until, write_script


@pytest.fixture(autouse=True)
def folder(ray_local, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_command_on_ray_has_the_results_of_any_runner(folder):
    write_script("train.py", GPT)
    command = f"{PYTHON} train.py --lr {{lr}} --seed {{seed}} --steps {{total_steps}}"
    here, there = (
        CommandTask(command, metric="val_loss", total_steps=5, trials_dir=trials) for trials in ("here", "there")
    )
    sweeps = [
        run_sweep(task, [0.1, 1.0], ["constant"], 2, metric="val_loss", runner=runner)
        for task, runner in ((here, None), (there, RayRunner({"cpu": 1}, max_concurrent=2)))
    ]
    assert sweeps[0].loss.tolist() == sweeps[1].loss.tolist()
    assert len(list((folder / "there").iterdir())) == 4


def test_a_hung_command_on_ray_is_ended_by_its_time_limit(folder):
    write_script("hang.py", HANGS)
    task = CommandTask(f"{PYTHON} hang.py {folder / 'pids'}", trials_dir="trials", trial_timeout=1.0)
    with pytest.raises(TrialError, match="timed out after 1 s: about to hang"):
        run_sweep(task, [0.1], ["constant"], 1, runner=RayRunner({"cpu": 1}, max_concurrent=1), max_retries=0)
    wait_until(lambda: not any(map(is_alive, pids_in(folder / "pids"))))
