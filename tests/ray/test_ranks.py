"""What a training function asks of its ranks: alone, and in a group of three processes. No Ray is needed for it."""

from __future__ import annotations

import math
import multiprocessing

import pytest

from robust_lr import TrialDiverged, TrialResult, TrialSpec
from robust_lr.divergence import DivergenceWatch
from robust_lr.exceptions import DataError
from robust_lr_ray._checkpoints import checkpointing
from robust_lr_ray._ranks import (
    any_rank,
    device,
    joint_result,
    mean_over_ranks,
    raise_if_diverged,
    rank,
    shard,
    shard_weight,
    world_size,
)

N_RANKS, N_EXAMPLES = 3, 7  # which they cannot share evenly
SPEC = TrialSpec("cosine", 0.1, 0)


def observe(number, folder, pipe):
    """Join a group as this rank, and send what it is told."""
    import torch
    import torch.distributed as dist

    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=number, world_size=N_RANKS)
    batch = torch.arange(float(N_EXAMPLES)) ** 2
    part = shard(batch)
    seen = {
        "place": (rank(), world_size(), device().type),
        "part": part.tolist(),
        "numbers": list(shard(N_EXAMPLES)),
        "mean of the batch": mean_over_ranks(part.mean() * shard_weight(N_EXAMPLES)),
        "common value": mean_over_ranks(0.1),
        "a nan": mean_over_ranks(math.nan if number == 1 else 1.0),
        "flags": (any_rank(number == 2), any_rank(False)),
    }
    try:
        shard(N_RANKS - 1)
    except DataError as error:
        seen["too few"] = str(error)
    watch = DivergenceWatch(factor=1e6, patience=2)
    try:
        for step in range(10):
            raise_if_diverged(watch, math.inf if number == 2 and step == 4 else 1.0)
    except TrialDiverged as error:
        seen["diverged"] = (step, str(error))
    with checkpointing(f"{folder}/checkpoints", "digest") as checkpoint:
        seen["before"] = checkpoint.load()
        checkpoint.save({"rank": number})
        dist.barrier()
        seen["after"] = checkpoint.load()
    pipe.send(seen)
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """What each of three ranks has seen."""
    folder, context = tmp_path_factory.mktemp("ranks"), multiprocessing.get_context("spawn")
    pipes = [context.Pipe(duplex=False) for _ in range(N_RANKS)]
    processes = [context.Process(target=observe, args=(i, str(folder), pipes[i][1])) for i in range(N_RANKS)]
    for process in processes:
        process.start()
    try:
        assert all(receiver.poll(60) for receiver, _ in pipes)
        yield [receiver.recv() for receiver, _ in pipes]
    finally:
        for process in processes:
            process.join(5)
            process.kill()


def test_each_rank_knows_its_place(ranks):
    assert [seen["place"] for seen in ranks] == [(0, 3, "cpu"), (1, 3, "cpu"), (2, 3, "cpu")]


def test_the_parts_make_the_whole_batch(ranks):
    assert [number for seen in ranks for number in seen["numbers"]] == list(range(N_EXAMPLES))
    assert [example for seen in ranks for example in seen["part"]] == [float(i * i) for i in range(N_EXAMPLES)]


def test_the_weighted_mean_over_uneven_parts_is_the_mean_of_the_batch(ranks):
    mean = sum(i * i for i in range(N_EXAMPLES)) / N_EXAMPLES
    assert [seen["mean of the batch"] for seen in ranks] == pytest.approx([mean] * N_RANKS, rel=1e-6)


def test_what_the_ranks_agree_on_keeps_every_bit(ranks):
    assert [seen["common value"] for seen in ranks] == [0.1] * N_RANKS


def test_what_holds_on_one_rank_is_known_on_all(ranks):
    assert all(math.isnan(seen["a nan"]) for seen in ranks)
    assert [seen["flags"] for seen in ranks] == [(True, False)] * N_RANKS


def test_all_ranks_diverge_at_the_same_step(ranks):
    assert [seen["diverged"] for seen in ranks] == [(4, "diverged at step 4, with a loss of inf")] * N_RANKS


def test_a_batch_with_less_than_one_example_a_rank_is_refused(ranks):
    assert {seen["too few"] for seen in ranks} == {"a batch needs at least one example for each of 3 ranks, got 2"}


def test_all_ranks_get_back_what_rank_0_saved(ranks):
    assert [(seen["before"], seen["after"]) for seen in ranks] == [(None, {"rank": 0})] * N_RANKS


def test_outside_of_a_group_a_process_is_rank_0_of_1():
    assert (rank(), world_size()) == (0, 1)
    assert (shard(3), shard([4, 5])) == (range(3), [4, 5])
    assert (shard_weight(3), mean_over_ranks(0.1), any_rank(True)) == (1.0, 0.1, True)


def failed(error, status="failed"):
    return TrialResult(SPEC, math.nan, status, 1.0, {}, error)


OK = TrialResult(SPEC, 0.5, "ok", 2.0, {"accuracy": 0.25})
DIVERGED = TrialResult(SPEC, math.inf, "diverged", 1.0, {}, "loss above 1e6")
BUG = failed("Traceback ...\nValueError: no data")
LEFT_ALONE = failed("Traceback ...\nRuntimeError: [../third_party/gloo/pair.cc:525] Connection closed by peer [::1]:9")


def test_the_loss_of_a_trial_is_the_mean_over_its_ranks():
    other = TrialResult(SPEC, 1.0, "ok", 3.0, {"accuracy": 0.75})
    assert joint_result([OK, other]) == TrialResult(SPEC, 0.75, "ok", 3.0, {"accuracy": 0.5})
    assert joint_result([OK, OK, OK]) == OK


@pytest.mark.parametrize(
    ("results", "status", "error"),
    [
        ([OK, DIVERGED], "diverged", DIVERGED.error),
        ([DIVERGED, BUG, OK], "failed", BUG.error),
        ([LEFT_ALONE, BUG], "failed", BUG.error),
        ([LEFT_ALONE, DIVERGED], "diverged", DIVERGED.error),
        ([LEFT_ALONE, OK], "failed", LEFT_ALONE.error),
        ([OK, failed("MemoryError", "out_of_memory")], "out_of_memory", "MemoryError"),
    ],
)
def test_the_rank_that_went_wrong_by_itself_decides_over_the_trial(results, status, error):
    joint = joint_result(results)
    assert (joint.status, joint.error) == (status, error)
