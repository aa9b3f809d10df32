"""Training with crops and flips, an epoch at a time, as in the paper; a trial continues from its last epoch.

Under a runner with several workers a trial, each has its part of every batch, by DistributedDataParallel.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.backends import cudnn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

from images.data import ImageData, Images, Source
from images.networks import Normalize, make_network, title
from images.tasks import OPTIMIZERS
from robust_lr import Schedule, TrialDiverged
from robust_lr.divergence import DivergenceWatch
from robust_lr_ray import mean_over_ranks, shard, trial_checkpoint, world_size
from robust_lr_torch import AnnealedLR

PADDING = 4
STEPS_BETWEEN_LOOKS = 50  # at whether the loss is finite; a look waits for the GPU
INITIAL, ORDER = range(2)  # each seed has one random stream for each of these


def crop_and_flip(pixels: Tensor, rows: Tensor, shifts: Tensor, flips: Tensor) -> Tensor:
    """Return a batch of crops, uint8 (B, side, side, channels), by one indexing on the device.

    Args:
        pixels: (n, side, side, channels).
        rows: which images, (B,).
        shifts: down and to the right, pixels in -4..4, (2, B); what lies outside of the image is its reflection.
        flips: which are mirrored, bool (B,).
    """
    side = pixels.shape[1]
    down, right = shifts[..., None] + torch.arange(side, device=pixels.device)
    right = torch.where(flips[:, None], right.flip(1), right)
    down, right = ((side - 1) - ((side - 1) - places.abs()).abs() for places in (down, right))
    return pixels[rows[:, None, None], down[:, :, None], right[:, None, :]]


class Training:
    """One network in training, an epoch at a time.

    The draws of an epoch depend only on the seed and its number, so `state_dict` needs no random state: a training that
    continues from it equals an uninterrupted one. On CUDA the arithmetic is bfloat16 by autocast, with
    float32 weights; on the CPU it is float32.
    """

    def __init__(
        self,
        network: str,
        images: Images,
        source: Source,
        *,
        optimizer: str = "sgd",
        lr: float,
        schedule: Schedule,
        seed: int,
        n_epochs: int,
        batch_size: int,
    ) -> None:
        self.images, self.seed, self.n_epochs, self.batch_size = images, seed, n_epochs, batch_size
        self.device = images.pixels.device
        self.steps_per_epoch = len(images) // batch_size  # what is left over is another part in each epoch
        with torch.random.fork_rng([]):
            torch.default_generator.manual_seed(_stream(seed, INITIAL))
            model = make_network(network, source.n_channels, source.side)
        self.model = model.to(self.device, memory_format=torch.channels_last)
        if world_size() > 1 and self.device.type == "cuda":  # on a CPU each rank normalizes its own part of a batch
            self.model = nn.SyncBatchNorm.convert_sync_batchnorm(self.model)
        self.replica = DistributedDataParallel(self.model) if world_size() > 1 else self.model
        self.normalize = Normalize(source).to(self.device)
        self.optimizer = OPTIMIZERS[optimizer].make(self.model.parameters(), lr=lr, **OPTIMIZERS[optimizer].options)
        self.scheduler = AnnealedLR(self.optimizer, schedule, n_epochs * self.steps_per_epoch)
        self.watch = DivergenceWatch(factor=1e6, patience=100)
        self.epoch, self.losses = 0, []
        cudnn.benchmark = True  # all batches have one shape

    def run_epoch(self) -> None:
        """Train on each image once.

        Raises:
            TrialDiverged: when the loss of a batch is not finite, or stays far above that of the first.
        """
        waiting = []
        self.model.train()
        for rows, shifts, flips in self._batches():
            x = self.normalize(crop_and_flip(self.images.pixels, rows, shifts, flips))
            self.optimizer.zero_grad()
            with self._precision():
                loss = functional.cross_entropy(self.replica(x), self.images.labels[rows])
            loss.backward()
            self.optimizer.step()
            self.scheduler.step()
            waiting.append(loss.detach())
            if len(waiting) == STEPS_BETWEEN_LOOKS:
                self._look(waiting)
                waiting = []
        self._look(waiting)
        self.epoch += 1

    def evaluate(self, images: Images) -> tuple[float, float]:
        """Return the mean loss, in nats, and the share of correctly classified images."""
        self.model.eval()
        loss = n_right = 0.0
        with torch.no_grad(), self._precision():
            for start in range(0, len(images), 1000):
                part = images[start : start + 1000].to(self.device)
                logits = self.model(self.normalize(part.pixels)).float()
                loss += float(functional.cross_entropy(logits, part.labels, reduction="sum"))
                n_right += float((logits.argmax(1) == part.labels).sum())
        return loss / len(images), n_right / len(images)

    def state_dict(self) -> dict[str, Any]:
        """Return the state for a resume, at the end of an epoch."""
        parts = {name: getattr(self, name).state_dict() for name in ("model", "optimizer", "scheduler")}
        return {"epoch": self.epoch, "losses": list(self.losses), **parts}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from the state of the same trial."""
        for name in ("model", "optimizer", "scheduler"):
            getattr(self, name).load_state_dict(state[name])
        self.epoch, self.losses = state["epoch"], list(state["losses"])
        self.watch.see(self.losses)

    def _batches(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        generator = torch.Generator().manual_seed(_stream(self.seed, ORDER, self.epoch))
        n, size = len(self.images), self.batch_size
        rows = torch.randperm(n, generator=generator).to(self.device)
        shifts = torch.randint(-PADDING, PADDING + 1, (2, n), generator=generator).to(self.device)
        flips = torch.randint(2, (n,), generator=generator).bool().to(self.device)
        part = shard(size)  # of this rank, among those that train together
        for start in range(0, self.steps_per_epoch * size, size):
            batch = slice(start + part.start, start + part.stop)
            yield rows[batch], shifts[:, batch], flips[batch]

    def _look(self, losses: Sequence[Tensor]) -> None:
        values = [mean_over_ranks(loss) for loss in torch.stack(tuple(losses)).tolist()] if losses else []
        self.losses += values
        if (step := self.watch.see(values)) is not None:
            raise TrialDiverged(f"diverged at step {step}, in epoch {self.epoch}")

    def _precision(self) -> contextlib.AbstractContextManager[Any]:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda")


@dataclass(frozen=True, kw_only=True)
class ImageTrial:
    """The training function: the final validation loss, and as metrics the losses and accuracies of all three parts.

    Args:
        data: the images.
        network: see `make_network`.
        optimizer: see `OPTIMIZERS`.
        n_epochs: passes over the training images, >= 1.
        batch_size: images in a batch, at most as many as there are to train on.
        device: "cpu" or "cuda".
    """

    data: ImageData
    network: str
    optimizer: str
    n_epochs: int
    batch_size: int
    device: str

    @property
    def label(self) -> str:
        """Name of the training in a journal: everything on which its results depend."""
        n = "all" if self.data.max_images is None else f"at most {self.data.max_images}"
        size = f"{self.n_epochs} epochs, batch {self.batch_size}, {n} images of {self.data.name}"
        return f"wrn: {title(self.network)}, {self.optimizer}, crops and flips, {size}"

    def __call__(self, *, lr: float, schedule: Schedule, seed: int) -> dict[str, float]:
        """Train once, from the last epoch in the trial's checkpoint, if the runner keeps one."""
        training = Training(
            self.network,
            self.data.parts["train"].to(torch.device(self.device)),
            self.data.source,
            optimizer=self.optimizer,
            lr=lr,
            schedule=schedule,
            seed=seed,
            n_epochs=self.n_epochs,
            batch_size=self.batch_size,
        )
        checkpoint = trial_checkpoint()
        if (state := checkpoint.load()) is not None:
            training.load_state_dict(state)
        while training.epoch < self.n_epochs:
            training.run_epoch()
            checkpoint.save(training.state_dict())
        results = {}
        for name, images in self.data.parts.items():
            results[f"{name}_loss"], results[f"{name}_accuracy"] = training.evaluate(images)
        return {"loss": results.pop("validation_loss"), **results}


def _stream(*key: int) -> int:
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0])
