"""The sweep of a small network on a Ray cluster, or on this machine: the same file, with one more option.

    python examples/ray_sweep.py
    python examples/ray_sweep.py --address auto --gpus-per-trial 0.5 --journal /shared/sweep.jsonl

With --journal, the same command runs only the missing trials after a crash, or with more --seeds. The folder cluster
beside this file has files that start a cluster.
"""

import argparse
import logging
import shlex
import sys
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch import nn

from robust_lr import GeometricGrid, RobustLRError, run_sweep
from robust_lr.analysis import analyze_sweep
from robust_lr.report.console import make_console, print_analysis
from robust_lr.report.html import write_report
from robust_lr_ray import RayRunner
from robust_lr_torch import SupervisedTask


def make_model() -> nn.Module:
    """One hidden layer of 64."""
    return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))


def make_task(device: str) -> SupervisedTask:
    """The digits, by SGD; clipping moves the stability cliff of digits_torch.py out of the way."""
    data, labels = load_digits(return_X_y=True)
    return SupervisedTask(
        make_model=make_model,
        train_data=(torch.as_tensor(data, dtype=torch.float32) / 16 - 0.3, torch.as_tensor(labels)),
        loss=nn.functional.cross_entropy,
        total_steps=200,
        batch_size=16,
        clip_norm=1.0,
        device=device,
    )


def main() -> None:
    """Run the sweep, or its missing trials, and write the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--address", help='"auto" or host:port of a cluster; by default a Ray is started here')
    parser.add_argument("--gpus-per-trial", type=float, default=0, help="such as 1, or 0.5 for two trials on a GPU")
    parser.add_argument("--max-concurrent", type=int, help="trials at a time, if nodes start on demand")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each schedule at each learning rate")
    parser.add_argument("--journal", help="file that keeps finished trials; in a Ray job, an absolute path")
    parser.add_argument("--output", type=Path, default="ray_sweep.html", help="report to write, like --journal")
    args = parser.parse_args()
    sweep = run_sweep(
        make_task("cuda" if args.gpus_per_trial else "cpu"),
        GeometricGrid(2.0**-5, 2.0**4, n_points=10),
        ["constant", "cosine"],
        args.seeds,
        runner=RayRunner(
            {"cpu": 1, "gpu": args.gpus_per_trial},
            address=args.address,
            max_concurrent=args.max_concurrent or "auto",
        ),
        journal=args.journal,
    )
    analysis = analyze_sweep(sweep, tolerance=0.1)
    print_analysis(analysis, make_console(), every_detail=False)
    command = shlex.join(["python", *sys.argv])
    write_report(analysis, args.output, title="A small network on the digits, on Ray", reproduce=[command])
    print(f"report: {args.output.absolute()}")


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        main()
    except (RobustLRError, OSError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("interrupted: with --journal the same command continues")
