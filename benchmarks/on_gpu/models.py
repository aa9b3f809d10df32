"""The four models that are timed, on random data: their speed does not depend on the values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from robust_lr_torch import SupervisedTask


@dataclass(frozen=True)
class Model:
    """A model to time.

    Attributes:
        title: what it is called in a table.
        make: returns the task of one training step, small where the argument is true.
        lrs: the lowest and the highest learning rate.
        block: steps between two looks at the losses.
        sweep_steps, sweep_trials: length and number of the trainings that share the GPU.
    """

    title: str
    make: Callable[[bool], SupervisedTask]
    lrs: tuple[float, float]
    block: int
    sweep_steps: int
    sweep_trials: int


def draw(*shape: int, seed: int = 0) -> Tensor:
    """Return numbers of a normal distribution."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def labeled(inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Return the inputs, and classes that a linear map gives them."""
    flat = inputs.flatten(1)
    return inputs, (flat @ draw(flat.shape[1], 10, seed=1)).argmax(1)


def make_mlp() -> nn.Module:
    """64-128-10."""
    return nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))


def make_cnn() -> nn.Module:
    """Two convolutions, 1-16-32 channels, and a linear layer."""
    return nn.Sequential(
        *(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1)),
        *(nn.Flatten(), nn.Linear(32, 10)),
    )


def mlp(tiny: bool) -> SupervisedTask:
    """64-128-10 under AdamW."""
    return SupervisedTask(
        make_model=make_mlp,
        train_data=labeled(draw(512, 64)),
        loss=functional.cross_entropy,
        total_steps=1,
        batch_size=64,
        optimizer=torch.optim.AdamW,
    )


def cnn(tiny: bool) -> SupervisedTask:
    """The CNN on images of 8 x 8 under SGD with momentum."""
    return SupervisedTask(
        make_model=make_cnn,
        train_data=labeled(draw(512, 1, 8, 8)),
        loss=functional.cross_entropy,
        total_steps=1,
        batch_size=64,
        optimizer_options={"momentum": 0.9},
    )


def wrn(tiny: bool) -> SupervisedTask:
    """WRN-16-4 on gray images of 28 x 28 under SGD with Nesterov momentum; tiny, WRN-10-1 on 8 x 8."""
    from images.networks import make_network
    from images.tasks import OPTIMIZERS

    name, side, batch_size = ("10-1", 8, 4) if tiny else ("16-4", 28, 32)
    return SupervisedTask(
        make_model=partial(make_network, name, 1, side),
        train_data=labeled(draw(4 * batch_size, 1, side, side)),
        loss=functional.cross_entropy,
        total_steps=1,
        batch_size=batch_size,
        optimizer_options=OPTIMIZERS["sgd"].options,
    )


def char_lm(tiny: bool) -> SupervisedTask:
    """The transformer of examples/char_lm_packed.py: two layers of width 64 over 64 characters, AdamW."""
    from char_lm_packed import make_task

    return replace(make_task(2 if tiny else 32), validation_data=None, evaluation_batch_size=256)


MODELS = {
    "mlp": Model("MLP 64-128-10, AdamW, B=64", mlp, (3e-4, 3e-3), 50, 1000, 32),
    "char-lm": Model("transformer, 2 layers, d=64, context 64, AdamW, B=8", char_lm, (3e-4, 3e-3), 50, 300, 32),
    "cnn": Model("CNN 1-16-32 on 8x8, SGD + momentum, B=64", cnn, (3e-3, 3e-2), 50, 400, 32),
    "wrn": Model("WRN-16-4 on 28x28, SGD + Nesterov, B=32", wrn, (3e-3, 3e-2), 5, 60, 16),
    "cnn-fp32": Model("the CNN without TF32", cnn, (3e-3, 3e-2), 50, 400, 32),
}
