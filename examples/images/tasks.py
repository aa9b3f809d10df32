"""Training without crops and flips as a `SupervisedTask`, whose trials can be packed."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.optim import SGD, AdamW, Optimizer

from images.data import ImageData, Images
from images.networks import Normalize, make_network
from robust_lr_torch import SupervisedTask


@dataclass(frozen=True)
class Optimization:
    """An optimizer with its options, all but the learning rate."""

    make: Callable[..., Optimizer]
    options: dict[str, Any]


OPTIMIZERS = {
    "sgd": Optimization(SGD, {"momentum": 0.9, "nesterov": True, "weight_decay": 5e-4}),
    "adamw": Optimization(AdamW, {"weight_decay": 0.01}),
}


def accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the share of correctly classified images."""
    return (logits.argmax(1) == labels).float().mean()


def make_task(
    data: ImageData, *, network: str, optimizer: str, n_steps: int, batch_size: int, device: str = "cpu"
) -> SupervisedTask:
    """Return the task of training a network for so many steps; its loss is that on the validation images."""
    source, parts, normalize = data.source, data.parts, Normalize(data.source)

    def ready(images: Images) -> tuple[Tensor, Tensor]:
        return normalize(images.pixels).contiguous(), images.labels

    return SupervisedTask(
        make_model=partial(make_network, network, source.n_channels, source.side),
        train_data=ready(parts["train"]),
        validation_data=ready(parts["validation"]),
        loss=functional.cross_entropy,
        metrics={"accuracy": accuracy},
        total_steps=n_steps,
        batch_size=batch_size,
        optimizer=OPTIMIZERS[optimizer].make,
        optimizer_options=OPTIMIZERS[optimizer].options,
        device=torch.device(device).type,
    )
