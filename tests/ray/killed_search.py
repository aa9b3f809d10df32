"""A search in Ray Tune whose driver can be killed: run it with a folder and the address of a cluster."""

from __future__ import annotations

import math
import sys
import time
from pathlib import Path

import ray
from ray import tune

from robust_lr_ray import LearningRateSearcher


def loss_at(lr):
    """A valley at 0.02, and a cliff above 0.3."""
    return math.inf if lr > 0.3 else 0.3 + 0.03 * math.log(lr / 0.02) ** 2


def search(folder):
    """Search one learning rate at a time, or go on with the journal in the folder; return the searcher."""
    notes = Path(folder, "begun.txt")

    def train(config):
        with notes.open("a") as file:
            print(config["lr"], file=file)
        time.sleep(0.3)
        tune.report({"loss": loss_at(config["lr"])})

    searcher = LearningRateSearcher(1e-4, 1.0, tolerance=0.005, journal=Path(folder, "search.jsonl"))
    tune.Tuner(
        tune.with_resources(train, {"cpu": 1}),
        tune_config=tune.TuneConfig(search_alg=searcher, num_samples=-1, max_concurrent_trials=1, reuse_actors=True),
        run_config=tune.RunConfig(storage_path=str(folder), verbose=0),
    ).fit()
    return searcher


if __name__ == "__main__":
    ray.init(address=sys.argv[2], log_to_driver=False)
    search(sys.argv[1])
