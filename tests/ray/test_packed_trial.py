"""A trial of Tune that is a pack has the results of the same trials alone, one row for each learning rate."""

from __future__ import annotations

import os

import pytest
from ray import tune

from robust_lr import RobustLRError, SerialRunner, run_sweep
from robust_lr.cli.demo import demo_task
from robust_lr.testing import train_quadratic
from robust_lr_ray import packed_trial, sweep_from_result_grid

LRS = [0.5, 2.0, 8.0]


def test_each_learning_rate_of_a_pack_has_its_row(ray_local, tmp_path):
    space = {"lrs": LRS, "schedule": tune.grid_search(["constant", "cosine"]), "seed": 3}
    grid = tune.Tuner(
        tune.with_resources(packed_trial(demo_task()), {"cpu": 1}),
        param_space=space,
        tune_config=tune.TuneConfig(reuse_actors=True, max_concurrent_trials=1),
        run_config=tune.RunConfig(storage_path=str(tmp_path), verbose=0),
    ).fit()
    assert not grid.errors
    alone = run_sweep(demo_task(), LRS, ["constant", "cosine"], [3], runner=SerialRunner())
    packed = sweep_from_result_grid(grid)
    assert {t.spec: t.loss for t in packed.trials()} == pytest.approx({t.spec: t.loss for t in alone.trials()})


def test_the_learning_rates_of_a_pack_that_died_are_failures(ray_local, tmp_path):
    def train(*, lr, schedule, seed):
        if lr == 8.0:
            os._exit(3)
        return lr

    trainable = tune.with_resources(packed_trial(train, engine="sequential"), {"cpu": 1})
    space = {"lrs": [0.5, 2.0, 8.0, 32.0], "schedule": "cosine", "seed": 3}
    run_config = tune.RunConfig(storage_path=str(tmp_path), verbose=0)
    sweep = sweep_from_result_grid(tune.Tuner(trainable, param_space=space, run_config=run_config).fit())
    assert {trial.spec.lr: trial.status for trial in sweep.trials()} == {
        0.5: "ok", 2.0: "ok", 8.0: "failed", 32.0: "failed",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"lr": 0.1, "schedule": "cosine", "seed": 0}, "'lrs' is missing"),
        ({"lrs": 0.1, "schedule": "cosine", "seed": 0}, "a list of distinct learning rates, got 0.1"),
        ({"lrs": [0.1, 0.1], "schedule": "cosine", "seed": 0}, "a list of distinct learning rates"),
    ],
)
def test_a_config_of_another_kind_is_said(config, said):
    with pytest.raises(RobustLRError, match=said):
        packed_trial(train_quadratic)(config)


def test_a_wrong_number_of_replicas_is_refused_before_any_trial():
    with pytest.raises(RobustLRError, match="slots must be"):
        packed_trial(demo_task(), lrs_per_trial=0)
