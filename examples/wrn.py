"""Networks on Fashion-MNIST or CIFAR-10: how coarse may the grid be under each schedule, on a laptop or a cluster?

    python examples/wrn.py --tier mini --journal mini.jsonl --report mini.html
    python examples/wrn.py --tier mini --optimizer adamw --journal adamw.jsonl
    python examples/wrn.py --tier full --data cifar10 --runner ray --address auto --journal full.jsonl
    python examples/wrn.py --speed

The mini tier trains a small CNN in packs, on 2 CPU cores in minutes. The full tier trains Wide ResNets as Zagoruyko and
Komodakis do (Wide Residual Networks, 2016, https://arxiv.org/abs/1605.07146), without dropout: crops from images padded
by 4 reflected pixels, flips, SGD with Nesterov momentum. The loss on a tenth of the training images, on which no trial
trains, chooses the learning rate; the test images choose nothing. docs/explanation/networks.md has the tiers and their
results.
"""

import argparse
import logging
import math
import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from images.data import SOURCES, ImageData
from images.networks import n_parameters, operations_per_image, title
from images.speed import print_speed
from images.tasks import OPTIMIZERS, make_task
from images.training import ImageTrial

from robust_lr import (
    GeometricGrid,
    PackedRunner,
    ProcessPoolRunner,
    RobustLRError,
    SerialRunner,
    SweepResult,
    analyze_sweep,
    run_sweep,
)
from robust_lr.exceptions import DataError, OptionError
from robust_lr.runners import Runner
from robust_lr.trials import TrainFunction

SCHEDULES = ("constant", "inverse-sqrt", "linear", "cosine", "polynomial(2)", "wsd(0.2)", "cosine(floor=0.1)")


@dataclass(frozen=True, kw_only=True)
class Tier:
    """The size of a sweep.

    Attributes:
        network: see `make_network`.
        grids: the learning rates for each optimizer.
        max_images: training images, a tenth of which is held out; None for all.
        is_augmented: crops and flips, which cannot be packed; on CUDA in bfloat16.
    """

    network: str
    n_epochs: int
    batch_size: int
    grids: dict[str, GeometricGrid]
    n_seeds: int
    max_images: int | None = None
    is_augmented: bool = True


TIERS = {
    "smoke": Tier(
        network="10-1",
        n_epochs=2,
        batch_size=16,
        grids={"sgd": GeometricGrid(0.01, 1, 3), "adamw": GeometricGrid(1e-4, 0.01, 3)},
        n_seeds=2,
        max_images=80,
    ),
    "mini": Tier(
        network="cnn",
        n_epochs=2,
        batch_size=32,
        grids={"sgd": GeometricGrid(2**-9, 1, 10), "adamw": GeometricGrid(2**-14, 2**-5, 10)},
        n_seeds=3,
        max_images=10_000,
        is_augmented=False,
    ),
    "full": Tier(
        network="28-10",
        n_epochs=200,
        batch_size=128,
        grids={"sgd": GeometricGrid(1e-3, 10, 13), "adamw": GeometricGrid(1e-5, 0.1, 13)},
        n_seeds=3,
    ),
}


def announcement(
    name: str, tier: Tier, data: ImageData, optimizer: str, *, n_images: int, images_per_second: float | None
) -> str:
    """Return the plan and the cost of a sweep, in words.

    Args:
        name: of the tier.
        tier: the tier.
        data: the images.
        optimizer: see `OPTIMIZERS`.
        n_images: images that a trial trains on.
        images_per_second: speed of one device in this training, None if unknown.
    """
    grid, n_steps = tier.grids[optimizer], tier.n_epochs * (n_images // tier.batch_size)
    n_trials = len(SCHEDULES) * len(grid) * tier.n_seeds
    seen = n_trials * n_steps * tier.batch_size
    operations = seen * operations_per_image(tier.network, data.source)
    if images_per_second is None:
        cost = "hours unknown: measure images/s with --speed, and pass it as --images-per-second"
    else:
        cost = f"{seen / images_per_second / 3600:.3g} hours of a device at {images_per_second:g} images/s"
    return (
        f"{name}: {title(tier.network)}, {n_parameters(tier.network, data.source) / 1e6:.3g} M parameters, "
        f"on {data.name} by {optimizer}; {len(SCHEDULES)} schedules x {len(grid)} learning rates "
        f"{grid.lr_min:g}..{grid.lr_max:g} x {tier.n_seeds} seeds = {n_trials} trials of {tier.n_epochs} epochs, "
        f"{n_steps} steps each\n"
        f"together {seen:,} images, {operations:.3g} floating-point operations; {cost}"
    )


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


def make_trial(tier: Tier, data: ImageData, optimizer: str, device: str) -> TrainFunction:
    """Return the training function of a tier."""
    n_images = len(data.parts["train"])  # read here, too: what is wrong with the data is said before any trial
    if n_images < tier.batch_size:
        raise DataError(f"a batch has {tier.batch_size} images, and there are only {n_images} to train on")
    if tier.is_augmented:
        return ImageTrial(
            data=data,
            network=tier.network,
            optimizer=optimizer,
            n_epochs=tier.n_epochs,
            batch_size=tier.batch_size,
            device=device,
        )
    n_steps = tier.n_epochs * (n_images // tier.batch_size)
    return make_task(
        data, network=tier.network, optimizer=optimizer, n_steps=n_steps, batch_size=tier.batch_size, device=device
    )


def make_runner(args: argparse.Namespace, tier: Tier, device: str) -> Runner:
    """Return the runner that was asked for; without augmentation the default is packs, else one trial at a time."""
    if args.runner == "packed" and tier.is_augmented:
        raise OptionError("--runner packed is for the mini tier: crops and flips cannot be packed")
    devices = ["0"] * args.jobs if device == "cuda" and args.jobs > 1 else ()
    name = args.runner or ("serial" if tier.is_augmented else "packed")
    if name == "packed":
        return PackedRunner(args.jobs, slots=args.slots, engine="packed", devices=devices)
    if name == "processes":
        return ProcessPoolRunner(args.jobs, devices=devices)
    if name == "serial":
        return SerialRunner()
    from robust_lr_ray import RayRunner

    return RayRunner(
        {"cpu": args.cpus_per_trial, "gpu": args.gpus_per_trial if device == "cuda" else 0},
        address=args.address,
        num_workers=args.num_workers,
        slots=None if tier.is_augmented else args.slots,
        storage_path=None if args.tier == "smoke" else args.storage,
    )


def run_tier(args: argparse.Namespace) -> None:
    """Run the sweep and say what came of it."""
    from robust_lr.report.console import make_console, print_analysis  # here: --speed does without rich
    from robust_lr.report.html import write_report

    tier = TIERS[args.tier]
    changes = {"network": args.network, "n_epochs": args.epochs, "n_seeds": args.seeds}
    tier = replace(tier, **{name: value for name, value in changes.items() if value is not None})
    folder = Path(args.folder or SOURCES[args.data].folder).expanduser().resolve()
    data = ImageData(args.data, str(folder), tier.max_images)
    device = args.device or ("cuda" if args.tier == "full" or torch.cuda.is_available() else "cpu")
    train, n_images = make_trial(tier, data, args.optimizer, device), len(data.parts["train"])
    print(
        announcement(
            args.tier, tier, data, args.optimizer, n_images=n_images, images_per_second=args.images_per_second
        ),
        flush=True,
    )
    sweep = run_sweep(
        train,
        tier.grids[args.optimizer],
        SCHEDULES,
        tier.n_seeds,
        runner=make_runner(args, tier, device),
        journal=args.journal,
        time_budget=args.seconds,
    )
    analysis = analyze_sweep(sweep, tolerance=args.tolerance)
    print_analysis(analysis, make_console(), every_detail=False)
    if "test_loss" in sweep.metrics:
        print("\n".join(figures_on_test_images(sweep)))
    if args.report is not None:
        few = "" if tier.max_images is None else f", at most {tier.max_images} training images"
        command = shlex.join(["python", *sys.argv])
        what = f"{title(tier.network)} by {args.optimizer}, {tier.n_epochs} epochs"
        write_report(analysis, args.report, title=what, reproduce=[command], source=data.name + few)
        print(f"report: {args.report}")


def whole_numbers(text: str) -> list[int]:
    """Return the numbers of a text such as 1,2,4."""
    return [int(number) for number in text.split(",")]


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--data", choices=SOURCES, default="fashion-mnist")
    add("--folder", help="of the four IDX files (.gz or not), or of CIFAR-10's archive, downloaded where it is missing")
    add("--tier", choices=TIERS, default="smoke", help="how large the sweep is; see docs/explanation/networks.md")
    add("--network", help="cnn, or depth-width of a Wide ResNet such as 16-4; by default the tier's")
    add("--optimizer", choices=OPTIMIZERS, default="sgd")
    add("--epochs", type=int, help="passes over the training images; by default the tier's")
    add("--seeds", type=int, help="trainings of each schedule at each learning rate; by default the tier's")
    add("--device", choices=("cpu", "cuda"), help="by default cuda, if there is one or the tier is full")
    add("--journal", help="file that keeps finished trials; the same command continues from it")
    add("--seconds", type=float, help="begin no trial after that time; the same command with a journal continues")
    add("--tolerance", type=float, default=0.02, help="excess loss that would not matter, in nats")
    add("--report", help="HTML file to write")
    add("--images-per-second", type=float, help="of one device, to tell what the sweep costs")
    add("--runner", choices=("packed", "processes", "serial", "ray"), help="by default packed for mini, else serial")
    add("--jobs", type=int, default=2, help="packs or processes at a time")
    add("--slots", type=int, default=8, help="trials in a pack; on a GPU more are faster")
    add("--address", help="of the Ray cluster, such as auto; by default this machine")
    add("--gpus-per-trial", type=float, default=1, help="for Ray, such as 0.5 for two trials on a GPU")
    add("--cpus-per-trial", type=float, default=1, help="for Ray")
    add("--num-workers", type=int, default=1, help="for Ray: GPUs that train one trial together")
    add("--storage", default="wrn-checkpoints", help="for Ray: folder that all nodes see, for checkpoints")
    add("--speed", action="store_true", help="only measure images/s, on random images")
    add("--networks", type=lambda text: text.split(","), default=["28-10", "16-4"], help="for --speed, by commas")
    add("--packs", type=whole_numbers, default=[1, 2, 4, 8], help="for --speed: trials in a pack")
    add("--batch-size", type=int, default=128, help="for --speed")
    add("--steps", type=int, default=50, help="for --speed")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Do what the command line says."""
    args = parse_arguments(arguments)
    if args.speed:
        print_speed(
            args.networks,
            SOURCES[args.data],
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
        sys.exit(f"wrn: {error}")
