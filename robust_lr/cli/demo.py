"""Run the main job on real data: 7 schedules x 16 learning rates x 3 seeds of softmax regression on digits."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

from ..exceptions import RobustLRError
from .arguments import add_n_jobs, add_tolerance
from .plugins import Plugin

if TYPE_CHECKING:
    from ..linear.models import LinearModelTask

SUMMARY = "see it work: a sweep over the digits of scikit-learn, with a report"
USAGE = "[options]"

DEMO_RANGE = 2.0**-7, 2.0**8, 16  # smallest and largest learning rate, number of points
DEMO_SCHEDULES = (
    *("constant", "inverse-sqrt", "linear", "cosine"),
    *("wsd(0.2)", "polynomial(power=2)", "cosine(floor=0.1)"),
)
DEMO_SEEDS = 3

TOTAL_STEPS = 1500
BATCH_SIZE = 16
WEIGHT_DECAY = 1e-3
N_TRAIN = 1500


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--output", default="demo-output", metavar="DIR",
        help="folder for the report, plots, figures and journal [default: %(default)s]",
    )  # fmt: skip
    add_n_jobs(parser, default=min(os.cpu_count() or 1, 4))
    add_tolerance(parser, "how much worse than the best loss you accept", default="0.003")


def main(options: argparse.Namespace, plugins: Sequence[Plugin]) -> int:
    import time
    from pathlib import Path

    from ..analysis import analyze_sweep
    from ..grids import GeometricGrid
    from ..report.console import make_console, print_analysis
    from ..report.html import write_report
    from ..report.matplotlib_plots import answer_figure, degradation_figure, learning_rate_figure
    from ..runners import PackedRunner
    from ..sweep import run_sweep
    from .output import figures, save_json, write_json, writing

    start, output = time.perf_counter(), Path(options.output)
    with writing(output):
        output.mkdir(parents=True, exist_ok=True)
    runner, journal = PackedRunner(options.n_jobs), output / "journal.jsonl"
    sweep = run_sweep(
        demo_task(), GeometricGrid(*DEMO_RANGE), DEMO_SCHEDULES, DEMO_SEEDS, runner=runner, journal=journal
    )
    analysis = analyze_sweep(sweep, tolerance=options.tolerance)
    console = make_console()
    print_analysis(analysis, console, title="softmax regression on the digits, SGD", every_detail=False)
    save_json(output / "analysis.json", figures(analysis))
    write_json(options, figures(analysis))
    with writing(output):
        answer_figure(analysis).savefig(output / "answer.png", dpi=130)
        learning_rate_figure(analysis).savefig(output / "lr_curve.png", dpi=150)
        degradation_figure(analysis).savefig(output / "degradation.png", dpi=150)
        write_report(
            analysis,
            output / "report.html",
            title="How coarse may the learning-rate grid be? Digits, softmax regression, SGD",
            source="load_digits of scikit-learn, 1500 training images, batches of 16, 1500 steps, weight decay 1e-3.",
            reproduce=["make demo", f"robust-lr analyze {journal} --tolerance {options.tolerance}"],
        )
    files = ", ".join(file.name for file in sorted(output.iterdir()))
    console.print(f"{time.perf_counter() - start:.0f} s; in {output}: {files}")
    return 0


@cache
def demo_task() -> LinearModelTask:
    """Return the training function of the demo.

    The objective is the mean cross-entropy of softmax regression over 1500 digits plus
    ``WEIGHT_DECAY / 2 * |W|**2``: convex, with gradient noise from batches of 16, which is the setting of the theory.
    The seed draws the batches, the same for every learning rate and schedule; the weights start at zero.

    Raises:
        RobustLRError: when scikit-learn, which brings the digits, is not installed.
    """
    import numpy as np

    from ..linear.models import LinearModelTask

    try:
        from sklearn.datasets import load_digits
    except ModuleNotFoundError as error:
        if error.name != "sklearn":
            raise
        raise RobustLRError("the demo reads the digits of scikit-learn: pip install 'robust-lr[sklearn]'") from error
    data, target = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(data))
    # Scaled by the full range: dividing by a pixel's standard deviation explodes where it is constant.
    x, y = data[order] / 16.0, target[order].astype(np.int64)
    x = x - x[:N_TRAIN].mean(axis=0)
    return LinearModelTask(
        kind="softmax",
        train_data=(x[:N_TRAIN], y[:N_TRAIN]),
        validation_data=(x[N_TRAIN:], y[N_TRAIN:]),
        total_steps=TOTAL_STEPS,
        batch_size=BATCH_SIZE,
        weight_decay=WEIGHT_DECAY,
    )
