"""Time trials with two workers: persistent workers against a TorchTrainer for each trial.

    python benchmarks/ray_distributed.py

Both train the same small network by DistributedDataParallel on the CPU, at the same learning rates; the losses are
compared to the bit. Both begin with a Ray that is up, and the time of the kept workers includes their start.
"""

from __future__ import annotations

import argparse
import logging
import os
import time
import warnings

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("RAY_AUTH_MODE", "disabled")  # else Ray writes a token into the home folder


from robust_lr import CosineDecay, Schedule, TrialSpec
from robust_lr.runners import TrialList
from robust_lr_ray import RayRunner

LEARNING_RATES, STEPS, BATCH = (0.01, 0.03, 0.1, 0.3), 100, 32


def train(*, lr: float, schedule: Schedule, seed: int) -> float:
    """The loss of a small network on random data, after 100 steps."""
    import torch
    from torch import nn
    from torch.nn.parallel import DistributedDataParallel

    from robust_lr_ray import shard
    from robust_lr_torch import AnnealedLR

    torch.manual_seed(seed)
    inputs, targets = torch.randn(1024, 32), torch.randn(1024, 1)
    model = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 1))
    replica = DistributedDataParallel(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    scheduler = AnnealedLR(optimizer, schedule, STEPS)
    for batch in torch.randint(len(inputs), (STEPS, BATCH)):
        part = shard(batch)
        loss = nn.functional.mse_loss(replica(inputs[part]), targets[part])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
    return nn.functional.mse_loss(model(inputs), targets).item()


def by_trainer(spec: TrialSpec) -> float:
    """Train once by a TorchTrainer with two workers."""
    from ray.train import ScalingConfig
    from ray.train.torch import TorchTrainer

    def loop() -> float:
        return train(lr=spec.lr, schedule=CosineDecay(), seed=spec.seed)

    scaling = ScalingConfig(num_workers=2, use_gpu=False, resources_per_worker={"CPU": 1})
    return float(TorchTrainer(loop, scaling_config=scaling).fit().return_value)


def main() -> None:
    """Time both, and print the times, their ratio and whether the losses are the same."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=len(LEARNING_RATES), help="learning rates to run, at most 4")
    rates = LEARNING_RATES[: parser.parse_args().trials]

    import ray

    warnings.simplefilter("ignore")
    ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    schedules, trials = {"cosine": CosineDecay()}, [TrialSpec("cosine", lr, 0) for lr in rates]
    runner = RayRunner({"cpu": 1}, num_workers=2, max_concurrent=1)
    start = time.perf_counter()
    kept = {result.spec: result.loss for result in runner.run(train, TrialList(trials), schedules)}
    seconds_kept = time.perf_counter() - start
    start = time.perf_counter()
    fresh = {spec: by_trainer(spec) for spec in trials}
    seconds_fresh = time.perf_counter() - start
    ray.shutdown()

    print(f"{len(trials)} trials of 2 workers, {STEPS} steps each, load average {os.getloadavg()[0]:.1f}")
    print(f"workers kept from trial to trial: {seconds_kept:6.1f} s")
    print(f"one TorchTrainer for each trial:  {seconds_fresh:6.1f} s, {seconds_fresh / seconds_kept:.1f} times as long")
    print("losses: " + ("the same to the bit" if kept == fresh else f"{kept} and {fresh}"))


if __name__ == "__main__":
    main()
