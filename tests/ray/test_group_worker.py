"""Trials that several workers train together: the results of one process, and no hang whatever a worker does."""

from __future__ import annotations

import functools
import os
import signal
import time
from pathlib import Path

import pytest

from robust_lr import (
    Constant,
    CosineDecay,
    LinearDecay,
    RobustLRError,
    TrialDiverged,
    TrialSpec,
)
from robust_lr.journal.outbox import Outbox
from robust_lr.runners.pool import Pool
from robust_lr.testing import run_trials
from robust_lr.trials import expand_trials
from robust_lr_ray._cluster import wait
from robust_lr_ray._group_worker import GroupWorker
from robust_lr_ray._rank_actor import Seating
from robust_lr_ray._work_item import Work

pytestmark = [pytest.mark.usefixtures("ray_local")]

STEPS, BATCH = 12, 7  # which two ranks cannot share evenly


def train_together(*, lr, schedule, seed, folder):
    """A small network by DDP, or alone where there is no process group. Notes process, rank and learning rates."""
    import torch
    from torch import nn
    from torch.nn.parallel import DistributedDataParallel

    from robust_lr.divergence import DivergenceWatch
    from robust_lr_ray._checkpoints import trial_checkpoint
    from robust_lr_ray._ranks import device, raise_if_diverged, rank, shard, shard_weight, world_size
    from robust_lr_torch import AnnealedLR

    torch.manual_seed(seed)
    inputs, targets = torch.randn(64, 5), torch.randn(64, 1)
    model = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 1)).to(device())
    whole = model if world_size() == 1 else DistributedDataParallel(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.5)
    scheduler = AnnealedLR(optimizer, schedule, STEPS)
    watch = DivergenceWatch(factor=1e6, patience=3)
    checkpoint = trial_checkpoint()
    state, start = checkpoint.load(), 0
    if state:
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        scheduler.load_state_dict(state["scheduler"])
        start = state["step"]
    notes = Path(folder, f"{lr}-{schedule.name}-{rank()}")
    for step in range(start, STEPS):
        with notes.open("a") as file:
            file.write(f"{os.getpid()} {step} {optimizer.param_groups[0]['lr']!r}\n")
        kill = Path(folder, f"kill-{rank()}-at-{step}")
        if kill.exists():
            while not Path(folder, f"saved-{step}").exists():
                time.sleep(0.01)
            kill.unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        part = shard(torch.arange(step * BATCH, (step + 1) * BATCH) % 64)
        loss = nn.functional.mse_loss(whole(inputs[part]), targets[part]) * shard_weight(BATCH)
        raise_if_diverged(watch, loss)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        states = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
        checkpoint.save({**states, "scheduler": scheduler.state_dict(), "step": step + 1})
        if rank() == 0:
            Path(folder, f"saved-{step + 1}").touch()
    return {"loss": nn.functional.mse_loss(model(inputs), targets).item(), "rank": rank()}


def notes_of(folder, lr, schedule, rank):
    """The processes, steps and learning rates of a rank in one trial."""
    lines = Path(folder, f"{lr}-{schedule}-{rank}").read_text().splitlines()
    return list(zip(*(line.split() for line in lines), strict=True))


def start_group(work, options, number, capacity):
    return GroupWorker(work, **options)


def run(train, trials, schedules, checkpoints=None, max_retries=0, outbox=None, **options):
    """The results by trial, of one group at a time."""
    work = Work.of(train, schedules, label="together", checkpoints=checkpoints, outbox=outbox).stored()
    options = {"num_workers": 2, "resources": {"cpu": 1}} | options

    class Groups:
        def run(self, train, source, schedules):
            start = functools.partial(start_group, work, options)
            return Pool(start, source, n_workers=lambda: 1, capacity=1, wait=wait, waiting="room").results()

    return {result.spec: result for result in run_trials(Groups(), train, trials, schedules, max_retries=max_retries)}


SCHEDULES = {"cosine": CosineDecay(), "linear": LinearDecay()}
DIVERGING = 1e9


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """The results of a sweep by a group, and the folder of its notes."""
    folder = tmp_path_factory.mktemp("together")

    def train(*, lr, schedule, seed):
        return train_together(lr=lr, schedule=schedule, seed=seed, folder=folder)

    trials = expand_trials(SCHEDULES, (0.01, 0.03, 0.1, 0.3, DIVERGING), [0])
    return run(train, trials, SCHEDULES, outbox=Outbox(str(folder / "results"))), folder


def test_a_group_trains_what_one_process_trains_on_the_same_batches(together, tmp_path):
    results, _ = together
    assert {spec.lr for spec, result in results.items() if result.status == "diverged"} == {DIVERGING}
    finite = {spec: result for spec, result in results.items() if spec.lr != DIVERGING}
    assert [result.status for result in finite.values()] == ["ok"] * 8, finite
    for spec, result in finite.items():
        alone = train_together(lr=spec.lr, schedule=SCHEDULES[spec.schedule], seed=0, folder=tmp_path)
        assert result.loss == pytest.approx(alone["loss"], rel=1e-5)
        assert result.metrics == {"rank": 0.5}, "metrics are means over ranks"


def test_the_rank_that_ends_last_leaves_the_joint_result_for_the_next_driver(together):
    results, folder = together
    left = {result.spec: (result.loss, result.metrics) for result in Outbox(str(folder / "results")).take()}
    assert left == {spec: (result.loss, result.metrics) for spec, result in results.items()}


def test_the_ranks_agree_on_the_learning_rate_at_every_step(together):
    results, folder = together
    for spec in results:
        first, second = (notes_of(folder, spec.lr, spec.schedule, rank) for rank in (0, 1))
        assert first[1:] == second[1:]


def test_the_workers_are_kept_from_trial_to_trial_also_when_all_ranks_diverge_together(together):
    results, folder = together
    processes = [{notes_of(folder, s.lr, s.schedule, rank)[0][0] for s in results} for rank in (0, 1)]
    assert [len(of_rank) for of_rank in processes] == [1, 1] and processes[0] != processes[1]


@pytest.mark.slow
def test_a_rank_that_is_killed_costs_the_steps_since_the_last_checkpoint_and_no_bit_of_the_loss(together, tmp_path):
    def train(*, lr, schedule, seed):
        return train_together(lr=lr, schedule=schedule, seed=seed, folder=tmp_path)

    spec, checkpoints = TrialSpec("cosine", 0.1, 0), tmp_path / "checkpoints"
    (tmp_path / "kill-1-at-7").touch()
    results = run(train, [spec], SCHEDULES, str(checkpoints), max_retries=1)
    _, steps, _ = notes_of(tmp_path, 0.1, "cosine", 1)
    assert [int(step) for step in steps] == [*range(8), *range(7, STEPS)]
    undisturbed, _ = together
    assert results[spec].loss == undisturbed[spec].loss
    assert not list(checkpoints.iterdir()), "a finished trial leaves no checkpoint"


@pytest.mark.slow
def test_ranks_that_end_alone_hold_up_nobody():
    def train(*, lr, schedule, seed):
        from robust_lr_ray._ranks import any_rank, rank

        if lr == 1.0 and rank() == 1:
            raise TrialDiverged("loss above 1e6")
        if lr == 2.0 and rank() == 0:
            raise ValueError("no data on rank 0")
        any_rank(False)
        return lr

    trials = [TrialSpec("constant", lr, 0) for lr in (3.0, 1.0, 2.0)]
    start = time.monotonic()
    results = run(train, trials, {"constant": Constant()}, grace_s=0.5)
    assert [results[spec].status for spec in trials] == ["ok", "diverged", "failed"]
    assert results[trials[1]].error == "loss above 1e6"
    assert "ValueError: no data on rank 0" in results[trials[2]].error
    assert time.monotonic() - start < 250, "a collective gives up only after half an hour"


def test_workers_that_are_to_find_gpus_and_find_none_are_an_error_in_one_line():
    pytest.importorskip("torch")
    resources = {"cpu": 1, "gpu": 1}
    with pytest.raises(RobustLRError, match=r"^the workers should train on GPUs, but torch finds none on their node$"):
        run(lambda *, lr, schedule, seed: lr, [TrialSpec("c", 1.0, 0)], {"c": Constant()},
            num_workers=1, resources=resources)  # fmt: skip


def test_a_rank_sees_the_gpus_of_its_node_and_the_variables_that_torchrun_sets():
    seating = Seating("10.0.0.1", 4000, ("a", "a", "b", "a"), (("2",), ("0",), ("0",), ("1",)))
    assert [seating.devices_beside(rank) for rank in (0, 2, 3)] == [["2", "0", "1"], ["0"], ["2", "0", "1"]]
    variables = seating.environment(3)
    assert [variables[name] for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")] == list("3243")
    assert (variables["MASTER_ADDR"], variables["MASTER_PORT"]) == ("10.0.0.1", "4000")


def test_a_part_of_a_gpu_is_not_enough_for_a_rank():
    with pytest.raises(RobustLRError, match=r"a GPU of its own, got 0\.5 GPUs per worker"):
        GroupWorker(None, num_workers=2, resources={"gpu": 0.5})
