"""The options of commands as trials, and what `run` and `search` train: a function, or a command."""

from __future__ import annotations

import argparse
import shlex
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..exceptions import OptionError, RobustLRWarning
from .arguments import at_least, import_function, make_runner, split_specs
from .cost import read_cost
from .plugins import Plugin

if TYPE_CHECKING:
    from ..runners import TrialSource
    from ..schedules import Schedule
    from ..trials import TrainFunction, TrialResult

_OPTIONS = (
    *("metric_regex", "metric_file", "total_steps", "trials_dir", "cwd", "shell"),
    *("diverged_exit_code", "diverged_pattern"),
)


def add_command_options(parser: argparse.ArgumentParser, *, emit: bool = False) -> None:
    """Add the options that belong to `--command`."""
    group = parser.add_argument_group(
        "commands",
        "{lr}, {schedule}, {seed}, {total_steps} and {trial_dir} in the command stand for the values of a trial. The "
        "metric is read from the last line of JSON on standard output that holds it.",
    )
    option = group.add_argument
    option("--metric-regex", metavar="REGEX", help=r"read the metric by a pattern instead: 'val loss (\S+)'")
    option("--metric-file", metavar="FILE", help="read it from a JSON, JSON lines or CSV file in the trial's folder")
    option("--total-steps", type=at_least(1), metavar="N", help="value of {total_steps}, or total_steps of FUNCTION")
    option("--trials-dir", metavar="DIR", help="folder for the trials' folders [default: beside the journal]")
    option("--cwd", metavar="DIR", help="run all commands in DIR, not each in the folder of its trial")
    option("--shell", action="store_true", default=None, help="run the command by /bin/sh, for pipes and variables")
    option("--diverged-exit-code", type=int, metavar="N", help="exit code that means divergence")
    option("--diverged-pattern", metavar="REGEX", help="pattern in the log that means divergence")
    if emit:
        option("--emit", choices=("shell", "slurm-array"), metavar="KIND",
            help="print a script that runs the trials as a job: shell (a line a trial) or slurm-array",
        )  # fmt: skip
    else:
        option("--dry-run", action="store_true", default=None, help="print the first commands, and run nothing")


def training_options(options: argparse.Namespace, plugins: Sequence[Plugin]) -> dict[str, Any]:
    """Return the arguments that `run_sweep` and `search_learning_rate` share.

    Raises:
        OptionError: when there are both a function and a command, or none, or an option of a command has no command.
        DataError: when the function cannot be imported.
    """
    train = _read_train(options)
    is_listing = bool(options.dry_run or getattr(options, "emit", None))
    return {
        "train": train,
        "metric": options.metric,
        "direction": options.direction,
        "runner": _Listing(train, options) if is_listing else make_runner(options, plugins),
        "journal": None if is_listing else Path(options.journal),
        "max_retries": options.max_retries,
        "label": options.label,
        "keep_results": options.keep_results,
        "time_budget": options.time_budget,
        "results_uri": None if is_listing else options.results_uri,
    }


class _Listing:
    """A runner that prints the commands of the trials that wait and their cost, or a script, and ends the program."""

    def __init__(self, task: Any, options: argparse.Namespace) -> None:
        self._task, self._options = task, options

    def run(
        self, train: TrainFunction, source: TrialSource, schedules: Mapping[str, Schedule]
    ) -> Iterator[TrialResult]:
        from .output import write_json

        trials, options = source.take(len(source.waiting)), self._options
        if kind := getattr(options, "emit", None):
            if options.json is not None:
                raise OptionError("--emit prints a script and has no figures for --json")
            from ..commands.job import job_script, write_job

            write_job(self._task, trials, max_retries=options.max_retries, label=options.label)
            print(job_script(kind, self._task.trials_dir, len(trials)), end="")
            raise SystemExit(0)
        is_command = options.command_line is not None
        commands = [
            shlex.join(self._task.words(lr=spec.lr, schedule=schedules[spec.schedule], seed=spec.seed))
            for spec in (trials if is_command else ())
        ]
        # A search does not know its trials.
        cost = read_cost(trials, options) if hasattr(options, "seconds_per_trial") else None
        write_json(options, {"schema": 1, "commands": commands, "cost": cost and cost.to_dict()})
        for command in commands:
            print(command)
        for line in cost.lines() if cost else ():
            print(line, file=sys.stderr if is_command else sys.stdout)
        raise SystemExit(0)


def _warn_of_unused_axes(options: argparse.Namespace) -> None:
    axes = ["lr", *(["schedule"] if len(split_specs(getattr(options, "schedules", ""))) > 1 else [])]
    axes += ["seed"] if getattr(options, "seeds", 1) != 1 else []
    for axis in axes:
        if f"{{{axis}}}" not in options.command_line:
            said = f"the command has no {{{axis}}}: it must read the environment variable ROBUST_LR_{axis.upper()}"
            warnings.warn(said, RobustLRWarning, stacklevel=2)
    if "schedule" not in axes and "{schedule}" not in options.command_line:
        name = getattr(options, "schedules", None) or options.schedule
        said = f"the command has no {{schedule}}: it trains under its own one, and {name} is only a label here"
        warnings.warn(f"{said}, unless it reads ROBUST_LR_SCHEDULE", RobustLRWarning, stacklevel=2)


def _read_train(options: argparse.Namespace) -> TrainFunction:
    if (options.function is None) == (options.command_line is None):
        raise OptionError(f"give one of FUNCTION and --command; see: robust-lr {options.command} --help")
    given: dict[str, Any] = {name: value for name in _OPTIONS if (value := getattr(options, name)) is not None}
    if options.command_line is None:
        # A search trains functions for so many steps too.
        steps = given.pop("total_steps", None) if hasattr(options, "horizons") else None
        for_commands = ("emit",) if hasattr(options, "seconds_per_trial") else ("dry_run", "emit")
        given |= {name: True for name in for_commands if getattr(options, name, None)}
        if given:
            raise OptionError(f"--{next(iter(given)).replace('_', '-')} is for --command")
        train: TrainFunction = import_function(options.function, has_total_steps=steps is not None)
        return train
    from ..commands import CommandTask

    beside = Path(options.journal).with_suffix("")
    task = CommandTask(options.command_line, metric=options.metric, **{"trials_dir": f"{beside}-trials", **given})
    if options.trial_timeout is not None:  # the command has a better end than its worker: SIGTERM before SIGKILL
        task, options.trial_timeout = replace(task, trial_timeout=options.trial_timeout), None
    _warn_of_unused_axes(options)
    return task
