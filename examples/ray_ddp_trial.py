"""A sweep with two workers per trial, by DistributedDataParallel, on a laptop or on a cluster.

    python examples/ray_ddp_trial.py
    python examples/ray_ddp_trial.py --address auto --gpus

The two workers start once and train one trial after the other, each on half of every batch. The training function also
runs in a single process, where it trains the same model on whole batches.
"""

import argparse

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel

from robust_lr import GeometricGrid, run_sweep
from robust_lr.divergence import DivergenceWatch
from robust_lr.schedules.closed_forms import Schedule
from robust_lr_ray import RayRunner, device, raise_if_diverged, shard, trial_checkpoint, world_size
from robust_lr_torch import AnnealedLR

STEPS, BATCH, STEPS_PER_CHECKPOINT = 60, 64, 20


def train(*, lr: float, schedule: Schedule, seed: int) -> dict[str, float]:
    """Cross-entropy on the training set of the digits after 60 steps of SGD."""
    torch.manual_seed(seed)  # the same weights and batches on every worker
    data, labels = load_digits(return_X_y=True)
    inputs = torch.as_tensor(data / 16, dtype=torch.float32, device=device())
    targets = torch.as_tensor(labels, device=device())
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)).to(device())
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    scheduler = AnnealedLR(optimizer, schedule, STEPS)
    batches = torch.randint(len(inputs), (STEPS, BATCH))
    watch = DivergenceWatch(factor=1e6, patience=100)

    checkpoint, first = trial_checkpoint(), 0
    if state := checkpoint.load():  # this trial was interrupted
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        scheduler.load_state_dict(state["scheduler"])
        first = state["step"]

    replica = DistributedDataParallel(model) if world_size() > 1 else model
    for step in range(first, STEPS):
        examples = shard(batches[step])  # this worker's part
        loss = cross_entropy(replica(inputs[examples]), targets[examples])
        raise_if_diverged(watch, loss)  # on all workers at the same step
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        if (step + 1) % STEPS_PER_CHECKPOINT == 0:
            states = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
            checkpoint.save({**states, "scheduler": scheduler.state_dict(), "step": step + 1})
    with torch.no_grad():
        return {"loss": cross_entropy(model(inputs), targets).item(), "workers": world_size()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--address", help="address of a Ray cluster, such as auto; by default a Ray starts here")
    parser.add_argument("--gpus", action="store_true", help="use one GPU per worker; by default they train on CPUs")
    parser.add_argument("--storage", help="folder that all nodes share, for checkpoints of running trials")
    args = parser.parse_args()

    runner = RayRunner(
        {"cpu": 1, "gpu": 1} if args.gpus else {"cpu": 1},
        num_workers=2,
        address=args.address,
        storage_path=args.storage,
    )
    sweep = run_sweep(train, GeometricGrid(2.0**-4, 4.0, n_points=4), ["constant", "cosine"], seeds=1, runner=runner)
    for result in sweep.trials():
        print(f"{result.spec.schedule:8} lr {result.spec.lr:<6g} {result.status:8} loss {result.loss:.4f}")
    print(f"{sweep.n_trials} trials, each trained by 2 workers.")
