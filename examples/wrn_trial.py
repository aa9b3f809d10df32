"""One training of examples/wrn.py as a command, for a batch system: prints its losses as a line of JSON.

    python examples/wrn_trial.py --lr 0.1 --schedule cosine --seed 0

The folder cluster beside this file has the commands for a job array.
"""

import argparse
import math
import sys
from pathlib import Path

import torch
from images.data import SOURCES, ImageData
from wrn import TIERS, make_trial

from robust_lr import RobustLRError, parse_schedule
from robust_lr.commands.report import report_metrics
from robust_lr.exceptions import TrialDiverged


def main() -> None:
    """Train once and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lr", type=float, required=True)
    parser.add_argument("--schedule", required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--data", choices=SOURCES, default="fashion-mnist")
    parser.add_argument("--folder", help="of the data, as for wrn.py")
    parser.add_argument("--tier", choices=TIERS, default="full")
    parser.add_argument("--optimizer", default="sgd")
    parser.add_argument("--device", default="cuda")
    args = parser.parse_args()
    tier, folder = TIERS[args.tier], Path(args.folder or SOURCES[args.data].folder).expanduser()
    train = make_trial(tier, ImageData(args.data, str(folder), tier.max_images), args.optimizer, args.device)
    try:
        figures = dict(train(lr=args.lr, schedule=parse_schedule(args.schedule), seed=args.seed))
    except TrialDiverged:
        figures = {"loss": math.inf}
    if args.device == "cuda":
        figures["gpu_memory_gib"] = torch.cuda.max_memory_allocated() / 2**30
    report_metrics(figures)


if __name__ == "__main__":
    try:
        main()
    except RobustLRError as error:
        sys.exit(f"wrn_trial: {error}")
