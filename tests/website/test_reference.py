"""The reference: every public name and every command has its place, made from the code."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import pytest

from robust_lr.cli.main import all_commands, build_parser
from robust_lr.cli.plugins import load_plugins
from website import reference

ROOT = Path(__file__).parents[2]
IMPORT = re.compile(r"^from (robust_lr\w*(?:\.\w+)*) import ([\w, ]+)$", re.MULTILINE)
SHOWN = {
    (place, name.strip())
    for path in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").glob("*.py")]
    for place, names in IMPORT.findall(path.read_text(encoding="utf-8"))
    for name in names.split(",")
}
# What examples borrow from the house, and no reader needs.
BORROWED = {"demo_task"}


def documented():
    return [
        getattr(import_module(name.rpartition(".")[0]), name.rpartition(".")[2]) for name in reference.public_names()
    ]


@pytest.mark.parametrize("place", [p for p in reference.PACKAGES if p.count(".") == 0])
def test_every_name_that_a_package_exports_has_a_place(place):
    module = import_module(place)
    exported = getattr(module, "__all__", None) or [n for n in vars(module) if n[0] != "_"]
    known = [id(value) for value in documented()]
    for name in exported:
        value = getattr(module, name)
        if str(getattr(value, "__module__", "")).startswith("robust_lr"):
            assert id(value) in known, f"{place}.{name}"


def test_every_package_that_exports_names_is_in_the_reference():
    packages = [*(ROOT / "robust_lr").glob("*/__init__.py"), *(ROOT / "integrations").glob("robust_lr_*/__init__.py")]
    exporting = {
        ".".join(path.parent.relative_to(ROOT).parts).removeprefix("integrations.")
        for path in packages
        if re.search(r"^ *from \.\S+ import (\w+) as \1$", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert exporting <= set(reference.PACKAGES)
    assert len(exporting) > 10


@pytest.mark.parametrize(("place", "name"), sorted(SHOWN))
def test_every_name_that_a_page_or_an_example_imports_has_a_place(place, name):
    if name not in BORROWED:
        assert id(getattr(import_module(place), name)) in [id(value) for value in documented()]


def test_each_name_is_on_one_page_and_in_the_index():
    pages = reference.name_pages()
    index = pages.pop("reference/python/index.md")
    for name, (home, page) in reference.public_names().items():
        holders = [path for path, text in pages.items() if f"::: {reference.anchor(name)}\n" in text]
        assert holders == [f"reference/python/{page}.md"], name
        assert f"[{name}]({page}.md#{home}." in index


def test_every_name_in_the_index_says_what_it_is():
    empty = re.findall(
        r"^\| \[([\w.]+)\]\S+ \|\s*\|$", reference.name_pages()["reference/python/index.md"], re.MULTILINE
    )
    assert empty == []


def test_every_command_and_every_option_that_the_help_shows_has_a_place():
    plugins = load_plugins()
    page = reference.command_page()
    for name, parser in reference.subparsers_of(build_parser(all_commands(plugins), plugins)).items():
        part = page.partition(f"## robust-lr {name}\n")[2].partition("\n## ")[0]
        assert part, name
        for option in re.findall(r"^  (--[\w-]+)", parser.format_help(), re.MULTILINE):
            assert option in part, f"{name} {option}"
