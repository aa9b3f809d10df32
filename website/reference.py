"""The pages of the reference that are made from the code: every public name, and every command with its options."""

from __future__ import annotations

import argparse
import inspect
import re
import textwrap
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any

# The packages whose names are public, then modules that are public as a whole. The first place of a name is its own.
PACKAGES = (
    "robust_lr", "robust_lr.sweep", "robust_lr.search", "robust_lr.prior", "robust_lr.analysis", "robust_lr.collection",
    "robust_lr.schedules", "robust_lr.runners", "robust_lr.commands", "robust_lr.doctor", "robust_lr.journal",
    "robust_lr_torch", "robust_lr_optuna", "robust_lr_ray", "robust_lr_sklearn", "robust_lr_hf", "robust_lr_lightning",
)  # fmt: skip
MODULES = (
    "robust_lr.exceptions", "robust_lr.grids", "robust_lr.linear.models", "robust_lr.theory", "robust_lr.trials",
    "robust_lr.divergence", "robust_lr.loss_curves", "robust_lr.readers.read", "robust_lr.report.html",
    "robust_lr.report.console", "robust_lr.cli.plugins", "robust_lr.testing",
)  # fmt: skip
FOLDER = "reference/python"


def pages() -> dict[str, str]:
    """Return the Markdown of each page by its path in the docs."""
    return {**name_pages(), "reference/commands.md": command_page()}


@cache
def public_names() -> dict[str, tuple[str, str]]:
    """Return, for each public name such as "robust_lr.run_sweep", its module and its page, such as "robust_lr.sweep".

    A name that several packages export is listed once, under the shortest.
    """
    names, seen = dict[str, tuple[str, str]](), set[int]()
    for place in (*PACKAGES, *MODULES):
        module = import_module(place)
        for name in _offered(module):
            value = getattr(module, name)
            if id(value) not in seen:
                seen.add(id(value))
                home = getattr(value, "__module__", None) or place
                home = (
                    home if home.startswith("robust_lr") and hasattr(value, "__qualname__") else _definer(place, name)
                )
                names[f"{place}.{name}"] = home, _page(home)
    return names


def name_pages() -> dict[str, str]:
    """Return a page for each part of the library, and an index of all names."""
    by_page = defaultdict[str, list[str]](list)
    for name, (_, page) in public_names().items():
        by_page[page].append(name)
    made = {f"{FOLDER}/{page}.md": "\n".join(_name_page(page, by_page[page])) for page in sorted(by_page, key=_turn)}
    index = ["# All public names", "", "Each name once, under the place to import it from.", ""]
    for page in sorted(by_page, key=_turn):
        index += [f"## {page}", "", _first_line(import_module(page)), "", "| name | |", "| --- | --- |"]
        for name in by_page[page]:
            index.append(f"| [{name}]({page}.md#{anchor(name)}) | {_first_line(_value(name))} |")
        index.append("")
    return made | {f"{FOLDER}/index.md": "\n".join(index)}


def anchor(name: str) -> str:
    """Return the anchor of a public name on its page: the name where it is defined.

    Example:
        >>> anchor("robust_lr.run_sweep")
        'robust_lr.sweep.run.run_sweep'
    """
    return f"{public_names()[name][0]}.{name.rpartition('.')[2]}"


def _name_page(page: str, names: list[str]) -> Iterator[str]:
    yield f"# {page}\n\n{_first_line(import_module(page))}\n"
    for name in names:
        yield f"::: {anchor(name)}\n    options:\n      heading: {name}\n      heading_level: 2\n"


def _turn(page: str) -> int:
    places = [*PACKAGES, *MODULES]
    return next(i for i, place in enumerate(places) if place == page or place.startswith(f"{page}."))


def _page(home: str) -> str:
    first, _, rest = home.partition(".")
    return f"{first}.{rest.partition('.')[0]}" if first == "robust_lr" and rest else first


def _offered(module: ModuleType) -> list[str]:
    if module.__name__ in PACKAGES:
        names = [name for name in dir(module) if name[0] != "_"]
        return [name for name in names if not inspect.ismodule(getattr(module, name)) and _is_ours(module, name)]
    own = vars(module).items()
    return [name for name, value in own if name[0] != "_" and getattr(value, "__module__", "") == module.__name__]


def _is_ours(module: ModuleType, name: str) -> bool:
    value = getattr(module, name)
    return str(getattr(value, "__module__", module.__name__)).startswith("robust_lr")


def _definer(place: str, name: str) -> str:
    """Return the module that defines a name whose value does not tell, such as that of a type."""
    source = inspect.getsource(import_module(place))
    match = re.search(rf"from \.(\S+) import {name} as {name}", source)
    return f"{place}.{match[1]}" if match else place


def _value(name: str) -> Any:
    place, _, short = name.rpartition(".")
    return getattr(import_module(place), short)


def _first_line(value: object) -> str:
    return (inspect.getdoc(value) or "").partition("\n")[0].replace("|", "\\|")


def command_page() -> str:
    """Return the page of all commands, with the text of their help."""
    from robust_lr.cli.main import EXIT_CODES, all_commands, build_parser
    from robust_lr.cli.plugins import load_plugins

    plugins = load_plugins()
    commands = all_commands(plugins)
    parser = build_parser(commands, plugins)
    lines = ["# Every command", "", f"Made from the parsers of `robust-lr`. {EXIT_CODES}", ""]
    for name, sub in subparsers_of(parser).items():
        lines += _command(name, sub)
    return "\n".join(lines)


def subparsers_of(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Return the parser of each command by its name."""
    groups = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return dict(groups[0].choices) if groups else {}


def _command(name: str, parser: argparse.ArgumentParser) -> Iterator[str]:
    yield f"## robust-lr {name}\n\n{_escaped(parser.description)}\n\n```text\n{_wrapped(parser.usage)}\n```\n"
    for group in parser._action_groups:
        actions = [action for action in group._group_actions if action.help not in (argparse.SUPPRESS, None)]
        actions = [action for action in actions if action.dest != "help"]
        if actions:
            title = (group.title or "").capitalize()
            yield f"**{title}**\n\n" + (f"{_escaped(group.description)}\n\n" if group.description else "")
            yield "| option | meaning |\n| --- | --- |"
            yield "".join(f"| {_option(action)} | {_help(parser, action)} |\n" for action in actions)
    if parser.epilog:
        yield f"{_escaped(parser.epilog)}\n"


def _wrapped(usage: str | None) -> str:
    return textwrap.fill(usage or "", 84, subsequent_indent="    ", break_on_hyphens=False)


def _option(action: argparse.Action) -> str:
    shown = action.metavar if isinstance(action.metavar, str) else action.dest
    if not action.option_strings:
        return f"`{shown}`"
    takes_value = action.nargs != 0
    value = (f" {shown}" if action.metavar else f" {{{','.join(map(str, action.choices))}}}" if action.choices
             else f" {action.dest.upper()}") if takes_value else ""  # fmt: skip
    return f"`{action.option_strings[-1]}{value}`".replace("|", "\\|")


def _help(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    formatter = argparse.HelpFormatter(parser.prog)
    return _escaped(formatter._expand_help(action)).replace("\n", " ")


def _escaped(text: str | None) -> str:
    return (
        re.sub(r"([<>*_|{}\[\]])", r"\\\1", inspect.cleandoc(text or "")).replace("\\<", "&lt;").replace("\\>", "&gt;")
    )
