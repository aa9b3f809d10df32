"""Images per second of a device, on random images of a data set's shape: for speed only, they are no results."""

import logging
import time
from collections.abc import Iterator, Sequence
from functools import partial

import torch
from torch.nn import functional

from images.data import N_CLASSES, Images, Source
from images.networks import Normalize, make_network, n_parameters, operations_per_image, title
from images.tasks import OPTIMIZERS
from images.training import Training
from robust_lr import PackedRunner, RobustLRError, TrialSpec, parse_schedule
from robust_lr.runners import TrialList
from robust_lr_torch import SupervisedTask


def print_speed(
    networks: Sequence[str], source: Source, *, device: str, batch_size: int, n_steps: int, packs: Sequence[int]
) -> None:
    """Print images/s of training, on random images.

    Each network alone, as `ImageTrial` trains it; then the smallest one in packs of `PackedRunner`, without crops and
    in float32, since torch.func cannot batch autocast; a pack of 1 is what to compare them with.
    """
    on_cuda = device == "cuda"
    name = torch.cuda.get_device_name() if on_cuda else f"CPU, {torch.get_num_threads()} threads"
    print(f"{name}; torch {torch.__version__}; batches of {batch_size} random images")
    generator = torch.Generator().manual_seed(0)
    n = batch_size * n_steps
    pixels = torch.randint(
        256, (n, source.side, source.side, source.n_channels), dtype=torch.uint8, generator=generator
    )
    images = Images(pixels, torch.randint(N_CLASSES, (n,), generator=generator))
    arithmetic = "bfloat16" if on_cuda else "float32"
    for network in networks:
        seconds = min(_seconds_of_an_epoch(network, images.to(torch.device(device)), source, batch_size))
        rate = n * operations_per_image(network, source) / seconds / 1e12
        memory = f", {torch.cuda.max_memory_allocated() / 2**30:.2f} GiB" if on_cuda else ""
        print(
            f"{title(network)}, one trial, {arithmetic}, channels last: {n / seconds:.4g} images/s, "
            f"{seconds / n_steps * 1e3:.3g} ms a step, {rate:.3g} TFLOP/s{memory}",
            flush=True,
        )
    logging.getLogger("robust_lr").setLevel(logging.WARNING)  # that these are packs is known
    smallest = min(networks, key=lambda network: n_parameters(network, source))
    for n_replicas in packs:
        seconds = _seconds_of_a_packed_step(smallest, images, source, batch_size, n_steps, n_replicas, device)
        print(
            f"{title(smallest)}, packs of {n_replicas}, float32: "
            f"{n_replicas * batch_size / seconds:.4g} images/s, {seconds * 1e3:.3g} ms a step",
            flush=True,
        )


def _seconds_of_an_epoch(network: str, images: Images, source: Source, batch_size: int) -> Iterator[float]:
    if images.pixels.is_cuda:
        torch.cuda.reset_peak_memory_stats()
    training = Training(
        network, images, source, lr=1e-3, schedule=parse_schedule("constant"), seed=0, n_epochs=4, batch_size=batch_size
    )
    training.run_epoch()  # in which cuDNN chooses its kernels
    for _ in range(3):
        start = time.perf_counter()
        training.run_epoch()  # ends by reading the last losses, and so with the GPU
        yield time.perf_counter() - start


def _seconds_of_a_packed_step(
    network: str, images: Images, source: Source, batch_size: int, n_steps: int, n_replicas: int, device: str
) -> float:
    """Return what a step of a pack takes, without tracing it; a pack of one is a trial alone."""
    few = images[:batch_size]
    task = SupervisedTask(
        make_model=partial(make_network, network, source.n_channels, source.side),
        train_data=(Normalize(source)(few.pixels).contiguous(), few.labels),
        loss=functional.cross_entropy,
        total_steps=n_steps,
        batch_size=batch_size,
        optimizer_options=OPTIMIZERS["sgd"].options,
    )
    engine = "sequential" if n_replicas == 1 else "packed"
    runner = PackedRunner(slots=n_replicas, engine=engine, strict=True, device=device)
    trials = [TrialSpec("constant", 1e-3 * (i + 1) / n_replicas, 0) for i in range(n_replicas)]
    for _ in range(2):  # the first time libraries are loaded and kernels chosen
        results = list(runner.run(task, TrialList(trials), {"constant": parse_schedule("constant")}))
    if wrong := [result for result in results if result.status != "ok"]:
        raise RobustLRError(f"a pack of {n_replicas} did not train: {wrong[0].error or wrong[0].status}")
    return sum(result.seconds for result in results) / n_steps
