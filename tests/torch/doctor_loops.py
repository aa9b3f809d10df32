"""Training loops with a fault of the schedule, and loops without one, each watched by a `ScheduleDoctor`."""

import contextlib
import copy
import functools
import itertools
import math

import torch
from torch.optim import SGD, Adam, AdamW
from torch.optim.lr_scheduler import (
    ChainedScheduler,
    ConstantLR,
    CosineAnnealingLR,
    CosineAnnealingWarmRestarts,
    CyclicLR,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    MultiStepLR,
    OneCycleLR,
    PolynomialLR,
    ReduceLROnPlateau,
    SequentialLR,
    StepLR,
)
from torch.optim.swa_utils import SWALR

from robust_lr_torch import AnnealedLR, ScheduleDoctor

FAULTS, CLEAN = {}, {}


def fault(*codes):
    def note(loop):
        FAULTS[loop.__name__] = (loop, set(codes))
        return loop

    return note


def clean(loop):
    CLEAN[loop.__name__] = loop
    return loop


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.body, self.head = torch.nn.Linear(4, 3), torch.nn.Linear(3, 1)
        for p in self.parameters():
            p.data = torch.randn(p.shape, generator=generator)
        self.x, self.y = torch.randn(16, 4, generator=generator), torch.randn(16, 1, generator=generator)

    def loss(self):
        return (self.head(torch.tanh(self.body(self.x))) - self.y).square().mean()


def built(kind=AdamW, lr=0.01, **options):
    model = Model()
    return model, kind(model.parameters(), lr=lr, **options)


def watching(optimizer, scheduler=None, **options):
    return ScheduleDoctor(optimizer, scheduler, on_finding=lambda finding: None, **options)


def train_step(model, optimizer):
    optimizer.zero_grad()
    loss = model.loss()
    loss.backward()
    optimizer.step()
    return loss


def run(model, optimizer, scheduler, n_steps, **options):
    doctor = watching(optimizer, scheduler, **options)
    for _ in range(n_steps):
        train_step(model, optimizer)
        scheduler.step()
    return doctor


# Faults


@fault("horizon-longer")
def cosine_of_twice_the_steps():
    model, optimizer = built()
    return run(model, optimizer, CosineAnnealingLR(optimizer, T_max=200), 100)


@fault("horizon-longer")
def cosine_that_forgets_its_warmup():
    model, optimizer = built()
    parts = [LinearLR(optimizer, 0.01, total_iters=20), CosineAnnealingLR(optimizer, T_max=100)]
    return run(model, optimizer, SequentialLR(optimizer, parts, milestones=[20]), 100)


@fault("horizon-longer")
def linear_function_of_the_steps_of_another_run():
    model, optimizer = built()
    total_steps = 1000
    return run(model, optimizer, LambdaLR(optimizer, lambda step: max(0.0, 1 - step / total_steps)), 120)


@fault("horizon-longer")
def planned_steps_are_known_from_the_start():
    model, optimizer = built()
    doctor = watching(optimizer, scheduler := PolynomialLR(optimizer, 300, power=2), total_steps=100)
    for step in itertools.count():
        train_step(model, optimizer)
        scheduler.step()
        if model.loss().item() < 1e-9 or step >= 60:
            break
    return doctor


@fault("horizon-shorter")
def polynomial_that_ends_half_way():
    model, optimizer = built()
    return run(model, optimizer, PolynomialLR(optimizer, 50, power=1), 100)


@fault("horizon-shorter")
def annealed_over_the_steps_of_another_run():
    model, optimizer = built()
    return run(model, optimizer, AnnealedLR(optimizer, "warmup(0.1)+cosine", 60), 100)


@fault("rises-again")
def horizon_in_epochs_but_stepped_per_batch():
    model, optimizer = built()
    n_epochs, n_batches = 4, 50
    scheduler = CosineAnnealingLR(optimizer, T_max=n_epochs)
    doctor = watching(optimizer, scheduler)
    for _ in range(n_epochs):
        for _ in range(n_batches):
            train_step(model, optimizer)
            scheduler.step()
    return doctor


@fault("rises-again")
def cosine_stepped_half_as_long_again():
    model, optimizer = built()
    return run(model, optimizer, CosineAnnealingLR(optimizer, T_max=100), 150)


@fault("rises-again")
def transformers_cosine_stepped_beyond_its_end():
    from transformers import get_cosine_schedule_with_warmup

    model, optimizer = built()
    return run(model, optimizer, get_cosine_schedule_with_warmup(optimizer, 10, 100), 160)


@fault("rises-again")
def own_cosine_stepped_beyond_its_end():
    model, optimizer = built()
    wave = LambdaLR(optimizer, lambda k: 0.5 * (1 + float(torch.cos(torch.tensor(3.14159265 * k / 80)))))
    return run(model, optimizer, wave, 130)


@fault("horizon-longer")
def own_cosine_of_the_steps_of_another_run():
    model, optimizer = built()
    return run(model, optimizer, LambdaLR(optimizer, lambda k: 0.5 * (1 + math.cos(math.pi * k / 700))), 80)


@fault("horizon-longer")
def own_cosine_after_a_warmup_with_planned_steps():
    model, optimizer = built()
    wave = LambdaLR(optimizer, lambda k: k / 10 if k < 10 else 0.5 * (1 + math.cos(math.pi * (k - 10) / 3000)))
    return run(model, optimizer, wave, 60, total_steps=60)


@fault("horizon-shorter")
def steps_that_were_rounded_down():
    model, optimizer = built()
    return run(model, optimizer, LinearLR(optimizer, 1.0, 0.0, total_iters=3 * 13 // 4), 3 * 4)


@fault("rate-never-applied")
def function_that_returns_the_rate():
    model, optimizer = built(lr=3e-4)
    return run(model, optimizer, LambdaLR(optimizer, lambda k: 3e-4 * max(0.0, 1 - k / 60)), 60)


@fault("rate-never-applied")
def warmup_function_that_returns_another_rate():
    model, optimizer = built(lr=1e-3)
    return run(model, optimizer, LambdaLR(optimizer, lambda k: 6e-4 * min(1.0, (k + 1) / 10)), 60, total_steps=60)


def cleared_before_the_step(**options):
    model, optimizer = built(SGD)
    scheduler = CosineAnnealingLR(optimizer, T_max=40)
    doctor = watching(optimizer, scheduler)
    for _ in range(40):
        model.loss().backward()
        optimizer.zero_grad(**options)
        optimizer.step()
        scheduler.step()
    return doctor


@fault("lr-without-effect")
def gradients_that_are_dropped_before_the_step():
    return cleared_before_the_step()


@fault("lr-without-effect")
def gradients_that_are_zeroed_before_the_step():
    return cleared_before_the_step(set_to_none=False)


@clean
def inverse_square_root_of_the_width():
    model, optimizer = built(lr=1.0)
    return run(
        model, optimizer, LambdaLR(optimizer, lambda k: 512**-0.5 * min((k + 1) ** -0.5, (k + 1) * 20**-1.5)), 60
    )


@fault("stepped-per-epoch")
def cosine_of_all_steps_stepped_per_epoch():
    model, optimizer = built()
    n_epochs, n_batches = 5, 40
    scheduler = CosineAnnealingLR(optimizer, T_max=n_epochs * n_batches)
    doctor = watching(optimizer, scheduler)
    for _ in range(n_epochs):
        for _ in range(n_batches):
            train_step(model, optimizer)
        scheduler.step()
    return doctor


@fault("stepped-per-epoch")
def one_cycle_stepped_per_epoch():
    model, optimizer = built()
    scheduler = OneCycleLR(optimizer, 0.1, epochs=6, steps_per_epoch=25)
    doctor = watching(optimizer, scheduler)
    for _ in range(6):
        for _ in range(25):
            train_step(model, optimizer)
        scheduler.step()
    return doctor


@fault("stepped-per-epoch")
def annealed_stepped_per_epoch_with_early_stopping():
    model, optimizer = built()
    scheduler = AnnealedLR(optimizer, "cosine", 200)
    doctor = watching(optimizer, scheduler)
    best = float("inf")
    for _ in range(5):
        for _ in range(40):
            loss = train_step(model, optimizer).item()
        scheduler.step()
        if loss > best:
            break
        best = loss
    return doctor


@fault("stepped-per-micro-batch", "rises-again")
def cosine_stepped_in_each_micro_batch():
    model, optimizer = built()
    scheduler = CosineAnnealingLR(optimizer, T_max=50)
    doctor = watching(optimizer, scheduler)
    for batch in range(200):
        (model.loss() / 4).backward()
        if (batch + 1) % 4 == 0:
            optimizer.step()
            optimizer.zero_grad()
        scheduler.step()
    return doctor


@fault("stepped-per-micro-batch")
def annealed_stepped_in_each_micro_batch():
    model, optimizer = built(SGD)
    scheduler = AnnealedLR(optimizer, "linear", 40)
    doctor = watching(optimizer, scheduler)
    for batch in range(80):
        (model.loss() / 2).backward()
        if batch % 2:
            optimizer.step()
            optimizer.zero_grad()
        scheduler.step()
    return doctor


@fault("stepped-per-micro-batch")
def steps_of_a_function_in_each_micro_batch():
    model, optimizer = built()
    scheduler = LambdaLR(optimizer, lambda k: max(0.0, 1 - k / 30))
    doctor = watching(optimizer)
    for batch in range(240):
        (model.loss() / 8).backward()
        scheduler.step()
        if batch % 8 == 7:
            optimizer.step()
            optimizer.zero_grad()
    return doctor


@fault("stepped-too-often", "rises-again")
def stepped_twice_for_each_step():
    model, optimizer = built()
    scheduler = CosineAnnealingLR(optimizer, T_max=80)
    doctor = watching(optimizer, scheduler)
    for _ in range(80):
        train_step(model, optimizer)
        scheduler.step()
        scheduler.step()
    return doctor


@fault("never-stepped")
def scheduler_that_is_forgotten():
    model, optimizer = built()
    doctor = watching(optimizer, CosineAnnealingLR(optimizer, T_max=60))
    for _ in range(60):
        train_step(model, optimizer)
    return doctor


@fault("never-reached-peak", "horizon-longer")
def warmup_sized_by_another_run():
    model, optimizer = built()
    return run(model, optimizer, AnnealedLR(optimizer, "warmup(0.1)+linear", 15_000), 100)


@fault("never-reached-peak")
def warmup_longer_than_the_run():
    model, optimizer = built()
    return run(model, optimizer, LinearLR(optimizer, 0.001, total_iters=500), 100)


@fault("never-reached-peak", "horizon-longer")
def transformers_warmup_longer_than_the_run():
    from transformers import get_linear_schedule_with_warmup

    model, optimizer = built()
    return run(model, optimizer, get_linear_schedule_with_warmup(optimizer, 1500, 15_000), 80)


@fault("never-reached-peak")
def warmup_of_a_function_longer_than_the_run():
    model, optimizer = built()
    return run(model, optimizer, LambdaLR(optimizer, lambda k: min(1.0, (k + 1) / 5000)), 90)


@fault("absolute-floor")
def floor_that_does_not_scale():
    model, optimizer = built(lr=3e-4)
    return run(model, optimizer, CosineAnnealingLR(optimizer, T_max=60, eta_min=1e-4), 60)


@fault("absolute-floor")
def floor_above_the_rate():
    model, optimizer = built(lr=1e-5)
    return run(model, optimizer, CosineAnnealingLR(optimizer, T_max=60, eta_min=1e-4), 60)


@fault("absolute-floor")
def floor_of_a_later_part():
    model, optimizer = built(lr=1e-3)
    min_lr = 5e-5
    parts = [LinearLR(optimizer, 0.1, total_iters=10), CosineAnnealingLR(optimizer, T_max=90, eta_min=min_lr)]
    return run(model, optimizer, SequentialLR(optimizer, parts, milestones=[10]), 100)


@fault("rate-never-applied")
def scheduler_of_an_optimizer_that_was_rebuilt():
    model, optimizer = built()
    scheduler = CosineAnnealingLR(optimizer, T_max=50)
    optimizer = AdamW(model.parameters(), lr=0.01)
    return run(model, optimizer, scheduler, 50)


@fault("rate-never-applied")
def rate_that_is_reset_before_each_step():
    model, optimizer = built()
    scheduler = CosineAnnealingLR(optimizer, T_max=50)
    doctor = watching(optimizer, scheduler)
    for _ in range(50):
        for group in optimizer.param_groups:
            group["lr"] = 0.01
        train_step(model, optimizer)
        scheduler.step()
    return doctor


@fault("rate-never-applied")
def rate_of_zero_throughout():
    model, optimizer = built()
    return run(model, optimizer, LambdaLR(optimizer, lambda epoch: epoch // 1000), 40)


@fault("group-left-out")
def only_the_first_group_is_annealed_by_hand():
    model = Model()
    groups = [{"params": model.body.parameters()}, {"params": model.head.parameters(), "weight_decay": 0.0}]
    optimizer = AdamW(groups, lr=0.01)
    doctor = watching(optimizer)
    for step in range(60):
        optimizer.param_groups[0]["lr"] = 0.01 * (1 - step / 60)
        train_step(model, optimizer)
    return doctor


@fault("group-left-out")
def only_the_first_group_is_in_the_own_scheduler():
    class Own(LambdaLR):
        def get_lr(self):
            return [LambdaLR.get_lr(self)[0], *self.base_lrs[1:]]

    model = Model()
    optimizer = SGD([{"params": model.body.parameters()}, {"params": model.head.parameters()}], lr=0.1)
    return run(model, optimizer, Own(optimizer, lambda k: max(0.0, 1 - k / 70)), 70)


@fault("set-twice")
def two_schedulers_of_one_optimizer():
    model, optimizer = built()
    warmup = LambdaLR(optimizer, lambda k: min(1.0, (k + 1) / 10))
    scheduler = LambdaLR(optimizer, lambda k: max(0.0, 1 - k / 60))
    doctor = watching(optimizer, scheduler)
    for _ in range(60):
        train_step(model, optimizer)
        warmup.step()
        scheduler.step()
    return doctor


@fault("set-twice")
def one_cycle_and_cosine_found_by_the_doctor():
    model, optimizer = built()
    cosine = CosineAnnealingLR(optimizer, T_max=60)
    cycle = OneCycleLR(optimizer, 0.1, total_steps=60)
    doctor = watching(optimizer)
    for _ in range(59):
        train_step(model, optimizer)
        cosine.step()
        cycle.step()
    return doctor


@fault("set-twice")
def callback_that_sets_the_rate_beside_a_scheduler():
    model, optimizer = built()
    scheduler = CosineAnnealingLR(optimizer, T_max=50)
    doctor = watching(optimizer, scheduler)
    for step in range(50):
        for group in optimizer.param_groups:
            group["lr"] = 0.01 * 0.95**step
        train_step(model, optimizer)
        scheduler.step()
    return doctor


@fault("lr-without-effect")
def optimizer_that_keeps_its_own_rate():
    class Own(SGD):
        def step(self, closure=None):
            for p in self.param_groups[0]["params"]:
                p.data -= 0.01 * p.grad.sign()

    model, optimizer = built(Own)
    return run(model, optimizer, CosineAnnealingLR(optimizer, T_max=200), 200)


@fault("lr-without-effect")
def optimizer_of_another_copy_of_the_model():
    model, optimizer = built()
    trained = copy.deepcopy(model)
    scheduler = CosineAnnealingLR(optimizer, T_max=40)
    doctor = watching(optimizer, scheduler)
    for _ in range(40):
        trained.loss().backward()
        optimizer.step()
        optimizer.zero_grad()
        scheduler.step()
    doctor.trained = trained
    return doctor


@fault("lr-without-effect")
def rate_below_the_precision_of_the_parameters():
    model, optimizer = built(SGD, lr=1e-12)
    return run(model, optimizer, CosineAnnealingLR(optimizer, T_max=60), 60)


@fault("warmup-too-short")
def warmup_share_of_a_short_run():
    model, optimizer = built()
    return run(model, optimizer, AnnealedLR(optimizer, "warmup(0.01)+cosine", 60), 60)


@fault("warmup-too-short")
def warmup_of_one_step():
    from transformers import get_cosine_schedule_with_warmup

    model, optimizer = built()
    return run(model, optimizer, get_cosine_schedule_with_warmup(optimizer, int(0.02 * 80), 80), 80)


@fault("warmup-too-short")
def warmup_that_is_rounded_to_nothing():
    from transformers import get_cosine_schedule_with_warmup

    model, optimizer = built()
    n_warmup = int(0.01 * 70)
    return run(model, optimizer, get_cosine_schedule_with_warmup(optimizer, n_warmup, 70), 70)


@fault("absolute-floor")
def floor_of_a_loop_by_hand():
    model, optimizer = built(lr=6e-4)
    min_lr = 6e-5
    doctor = watching(optimizer)
    for step in range(80):
        lr = max(min_lr, 6e-4 * (1 - step / 75))
        for group in optimizer.param_groups:
            group["lr"] = lr
        train_step(model, optimizer)
    return doctor


@fault("horizon-longer")
def loop_by_hand_with_the_steps_of_another_run():
    model, optimizer = built()
    doctor = watching(optimizer)
    for step in range(80):
        for group in optimizer.param_groups:
            group["lr"] = 0.01 * (1 - step / 200)
        train_step(model, optimizer)
    return doctor


@fault("jump-on-resume")
def resumed_without_the_scheduler_before_the_doctor_came():
    saved = saved_run(lambda optimizer: LambdaLR(optimizer, lambda k: max(0.0, 1 - k / 100)))
    model, optimizer = built()
    scheduler = LambdaLR(optimizer, lambda k: max(0.0, 1 - k / 100))
    optimizer.load_state_dict(saved["optimizer"])
    return run(model, optimizer, scheduler, 50)


@fault("set-twice")
def plateau_whose_cuts_are_undone():
    model, optimizer = built()
    scheduler = LambdaLR(optimizer, lambda k: max(0.0, 1 - k / 100))
    plateau = ReduceLROnPlateau(optimizer, patience=0)
    doctor = watching(optimizer, scheduler)
    for _ in range(10):
        for _ in range(10):
            train_step(model, optimizer)
            scheduler.step()
        plateau.step(1.0)
    return doctor


@fault("horizon-shorter")
def drops_that_count_epochs_stepped_per_batch():
    model, optimizer = built()
    return run(model, optimizer, StepLR(optimizer, 10), 200)


@fault("horizon-longer")
def stepped_in_the_first_epoch_only():
    model, optimizer = built()
    scheduler = CosineAnnealingLR(optimizer, T_max=100)
    doctor = watching(optimizer, scheduler)
    for epoch in range(4):
        for _ in range(25):
            train_step(model, optimizer)
            if epoch == 0:
                scheduler.step()
    return doctor


@fault("jump-on-resume")
def resumed_by_the_number_of_epochs():
    saved = saved_run(lambda optimizer: LambdaLR(optimizer, lambda k: max(0.0, 1 - k / 100)))
    model, optimizer = built()
    optimizer.load_state_dict(saved["optimizer"])
    doctor = watching(optimizer)
    optimizer.load_state_dict(saved["optimizer"])
    scheduler = LambdaLR(optimizer, lambda k: max(0.0, 1 - k / 100), last_epoch=4)
    for _ in range(50):
        train_step(model, optimizer)
        scheduler.step()
    return doctor


@fault("rate-never-applied")
def rate_of_the_loaded_state():
    saved = saved_run(lambda optimizer: StepLR(optimizer, 1000), lr=0.01)
    model, optimizer = built(lr=1e-4)
    scheduler = StepLR(optimizer, 1000)
    doctor = watching(optimizer, scheduler)
    optimizer.load_state_dict(saved["optimizer"])
    scheduler.load_state_dict(saved["scheduler"])
    for _ in range(40):
        train_step(model, optimizer)
        scheduler.step()
    return doctor


@fault("set-twice")
def part_of_a_sequence_stepped_on_its_own():
    model, optimizer = built()
    cosine = CosineAnnealingLR(optimizer, T_max=80)
    scheduler = SequentialLR(optimizer, [LinearLR(optimizer, 0.1, total_iters=10), cosine], milestones=[10])
    doctor = watching(optimizer, scheduler)
    for _ in range(90):
        train_step(model, optimizer)
        scheduler.step()
        cosine.step()
    return doctor


@fault("warmup-too-short")
def warmup_part_of_no_steps():
    model, optimizer = built()
    n_warmup = int(0.01 * 80)
    parts = [LinearLR(optimizer, 0.1, total_iters=10), CosineAnnealingLR(optimizer, T_max=80)]
    return run(model, optimizer, SequentialLR(optimizer, parts, milestones=[n_warmup]), 80)


def saved_run(make_scheduler, n_steps=50, kind=AdamW, lr=0.01):
    model, optimizer = built(kind, lr)
    scheduler = make_scheduler(optimizer)
    for _ in range(n_steps):
        train_step(model, optimizer)
        scheduler.step()
    return copy.deepcopy({"optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict()})


@fault("jump-on-resume")
def resumed_without_the_scheduler():
    saved = saved_run(lambda optimizer: LambdaLR(optimizer, lambda k: max(0.0, 1 - k / 100)))
    model, optimizer = built()
    scheduler = LambdaLR(optimizer, lambda k: max(0.0, 1 - k / 100))
    doctor = watching(optimizer, scheduler)
    optimizer.load_state_dict(saved["optimizer"])
    for _ in range(50):
        train_step(model, optimizer)
        scheduler.step()
    return doctor


@fault("jump-on-resume")
def resumed_with_a_scheduler_built_anew():
    saved = saved_run(lambda optimizer: CosineAnnealingLR(optimizer, 100), n_steps=80, kind=SGD)
    model, optimizer = built(SGD)
    doctor = watching(optimizer)
    optimizer.load_state_dict(saved["optimizer"])
    scheduler = CosineAnnealingLR(optimizer, 100)
    for _ in range(20):
        train_step(model, optimizer)
        scheduler.step()
    return doctor


@fault("jump-on-resume")
def resumed_without_the_optimizer():
    saved = saved_run(lambda optimizer: CosineAnnealingLR(optimizer, 100), n_steps=60)
    model, optimizer = built()
    scheduler = CosineAnnealingLR(optimizer, 100)
    scheduler.load_state_dict(saved["scheduler"])
    return run(model, optimizer, scheduler, 40)


@fault("horizon-of-another-run", "rises-again")
def state_that_brings_back_an_old_horizon():
    saved = saved_run(lambda optimizer: CosineAnnealingLR(optimizer, 60), n_steps=50)
    model, optimizer = built()
    scheduler = CosineAnnealingLR(optimizer, 120)
    doctor = watching(optimizer, scheduler)
    optimizer.load_state_dict(saved["optimizer"])
    scheduler.load_state_dict(saved["scheduler"])
    for _ in range(70):
        train_step(model, optimizer)
        scheduler.step()
    return doctor


@fault("horizon-of-another-run", "horizon-shorter", "rate-never-applied")
def finetuning_with_the_scheduler_of_a_finished_run():
    saved = saved_run(lambda optimizer: PolynomialLR(optimizer, 50), n_steps=55)
    model, optimizer = built()
    scheduler = PolynomialLR(optimizer, 50)
    optimizer.load_state_dict(saved["optimizer"])
    scheduler.load_state_dict(saved["scheduler"])
    return run(model, optimizer, scheduler, 40)


# Loops without a fault


@clean
def cosine():
    model, optimizer = built()
    return run(model, optimizer, CosineAnnealingLR(optimizer, T_max=100), 100)


@clean
def cosine_stepped_once_less():
    model, optimizer = built()
    scheduler = CosineAnnealingLR(optimizer, T_max=99)
    return run(model, optimizer, scheduler, 100)


@clean
def cosine_per_epoch():
    model, optimizer = built(SGD, momentum=0.9)
    scheduler = CosineAnnealingLR(optimizer, T_max=12)
    doctor = watching(optimizer, scheduler)
    for _ in range(12):
        for _ in range(10):
            train_step(model, optimizer)
        scheduler.step()
    return doctor


@clean
def one_step_per_epoch():
    model, optimizer = built(SGD)
    return run(model, optimizer, StepLR(optimizer, 30), 90)


@clean
def annealed():
    model, optimizer = built()
    return run(model, optimizer, AnnealedLR(optimizer, "warmup(0.1)+cosine(floor=0.1)", 100), 100)


@clean
def warmup_stable_decay():
    model, optimizer = built()
    return run(model, optimizer, AnnealedLR(optimizer, "warmup(steps=5)+wsd(0.2)", 100), 100)


@clean
def warmup_stable_decay_of_transformers():
    from transformers import get_wsd_schedule

    model, optimizer = built()
    return run(model, optimizer, get_wsd_schedule(optimizer, 10, 20, num_stable_steps=70), 100)


@clean
def warmup_stable_before_its_decay():
    model, optimizer = built()
    return run(model, optimizer, LambdaLR(optimizer, lambda k: min(1.0, (k + 1) / 10)), 100)


@clean
def accumulation():
    model, optimizer = built()
    scheduler = CosineAnnealingLR(optimizer, T_max=50)
    doctor = watching(optimizer, scheduler)
    for batch in range(200):
        (model.loss() / 4).backward()
        if batch % 4 == 3:
            optimizer.step()
            optimizer.zero_grad()
            scheduler.step()
    return doctor


@clean
def accumulation_with_a_horizon_in_micro_batches():
    model, optimizer = built()
    scheduler = CosineAnnealingLR(optimizer, T_max=200)
    doctor = watching(optimizer, scheduler)
    for batch in range(200):
        (model.loss() / 4).backward()
        if batch % 4 == 3:
            optimizer.step()
            optimizer.zero_grad()
        scheduler.step()
    return doctor


@clean
def skipped_steps_of_mixed_precision():
    model, optimizer = built()
    scheduler = AnnealedLR(optimizer, "linear", 100)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    doctor = watching(optimizer, scheduler)
    for step in range(100):
        optimizer.zero_grad()
        scaler.scale(model.loss() * (float("inf") if step in (0, 1, 2, 40) else 1.0)).backward()
        scaler.step(optimizer)
        scaler.update()
        scheduler.step()
    return doctor


@clean
def several_groups():
    model = Model()
    groups = [{"params": model.body.parameters(), "lr": 0.001}, {"params": model.head.parameters()}]
    optimizer = AdamW(groups, lr=0.01)
    return run(model, optimizer, CosineAnnealingLR(optimizer, T_max=60), 60)


@clean
def groups_with_functions_of_their_own():
    model = Model()
    optimizer = SGD([{"params": model.body.parameters()}, {"params": model.head.parameters()}], lr=0.05)
    functions = [lambda k: 1.0, lambda k: max(0.0, 1 - k / 60)]
    return run(model, optimizer, LambdaLR(optimizer, functions), 60)


@clean
def a_frozen_group():
    model = Model()
    model.body.requires_grad_(False)
    optimizer = AdamW([{"params": model.body.parameters(), "lr": 0.0}, {"params": model.head.parameters()}], lr=0.01)
    return run(model, optimizer, CosineAnnealingLR(optimizer, T_max=60), 60)


@clean
def warm_restarts():
    model, optimizer = built()
    return run(model, optimizer, CosineAnnealingWarmRestarts(optimizer, T_0=20, T_mult=2), 150)


@clean
def warm_restarts_within_epochs():
    model, optimizer = built()
    scheduler = CosineAnnealingWarmRestarts(optimizer, T_0=2)
    doctor = watching(optimizer, scheduler)
    for epoch in range(6):
        for batch in range(20):
            train_step(model, optimizer)
            scheduler.step(epoch + batch / 20)
    return doctor


@clean
def hard_restarts_of_transformers():
    from transformers import get_cosine_with_hard_restarts_schedule_with_warmup

    model, optimizer = built()
    return run(model, optimizer, get_cosine_with_hard_restarts_schedule_with_warmup(optimizer, 5, 100, 3), 100)


@clean
def own_sawtooth():
    model, optimizer = built()
    return run(model, optimizer, LambdaLR(optimizer, lambda k: 1 - (k % 25) / 25), 100)


@clean
def cyclic():
    model, optimizer = built(SGD, momentum=0.9)
    return run(model, optimizer, CyclicLR(optimizer, 0.001, 0.1, step_size_up=15), 100)


@clean
def one_cycle():
    model, optimizer = built(SGD, momentum=0.9)
    doctor = watching(optimizer, scheduler := OneCycleLR(optimizer, 0.1, total_steps=100))
    for step in range(100):
        train_step(model, optimizer)
        if step < 99:
            scheduler.step()
    return doctor


@clean
def reduce_on_plateau():
    model, optimizer = built(SGD, lr=0.05)
    scheduler = ReduceLROnPlateau(optimizer, patience=2, min_lr=1e-4)
    doctor = watching(optimizer, scheduler)
    for _ in range(10):
        for _ in range(10):
            loss = train_step(model, optimizer)
        scheduler.step(loss.item())
    return doctor


@clean
def warmup_and_plateau():
    model, optimizer = built(SGD, lr=0.05)
    warmup = LinearLR(optimizer, 0.1, total_iters=15)
    plateau = ReduceLROnPlateau(optimizer, patience=0, threshold=0.5)
    doctor = watching(optimizer)
    for _ in range(8):
        for _ in range(10):
            loss = train_step(model, optimizer)
            warmup.step()
        plateau.step(loss.item())
    return doctor


@clean
def constant_rate():
    model, optimizer = built()
    doctor = watching(optimizer)
    for _ in range(80):
        train_step(model, optimizer)
    return doctor


@clean
def constant_after_warmup():
    model, optimizer = built()
    parts = [ConstantLR(optimizer, 0.3, total_iters=10), ExponentialLR(optimizer, 1.0)]
    return run(model, optimizer, SequentialLR(optimizer, parts, milestones=[10]), 80)


@clean
def averaged_weights():
    model, optimizer = built(SGD, lr=0.05)
    scheduler = CosineAnnealingLR(optimizer, T_max=60)
    averaged = SWALR(optimizer, swa_lr=0.02, anneal_epochs=5)
    doctor = watching(optimizer, scheduler)
    for step in range(80):
        train_step(model, optimizer)
        if step < 60:
            scheduler.step()
        else:
            averaged.step()
    return doctor


@clean
def averaged_weights_after_half_of_the_schedule():
    model, optimizer = built(SGD, lr=0.05)
    scheduler = CosineAnnealingLR(optimizer, T_max=100)
    averaged = SWALR(optimizer, swa_lr=0.02, anneal_epochs=5)
    doctor = watching(optimizer, scheduler)
    for step in range(100):
        train_step(model, optimizer)
        if step < 75:
            scheduler.step()
        else:
            averaged.step()
    return doctor


@clean
def early_stopping():
    model, optimizer = built()
    scheduler = CosineAnnealingLR(optimizer, T_max=300)
    doctor = watching(optimizer, scheduler)
    best, waited = float("inf"), 0
    for epoch in range(30):
        for _ in range(10):
            loss = train_step(model, optimizer).item()
            scheduler.step()
        waited = 0 if loss < best and epoch < 8 else waited + 1
        best = min(best, loss)
        if waited > 3:
            break
    return doctor


@clean
def early_stopping_by_a_function():
    model, optimizer = built()
    scheduler = LambdaLR(optimizer, lambda k: max(0.0, 1 - k / 400))
    doctor = watching(optimizer, scheduler)

    def has_converged(step):
        return step > 120

    for step in range(400):
        train_step(model, optimizer)
        scheduler.step()
        if has_converged(step):
            break
    return doctor


@clean
def early_stopping_in_the_condition():
    model, optimizer = built()
    scheduler = AnnealedLR(optimizer, "cosine", 400)
    doctor = watching(optimizer, scheduler)
    step, stopped = 0, False
    while step < 400 and not stopped:
        train_step(model, optimizer)
        scheduler.step()
        step += 1
        stopped = step == 150
    return doctor


class Stop(Exception):
    pass


def stop_after(n_calls):
    calls = itertools.count()

    def check(loss):
        if next(calls) == n_calls:
            raise Stop

    return check


@clean
def pruned_by_an_exception_that_a_study_catches():
    doctors = []

    def objective(should_prune):
        model, optimizer = built()
        scheduler = CosineAnnealingLR(optimizer, T_max=100)
        doctors.append(watching(optimizer, scheduler))
        for step in range(100):
            train_step(model, optimizer)
            scheduler.step()
            if should_prune(step):
                raise Stop

    with contextlib.suppress(Stop):
        objective(lambda step: step > 30)
    return doctors[0]


@clean
def pruned_in_the_warmup():
    model, optimizer = built()
    scheduler = AnnealedLR(optimizer, "warmup(0.3)+cosine", 100)
    doctor = watching(optimizer, scheduler)
    check = stop_after(20)
    with contextlib.suppress(Stop):
        for _ in range(100):
            check(train_step(model, optimizer))
            scheduler.step()
    return doctor


@clean
def early_stopping_by_an_exception_of_a_helper():
    model, optimizer = built()
    scheduler = CosineAnnealingLR(optimizer, T_max=200)
    doctor = watching(optimizer, scheduler)
    check = stop_after(70)
    try:
        for _ in range(200):
            loss = train_step(model, optimizer)
            scheduler.step()
            check(loss)
    except Stop:
        pass
    return doctor


@clean
def early_stopping_by_a_condition_of_the_step():
    class Trainer:
        def __init__(self):
            self.model, self.optimizer = built()
            self.scheduler = CosineAnnealingLR(self.optimizer, T_max=50)
            self.doctor, self.stop, self.n_epochs = watching(self.optimizer, self.scheduler), False, 0

        def epoch(self):
            for _ in range(5):
                train_step(self.model, self.optimizer)
            self.scheduler.step()
            self.n_epochs += 1
            self.stop = self.n_epochs > 20

        def fit(self):
            for _ in range(50):
                if not self.stop:
                    self.epoch()

    trainer = Trainer()
    trainer.fit()
    return trainer.doctor


@clean
def first_part_of_a_run_that_is_saved():
    model, optimizer = built()
    scheduler = CosineAnnealingLR(optimizer, T_max=100)
    doctor = run(model, optimizer, scheduler, 50)
    copy.deepcopy((optimizer.state_dict(), scheduler.state_dict()))
    return doctor


def resumed(make_scheduler, n_saved, n_more, kind=AdamW, *, optimizer_first=True):
    saved = saved_run(make_scheduler, n_saved, kind)
    model, optimizer = built(kind)
    scheduler = make_scheduler(optimizer)
    doctor = watching(optimizer, scheduler)
    for name in ("optimizer", "scheduler") if optimizer_first else ("scheduler", "optimizer"):
        {"optimizer": optimizer, "scheduler": scheduler}[name].load_state_dict(saved[name])
    for _ in range(n_more):
        train_step(model, optimizer)
        scheduler.step()
    return doctor


@clean
def resumed_cosine():
    return resumed(lambda optimizer: CosineAnnealingLR(optimizer, 100), 60, 40)


@clean
def resumed_function_in_the_other_order():
    linear = functools.partial(LambdaLR, lr_lambda=lambda k: max(0.0, 1 - k / 100))
    return resumed(linear, 30, 70, SGD, optimizer_first=False)


@clean
def resumed_annealed():
    return resumed(lambda optimizer: AnnealedLR(optimizer, "warmup(0.1)+linear", 100), 5, 95)


@clean
def resumed_sequence():
    def make(optimizer):
        parts = [LinearLR(optimizer, 0.1, total_iters=20), CosineAnnealingLR(optimizer, 80)]
        return SequentialLR(optimizer, parts, milestones=[20])

    return resumed(make, 50, 50)


@clean
def chained_schedulers_that_multiply():
    model, optimizer = built(SGD, lr=0.05)
    exponential, milestones = ExponentialLR(optimizer, 0.99), MultiStepLR(optimizer, [30, 60])
    doctor = watching(optimizer, exponential)
    for _ in range(80):
        train_step(model, optimizer)
        exponential.step()
        milestones.step()
    return doctor


@clean
def chained_scheduler():
    model, optimizer = built(SGD, lr=0.05)
    parts = [ConstantLR(optimizer, 0.1, total_iters=10), ExponentialLR(optimizer, 0.97)]
    return run(model, optimizer, ChainedScheduler(parts, optimizer), 80)


@clean
def handed_over_by_hand():
    model, optimizer = built()
    warmup = LambdaLR(optimizer, lambda k: min(1.0, (k + 1) / 10))
    cosine = CosineAnnealingLR(optimizer, T_max=70)
    for group in optimizer.param_groups:
        group["lr"] = 0.001
    doctor = watching(optimizer, cosine)
    for step in range(80):
        train_step(model, optimizer)
        (warmup if step < 10 else cosine).step()
    return doctor


@clean
def annealed_by_hand():
    model, optimizer = built()
    doctor = watching(optimizer)
    for step in range(80):
        for group in optimizer.param_groups:
            group["lr"] = 0.01 * (1 - step / 80)
        train_step(model, optimizer)
    return doctor


@clean
def range_test():
    model, optimizer = built(SGD, lr=1e-6)
    return run(model, optimizer, ExponentialLR(optimizer, 1.1), 100)


@clean
def range_test_of_a_function():
    model, optimizer = built(SGD, lr=1e-6)
    return run(model, optimizer, LambdaLR(optimizer, lambda k: 1.1**k), 100)


@clean
def inverse_square_root():
    model, optimizer = built(Adam)
    return run(model, optimizer, LambdaLR(optimizer, lambda k: min((k + 1) ** -0.5, (k + 1) * 20**-1.5)), 120)


@clean
def exponential_that_never_ends():
    model, optimizer = built()
    return run(model, optimizer, LambdaLR(optimizer, lambda k: 0.98**k), 100)


@clean
def drops_of_a_function():
    model, optimizer = built()
    return run(model, optimizer, LambdaLR(optimizer, lambda k: 0.1 ** (k // 40)), 60)


@clean
def floor_that_scales():
    model, optimizer = built(lr=3e-3)
    lr = 3e-3
    return run(model, optimizer, CosineAnnealingLR(optimizer, T_max=60, eta_min=0.1 * lr), 60)


@clean
def linear_to_a_tenth_and_on():
    model, optimizer = built()
    return run(model, optimizer, LinearLR(optimizer, 1.0, 0.1, total_iters=60), 100)


@clean
def closure_of_lbfgs():
    model = Model()
    optimizer = torch.optim.LBFGS(model.parameters(), lr=0.5, max_iter=4)
    scheduler = CosineAnnealingLR(optimizer, T_max=30)
    doctor = watching(optimizer, scheduler)

    def closure():
        optimizer.zero_grad()
        loss = model.loss()
        loss.backward()
        return loss

    for _ in range(30):
        optimizer.step(closure)
        scheduler.step()
    return doctor


@clean
def tensor_rate():
    model = Model()
    optimizer = Adam(model.parameters(), lr=torch.tensor(0.01))
    return run(model, optimizer, AnnealedLR(optimizer, "cosine", 60), 60)


@clean
def two_optimizers():
    model = Model()
    first, second = Adam(model.body.parameters(), lr=0.01), SGD(model.head.parameters(), lr=0.01)
    schedulers = [CosineAnnealingLR(first, T_max=60), StepLR(second, 20)]
    doctor = watching(first, schedulers[0])
    for _ in range(60):
        first.zero_grad()
        second.zero_grad()
        model.loss().backward()
        for each in (first, second, *schedulers):
            each.step()
    return doctor


@clean
def steps_without_gradients():
    _, optimizer = built()
    scheduler = CosineAnnealingLR(optimizer, T_max=40)
    doctor = watching(optimizer, scheduler)
    for _ in range(40):
        optimizer.step()
        scheduler.step()
    return doctor


@clean
def warmup_that_is_turned_off():
    from transformers import get_linear_schedule_with_warmup

    model, optimizer = built()
    scheduler = get_linear_schedule_with_warmup(optimizer, num_warmup_steps=0, num_training_steps=60)
    return run(model, optimizer, scheduler, 60)


@clean
def last_batches_that_are_dropped():
    model, optimizer = built()
    return run(model, optimizer, LambdaLR(optimizer, lambda k: max(0.0, 1 - k / 100)), 97)


@clean
def resumed_with_a_longer_horizon_on_purpose():
    saved = saved_run(lambda optimizer: AnnealedLR(optimizer, "linear", 60), n_steps=50)
    model, optimizer = built()
    scheduler = AnnealedLR(optimizer, "linear", 120, on_new_horizon="stretch")
    doctor = watching(optimizer, scheduler)
    optimizer.load_state_dict(saved["optimizer"])
    scheduler.load_state_dict(saved["scheduler"])
    for _ in range(70):
        train_step(model, optimizer)
        scheduler.step()
    return doctor


@clean
def three_phases_by_linear_parts():
    model, optimizer = built()
    parts = [
        LinearLR(optimizer, 0.1, total_iters=10),
        ConstantLR(optimizer, 1.0, total_iters=1),
        LinearLR(optimizer, 1.0, 0.0, total_iters=20),
    ]
    return run(model, optimizer, SequentialLR(optimizer, parts, milestones=[10, 60]), 80)


@clean
def scheduler_of_its_own_with_restarts():
    class Restarts(LambdaLR):
        def __init__(self, optimizer, total_steps):
            self.total_steps = total_steps
            super().__init__(optimizer, lambda k: 1 - (k % total_steps) / total_steps)

    model, optimizer = built()
    return run(model, optimizer, Restarts(optimizer, 20), 90)


@clean
def function_that_counts_by_itself():
    class Counter:
        n = 0

        def __call__(self, _):
            self.n += 1
            return 1 / self.n

    model, optimizer = built()
    return run(model, optimizer, LambdaLR(optimizer, Counter()), 60)


@clean
def interrupted_by_an_error():
    model, optimizer = built()
    scheduler = CosineAnnealingLR(optimizer, T_max=100)
    try:
        with watching(optimizer, scheduler) as doctor:
            for step in range(100):
                train_step(model, optimizer)
                scheduler.step()
                if step == 30:
                    raise KeyboardInterrupt
    except KeyboardInterrupt:
        return doctor


@clean
def stepped_before_the_optimizer():
    model, optimizer = built()
    scheduler = CosineAnnealingLR(optimizer, T_max=60)
    doctor = watching(optimizer, scheduler)
    for _ in range(60):
        scheduler.step()
        train_step(model, optimizer)
    return doctor


@clean
def stop_at_a_step_of_its_own():
    model, optimizer = built()
    scheduler = OneCycleLR(optimizer, 0.1, total_steps=200)
    doctor = watching(optimizer, scheduler)
    for step in range(200):
        train_step(model, optimizer)
        scheduler.step()
        if step == 120:
            break
    return doctor


@clean
def long_run():
    _, optimizer = built(SGD)
    scheduler = CosineAnnealingLR(optimizer, T_max=5000)
    doctor = watching(optimizer, scheduler)
    for _ in range(5000):
        optimizer.step()
        scheduler.step()
    return doctor
