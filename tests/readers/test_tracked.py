"""Runs of trackers as a table: settings in names, learning rates of histories, texts without control characters."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robust_lr.exceptions import DataError
from robust_lr.readers._tracked import History, TrackedRun, settings_in
from robust_lr.readers._tracked_tables import TrackedRuns


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("lr_0.1_seed_3", {"lr": "0.1", "seed": "3"}),
        ("cnn-lr1e-3", {"lr": "1e-3"}),
        ("learning_rate=0.01,batch_size=32", {"learning_rate": "0.01", "batch_size": "32"}),
        ("model=resnet_lr=0.1/seed=0", {"model": "resnet", "lr": "0.1", "seed": "0"}),
        ("lr=0.001_seed0", {"lr": "0.001", "seed": "0"}),
        ("lr=1e-3-seed=0", {"lr": "1e-3", "seed": "0"}),
        ("lr=0.001__seed=0", {"lr": "0.001", "seed": "0"}),
        ("seed=3-lr=1e-3", {"lr": "1e-3", "seed": "3"}),
        ("model=vit-b16_lr0.1_s2", {"model": "vit-b16", "lr": "0.1"}),
        ("wd=0.1_lr=0.001_s2", {"wd": "0.1", "lr": "0.001"}),
        ("LR.05", {"lr": ".05"}),
        ("color0.5_nlr3 shlr_2", {}),
        ("lr0.1abc", {}),
        ("", {}),
    ],
)
def test_settings_in_a_name(name, found):
    assert settings_in(name) == found


@given(lr=st.floats(1e-9, 10), seed=st.integers(0, 10**6))
def test_what_a_name_says_is_what_was_written(lr, seed):
    ours = f"lr={lr!r}"
    joined = [f"{ours}{between}" for between in (f",seed={seed}", f"_seed{seed}", f"-seed={seed}", f"__seed={seed}")]
    for name in (f"run_lr{lr!r}_seed{seed}", f"seed_{seed}/lr-{lr!r}", f"seed={seed} - {ours}", *joined):
        assert {key: float(text) for key, text in settings_in(name).items()} == {"lr": lr, "seed": seed}


@given(st.lists(st.floats(1e-9, 1), min_size=1), st.lists(st.floats(), min_size=1))
def test_of_a_history_the_highest_rate_and_the_last_of_all_else(rates, losses):
    history = History()
    for name, values in (("lr", rates), ("loss", losses)):
        for step, value in enumerate(values):
            history.add(name, value, step)
    assert history.last["lr"] == max(rates) and repr(history.last["loss"]) == repr(losses[-1])
    assert (history.peaks == {"lr"}) == (len(set(rates)) > 1)
    assert history.steps == {"lr": len(rates) - 1, "loss": len(losses) - 1}


def test_a_run_with_endless_settings_is_refused():
    run = TrackedRun(run_id="a", config={str(i): i for i in range(10_001)})
    with pytest.raises(DataError, match="run a has more than 10000 settings"):
        TrackedRuns(runs=[run], tool="a tracker").table()


def test_runs_without_any_metric_make_a_table_too():
    table = TrackedRuns(runs=[TrackedRun(run_id="a", name="lr_0.1")], tool="a tracker").table()
    assert table.rows[0].cells["config/lr"] == "0.1" and math.isnan(float(table.rows[0].steps.get("loss", math.nan)))
