"""What a worker carries: its results survive the driver, its checkpoints belong to its experiment and to its code."""

from __future__ import annotations

import math

import pytest

from robust_lr import Constant, TrialSpec
from robust_lr.journal.outbox import Outbox
from robust_lr_ray._checkpoints import trial_checkpoint
from robust_lr_ray._work_item import Work

SPEC = TrialSpec("constant", 0.5, 0)
SCHEDULES = {"constant": Constant()}


def stop_halfway(*, lr, schedule, seed):
    trial_checkpoint().save({"step": 1})
    raise OSError("the file server is away")


def go_on(*, lr, schedule, seed):
    state = trial_checkpoint().load()
    return 0.0 if state is None else float(state["step"])


def halve(*, lr, schedule, seed):
    return lr / 2


def give_nan(*, lr, schedule, seed):
    return math.nan


def test_a_result_is_left_for_the_next_driver_and_a_failure_is_not(tmp_path):
    outbox = Outbox(str(tmp_path / "results"), "x")
    for train, losses in ((halve, [0.25]), (give_nan, [math.inf]), (stop_halfway, [])):
        Work.of(train, SCHEDULES, label="x", outbox=outbox).evaluate(SPEC)
        assert [result.loss for result in outbox.take()] == losses


def test_a_checkpoint_is_not_continued_by_another_experiment_nor_by_edited_code(tmp_path, monkeypatch):
    def loss(train, label="x"):
        return Work.of(train, SCHEDULES, label=label, checkpoints=str(tmp_path)).evaluate(SPEC).loss

    assert math.isnan(loss(stop_halfway))
    assert loss(go_on, "another") == 0.0
    assert loss(go_on) == 0.0, "the label is the same, the code is not"
    monkeypatch.setattr("robust_lr_ray._work_item.fingerprint_of", lambda train: {"m.py:train": "1"})
    assert math.isnan(loss(stop_halfway))
    assert loss(go_on) == 1.0, "as it was"


@pytest.mark.parametrize("checkpoints", [None, "folder"])
def test_without_checkpoints_the_label_is_all_there_is(checkpoints):
    label = Work.of(halve, SCHEDULES, label="x", checkpoints=checkpoints).label
    assert (label == "x") == (checkpoints is None)
