"""Trials of Tune that several workers train together."""

from __future__ import annotations

import functools
import os
import re
import signal
import time
from pathlib import Path

import pytest

from robust_lr import Constant, CosineDecay, RobustLRError, TrialDiverged, TrialSpec
from robust_lr.exceptions import OptionError
from robust_lr_ray import distributed_trial, sweep_from_result_grid
from robust_lr_ray._cells import cell_config

pytestmark = [pytest.mark.usefixtures("ray_local")]

STEPS = 6


def descend(*, lr, schedule, seed, folder=None, n_ranks=None):
    """Gradient descent on the mean over ranks of (x - rank)^2 / 2, with checkpoints; rank 1 dies once at step 3."""
    from robust_lr_ray import mean_over_ranks, rank, trial_checkpoint, world_size

    checkpoint, n_ranks = trial_checkpoint(), n_ranks or world_size()
    state = checkpoint.load() or {"step": 0, "x": 1.0 + seed}
    for step in range(state["step"], STEPS):
        kill = Path(folder or "", "kill")
        if folder and rank() == 1 and step == 3 and kill.exists():
            while not Path(folder, f"saved-{step}").exists():
                time.sleep(0.01)
            kill.unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        if folder:
            with Path(folder, f"steps-{rank()}").open("a") as notes:
                notes.write(f"{step} ")
        centers = [rank()] if world_size() > 1 else range(n_ranks)
        gradient = mean_over_ranks(sum(state["x"] - center for center in centers) / len(centers))
        state = {"step": step + 1, "x": state["x"] - lr * float(schedule(step, STEPS)) * gradient}
        checkpoint.save(state)
        if folder and rank() == 0:
            Path(folder, f"saved-{step + 1}").touch()
    return {"loss": mean_over_ranks(state["x"] ** 2), "world": world_size()}


def fit(trial, space, folder, max_failures=0):
    from ray import tune

    run_config = tune.RunConfig(
        storage_path=str(folder), verbose=0, failure_config=tune.FailureConfig(max_failures=max_failures)
    )
    return tune.Tuner(trial, param_space=space, run_config=run_config).fit()


@pytest.mark.slow
def test_a_trial_of_two_workers_one_of_which_dies_goes_on_at_its_checkpoint(tmp_path):
    storage, notes = tmp_path / "storage", tmp_path / "notes"
    notes.mkdir()
    (notes / "kill").touch()
    trial = distributed_trial(functools.partial(descend, folder=str(notes)), num_workers=2, storage_path=storage)
    grid = fit(trial, cell_config(TrialSpec("cosine", 0.25, 2), CosineDecay()), tmp_path / "tune", max_failures=1)
    (result,) = grid
    alone = descend(lr=0.25, schedule=CosineDecay(), seed=2, n_ranks=2)
    assert result.metrics["status"] == "ok"
    assert result.metrics["loss"] == pytest.approx(alone["loss"], rel=1e-12)
    assert result.metrics["world"] == 2
    assert (notes / "steps-1").read_text() == "0 1 2 3 4 5 "
    assert not list((storage / "checkpoints").iterdir()), "a finished trial leaves no checkpoint"
    assert sweep_from_result_grid(grid).n_trials == 1


@pytest.mark.slow
def test_a_worker_that_diverges_alone_ends_all_of_them_and_as_many_trials_run_as_fit(ray_local, tmp_path):
    from ray import tune

    def train(*, lr, schedule, seed):
        from robust_lr_ray import mean_over_ranks, rank

        if rank() == 1 and lr == 1.0:
            raise TrialDiverged("loss above 1e6")
        return mean_over_ranks(lr)  # waits for the other

    trial = distributed_trial(train, num_workers=2, resources_per_worker={"cpu": 3})  # one fits on 8 CPUs
    space = cell_config(TrialSpec("constant", 1.0, 0), Constant()) | {"lr": tune.grid_search([1.0, 2.0])}
    found = {result.config["lr"]: result.metrics for result in fit(trial, space, tmp_path)}
    assert (found[1.0]["status"], found[1.0]["error"]) == ("diverged", "loss above 1e6")
    assert (found[2.0]["status"], found[2.0]["loss"]) == ("ok", 2.0)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"num_workers": 0}, "num_workers must be a whole number of at least 1, got 0"),
        ({"num_workers": 2, "storage_path": "here"}, "storage_path must be an absolute path that all nodes share, got"),
        ({"num_workers": 2, "resources_per_worker": {"gpu": 0.5}}, "each worker needs a GPU of its own, got 0.5 GPUs"),
        ({"num_workers": 2, "resources_per_worker": {"cpu": -1}}, "resources_per_worker must be numbers of at least 0"),
        ({"num_workers": 2, "placement_strategy": "NEAR"}, "placement_strategy must be one of PACK, SPREAD"),
    ],
)
def test_a_wrong_argument_is_refused_at_once(options, said):
    with pytest.raises(OptionError, match=f"^{re.escape(said)}"):
        distributed_trial(descend, **options)


def test_checkpoints_of_a_function_whose_name_says_nothing_are_refused(tmp_path):
    with pytest.raises(RobustLRError, match="checkpoints cannot identify train by its name"):
        distributed_trial(lambda *, lr, schedule, seed: lr, num_workers=2, storage_path=tmp_path)
