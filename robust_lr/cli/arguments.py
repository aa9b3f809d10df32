"""Parts that commands share: the parser, common options, importing the training function, choosing the runner."""

from __future__ import annotations

import argparse
import itertools
import math
import re
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from .._paths import is_file, is_folder
from .._text import did_you_mean, listed, main_line, near_file, place_of
from ..exceptions import DataError, OptionError
from .plugins import Plugin, naming_the_extra

if TYPE_CHECKING:
    from ..runners import Runner


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, and whose help is at most 110 columns wide."""

    def __init__(self, **options: Any) -> None:
        width = min(shutil.get_terminal_size().columns, 112) - 2
        super().__init__(
            formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=30, width=width),
            allow_abbrev=False,
            **options,
        )

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        known = self._option_string_actions
        for word in itertools.takewhile(lambda word: word != "--", args if self._subparsers is None else ()):
            if word.startswith("--") and (name := word.partition("=")[0]) not in known:
                self.error(f"unrecognized argument {name!r}{did_you_mean(name, known)}")
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        if match := re.match(r"argument COMMAND: invalid choice: '([^']*)' \(choose from (.*)\)", message):
            known = re.findall(r"[\w-]+", match[2])
            message = f"unknown command {match[1]!r}{did_you_mean(match[1], known) or f'; known: {listed(known)}'}"
        if match := re.match(r"unrecognized arguments: ([^-].*)", message):
            message = f"unexpected {match[1]!r}: write a list without spaces, as in --schedules constant,cosine"
        raise OptionError(f"{message}{' See' if message.endswith('?') else '; see'}: {self.prog} --help")


def list_of_names(text: str) -> list[str]:
    """Return the names in a list with commas."""
    return [name.strip() for name in text.split(",") if name.strip()]


class _OldName(argparse.Action):
    """An option under its old name, which still works for now."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        new = f"--{self.dest.replace('_', '-')}"
        print(f"warning: {option_string} is now {new}; version 0.3 removes the old name", file=sys.stderr)
        setattr(namespace, self.dest, values)


def add_old_name(parser: argparse.ArgumentParser, old: str, dest: str, **options: Any) -> None:
    """Accept an option under its old name too, with a warning; the help does not show it."""
    parser.add_argument(old, dest=dest, action=_OldName, default=argparse.SUPPRESS, help=argparse.SUPPRESS, **options)


def at_least(low: int, kind: type[int] | type[float] = int) -> Callable[[str], float]:
    """Return an argument type for numbers that rejects those below `low`."""

    def read(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = low - 1
        if not value >= low:
            what = "whole number" if kind is int else "number"
            raise argparse.ArgumentTypeError(f"expected a {what} of at least {low}, got {text!r}")
        return value

    return read


def add_range(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--lr-min", type=float, required=True, metavar="LR", help="smallest learning rate")
    parser.add_argument("--lr-max", type=float, required=True, metavar="LR", help="largest learning rate")


def add_noise(parser: argparse.ArgumentParser) -> None:
    """Add the tolerance and the noise of an analysis."""
    parser.add_argument(
        "--tolerance", metavar="LOSS",
        help="how much worse than the best loss you accept: 0.003, or 1%% of the best [default: 3 times the noise "
        "between seeds]",
    )  # fmt: skip
    parser.add_argument(
        "--noise", type=float, metavar="SD",
        help="standard deviation of the loss between seeds, if you know it; with it one seed is enough",
    )  # fmt: skip


def add_tolerance(parser: argparse.ArgumentParser, help: str, *, default: str = "1%") -> None:  # noqa: A002
    shown = f"{help} [default: {default.replace('%', '%%')}]"
    parser.add_argument("--tolerance", default=default, metavar="LOSS", help=shown)


def add_failed_as_diverged(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--failed-as-diverged",
        action="store_true",
        help="count failed trials as diverged, for training that raises then",
    )


def add_training(parser: argparse.ArgumentParser, *, journal: str, n_jobs: int | None) -> None:
    """Add the options for training that `run` and `search` share: function, journal, trials at a time."""
    parser.add_argument(
        "function", metavar="FUNCTION", nargs="?",
        help="module:function or file.py:function, called with lr, schedule and seed",
    )  # fmt: skip
    parser.add_argument(
        "--command", dest="command_line", metavar="LINE",
        help='instead of FUNCTION: command of a trial, such as "python train.py --lr {lr} --seed {seed}"',
    )  # fmt: skip
    parser.add_argument(
        "--journal", default=journal, metavar="FILE", help="file that keeps every finished trial [default: %(default)s]"
    )
    parser.add_argument(
        "--label", metavar="NAME",
        help="name of the function in the journal, which keeps results for each [default: its module and name]",
    )  # fmt: skip
    parser.add_argument(
        "--keep-results", action="store_true", help="use the journal's results although the function has changed since"
    )
    parser.add_argument(
        "--max-retries", type=at_least(0), default=2, metavar="N",
        help="how often to retry a failed trial [default: %(default)s]",
    )  # fmt: skip
    parser.add_argument(
        "--trial-timeout", type=duration, metavar="TIME",
        help="end a trial that takes longer, such as 90, 30m or 2h; it has then failed [default: no limit]",
    )  # fmt: skip
    parser.add_argument(
        "--time-budget", type=duration, metavar="TIME",
        help="begin no trial after this time, such as 8h; the same command continues [default: no limit]",
    )  # fmt: skip
    parser.add_argument(
        "--trials-per-worker", type=at_least(1), metavar="N",
        help="replace a worker process after N trials, for training that leaks memory [default: never]",
    )  # fmt: skip
    parser.add_argument(
        "--results-uri", metavar="DIR",
        help="folder or URI (s3://...) where workers leave results, which survive this process [default: beside the "
        "journal]",
    )  # fmt: skip
    add_objective(parser, "what is optimized: loss, or what else FUNCTION returns or the command prints")
    add_n_jobs(parser, default=n_jobs)


def add_objective(parser: argparse.ArgumentParser, help: str, *, default: str | None = "loss") -> None:  # noqa: A002
    shown = default or "found by its name"
    parser.add_argument("--metric", default=default, metavar="NAME", help=f"{help} [default: {shown}]")
    parser.add_argument(
        "--direction", choices=("minimize", "maximize"), metavar="GOAL",
        help="minimize or maximize the metric [default: minimize]",
    )  # fmt: skip


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add the file of the figures, which every command has."""
    parser.add_argument(
        "--json", nargs="?", const="-", metavar="FILE",
        help="write the figures as JSON; without FILE on stdout, and the words on stderr",
    )  # fmt: skip


def add_n_jobs(parser: argparse.ArgumentParser, *, default: int | None) -> None:
    """Add the number of trials that run at a time on this machine."""
    shown = f"processes, each with one trial at a time [default: {1 if default is None else default}]"
    parser.add_argument("--n-jobs", type=at_least(1), default=default, metavar="N", help=shown)
    add_old_name(parser, "--jobs", "n_jobs", type=at_least(1))


def make_runner(options: argparse.Namespace, plugins: Sequence[Plugin]) -> Runner:
    """Return the plug-in's runner that the options ask for, or else one on this machine."""
    for plugin in plugins:
        with naming_the_extra(plugin):
            runner = plugin.make_runner(options)
        if runner is not None:
            return runner
    from ..runners import PackedRunner, ProcessPoolRunner, SerialRunner

    n_jobs, limit, n_trials = options.n_jobs or 1, options.trial_timeout, options.trials_per_worker
    if getattr(options, "packed", False):
        if n_trials is not None:
            raise OptionError("--trials-per-worker is for trials that run one after the other, not for --packed")
        return PackedRunner(n_jobs, trial_timeout=limit)
    if n_jobs == 1 and limit is None and n_trials is None:
        return SerialRunner()
    return ProcessPoolRunner(
        n_jobs, trial_timeout=limit, trials_per_worker=n_trials
    )  # whose workers can be ended, whatever they do


def duration(text: str) -> float:
    """Return the seconds of a text such as 90, 30m, 2h or 1.5d.

    Example:
        >>> duration("30m")
        1800.0
    """
    units = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
    number, unit = (text[:-1], text[-1:].lower()) if text[-1:].lower() in units else (text, "s")
    try:
        seconds = float(number) * units[unit]
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"expected a time above 0, such as 90, 30m or 2h, got {text!r}")
    return seconds


def split_specs(text: str) -> list[str]:
    """Split a list of schedule specs at the commas outside brackets.

    Example:
        >>> split_specs("constant, wsd(0.2, shape=1-sqrt)")
        ['constant', 'wsd(0.2, shape=1-sqrt)']
    """
    return [part.strip() for part in re.split(r",(?![^(]*\))", text) if part.strip()]


def import_function(where: str, *, has_total_steps: bool = False) -> Any:
    """Import ``module:function`` or ``file.py:function``; its folder joins the import path, for worker processes too.

    Raises:
        DataError: when it cannot be imported, does not exist, or is not callable.
    """
    import traceback

    from .._checks import check_train

    module, _, name = where.rpartition(":")
    if not module or not name:
        raise DataError(f"expected module:function or file.py:function, got {where!r}")
    folder, file = Path.cwd(), None
    if module.endswith(".py"):
        file = Path(module).resolve()
        folder, module = file.parent, file.stem
        if not is_file(file):
            has_folder = is_folder(file.parent)
            where_not = f" in {file.parent}{near_file(file)}" if has_folder else f": there is no folder {file.parent}"
            raise DataError(f"no file {file.name}{where_not}")
    sys.path.insert(0, str(folder))
    try:
        __import__(module)
    except ModuleNotFoundError as error:
        if not module.startswith(str(error.name)):
            raise DataError(_cannot_import(where, traceback.format_exc())) from None
        as_file = f"; is it {module}.py:{name}?" if is_file(f"{module}.py") else ""
        raise DataError(f"No module named {error.name!r}, neither here nor among those installed{as_file}") from None
    except Exception:  # the module is the user's: anything can happen in it
        raise DataError(_cannot_import(where, traceback.format_exc())) from None
    target: Any = sys.modules[module]
    if file is not None and Path(str(getattr(target, "__file__", None))).resolve() != file:
        raise DataError(f"cannot import {file.name}: another module has the name {module!r}; rename the file")
    for part in name.split("."):
        if not hasattr(target, part):
            known = [each for each, value in vars(target).items() if callable(value) and each[0] != "_"]
            has = did_you_mean(part, known) or (f"; it has {listed(known, at_most=8)}" if known else "")
            raise DataError(f"{file.name if file else module} has no {name!r}{has}")
        target = getattr(target, part)
    if not callable(target):
        raise DataError(f"{where!r} must be callable as function(*, lr, schedule, seed), got {target!r}")
    if not has_total_steps:  # else the search binds them first
        check_train(target)
    return target


def _cannot_import(where: str, error: str) -> str:
    return f"cannot import {where!r}: {main_line(error)}{place_of(error)}"
