"""Parts that commands share: the parser, common options, importing the training function, choosing the runner."""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

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

    def error(self, message: str) -> NoReturn:
        raise OptionError(f"{message}; see: {self.prog} --help")


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


def add_training(parser: argparse.ArgumentParser, *, journal: str, n_jobs: int | None) -> None:
    """Add the options for training that `run` and `search` share: function, journal, trials at a time."""
    parser.add_argument(
        "function", metavar="FUNCTION", help="module:function or file.py:function, called with lr, schedule and seed"
    )
    parser.add_argument(
        "--journal", default=journal, metavar="FILE", help="file that keeps every finished trial [default: %(default)s]"
    )
    parser.add_argument(
        "--label", metavar="NAME", help="name of the function in the journal [default: its module and name]"
    )
    parser.add_argument(
        "--max-retries", type=at_least(0), default=2, metavar="N",
        help="how often to retry a failed trial [default: %(default)s]",
    )  # fmt: skip
    add_n_jobs(parser, default=n_jobs)


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

    n_jobs = options.n_jobs or 1
    if getattr(options, "packed", False):
        return PackedRunner(n_jobs)
    return SerialRunner() if n_jobs == 1 else ProcessPoolRunner(n_jobs)


def split_specs(text: str) -> list[str]:
    """Split a list of schedule specs at the commas outside brackets.

    Example:
        >>> split_specs("constant, wsd(0.2, shape=1-sqrt)")
        ['constant', 'wsd(0.2, shape=1-sqrt)']
    """
    import re

    return [part.strip() for part in re.split(r",(?![^(]*\))", text) if part.strip()]


def import_function(where: str) -> Any:
    """Import ``module:function`` or ``file.py:function``; its folder joins the import path, for worker processes too.

    Raises:
        DataError: when it cannot be imported, does not exist, or is not callable.
    """
    import traceback
    from pathlib import Path

    from .._text import place_of

    module, _, name = where.rpartition(":")
    if not module or not name:
        raise DataError(f"expected module:function or file.py:function, got {where!r}")
    folder, file = Path.cwd(), None
    if module.endswith(".py"):
        file = Path(module).resolve()
        folder, module = file.parent, file.stem
    sys.path.insert(0, str(folder))
    try:
        __import__(module)
    except Exception as error:  # the module is the user's: anything can happen in it
        text = f"{type(error).__name__}: {' '.join(str(error).split())}{place_of(traceback.format_exc())}"
        raise DataError(f"cannot import {where!r}: {text}") from None
    target: Any = sys.modules[module]
    if file is not None and Path(str(getattr(target, "__file__", None))).resolve() != file:
        raise DataError(f"cannot import {file.name}: another module has the name {module!r}; rename the file")
    for part in name.split("."):
        if not hasattr(target, part):
            raise DataError(f"{module!r} has no {name!r}")
        target = getattr(target, part)
    if not callable(target):
        raise DataError(f"{where!r} must be callable as function(*, lr, schedule, seed), got {target!r}")
    return target
