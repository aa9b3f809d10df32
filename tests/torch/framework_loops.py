"""Loops of transformers, Lightning and Accelerate with a fault of the schedule, and without one."""

import warnings

import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, OneCycleLR

from robust_lr_torch import ScheduleDoctor

FAULTS, CLEAN = {}, {}
N = 48  # examples


def fault(*codes):
    def note(loop):
        FAULTS[loop.__name__] = (loop, set(codes))
        return loop

    return note


def clean(loop):
    CLEAN[loop.__name__] = loop
    return loop


def watching(optimizer, scheduler=None):
    return ScheduleDoctor(optimizer, scheduler, on_finding=lambda finding: None)


def data():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(N, 3, generator=generator), torch.randn(N, 1, generator=generator)


# transformers


def trained_by_transformers(folder, *, make_scheduler=None, callbacks=(), **changes):
    import transformers

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(3, 1)

        def forward(self, x, y):
            return {"loss": (self.layer(x) - y).square().mean()}

    x, y = data()
    options = {"max_steps": 24, "per_device_train_batch_size": 4, "learning_rate": 0.01, "lr_scheduler_type": "linear"}
    options |= {"report_to": "none", "save_strategy": "no", "disable_tqdm": True, "use_cpu": True, "logging_steps": 99}
    model = Model()
    arguments = transformers.TrainingArguments(output_dir=str(folder), **(options | changes))
    optimizer = torch.optim.AdamW(model.parameters(), lr=arguments.learning_rate)
    trainer = transformers.Trainer(
        model,
        arguments,
        train_dataset=[{"x": a, "y": b} for a, b in zip(x, y, strict=True)],
        optimizers=(optimizer, make_scheduler(optimizer) if make_scheduler else None),
        callbacks=list(callbacks),
    )
    doctor = watching(optimizer)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.train()
    return doctor


@fault("horizon-longer")
def trainer_with_a_scheduler_of_another_run(folder):
    from transformers import get_linear_schedule_with_warmup as linear

    return trained_by_transformers(folder, make_scheduler=lambda optimizer: linear(optimizer, 10, 1000))


@fault("horizon-longer")
def trainer_with_a_horizon_in_micro_batches(folder):
    def cosine(optimizer):
        return CosineAnnealingLR(optimizer, T_max=4 * 24)

    return trained_by_transformers(folder, make_scheduler=cosine, gradient_accumulation_steps=4)


@fault("rises-again")
def trainer_with_a_cosine_that_is_too_short(folder):
    return trained_by_transformers(folder, make_scheduler=lambda optimizer: CosineAnnealingLR(optimizer, T_max=10))


@fault("absolute-floor")
def trainer_with_an_absolute_floor(folder):
    options = {"lr_scheduler_type": "cosine_with_min_lr", "lr_scheduler_kwargs": {"min_lr": 1e-3}}
    return trained_by_transformers(folder, **options)


@fault("warmup-too-short")
def trainer_with_a_warmup_share_of_a_short_run(folder):
    return trained_by_transformers(folder, warmup_steps=0.02)


@clean
def trainer(folder):
    return trained_by_transformers(folder, warmup_steps=4)


@clean
def trainer_with_accumulation(folder):
    return trained_by_transformers(folder, gradient_accumulation_steps=3, lr_scheduler_type="cosine")


@clean
def trainer_by_epochs(folder):
    return trained_by_transformers(folder, max_steps=-1, num_train_epochs=2, lr_scheduler_type="cosine")


@clean
def trainer_that_stops_early(folder):
    from transformers import TrainerCallback

    class Stop(TrainerCallback):
        def on_step_end(self, args, state, control, **_):
            control.should_training_stop = state.global_step >= 12

    return trained_by_transformers(folder, callbacks=[Stop()])


@clean
def trainer_with_restarts(folder):
    options = {"lr_scheduler_type": "cosine_with_restarts", "lr_scheduler_kwargs": {"num_cycles": 2}}
    return trained_by_transformers(folder, **options)


@clean
def trainer_with_a_relative_floor(folder):
    options = {"lr_scheduler_type": "cosine_with_min_lr", "lr_scheduler_kwargs": {"min_lr_rate": 0.1}}
    return trained_by_transformers(folder, **options)


# Lightning


def trained_by_lightning(make_scheduler, *, interval, batch_size=4, callbacks=(), **options):
    import lightning

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(3, 1)

        def training_step(self, batch, number):
            x, y = batch
            loss = (self.layer(x) - y).square().mean()
            self.log("loss", loss)
            return loss

        def configure_optimizers(self):
            self.optimizer = torch.optim.AdamW(self.parameters(), lr=0.01)
            self.doctor = watching(self.optimizer)
            scheduler = make_scheduler(self.optimizer)
            return {"optimizer": self.optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": interval}}

    module = Module()
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*data()), batch_size=batch_size)
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "accelerator": "cpu"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = lightning.Trainer(enable_model_summary=False, callbacks=list(callbacks), **quiet, **options)
        trainer.fit(module, loader)
    return module.doctor


@fault("stepped-per-epoch")
def lightning_that_steps_per_epoch(folder):
    return trained_by_lightning(lambda o: CosineAnnealingLR(o, T_max=36), interval="epoch", max_epochs=3)


@fault("stepped-per-epoch")
def lightning_that_steps_one_cycle_per_epoch(folder):
    return trained_by_lightning(lambda o: OneCycleLR(o, 0.1, total_steps=12), interval="epoch", max_epochs=1)


@fault("horizon-longer")
def lightning_that_forgets_accumulation(folder):
    def linear(optimizer):
        return LambdaLR(optimizer, lambda step: max(0.0, 1 - step / 36))

    return trained_by_lightning(linear, interval="step", max_epochs=3, accumulate_grad_batches=3)


@fault("rises-again")
def lightning_with_a_horizon_in_epochs(folder):
    return trained_by_lightning(lambda o: CosineAnnealingLR(o, T_max=3), interval="step", max_epochs=3)


@clean
def lightning_per_step(folder):
    return trained_by_lightning(lambda o: CosineAnnealingLR(o, T_max=36), interval="step", max_epochs=3)


@clean
def lightning_per_epoch(folder):
    return trained_by_lightning(lambda o: CosineAnnealingLR(o, T_max=4), interval="epoch", max_epochs=4)


@clean
def lightning_with_accumulation(folder):
    options = {"interval": "step", "max_epochs": 3, "accumulate_grad_batches": 3}
    return trained_by_lightning(lambda o: OneCycleLR(o, 0.1, total_steps=13), **options)


@clean
def lightning_that_stops_early(folder):
    from lightning.pytorch.callbacks import EarlyStopping

    stop = EarlyStopping("loss", stopping_threshold=1e6, check_on_train_epoch_end=True)
    scheduler = lambda o: CosineAnnealingLR(o, T_max=60)  # noqa: E731
    return trained_by_lightning(scheduler, interval="step", max_epochs=5, callbacks=[stop])


# Accelerate


def trained_by_accelerate(make_scheduler, *, accumulate=1, n_epochs=2, prepare=True, n_processes=1):
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState, GradientState, PartialState

    for state in (AcceleratorState, GradientState, PartialState):
        state._reset_state()
    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=accumulate)
    # A second process would have a rank of its own; what counts here is that the scheduler takes it into account.
    PartialState._shared_state["num_processes"] = n_processes
    AcceleratorState._shared_state["num_processes"] = n_processes
    model = torch.nn.Linear(3, 1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    scheduler = make_scheduler(optimizer)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*data()), batch_size=4)
    model, optimizer = accelerator.prepare(model, optimizer)
    if prepare:
        scheduler = accelerator.prepare(scheduler)
    doctor = watching(optimizer, scheduler)
    for _ in range(n_epochs):
        for x, y in loader:
            with accelerator.accumulate(model):
                accelerator.backward((model(x) - y).square().mean())
                optimizer.step()
                scheduler.step()
                optimizer.zero_grad()
    for state in (AcceleratorState, GradientState, PartialState):
        state._reset_state()
    return doctor


@fault("stepped-by-processes", "rises-again")
def accelerate_that_steps_for_each_process(folder):
    return trained_by_accelerate(lambda o: CosineAnnealingLR(o, T_max=24), n_processes=2)


@fault("stepped-by-processes")
def accelerate_that_steps_one_cycle_for_each_process(folder):
    return trained_by_accelerate(lambda o: OneCycleLR(o, 0.1, total_steps=24), n_processes=4)


@fault("stepped-per-micro-batch")
def accelerate_with_a_scheduler_that_is_not_prepared(folder):
    def linear(optimizer):
        return LambdaLR(optimizer, lambda step: max(0.0, 1 - step / 12))

    return trained_by_accelerate(linear, accumulate=4, n_epochs=4, prepare=False)


@fault("horizon-longer")
def accelerate_with_a_horizon_in_micro_batches(folder):
    return trained_by_accelerate(lambda o: CosineAnnealingLR(o, T_max=48), accumulate=4, n_epochs=4)


@clean
def accelerate(folder):
    return trained_by_accelerate(lambda o: CosineAnnealingLR(o, T_max=24))


@clean
def accelerate_with_accumulation(folder):
    return trained_by_accelerate(lambda o: CosineAnnealingLR(o, T_max=12), accumulate=4, n_epochs=4)


@clean
def accelerate_with_a_horizon_that_counts_processes(folder):
    return trained_by_accelerate(lambda o: CosineAnnealingLR(o, T_max=48), n_processes=2)
