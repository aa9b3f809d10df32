"""The checkpoint of a trial: what was saved last is what comes back, and nothing else ever does."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys

import pytest
import torch

from robust_lr import RobustLRError
from robust_lr.exceptions import DataError, RobustLRWarning
from robust_lr_ray._checkpoints import checkpointing, trial_checkpoint
from robust_lr_torch import AnnealedLR

DIGEST = "3a47b2f5d1781ad1"


def test_what_was_saved_last_comes_back_in_another_process(tmp_path):
    weight = torch.nn.Parameter(torch.randn(3))
    optimizer = torch.optim.SGD([weight], lr=0.5, momentum=0.9)
    scheduler = AnnealedLR(optimizer, "cosine", 10)
    with checkpointing(tmp_path / "checkpoints", DIGEST):
        for step in range(3):
            weight.grad = torch.ones(3)
            optimizer.step()
            scheduler.step()
            trial_checkpoint().save(
                {
                    "weight": weight.detach(),
                    "optimizer": optimizer.state_dict(),
                    "scheduler": scheduler.state_dict(),
                    "rng": torch.get_rng_state(),
                    "step": step + 1,
                }
            )
    code = (
        "import sys; from robust_lr_ray._checkpoints import checkpointing, trial_checkpoint\n"
        "with checkpointing(sys.argv[1], sys.argv[2]):\n"
        "    state = trial_checkpoint().load()\n"
        "print(state['step'], state['weight'].tolist(), state['scheduler'])"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "checkpoints"), DIGEST]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60).stdout
    assert said.strip() == f"3 {weight.tolist()} {scheduler.state_dict()}"


def test_where_no_runner_keeps_checkpoints_nothing_is_kept(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    trial_checkpoint().save({"step": 1})
    with checkpointing(None, DIGEST) as checkpoint:
        checkpoint.save({"step": 2})
        assert checkpoint.load() is None
        checkpoint.remove()
    assert trial_checkpoint().load() is None
    assert not list(tmp_path.iterdir())


def test_trials_do_not_see_each_others_checkpoints(tmp_path):
    with checkpointing(tmp_path, "a" * 16) as outer:
        outer.save({"step": 1})
        with checkpointing(tmp_path, "b" * 16):
            assert trial_checkpoint().load() is None
        assert trial_checkpoint().load() == {"step": 1}


def test_a_writer_that_is_killed_leaves_the_state_before_and_nothing_after_the_end(tmp_path):
    code = (
        "import itertools, sys, torch; from robust_lr_ray._checkpoints import checkpointing\n"
        "with checkpointing(sys.argv[1], sys.argv[2]) as checkpoint:\n"
        "    for step in itertools.count():\n"
        "        checkpoint.save({'step': step, 'weights': torch.full((300_000,), float(step))})\n"
        "        print(step, flush=True)"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", code, str(tmp_path), DIGEST]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as writer:
        while int(writer.stdout.readline()) < 20:
            pass
        writer.send_signal(signal.SIGKILL)
    with checkpointing(tmp_path, DIGEST) as checkpoint:
        state = checkpoint.load()
        assert state["step"] >= 20 and set(state["weights"].tolist()) == {state["step"]}
        checkpoint.remove()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("damage", ["cut off", "garbage", "empty", "of another trial", "of another program"])
def test_a_file_that_cannot_be_used_is_not_and_the_trial_starts_over_with_a_warning(tmp_path, damage):
    file, other = tmp_path / f"{DIGEST}.pt", tmp_path / "other.pt"
    with checkpointing(tmp_path, "other") as checkpoint:
        checkpoint.save({"step": 7})
    if damage == "of another trial":
        shutil.copy(other, file)
    elif damage == "of another program":
        torch.save({"state": {"step": 7}}, file)
    else:
        whole = other.read_bytes()
        file.write_bytes({"cut off": whole[: len(whole) // 2], "garbage": b"\x80\x02garbage", "empty": b""}[damage])
    with checkpointing(tmp_path, DIGEST) as checkpoint:
        with pytest.warns(RobustLRWarning, match=f"{DIGEST}.pt cannot be used, the trial starts over: "):
            assert checkpoint.load() is None
        checkpoint.save({"step": 1})
        assert checkpoint.load() == {"step": 1}


def test_a_state_that_could_not_be_read_back_is_refused_when_it_is_saved(tmp_path):
    with checkpointing(tmp_path, DIGEST) as checkpoint:
        with pytest.raises(DataError, match=r"^a saved state may hold tensors and plain values only: .*Path"):
            checkpoint.save({"folder": tmp_path})
        assert not list(tmp_path.iterdir())


def test_a_place_that_is_no_folder_is_an_error_in_one_line():
    said = r"^checkpoints need a folder that every node mounts, got 's3://bucket/sweep'$"
    with pytest.raises(RobustLRError, match=said), checkpointing("s3://bucket/sweep", DIGEST):
        pass
