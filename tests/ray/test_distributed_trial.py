"""Trials of Tune that a TorchTrainer trains on several workers. Each start of one takes many seconds."""

from __future__ import annotations

import functools
import os
import re
import signal
import time
from pathlib import Path

import pytest
from robust_lr_ray.cells import cell_config
from robust_lr_ray.distributed_trial import TrainerRun, distributed_trial

from robust_lr import Constant, CosineDecay, RobustLRError, TrialDiverged, TrialSpec

pytestmark = [
    pytest.mark.usefixtures("ray_local"),
    pytest.mark.timeout(150),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),  # Ray copies its own settings, the old ones too
]

STEPS = 6


def descend(*, lr, schedule, seed, folder=None, n_ranks=None):
    """Gradient descent on the mean over ranks of (x - rank)^2 / 2, with checkpoints; rank 1 dies once at step 3."""
    from robust_lr_ray.checkpoints import trial_checkpoint
    from robust_lr_ray.ranks import mean_over_ranks, rank, world_size

    checkpoint, n_ranks = trial_checkpoint(), n_ranks or world_size()
    state = checkpoint.load() or {"step": 0, "x": 1.0 + seed}
    for step in range(state["step"], STEPS):
        kill = Path(folder or "", "kill")
        if folder and rank() == 1 and step == 3 and kill.exists():
            kill.unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        if folder:
            with Path(folder, f"steps-{rank()}").open("a") as notes:
                notes.write(f"{step} ")
        centers = [rank()] if world_size() > 1 else range(n_ranks)
        gradient = mean_over_ranks(sum(state["x"] - center for center in centers) / len(centers))
        state = {"step": step + 1, "x": state["x"] - lr * float(schedule(step, STEPS)) * gradient}
        checkpoint.save(state)
    return {"loss": mean_over_ranks(state["x"] ** 2), "world": world_size()}


@pytest.mark.slow
def test_a_trial_of_two_workers_one_of_which_dies_goes_on_at_its_checkpoint(tmp_path):
    from ray import tune

    storage, notes = tmp_path / "storage", tmp_path / "notes"
    notes.mkdir()
    (notes / "kill").touch()
    spec = TrialSpec("cosine", 0.25, 2)
    trial = distributed_trial(
        functools.partial(descend, folder=str(notes)), num_workers=2, use_gpu=False, storage_path=storage
    )
    (result,) = tune.Tuner(
        trial,
        param_space=cell_config(spec, CosineDecay()),
        run_config=tune.RunConfig(storage_path=str(tmp_path / "tune"), verbose=0),
    ).fit()
    alone = descend(lr=0.25, schedule=CosineDecay(), seed=2, n_ranks=2)
    assert result.metrics["status"] == "ok"
    assert result.metrics["loss"] == pytest.approx(alone["loss"], rel=1e-12)
    assert result.metrics["world"] == 2
    assert (notes / "steps-1").read_text() == "0 1 2 3 4 5 "
    assert not list((storage / "checkpoints").iterdir()), "a finished trial leaves no checkpoint"


@pytest.mark.slow
def test_a_worker_that_diverges_alone_ends_all_of_them():
    def train(*, lr, schedule, seed):
        from robust_lr_ray.ranks import mean_over_ranks, rank

        if rank() == 1:
            raise TrialDiverged("loss above 1e6")
        return mean_over_ranks(lr)  # waits for the other

    start = time.monotonic()
    result = TrainerRun(train, num_workers=2, use_gpu=False)(TrialSpec("constant", 1.0, 0), Constant())
    assert (result.status, result.error) == ("diverged", "loss above 1e6")
    assert time.monotonic() - start < 100


def test_workers_that_the_cluster_cannot_hold_are_an_error_in_one_line():
    run = TrainerRun(descend, num_workers=8, use_gpu=True)
    said = "the cluster cannot hold 8 workers of 1 cpu, 1 gpu; on one that starts nodes on demand pass"
    with pytest.raises(RobustLRError, match=f"^{re.escape(said)}"):
        run(TrialSpec("constant", 1.0, 0), Constant())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"num_workers": 0}, "num_workers must be a whole number of at least 1, got 0"),
        ({"num_workers": 2, "max_failures": -1}, "max_failures must be a whole number of at least 0, got -1"),
        ({"num_workers": 2, "storage_path": "here"}, "storage_path must be the absolute path of a folder that all"),
        ({"num_workers": 2, "use_gpu": True, "resources_per_worker": {"cpu": 1}}, "use_gpu=True does not go with"),
    ],
)
def test_a_wrong_argument_is_refused_at_once(options, said):
    with pytest.raises(RobustLRError, match=f"^{re.escape(said)}"):
        distributed_trial(descend, **options)
