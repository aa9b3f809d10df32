"""tabulate_scheduler: the table is what the scheduler does to a real optimizer; which schedulers have no table."""

import math

import numpy as np
import pytest
import torch
from torch.optim import SGD, AdamW, lr_scheduler

from robust_lr import TableSchedule, parse_schedule
from robust_lr.exceptions import ScheduleError
from robust_lr_torch import AnnealedLR, SupervisedTask, tabulate_scheduler

T = 40


def halving_then_cosine(optimizer):
    first = lr_scheduler.StepLR(optimizer, 5, gamma=0.5)
    second = lr_scheduler.CosineAnnealingLR(optimizer, T - 15)
    return lr_scheduler.SequentialLR(optimizer, [first, second], milestones=[15])


def warm_up_then_exponential(optimizer):
    parts = [lr_scheduler.LinearLR(optimizer, 0.1, total_iters=10), lr_scheduler.ExponentialLR(optimizer, 0.97)]
    return lr_scheduler.ChainedScheduler(parts)


SCHEDULERS = {
    "StepLR": lambda o: lr_scheduler.StepLR(o, 7, gamma=0.3),
    "MultiStepLR": lambda o: lr_scheduler.MultiStepLR(o, [3, 20], gamma=0.1),
    "ExponentialLR": lambda o: lr_scheduler.ExponentialLR(o, 0.9),
    "CosineAnnealingLR": lambda o: lr_scheduler.CosineAnnealingLR(o, T),
    "LinearLR": lambda o: lr_scheduler.LinearLR(o, 0.2, 0.7, total_iters=12),
    "PolynomialLR": lambda o: lr_scheduler.PolynomialLR(o, T, power=1.7),
    "LambdaLR": lambda o: lr_scheduler.LambdaLR(o, lambda k: 1 / math.sqrt(1 + k)),
    "MultiplicativeLR": lambda o: lr_scheduler.MultiplicativeLR(o, lambda k: 0.95),
    "SequentialLR": halving_then_cosine,
    "ChainedScheduler": warm_up_then_exponential,
    "CosineAnnealingWarmRestarts": lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 9, T_mult=2),
    "ours": lambda o: AnnealedLR(o, "warmup(0.1)+cosine", T),
}


def learning_rates(make_scheduler, optimizer):
    """The user's loop: one entry of the list is the learning rate of one step."""
    scheduler = make_scheduler(optimizer)
    used = []
    for _ in range(T):
        used.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return used


@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize("peak", [0.3, 1e-5])
def test_the_table_is_what_the_scheduler_does_to_an_optimizer(name, peak):
    schedule = tabulate_scheduler(SCHEDULERS[name], T)
    for make_optimizer in (SGD, AdamW):
        used = learning_rates(SCHEDULERS[name], make_optimizer([torch.nn.Parameter(torch.ones(2))], lr=peak))
        np.testing.assert_allclose(schedule(np.arange(T), T) * peak, used, rtol=1e-12, atol=1e-12 * peak)


def test_there_is_one_entry_a_step_and_the_first_is_that_of_the_first_step():
    schedule = tabulate_scheduler(lambda o: lr_scheduler.LinearLR(o, 0.25, total_iters=3), 5, degree=1)
    assert isinstance(schedule, TableSchedule)
    assert (schedule.values, schedule.degree) == ((0.25, 0.5, 0.75, 1.0, 1.0), 1)
    assert tabulate_scheduler(SCHEDULERS["StepLR"], 1).values == (1.0,)


def test_our_own_scheduler_is_tabulated_to_its_closed_form():
    closed_form = parse_schedule("warmup(0.1)+cosine")
    assert tabulate_scheduler(SCHEDULERS["ours"], T).values == tuple(closed_form(np.arange(T), T))


def test_a_task_trains_under_it_as_under_the_schedule_that_it_tabulates():
    x = torch.linspace(-1, 1, 16).unsqueeze(1)
    task = SupervisedTask(
        make_model=lambda: torch.nn.Linear(1, 1),
        train_data=(x, 3 * x + 1),
        loss=torch.nn.functional.mse_loss,
        total_steps=T,
        batch_size=4,
    )
    table = tabulate_scheduler(SCHEDULERS["ours"], T)
    assert task(lr=0.1, schedule=table, seed=0) == task(lr=0.1, schedule="warmup(0.1)+cosine", seed=0)


def two_groups(optimizer):
    optimizer.add_param_group({"params": [torch.nn.Parameter(torch.zeros(1))]})
    return lr_scheduler.StepLR(optimizer, 3)


def another_optimizers(optimizer):
    return lr_scheduler.StepLR(SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1), 3)


class NeedsMetric(lr_scheduler.StepLR):
    """A scheduler of a user's own that looks at the loss."""

    def _initial_step(self):
        pass

    def step(self, loss):
        super().step()


REFUSED = {
    "momentum, one cycle": (lambda o: lr_scheduler.OneCycleLR(o, 0.1, T), "changes momentum as well as the learning"),
    "momentum, cycles": (lambda o: lr_scheduler.CyclicLR(o, 0.1, 1.0), "cycle_momentum=False"),
    "peak of its own": (lambda o: lr_scheduler.OneCycleLR(o, 0.1, T, cycle_momentum=False), "learning rate of its own"),
    "floor of its own": (lambda o: lr_scheduler.CosineAnnealingLR(o, T, eta_min=1e-6), "give it eta_min=0"),
    "metric": (lr_scheduler.ReduceLROnPlateau, "ReduceLROnPlateau needs a metric"),
    "metric of a user's": (lambda o: NeedsMetric(o, 3), "NeedsMetric needs a metric"),
    "NaN": (lambda o: lr_scheduler.LambdaLR(o, lambda k: math.nan if k == 3 else 1.0), "at step 3 .* is nan"),
    "infinite": (lambda o: lr_scheduler.LambdaLR(o, lambda k: math.inf), "at step 0 .* is inf"),
    "negative": (lambda o: lr_scheduler.LambdaLR(o, lambda k: 1 - k), r"at step 2 .* is -1\.0"),
    "two groups": (two_groups, "one parameter group, make_scheduler made 2"),
    "two functions": (lambda o: lr_scheduler.LambdaLR(o, [abs, abs]), "one parameter group: Expected 1 lr_lambdas"),
    "None": (lambda o: None, "must return a torch LRScheduler of the optimizer it is given, it returned None"),
    "another optimizer's": (another_optimizers, "must return a torch LRScheduler of the optimizer it is given"),
    "a scheduler": (3, r"must be callable as make_scheduler\(optimizer\), got 3"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_table_of_multipliers_is_refused_in_one_line(name):
    make_scheduler, message = REFUSED[name]
    with pytest.raises(ScheduleError, match=message) as caught:
        tabulate_scheduler(make_scheduler, T)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("total_steps", [0, -1, 2.5, True])
def test_total_steps_must_be_a_whole_number_of_at_least_one(total_steps):
    with pytest.raises(ScheduleError, match="total_steps must be a whole number of at least 1"):
        tabulate_scheduler(SCHEDULERS["StepLR"], total_steps)


def test_one_cycle_without_its_momentum_and_with_a_peak_that_follows_the_optimizer_is_a_table():
    def one_cycle(optimizer):
        peak = optimizer.param_groups[0]["lr"]
        return lr_scheduler.OneCycleLR(optimizer, peak, T, cycle_momentum=False)

    values = tabulate_scheduler(one_cycle, T).values
    assert max(values) == pytest.approx(1.0) and values[0] == pytest.approx(1 / 25)


def test_errors_of_the_users_own_come_through():
    def broken(optimizer):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        tabulate_scheduler(broken, T)
