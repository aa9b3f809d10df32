"""AcceleratedLR: one step of the schedule for each step of the optimizer, whatever the loop calls."""

import pytest
import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader

from robust_lr import parse_schedule
from robust_lr.exceptions import OptionError, ScheduleError
from robust_lr_hf import AcceleratedLR, count_steps

torch.set_num_threads(1)


@pytest.fixture
def accelerator():
    return Accelerator(cpu=True, gradient_accumulation_steps=3)


def loader(n_batches=7, **options):
    return DataLoader(torch.zeros(2 * n_batches, 1), batch_size=2, **options)


def test_accumulated_batches_make_no_step_and_the_last_ones_of_an_epoch_make_one(accelerator):
    model, data = torch.nn.Linear(1, 1), loader()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    total_steps = count_steps(accelerator, data, 2)
    scheduler = AcceleratedLR(accelerator, optimizer, "cosine", total_steps)
    model, optimizer, data, scheduler = accelerator.prepare(model, optimizer, data, scheduler)
    assert total_steps == count_steps(accelerator, data, 2) == 6, "the same after prepare()"
    rates = []
    optimizer.optimizer.register_step_pre_hook(lambda *_: rates.extend(scheduler.get_last_lr()))
    for _ in range(2):
        for batch in data:
            with accelerator.accumulate(model):
                accelerator.backward(model(batch).sum())
                optimizer.step()
                scheduler.step()
                optimizer.zero_grad()
    assert rates == [0.5 * parse_schedule("cosine")(step, 6) for step in range(6)]


def test_a_step_that_mixed_precision_skips_is_no_step_of_the_schedule(accelerator, monkeypatch):
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=0.5)
    scheduler = AcceleratedLR(accelerator, accelerator.prepare(optimizer), "linear", 4)
    monkeypatch.setattr(Accelerator, "optimizer_step_was_skipped", True)
    optimizer.step()
    scheduler.step()
    assert scheduler.get_last_lr() == [0.5]
    monkeypatch.setattr(Accelerator, "optimizer_step_was_skipped", False)
    optimizer.step()
    scheduler.step()
    assert scheduler.get_last_lr() == [0.375]


@pytest.mark.parametrize(
    ("options", "expected"), [({}, 2), ({"drop_last": True}, 1)], ids=["the last batch counts", "it is dropped"]
)
def test_on_several_processes_each_has_its_share_of_the_batches(options, expected, accelerator, monkeypatch):
    """Seven batches on two processes are four each, or three if incomplete rounds are dropped; a step takes three."""
    monkeypatch.setattr(Accelerator, "num_processes", 2)
    assert count_steps(accelerator, loader(**options), 1) == expected
    monkeypatch.setattr(Accelerator, "split_batches", True)
    assert count_steps(accelerator, loader(**options), 1) == 3


def test_a_wrong_option_is_an_error_at_once(accelerator):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
    with pytest.raises(OptionError, match="num_epochs must be a whole number of at least 1, got 0"):
        count_steps(accelerator, loader(), 0)
    with pytest.raises(ScheduleError, match="total_steps must be a whole number of at least 1, got 0"):
        AcceleratedLR(accelerator, optimizer, "cosine", 0)
    with pytest.raises(OptionError, match="on_new_horizon"):
        AcceleratedLR(accelerator, optimizer, "cosine", 5, on_new_horizon="longer")
