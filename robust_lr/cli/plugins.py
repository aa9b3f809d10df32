"""What other packages add to the command line: options, runners, sources of sweeps, commands of their own."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from ..exceptions import OptionError

if TYPE_CHECKING:
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
        description: where the results come from, to follow "Read from".
        read: reads them; the keys name the groups, with one group ``""``.
    """

    name: str
    description: str
    read: Callable[[], Mapping[str, SweepResult]]


class Plugin:
    """What a package adds to ``robust-lr``; a subclass is an entry point in the group ``robust_lr.cli``.

    Its module must import no framework at the top: every ``robust-lr --help`` loads it.

    Attributes:
        install: command that installs what the plug-in needs, shown when that is missing.
        source_option: option of `analyze` that names a source of this plug-in, such as "--ray".
        commands: further commands, by name.
    """

    install: str = ""
    source_option: str = ""
    commands: Mapping[str, Command] = {}

    def add_options(self, command: str, parser: argparse.ArgumentParser) -> None:
        """Add options to a command, such as "run"."""

    def make_runner(self, options: argparse.Namespace) -> Runner | None:
        """Return the runner for `run` and `search`, or None when the options do not ask for one of this plug-in."""
        return None

    def sweep_source(self, options: argparse.Namespace) -> SweepSource | None:
        """Return the source for `analyze`, or None when the options do not name one of this plug-in."""
        return None


def require(options: argparse.Namespace, flag: str, names: Sequence[str]) -> None:
    """Check that options which make sense only with another one came with it.

    Args:
        options: what was parsed.
        flag: the option that the others need, as an attribute of `options`.
        names: the others.

    Raises:
        OptionError: when one of them was given without it.
    """
    for name in names:
        if getattr(options, name, None) is not None and not getattr(options, flag, None):
            raise OptionError(f"--{name.replace('_', '-')} is for --{flag.replace('_', '-')}")


@contextmanager
def naming_the_extra(plugin: Plugin) -> Iterator[None]:
    """Turn a missing framework into one line that says how to install it."""
    try:
        yield
    except ImportError as error:
        if not plugin.install:
            raise
        raise OptionError(f"this needs an extra: {plugin.install} ({error})") from None


def load_plugins() -> list[Plugin]:
    """Return the plug-ins of the installed packages; one that cannot be loaded is named on stderr and left out."""
    from importlib.metadata import entry_points

    plugins: list[Plugin] = []
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        try:
            plugins.append(entry.load()())
        except Exception as error:  # a package of somebody else: anything can happen in it
            print(f"warning: the plug-in {entry.name} cannot be loaded: {error}", file=sys.stderr)
    return plugins
