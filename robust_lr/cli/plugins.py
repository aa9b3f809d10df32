"""Plug-ins of the command line: options, runners, sources of sweeps, and commands from other packages."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from ..exceptions import OptionError

if TYPE_CHECKING:
    from ..collection import SweepCollection
    from ..loss_curves import LossCurve
    from ..runners import Runner
    from ..sweep import SweepResult

GROUP = "robust_lr.cli"

# A module, or an object like one. Its docstring is the description, SUMMARY the line in the list of commands, and USAGE
# what follows its name; add_options(parser) declares the options; main(options, plugins) returns the exit code.
Command: TypeAlias = Any


@dataclass(frozen=True, kw_only=True)
class SweepSource:
    """Results that `robust-lr analyze` can read.

    Attributes:
        name: title of the report.
        description: where the results come from; completes the sentence "Read from ...".
        read: returns one sweep under the key ``""``, or several, by their names or with their covariates.
        read_curves: returns the loss curves of the runs, and notes; None if the source has none.
    """

    name: str
    description: str
    read: Callable[[], Mapping[str, SweepResult] | SweepCollection]
    read_curves: Callable[[], tuple[Sequence[LossCurve], Sequence[str]]] | None = None


class Plugin:
    """A package's additions to ``robust-lr``; register a subclass as an entry point in the group ``robust_lr.cli``.

    Its module must not import a framework at the top, because every ``robust-lr --help`` loads it.

    Attributes:
        install: command that installs the plug-in's dependencies, shown when they are missing.
        source_option: option of `analyze` that names a source of this plug-in, such as "--ray".
        commands: further commands, by name.
    """

    install: str = ""
    source_option: str = ""
    commands: Mapping[str, Command] = {}

    def add_options(self, command: str, parser: argparse.ArgumentParser) -> None:
        """Add options to a command, such as "run"."""

    def make_runner(self, options: argparse.Namespace) -> Runner | None:
        """Return the runner for `run` and `search`, or None if the options do not ask for this plug-in's."""
        return None

    def sweep_source(self, options: argparse.Namespace) -> SweepSource | None:
        """Return the source for `analyze`, or None if the options do not name one of this plug-in's."""
        return None


def require(options: argparse.Namespace, flag: str, names: Sequence[str]) -> None:
    """Check that options which depend on another came together with it.

    Args:
        options: the parsed options.
        flag: the option on which the others depend, as an attribute of `options`.
        names: the dependent options.

    Raises:
        OptionError: when a dependent option was given without it.
    """
    for name in names:
        if getattr(options, name, None) is not None and not getattr(options, flag, None):
            raise OptionError(f"--{name.replace('_', '-')} is for --{flag.replace('_', '-')}")


@contextmanager
def naming_the_extra(plugin: Plugin) -> Iterator[None]:
    """Turn a missing framework into a one-line error that says how to install it."""
    try:
        yield
    except ImportError as error:
        if not plugin.install:
            raise
        raise OptionError(f"this needs an extra: {plugin.install} ({error})") from None


def load_plugins() -> list[Plugin]:
    """Return the plug-ins of the installed packages; one that cannot be loaded is skipped with a warning on stderr."""
    from importlib.metadata import entry_points

    plugins: list[Plugin] = []
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        try:
            plugins.append(entry.load()())
        except Exception as error:  # third-party code, which may raise anything
            print(f"warning: cannot load the plug-in {entry.name}: {error}", file=sys.stderr)
    return plugins
