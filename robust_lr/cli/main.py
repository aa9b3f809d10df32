"""The command line: plan a grid, run a sweep, search the best learning rate, analyse results, see the demo. Exit codes:
0 good, 1 no recommendation is possible, 2 usage."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import shlex
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from .. import __version__
from ..analysis import Analysis, analyze_sweep
from ..exceptions import DataError, InsufficientDataError, RobustLRError, TrialError
from ..grids import GeometricGrid
from ..readers.read import read_sweeps
from ..report.console import make_console, print_analysis, print_rows
from ..report.groups import group_rows
from ..report.words import conclusion
from ..runners import Runner
from ..schedules.specs import parse_schedule
from ..search import SearchOptions
from ..search.run import search_learning_rate
from ..search.words import search_headline, search_sentences
from ..sweep.results import SweepResult
from ..sweep.run import run_sweep
from ..theory import grid_guarantee, resolution_for_tolerance
from .arguments import (
    import_function,
    load_plugin,
    parse_tolerance,
    split_specs,
    without_passwords,
)

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)

DEMO_JOBS = min(os.cpu_count() or 1, 4)

MAX_PLAN = 10_000  # learning rates; a plan of more is a slip of the tolerance

Jobs = Annotated[int, typer.Option(min=1, help="Worker processes.")]
LrMin = Annotated[float, typer.Option(help="Smallest learning rate.")]
LrMax = Annotated[float, typer.Option(help="Largest learning rate.")]
Tolerance = Annotated[str, typer.Option(help="Excess loss allowed: 0.003, or 1% of the lowest mean loss.")]


def main() -> None:
    """Run the command line and exit; an error of ours is one line on stderr, never a traceback."""
    try:
        app()
    except SystemExit as stop:
        if stop.code == 130:  # typer turns an interrupt into this, without a word
            said = "interrupted; every finished trial is in the journal, and the same command continues"
            print(said, file=sys.stderr)  # noqa: T201
        raise
    except RobustLRError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(1 if isinstance(error, (InsufficientDataError, TrialError)) else 2)
    except OSError as error:  # a reader that is gone (`| head -1`) never comes here: rich and typer end quietly
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(2)


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        print(__version__)  # noqa: T201
        raise typer.Exit


@app.command()
def plan(
    schedule: Annotated[str, typer.Option(help='Schedule, e.g. cosine or "warmup(0.05)+wsd(0.2)".')],
    lr_min: LrMin,
    lr_max: LrMax,
    tolerance: Annotated[str, typer.Option(help="Allowed excess of the suboptimality: 0.5, or 50%.")],
    total_steps: Annotated[int, typer.Option(min=2, help="Steps of a run.")] = 10_000,
) -> None:
    """Plan the first grid from theory: how coarse may it be under this schedule?"""
    parsed = parse_schedule(schedule)
    excess, _ = parse_tolerance(tolerance)  # relative either way
    grids = {}
    for name, each in {str(parsed): parsed, "constant": parse_schedule("constant")}.items():
        resolution = resolution_for_tolerance(each, excess, total_steps=total_steps)
        if 0 < lr_min < lr_max < math.inf and math.log(lr_max / lr_min) > MAX_PLAN * math.log(resolution):
            raise DataError(f"a tolerance of {excess:g} needs a ratio of {resolution:.9g}, more than {MAX_PLAN} points")
        grids[name] = resolution, GeometricGrid.from_ratio(lr_min, lr_max, resolution)
    resolution, grid = grids[str(parsed)]
    guarantee = grid_guarantee(parsed, grid.ratio, total_steps=total_steps) if len(grid) > 1 else None
    say = make_console().print
    say(f"{parsed}, tolerance {excess:g}: ratio at most {resolution:.4g}")
    say(f"grid: {', '.join(f'{lr:.6g}' for lr in grid.values)}")
    trials = _trials(len(grid))
    say(f"{trials}, ratio {grid.ratio:.4g}: an optimum lies at most {grid.max_gap:.4g} times below a grid point")
    if guarantee is not None:
        say(
            f"suboptimality at most {guarantee.worst:.4g} times the tuned one at the worst position of the optimum, "
            f"{guarantee.mean:.4g} on average"
        )
    constant_resolution, constant = grids["constant"]
    say(f"constant needs ratio {constant_resolution:.4g}, {_trials(len(constant))}, for the same")
    say(
        "This is a bound over convex problems, not a prediction: it is about f - f*, not the loss itself, and sees no "
        "stability cliff. It plans the first grid; the measured curve (robust-lr run, robust-lr analyze) decides."
    )


@app.command()
def run(
    function: Annotated[
        str, typer.Argument(help="module:function (or file.py:function) called with lr, schedule, seed.")
    ],
    lr_min: LrMin,
    lr_max: LrMax,
    schedules: Annotated[str, typer.Option(help="Schedules, separated by commas: constant,cosine(floor=0.1).")],
    n_points: Annotated[int | None, typer.Option(help="Number of learning rates.")] = None,
    ratio: Annotated[float | None, typer.Option(help="Largest factor between them, in place of --n-points.")] = None,
    refine: Annotated[
        int, typer.Option(min=0, max=10, help="Add the means of all neighbours to this grid, N times.")
    ] = 0,
    extend_below: Annotated[int, typer.Option(min=0, help="Add N learning rates below --lr-min, at its ratio.")] = 0,
    extend_above: Annotated[int, typer.Option(min=0, help="Add N learning rates above --lr-max, at its ratio.")] = 0,
    seeds: Annotated[int, typer.Option(min=1, help="Number of seeds.")] = 3,
    jobs: Annotated[
        int | None,
        typer.Option(min=1, help="Trials at a time: processes (1), or with --ray what the cluster can hold."),
    ] = None,
    journal: Annotated[Path, typer.Option(help="File that keeps every finished trial.")] = Path("sweep.jsonl"),
    label: Annotated[
        str | None, typer.Option(help="Name of the function in the journal; by default its module and name.")
    ] = None,
    packed: Annotated[
        bool, typer.Option("--packed", help="Train many replicas of a small model together, in each process.")
    ] = False,
    ray: Annotated[
        bool, typer.Option("--ray", help="Run the trials on a Ray cluster, or on a Ray started here.")
    ] = False,
    address: Annotated[
        str | None, typer.Option(help='Ray: "auto" for the cluster of this machine, or host:port of its head.')
    ] = None,
    gpus_per_trial: Annotated[
        float | None,
        typer.Option(min=0, help="Ray: GPUs of a trial, or of each worker (1 if there are GPUs); 0.5 puts two on one."),
    ] = None,
    cpus_per_trial: Annotated[
        float | None, typer.Option(min=0, help="Ray: CPUs of a trial, or of each worker (1).")
    ] = None,
    workers_per_trial: Annotated[
        int | None, typer.Option(min=1, help="Ray: processes that train a trial together (1).")
    ] = None,
    storage_path: Annotated[
        str | None, typer.Option(help="Ray: folder that all nodes share, for checkpoints of unfinished trials.")
    ] = None,
    tolerance: Tolerance = "1%",
) -> None:
    """Run a sweep; the same command continues it, and with --refine, --extend-above or more --seeds adds to it."""
    if (n_points is None) == (ratio is None):
        raise typer.BadParameter("give one of --n-points and --ratio")
    grid = (
        GeometricGrid(lr_min, lr_max, n_points)
        if n_points is not None
        else GeometricGrid.from_ratio(lr_min, lr_max, ratio or 0.0)
    )
    # Extended first: refining what was extended keeps every point, but not the other way round.
    grid = grid.extend(below=extend_below, above=extend_above)
    for _ in range(refine):
        grid = grid.refine()
    parse_tolerance(tolerance)
    on_ray = {
        "--address": address,
        "--gpus-per-trial": gpus_per_trial,
        "--cpus-per-trial": cpus_per_trial,
        "--workers-per-trial": workers_per_trial,
        "--storage-path": storage_path,
    }
    for option, given in on_ray.items():
        if given is not None and not ray:
            raise typer.BadParameter(f"{option} is for --ray")
    if cpus_per_trial is not None and gpus_per_trial is None:
        raise typer.BadParameter("give --gpus-per-trial with --cpus-per-trial, 0 for none")
    runner = (
        _ray_runner(jobs, packed, address, gpus_per_trial, cpus_per_trial, workers_per_trial or 1, storage_path)
        if ray
        else _local_runner(jobs or 1, packed)
    )
    with _log_on_stderr():
        sweep = run_sweep(
            import_function(function),
            grid,
            [parse_schedule(spec) for spec in split_specs(schedules)],
            seeds,
            runner=runner,
            journal=journal,
            label=label,
        )
    console = make_console()
    analysis = _analyze(sweep, tolerance)
    print_analysis(analysis, console, every_detail=False)
    console.print(f"{journal}: {sweep.n_trials} results; look again with: robust-lr analyze {journal}")
    if not analysis.recommendations:
        raise typer.Exit(1)


@app.command()
def search(
    function: Annotated[
        str, typer.Argument(help="module:function (or file.py:function) called with lr, schedule, seed.")
    ],
    lr_min: LrMin,
    lr_max: LrMax,
    tolerance: Annotated[
        str,
        typer.Option(
            help="Excess loss allowed: 0.005, or 1% of the best loss. Near a loss of 0 a share means nothing: "
            "give a number."
        ),
    ] = "1%",
    schedule: Annotated[str, typer.Option(help='Schedule, e.g. cosine or "warmup(0.05)+wsd(0.2)".')] = "cosine",
    seed: Annotated[
        int, typer.Option(help="Of the first trial at a learning rate; more trials there go on from it.")
    ] = 0,
    jobs: Annotated[int, typer.Option(min=1, help="Trials at a time: processes, or with --ray on the cluster.")] = 1,
    journal: Annotated[Path, typer.Option(help="File that keeps every finished trial.")] = Path("search.jsonl"),
    max_trials: Annotated[int | None, typer.Option(min=1, help="Stop after so many, those in the journal too.")] = None,
    start: Annotated[float | None, typer.Option(help="Learning rate to begin at, in place of the centre.")] = None,
    ratio: Annotated[float | None, typer.Option(help="Coarse step; by default what theory gives the schedule.")] = None,
    no_extend: Annotated[
        bool, typer.Option("--no-extend", help="Stay in the range even when the best lies on its end.")
    ] = False,
    noise: Annotated[
        float | None,
        typer.Option(help="Standard deviation of the loss over seeds; by default learned from repeated trials."),
    ] = None,
    label: Annotated[
        str | None, typer.Option(help="Name of the function in the journal; by default its module and name.")
    ] = None,
    ray: Annotated[
        bool, typer.Option("--ray", help="Run the trials on a Ray cluster, or on a Ray started here.")
    ] = False,
    address: Annotated[
        str | None, typer.Option(help='Ray: "auto" for the cluster of this machine, or host:port of its head.')
    ] = None,
) -> None:
    """Search the best learning rate until no other can be better by more than the tolerance; a killed one continues."""
    if address is not None and not ray:
        raise typer.BadParameter("--address is for --ray")
    runner = _ray_runner(jobs, False, address, None, None, 1, None) if ray else _local_runner(jobs, False)
    with _log_on_stderr():
        result = search_learning_rate(
            import_function(function),
            lr_min,
            lr_max,
            tolerance=tolerance,
            schedule=schedule,
            options=SearchOptions(ratio=ratio, start=start, max_trials=max_trials, extend=not no_extend, noise=noise),
            runner=runner,
            n_jobs=jobs,
            seed=seed,
            journal=journal,
            label=label,
            progress=True,
        )
    console = make_console()
    console.print(search_headline(result), style="bold")
    for sentence in search_sentences(result):
        console.print(sentence, soft_wrap=not console.is_terminal)
    console.print(f"{journal} holds the trials; the same command continues the search", soft_wrap=True)
    within = result.excess_bound is not None and result.excess_bound <= result.tolerance
    if not within and result.stop != "noise-limited":
        raise typer.Exit(1)


@app.command()
def analyze(
    file: Annotated[
        Path | None, typer.Argument(help="Journal of a sweep, or CSV with one run a row.", show_default=False)
    ] = None,
    lr_column: Annotated[str, typer.Option(help="CSV, Optuna, Ray: learning rate.")] = "lr",
    loss_column: Annotated[
        str,
        typer.Option(
            help="CSV: final loss; nan or inf is a diverged run. Journal: the metric to judge by. "
            "Optuna: an objective, by its name or number, or a user attribute (by itself the first objective). "
            "Ray: name in the reports, such as eval/loss."
        ),
    ] = "loss",
    schedule_column: Annotated[
        str | None, typer.Option(help="CSV, Optuna, Ray: schedule (by itself schedule, if any).")
    ] = None,
    seed_column: Annotated[str | None, typer.Option(help="CSV, Optuna, Ray: seed (by itself seed, if any).")] = None,
    group_by: Annotated[str | None, typer.Option(help="CSV: columns A,B; one sweep for each of their values.")] = None,
    optuna: Annotated[
        str | None,
        typer.Option(metavar="STORAGE", help="In place of a file: URL of an Optuna storage, or its journal."),
    ] = None,
    study: Annotated[str | None, typer.Option(help="Optuna: name of the study, where there are several.")] = None,
    ray: Annotated[
        str | None, typer.Option(metavar="DIR", help="In place of a file: folder of a Ray Tune experiment.")
    ] = None,
    tolerance: Tolerance = "1%",
    confidence_level: Annotated[float, typer.Option(help="Of the bands.")] = 0.95,
    report: Annotated[Path | None, typer.Option(help="Write an HTML report.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures as JSON.")] = None,
) -> None:
    """Analyse a finished or unfinished sweep: what does a coarser grid cost, and which one to use next."""
    columns = [name.strip() for name in (group_by or "").split(",") if name.strip()]
    if study is not None and optuna is None:
        raise typer.BadParameter("--study is for --optuna")
    if sum(given is not None for given in (file, optuna, ray)) != 1:
        raise typer.BadParameter("give either a file, --optuna or --ray")
    if columns and file is None:
        raise typer.BadParameter("--group-by is for CSV files; --schedule-column takes any parameter of a trial")
    if file is not None:
        name = source = file.name
        sweeps = read_sweeps(
            file, lr_name=lr_column, metric=loss_column, schedule_name=schedule_column, seed_name=seed_column,
            group_by=columns,
        )  # fmt: skip
    elif optuna is not None:
        source = without_passwords(optuna)
        name = study or source
        sweeps = {"": _sweep_of_study(optuna, study, lr_column, loss_column, schedule_column, seed_column)}
    elif ray is not None:
        name = Path(ray).resolve().name
        source = f"the Ray Tune experiment {name}"
        sweeps = {"": _sweep_of_experiment(ray, lr_column, loss_column, schedule_column, seed_column)}
    analyses = {name: _analyze(sweep, tolerance, confidence_level) for name, sweep in sweeps.items()}
    console = make_console()
    for group, analysis in analyses.items():
        print_analysis(analysis, console, title=group)
    if len(analyses) > 1:
        print_rows(console, group_rows(analyses), "Over the groups")
    if json_file is not None:
        groups = {name: _figures(analysis) for name, analysis in analyses.items()}
        _write_json(json_file, groups if columns else groups[""])
    if report is not None:
        from ..report.html import write_report

        with _writing(report):
            write_report(
                list(analyses.items()) if columns else analyses[""],
                report,
                title=f"Learning-rate sweep: {name}",
                source=f"Read from {source}.",
                reproduce=[f"robust-lr {shlex.join(map(without_passwords, sys.argv[1:]))}"],
            )
        console.print(f"report: {report}")
    if not any(analysis.recommendations for analysis in analyses.values()):
        raise typer.Exit(1)


@app.command()
def demo(
    output: Annotated[Path, typer.Option(help="Folder for report, plots, figures and journal.")] = Path("demo-output"),
    jobs: Jobs = DEMO_JOBS,
    tolerance: Tolerance = "0.003",
) -> None:
    """Run the main job on real data: 7 schedules x 16 learning rates x 5 seeds of softmax regression on digits."""
    from ..report.html import write_report
    from ..report.plots import degradation_figure, learning_rate_figure
    from ..runners import PackedRunner
    from .demo import DEMO_GRID, DEMO_SCHEDULES, DEMO_SEEDS, demo_task

    start = time.perf_counter()
    with _writing(output):
        output.mkdir(parents=True, exist_ok=True)
    sweep = run_sweep(
        demo_task(),
        DEMO_GRID,
        DEMO_SCHEDULES,
        DEMO_SEEDS,
        runner=PackedRunner(jobs),
        journal=output / "journal.jsonl",
    )
    analysis = _analyze(sweep, tolerance)
    console = make_console()
    print_analysis(analysis, console, title="softmax regression on the digits, SGD", every_detail=False)
    _write_json(output / "analysis.json", _figures(analysis))
    with _writing(output):
        learning_rate_figure(analysis).savefig(output / "lr_curve.png", dpi=150)
        degradation_figure(analysis).savefig(output / "degradation.png", dpi=150)
        write_report(
            analysis,
            output / "report.html",
            title="How coarse may the learning-rate grid be? Digits, softmax regression, SGD",
            source="load_digits of scikit-learn, 1500 training images, batches of 16, 1500 steps, weight decay 1e-3.",
            reproduce=["make demo", f"robust-lr analyze {output / 'journal.jsonl'} --tolerance {tolerance}"],
        )
    files = ", ".join(f.name for f in sorted(output.iterdir()))
    console.print(f"{time.perf_counter() - start:.0f} s; in {output}: {files}")


def _analyze(sweep: SweepResult, tolerance: str, confidence_level: float = 0.95) -> Analysis:
    return analyze_sweep(sweep, tolerance=tolerance, confidence_level=confidence_level)


def _local_runner(jobs: int, packed: bool) -> Runner:
    from ..runners import PackedRunner, ProcessPoolRunner, SerialRunner

    if packed:
        return PackedRunner(jobs)
    return SerialRunner() if jobs == 1 else ProcessPoolRunner(jobs)


def _ray_runner(
    jobs: int | None,
    packed: bool,
    address: str | None,
    gpus: float | None,
    cpus: float | None,
    num_workers: int,
    storage_path: str | None,
) -> Runner:
    make = load_plugin("robust_lr.runners", "ray")
    resources = {"cpu": 1.0 if cpus is None else cpus} | ({} if gpus is None else {"gpu": gpus})
    runner: Runner = make(
        None if cpus is None and gpus is None else resources,
        address=address,
        num_workers=num_workers,
        storage_path=storage_path,
        max_concurrent=jobs or "auto",
        slots="auto" if packed else None,
    )
    return runner


def _trials(n: int) -> str:
    return "1 trial" if n == 1 else f"{n} trials"


def _sweep_of_study(
    storage: str, study: str | None, lr: str, metric: str, schedule: str | None, seed: str | None
) -> SweepResult:
    objective = 0 if metric == "loss" else int(metric) if metric.isdecimal() else metric
    read = load_plugin("robust_lr.results", "optuna")
    sweep: SweepResult = read(storage, study, lr_name=lr, schedule_name=schedule, seed_name=seed, metric=objective)
    return sweep


def _sweep_of_experiment(folder: str, lr: str, loss: str, schedule: str | None, seed: str | None) -> SweepResult:
    read = load_plugin("robust_lr.results", "ray")
    sweep: SweepResult = read(folder, lr_name=lr, metric=loss, schedule_name=schedule, seed_name=seed)
    return sweep


def _figures(analysis: Analysis) -> dict[str, Any]:
    """The analysis as docs/analysis-json.md describes it, with the sentence that the terminal and the report end on."""
    return analysis.to_dict() | {"conclusion": conclusion(analysis)}


def _write_json(path: Path, content: dict[str, Any]) -> None:
    with _writing(path):
        path.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")


class _StderrHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        # Looked up each time: a progress bar puts a stderr of its own in place, to stay below what is printed.
        print(self.format(record), file=sys.stderr)  # noqa: T201


@contextlib.contextmanager
def _log_on_stderr() -> Iterator[None]:
    """Show what the library logs, such as the choice of a packed runner."""
    logger, handler = logging.getLogger("robust_lr"), _StderrHandler()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Name the file that cannot be written, in one line."""
    try:
        yield
    except OSError as error:
        raise RobustLRError(f"cannot write {error.filename or path}: {error.strerror or error}") from None
