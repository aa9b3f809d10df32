"""Wide ResNets on CIFAR-10 on a Ray cluster: how coarse may the grid be if a trial takes minutes to hours on a GPU?

    python examples/cifar10_wrn.py --tier smoke --data cifar10
    python examples/cifar10_wrn.py --tier full --address auto --journal cifar10.jsonl --report cifar10.html
    python examples/cifar10_wrn.py --speed

The networks and their training are those of Zagoruyko and Komodakis, Wide Residual Networks (2016,
https://arxiv.org/abs/1605.07146), without dropout: crops from images padded by 4 reflected pixels, flips, SGD with
Nesterov momentum. The loss on a tenth of the training images, on which no trial trains, chooses the learning rate; the
test images choose nothing, their loss and accuracy are metrics. docs/how-to/cifar10.md gives the cost of the tiers.
"""

import argparse
import contextlib
import functools
import hashlib
import http.client
import logging
import math
import shlex
import shutil
import sys
import tarfile
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from robust_lr import (
    GeometricGrid,
    PackedRunner,
    RobustLRError,
    Schedule,
    SerialRunner,
    SweepResult,
    TrialDiverged,
    TrialSpec,
    analyze_sweep,
    parse_schedule,
    run_sweep,
)
from robust_lr.divergence import DivergenceWatch
from robust_lr.exceptions import DataError
from robust_lr.report.console import make_console, print_analysis
from robust_lr.report.html import write_report
from robust_lr.runners import Runner, TrialList
from robust_lr_torch import AnnealedLR, SupervisedTask

URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
MD5 = "c32a1d4ab5d03f1284b67883e8d87530"
UNPACKED = "cifar-10-batches-bin"
TRAIN_FILES, TEST_FILE = tuple(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"
SIDE, N_CLASSES, N_PIXELS = 32, 10, 3 * 32 * 32
PADDING = 4
MEAN, STD = (125.3, 123.0, 113.9), (63.0, 62.1, 66.7)  # of red, green, blue over the training images
SCHEDULES = ("constant", "inverse-sqrt", "linear", "cosine", "polynomial(2)")
SGD_OPTIONS = {"momentum": 0.9, "nesterov": True, "weight_decay": 5e-4}
STEPS_BETWEEN_LOOKS = 50  # at whether the loss is finite; a look waits for the GPU
INITIAL, ORDER = range(2)  # each seed has one random stream for each of these


# The network


class Block(nn.Module):
    """Two 3x3 convolutions, each after batch norm and ReLU, added to the block's input."""

    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(n_in), nn.Conv2d(n_in, n_out, 3, stride, padding=1, bias=False)
        self.norm2, self.conv2 = nn.BatchNorm2d(n_out), nn.Conv2d(n_out, n_out, 3, padding=1, bias=False)
        self.shortcut = None if n_in == n_out else nn.Conv2d(n_in, n_out, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, n_in, H, W) to (B, n_out, H / stride, W / stride)."""
        ready = functional.relu(self.norm1(x))
        carried = x if self.shortcut is None else self.shortcut(ready)
        return carried + self.conv2(functional.relu(self.norm2(self.conv1(ready))))


class WideResNet(nn.Module):
    """WRN-depth-width: images (B, 3, 32, 32) to logits (B, 10). The depth is 4 + 6n, for n blocks in each group."""

    def __init__(self, depth: int, width: int) -> None:
        super().__init__()
        if depth < 10 or (depth - 4) % 6 or width < 1:
            raise DataError(f"a Wide ResNet has a depth of 10, 16, 22, .. and a width >= 1, got {depth}-{width}")
        channels = (16, 16 * width, 32 * width, 64 * width)
        blocks = [
            Block(channels[group] if i == 0 else channels[group + 1], channels[group + 1], 2 if group and i == 0 else 1)
            for group in range(3)
            for i in range((depth - 4) // 6)
        ]
        self.first, self.blocks = nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.Sequential(*blocks)
        self.norm, self.logits = nn.BatchNorm2d(channels[-1]), nn.Linear(channels[-1], N_CLASSES)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        nn.init.zeros_(self.logits.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits."""
        features = functional.relu(self.norm(self.blocks(self.first(images))))
        return self.logits(features.mean((-2, -1)))


def n_parameters(depth: int, width: int) -> int:
    """Return the number of trained parameters."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in WideResNet(depth, width).parameters())


def operations_per_image(depth: int, width: int) -> int:
    """Return the floating-point operations of a training step per image: forward, and twice that backward."""
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        WideResNet(depth, width)(torch.empty(1, 3, SIDE, SIDE))
    return 3 * counter.get_total_flops()


# The data


@dataclass(frozen=True, eq=False)
class Images:
    """Pixels, uint8 (n, 32, 32, 3), and labels, int64 (n,); they stay as they are until they are on the device."""

    pixels: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, rows: slice) -> "Images":
        return Images(self.pixels[rows], self.labels[rows])

    def to(self, device: torch.device) -> "Images":
        """Return the same on a device."""
        return Images(self.pixels.to(device), self.labels.to(device))


@dataclass(frozen=True)
class Cifar10:
    """The images in a folder, read once in each process that uses them; only the path travels to the workers.

    Args:
        folder: holds cifar-10-binary.tar.gz, which is downloaded if missing, or the unpacked
            cifar-10-batches-bin.
        max_images: read no more than so many training images, and so many test images; None for all 50000 and 10000.
    """

    folder: str
    max_images: int | None = None
    _parts: dict[str, Images] | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def parts(self) -> dict[str, Images]:
        """The images to train on, those that choose the learning rate (a tenth of the training images), and the test.

        Raises:
            DataError: when they are missing or malformed.
        """
        if self._parts is None:  # functools has caches for this, which do not travel with a class of a script
            object.__setattr__(self, "_parts", self._read())
        return self._parts

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_parts": None}

    def _read(self) -> dict[str, Images]:
        contents = read_files(Path(self.folder))
        images = {name: decode(content, Path(self.folder, UNPACKED, name)) for name, content in contents.items()}
        if self.max_images is None and (wrong := [name for name, part in images.items() if len(part) != 10_000]):
            raise DataError(f"{wrong[0]} must hold 10000 images, got {len(images[wrong[0]])}; --tier smoke takes any")
        training = [images[name] for name in TRAIN_FILES]
        known = Images(torch.cat([i.pixels for i in training]), torch.cat([i.labels for i in training]))
        known, test = known[: self.max_images], images[TEST_FILE][: self.max_images]
        n = len(known) - len(known) // 10
        if n == len(known) or len(test) == 0:
            raise DataError(f"at least 10 training images and 1 test image are needed, got {len(known)}, {len(test)}")
        return {"train": known[:n], "validation": known[n:], "test": test}


def read_files(folder: Path) -> dict[str, bytes]:
    """Return the content of the six files by name, from the unpacked folder if there is one, else from the archive."""
    if not (folder / UNPACKED).is_dir():
        return read_archive(fetch_archive(folder))
    paths = [folder / UNPACKED / name for name in (*TRAIN_FILES, TEST_FILE)]
    if missing := [path.name for path in paths if not path.is_file()]:
        raise DataError(f"{folder / UNPACKED} lacks {', '.join(missing)}; delete it to have all downloaded")
    return {path.name: path.read_bytes() for path in paths}


def read_archive(path: Path) -> dict[str, bytes]:
    """Return the content of the six files by name."""
    contents = {}
    with tarfile.open(path, "r:gz") as archive:
        for member in archive:  # in their order: going back would unpack it all again
            if (file := archive.extractfile(member)) is not None and member.name.endswith(".bin"):
                contents[Path(member.name).name] = file.read()
    if missing := [name for name in (*TRAIN_FILES, TEST_FILE) if name not in contents]:
        raise DataError(f"{path} lacks {', '.join(missing)}")
    return contents


def fetch_archive(folder: Path, *, url: str = URL, md5: str = MD5) -> Path:
    """Return the path of the archive, after a download if it is missing and a check in any case.

    Raises:
        DataError: when it cannot be downloaded, or its MD5 is wrong.
    """
    path = folder / "cifar-10-binary.tar.gz"
    if not path.exists():
        part = None
        try:
            with urllib.request.urlopen(url, timeout=60) as response:
                folder.mkdir(parents=True, exist_ok=True)
                with tempfile.NamedTemporaryFile(dir=folder, prefix="cifar-10-", suffix=".part", delete=False) as file:
                    part = Path(file.name)
                    shutil.copyfileobj(response, file)
            _check_md5(part, md5, f"what came from {url} is not the archive: it")
            part.chmod(0o644)  # a temporary file is its owner's alone
            part.replace(path)
        except (OSError, http.client.HTTPException) as error:  # URLError is an OSError
            raise DataError(f"CIFAR-10 must be at {path}, and could not be downloaded from {url}: {error}") from None
        finally:
            if part is not None:
                part.unlink(missing_ok=True)
    _check_md5(path, md5, f"{path} is not the archive, delete it to have it downloaded again: it")
    return path


def decode(content: bytes, path: Path) -> Images:
    """Return the images of one file: each is a byte for its class, then 1024 bytes of red, of green and of blue."""
    if not content or len(content) % (1 + N_PIXELS):
        raise DataError(f"{path} must hold whole images of {1 + N_PIXELS} bytes, got {len(content)} bytes: truncated?")
    records = np.frombuffer(content, np.uint8).reshape(-1, 1 + N_PIXELS)
    if (highest := records[:, 0].max()) >= N_CLASSES:
        raise DataError(f"{path} must hold classes 0..9, got {highest}")
    pixels = records[:, 1:].reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1)
    return Images(torch.from_numpy(pixels.copy()), torch.from_numpy(records[:, 0].astype(np.int64)))


def _check_md5(path: Path, expected: str, what: str) -> None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if found != expected:
        raise DataError(f"{what} has MD5 {found}, expected {expected}")


# Training


def crop_and_flip(pixels: Tensor, rows: Tensor, shifts: Tensor, flips: Tensor) -> Tensor:
    """Return a batch of crops, uint8 (B, 32, 32, 3), by one indexing on the device.

    Args:
        pixels: (n, 32, 32, 3).
        rows: which images, (B,).
        shifts: down and to the right, pixels in -4..4, (2, B); what lies outside of the image is its reflection.
        flips: which are mirrored, bool (B,).
    """
    down, right = shifts[..., None] + torch.arange(SIDE, device=pixels.device)
    right = torch.where(flips[:, None], right.flip(1), right)
    down, right = ((SIDE - 1) - ((SIDE - 1) - places.abs()).abs() for places in (down, right))
    return pixels[rows[:, None, None], down[:, :, None], right[:, None, :]]


class Normalize(nn.Module):
    """Pixels, uint8 (B, 32, 32, 3), to the network's input: float32 (B, 3, 32, 32), channels last."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(MEAN))
        self.register_buffer("std", torch.tensor(STD))

    def forward(self, pixels: Tensor) -> Tensor:
        """Return each color minus its mean, in units of its standard deviation."""
        return ((pixels - self.mean) / self.std).permute(0, 3, 1, 2)


class Training:
    """One network in training, an epoch at a time.

    The draws of an epoch depend only on the seed and its number, so `state_dict` needs no random state: a training that
    continues from it equals an uninterrupted one. On CUDA the arithmetic is bfloat16 by autocast, with
    float32 weights; on the CPU it is float32.
    """

    def __init__(
        self,
        network: tuple[int, int],
        images: Images,
        *,
        lr: float,
        schedule: Schedule,
        seed: int,
        n_epochs: int,
        batch_size: int,
    ) -> None:
        from torch.backends import cudnn  # here: what the name refers to does not travel with a class of a script

        self.images, self.seed, self.n_epochs, self.batch_size = images, seed, n_epochs, batch_size
        self.device = images.pixels.device
        self.steps_per_epoch = len(images) // batch_size  # what is left over is another part in each epoch
        with torch.random.fork_rng([]):
            torch.default_generator.manual_seed(_stream(seed, INITIAL))
            model = WideResNet(*network)
        self.model = model.to(self.device, memory_format=torch.channels_last)
        self.normalize = Normalize().to(self.device)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=lr, **SGD_OPTIONS)
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
                loss = functional.cross_entropy(self.model(x), self.images.labels[rows])
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
        for start in range(0, self.steps_per_epoch * size, size):
            batch = slice(start, start + size)
            yield rows[batch], shifts[:, batch], flips[batch]

    def _look(self, losses: Sequence[Tensor]) -> None:
        values = torch.stack(tuple(losses)).tolist() if losses else []
        self.losses += values
        if (step := self.watch.see(values)) is not None:
            raise TrialDiverged(f"diverged at step {step}, in epoch {self.epoch}")

    def _precision(self) -> contextlib.AbstractContextManager[Any]:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda")


@dataclass(frozen=True, kw_only=True)
class CifarTrial:
    """The training function: the final validation loss, and as metrics the losses and accuracies of all three parts.

    Args:
        data: the images.
        network: depth and width.
        n_epochs: passes over the training images, >= 1.
        batch_size: images in a batch, at most as many as there are to train on.
        device: "cpu" or "cuda".
    """

    data: Cifar10
    network: tuple[int, int]
    n_epochs: int
    batch_size: int
    device: str

    @property
    def label(self) -> str:
        """Name of the training in a journal: everything on which its results depend."""
        depth, width = self.network
        images = "all" if self.data.max_images is None else f"at most {self.data.max_images}"
        return f"cifar10_wrn: WRN-{depth}-{width}, {self.n_epochs} epochs, batch {self.batch_size}, {images} images"

    def __call__(self, *, lr: float, schedule: Schedule, seed: int) -> dict[str, float]:
        """Train once, from the last epoch in the trial's checkpoint, if the runner keeps one."""
        from robust_lr_ray import trial_checkpoint  # here, since --speed does without Ray

        training = Training(
            self.network,
            self.data.parts["train"].to(torch.device(self.device)),
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


# The sweep


@dataclass(frozen=True, kw_only=True)
class Tier:
    """The size of a sweep."""

    network: tuple[int, int]
    n_epochs: int
    batch_size: int
    grid: GeometricGrid
    n_seeds: int
    max_images: int | None = None


TIERS = {
    "smoke": Tier(network=(10, 1), n_epochs=2, batch_size=16, grid=GeometricGrid(0.01, 1, 3), n_seeds=2, max_images=80),
    "mini": Tier(network=(16, 4), n_epochs=15, batch_size=128, grid=GeometricGrid(1e-3, 10, 9), n_seeds=3),
    "full": Tier(network=(28, 10), n_epochs=200, batch_size=128, grid=GeometricGrid(1e-3, 10, 13), n_seeds=3),
}


def announcement(name: str, tier: Tier, n_seeds: int, n_images: int, images_per_second: float | None) -> str:
    """Return the plan and the cost of a sweep, in words.

    Args:
        name: of the tier.
        tier: the tier.
        n_seeds: trainings of each schedule at each learning rate.
        n_images: images that a trial trains on.
        images_per_second: speed of one GPU in this training, None if unknown.
    """
    n_trials, n_steps = len(SCHEDULES) * len(tier.grid) * n_seeds, tier.n_epochs * (n_images // tier.batch_size)
    seen = n_trials * n_steps * tier.batch_size
    lines = [
        f"{name}: WRN-{tier.network[0]}-{tier.network[1]}, {n_parameters(*tier.network) / 1e6:.3g} M parameters; "
        f"{len(SCHEDULES)} schedules x {len(tier.grid)} learning rates {tier.grid.lr_min:g}..{tier.grid.lr_max:g} x "
        f"{n_seeds} seeds = {n_trials} trials of {tier.n_epochs} epochs, {n_steps} steps each",
        f"together {seen:,} images, {seen * operations_per_image(*tier.network):.3g} floating-point operations; ",
    ]
    if images_per_second is None:
        lines[1] += "GPU hours unknown: measure images/s with --speed, and pass it as --images-per-second"
    else:
        lines[1] += f"{seen / images_per_second / 3600:.3g} GPU hours at {images_per_second:g} images/s"
    return "\n".join(lines)


def figures_on_test_images(sweep: SweepResult) -> Iterator[str]:
    """Yield for each schedule the test figures of the learning rate that the validation images choose."""
    means = np.nan_to_num(sweep.loss.mean(axis=2), nan=math.inf)
    for i, name in enumerate(sweep.schedules):
        best = int(means[i].argmin())
        if means[i, best] == math.inf:
            yield f"{name}: no learning rate trained to the end with every seed"
            continue
        loss, accuracy = (sweep.metrics[metric][i, best] for metric in ("test_loss", "test_accuracy"))
        yield (
            f"{name}: learning rate {sweep.learning_rates[best]:.4g} by the validation loss; test loss "
            f"{loss.mean():.4f}, test accuracy {accuracy.mean():.2%} ({accuracy.min():.2%} to {accuracy.max():.2%})"
        )


def make_runner(args: argparse.Namespace, device: str) -> Runner:
    """Return the runner that was asked for."""
    if args.runner == "serial":
        return SerialRunner()
    from robust_lr_ray import RayRunner

    resources = {"cpu": args.cpus_per_trial, "gpu": args.gpus_per_trial if device == "cuda" else 0}
    storage = None if args.tier == "smoke" else args.storage
    return RayRunner(resources, address=args.address, storage_path=storage)


def run_tier(args: argparse.Namespace) -> None:
    """Run the sweep and say what came of it."""
    tier = TIERS[args.tier]
    n_seeds, device = (
        tier.n_seeds if args.seeds is None else args.seeds,
        args.device or ("cpu" if args.tier == "smoke" else "cuda"),
    )
    data = Cifar10(str(Path(args.data).expanduser().resolve()), tier.max_images)
    n_images = len(data.parts["train"])  # read here, too: what is wrong with the data is said before any trial
    if n_images < tier.batch_size:
        raise DataError(f"a batch has {tier.batch_size} images, and there are only {n_images} to train on")
    print(announcement(args.tier, tier, n_seeds, n_images, args.images_per_second), flush=True)
    train = CifarTrial(
        data=data,
        network=tier.network,
        n_epochs=tier.n_epochs,
        batch_size=tier.batch_size,
        device=device,
    )
    sweep = run_sweep(train, tier.grid, SCHEDULES, n_seeds, runner=make_runner(args, device), journal=args.journal)
    analysis = analyze_sweep(sweep, tolerance=args.tolerance)
    print_analysis(analysis, make_console(), every_detail=False)
    print("\n".join(figures_on_test_images(sweep)))
    if args.report is not None:
        source = "CIFAR-10" if tier.max_images is None else f"CIFAR-10, at most {tier.max_images} images: a smoke test"
        command = shlex.join(["python", *sys.argv])
        write_report(analysis, args.report, title=train.label, reproduce=[command], source=source)
        print(f"report: {args.report}")


# How fast it is


def print_speed(
    networks: Sequence[tuple[int, int]], *, device: str, batch_size: int, n_steps: int, packs: Sequence[int]
) -> None:
    """Print images/s of training, on random images of CIFAR's shape: for speed only, they are no results.

    Each network alone, as `CifarTrial` trains it; then the smallest one in packs of `PackedRunner`, without crops and
    in float32, since torch.func cannot batch autocast; a pack of 1 is what to compare them with.
    """
    on_cuda = device == "cuda"
    name = torch.cuda.get_device_name() if on_cuda else f"CPU, {torch.get_num_threads()} threads"
    print(f"{name}; torch {torch.__version__}; batches of {batch_size} random images")
    generator = torch.Generator().manual_seed(0)
    n = batch_size * n_steps
    pixels = torch.randint(256, (n, SIDE, SIDE, 3), dtype=torch.uint8, generator=generator)
    images = Images(pixels, torch.randint(N_CLASSES, (n,), generator=generator))
    arithmetic = "bfloat16" if on_cuda else "float32"
    for network in networks:
        seconds = min(_seconds_of_an_epoch(network, images.to(torch.device(device)), batch_size))
        rate = n * operations_per_image(*network) / seconds / 1e12
        memory = f", {torch.cuda.max_memory_allocated() / 2**30:.2f} GiB" if on_cuda else ""
        print(
            f"WRN-{network[0]}-{network[1]}, one trial, {arithmetic}, channels last: {n / seconds:.4g} images/s, "
            f"{seconds / n_steps * 1e3:.3g} ms a step, {rate:.3g} TFLOP/s{memory}",
            flush=True,
        )
    logging.getLogger("robust_lr").setLevel(logging.WARNING)  # that these are packs is known
    smallest = min(networks, key=lambda network: n_parameters(*network))
    for n_replicas in packs:
        seconds = _seconds_of_a_packed_step(smallest, images, batch_size, n_steps, n_replicas, device)
        print(
            f"WRN-{smallest[0]}-{smallest[1]}, packs of {n_replicas}, float32: "
            f"{n_replicas * batch_size / seconds:.4g} images/s, {seconds * 1e3:.3g} ms a step",
            flush=True,
        )


def _seconds_of_an_epoch(network: tuple[int, int], images: Images, batch_size: int) -> Iterator[float]:
    if images.pixels.is_cuda:
        torch.cuda.reset_peak_memory_stats()
    training = Training(
        network, images, lr=1e-3, schedule=parse_schedule("constant"), seed=0, n_epochs=4, batch_size=batch_size
    )
    training.run_epoch()  # in which cuDNN chooses its kernels
    for _ in range(3):
        start = time.perf_counter()
        training.run_epoch()  # ends by reading the last losses, and so with the GPU
        yield time.perf_counter() - start


def _seconds_of_a_packed_step(
    network: tuple[int, int], images: Images, batch_size: int, n_steps: int, n_replicas: int, device: str
) -> float:
    """Return what a step of a pack takes, without tracing it; a pack of one is a trial alone."""
    few = images[:batch_size]
    task = SupervisedTask(
        make_model=functools.partial(WideResNet, *network),
        train_data=(Normalize()(few.pixels), few.labels),
        loss=functional.cross_entropy,
        total_steps=n_steps,
        batch_size=batch_size,
        optimizer_options=SGD_OPTIONS,
    )
    engine = "sequential" if n_replicas == 1 else "packed"
    runner = PackedRunner(slots=n_replicas, engine=engine, strict=True, device=device)
    trials = [TrialSpec("constant", 1e-3 * (i + 1) / n_replicas, 0) for i in range(n_replicas)]
    for _ in range(2):  # the first time libraries are loaded and kernels chosen
        results = list(runner.run(task, TrialList(trials), {"constant": parse_schedule("constant")}))
    if wrong := [result for result in results if result.status != "ok"]:
        raise RobustLRError(f"a pack of {n_replicas} did not train: {wrong[0].error or wrong[0].status}")
    return sum(result.seconds for result in results) / n_steps


def networks(text: str) -> list[tuple[int, int]]:
    """Return depths and widths of a text such as 28-10,16-4."""
    return [(int(depth), int(width)) for depth, width in (network.split("-") for network in text.split(","))]


def whole_numbers(text: str) -> list[int]:
    """Return the numbers of a text such as 1,2,4."""
    return [int(number) for number in text.split(",")]


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--tier", choices=TIERS, default="smoke", help="how large the sweep is; see docs/how-to/cifar10.md"
    )
    parser.add_argument(
        "--data", default="cifar10", help="folder of the archive, which is downloaded where it is missing"
    )
    parser.add_argument("--seeds", type=int, help="trainings of each schedule at each learning rate")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="by default cpu for --tier smoke, else cuda")
    parser.add_argument("--journal", help="file that keeps finished trials; the same command continues from it")
    parser.add_argument("--tolerance", type=float, default=0.02, help="excess loss that would not matter, in nats")
    parser.add_argument("--report", help="HTML file to write")
    parser.add_argument("--images-per-second", type=float, help="of one GPU, to tell what the sweep costs")
    parser.add_argument("--runner", choices=("ray", "serial"), default="ray", help="serial: one after the other, here")
    parser.add_argument("--address", help="of the Ray cluster, such as auto; by default this machine")
    parser.add_argument("--gpus-per-trial", type=float, default=1, help="such as 0.5 for two trials on a GPU")
    parser.add_argument("--cpus-per-trial", type=float, default=1)
    parser.add_argument("--storage", default="cifar10-checkpoints", help="folder that all nodes see, for checkpoints")
    parser.add_argument("--speed", action="store_true", help="only measure images/s, on random images")
    parser.add_argument("--networks", type=networks, default="28-10,16-4", help="for --speed: depth-width, by commas")
    parser.add_argument("--packs", type=whole_numbers, default="1,2,4,8", help="for --speed: trials in a pack")
    parser.add_argument("--batch-size", type=int, default=128, help="for --speed")
    parser.add_argument("--steps", type=int, default=50, help="for --speed")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Do what the command line says."""
    args = parse_arguments(arguments)
    if args.speed:
        print_speed(
            args.networks,
            device=args.device or ("cuda" if torch.cuda.is_available() else "cpu"),
            batch_size=args.batch_size,
            n_steps=args.steps,
            packs=args.packs,
        )
    else:
        run_tier(args)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        main()
    except RobustLRError as error:
        sys.exit(f"cifar10_wrn: {error}")
