"""LossWatch: the same step whatever its pace, and the same on all ranks."""

import math

import pytest
import torch
import torch.multiprocessing

from robust_lr.exceptions import OptionError
from robust_lr_torch import LossWatch

LOSSES = [1.0, 2.0, 11.0, 12.0, 3.0, 11.0, 11.0, 11.0, 1.0]  # above ten for three in a row from step 5 on


def watched(losses, **options):
    watch = LossWatch(divergence_factor=10, divergence_patience=3, **options)
    for loss in losses:
        watch.add(torch.tensor(loss))
        watch.end_step()
    watch.look()
    return watch.diverged_at


@pytest.mark.parametrize("check_every", [1, 2, 7, 100])
def test_the_step_does_not_depend_on_how_often_it_looks(check_every):
    assert watched(LOSSES, check_every=check_every) == 5
    assert watched([1.0, 2.0, math.nan, 1.0], check_every=check_every) == 2
    assert watched(LOSSES[:5], check_every=check_every) is None


def test_the_loss_of_a_step_is_the_sum_over_its_batches():
    watch = LossWatch(divergence_factor=1.5, divergence_patience=1, check_every=1)
    for share in (0.5, 0.5):
        watch.add(torch.tensor(share, dtype=torch.bfloat16))
    watch.end_step()
    assert watch.diverged_at is None
    watch.add(torch.tensor(1.25))
    watch.add(torch.tensor(0.5, requires_grad=True))
    watch.end_step()
    assert watch.diverged_at == 1


def test_a_pace_below_one_is_refused():
    with pytest.raises(OptionError, match="check_every must be a whole number of at least 1, got 0"):
        LossWatch(check_every=0)


def _rank(rank, file, found):
    torch.distributed.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=2)
    losses = [1.0, 2.0, math.nan if rank == 1 else 2.0, 2.0]
    found[rank] = watched(losses, check_every=3)
    torch.distributed.destroy_process_group()


def test_a_group_of_one_rank_is_judged_as_without_a_group():
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    try:
        assert watched(LOSSES, check_every=2) == 5
    finally:
        torch.distributed.destroy_process_group()


@pytest.mark.slow  # it starts two processes that import torch
def test_a_loss_that_is_not_finite_on_one_rank_stops_all(tmp_path):
    context = torch.multiprocessing.get_context("spawn")
    with context.Manager() as manager:
        found = manager.dict()
        torch.multiprocessing.spawn(_rank, args=(tmp_path / "store", found), nprocs=2)
        assert dict(found) == {0: 2, 1: 2}
