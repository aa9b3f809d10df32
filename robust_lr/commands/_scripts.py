"""Digests of the scripts and settings that a command names, and of the modules beside them that they import."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from .._fingerprint._source import canonical, imports_in, source_of
from .._fingerprint._values import digest_of

# Data and results are no code: a file that training writes must not look like an edit.
_SETTINGS = (".sh", ".bash", ".yaml", ".yml", ".json", ".toml", ".ini", ".cfg", ".conf", ".gin", ".jl", ".r", ".lua")


def script_digests(words: Sequence[str], folder: Path) -> dict[str, str]:
    """Return a digest for each script or file of settings that a command names, by its name."""
    found = dict[str, str]()
    for i, word in enumerate(words):
        for name in dict.fromkeys((word, word.partition("=")[2])):
            path = folder / name
            if i and words[i - 1] == "-m":
                path = folder.joinpath(*name.split(".")).with_suffix(".py")
            if not name or not os.path.isfile(path):  # noqa: PTH113  # Path.is_file raises if the name is too long
                continue
            if path.suffix == ".py":
                _add_module(path, folder, found)
            elif path.suffix.lower() in _SETTINGS or path.read_bytes()[:2] == b"#!":
                found[f"file {name}"] = digest_of(path.read_text(encoding="utf-8", errors="replace"))
    return found


def _add_module(path: Path, folder: Path, found: dict[str, str]) -> None:
    name = f"file {path.relative_to(folder) if path.is_relative_to(folder) else path.name}"
    if name in found:
        return
    source = source_of(str(path))
    found[name] = digest_of(canonical(source.tree.body) if source else path.read_text("utf-8", "replace"))
    for module, level in imports_in(source.tree.body) if source else ():
        base = path.parents[max(level - 1, 0)].joinpath(*module.split("."))
        for each in (base.with_suffix(".py"), base / "__init__.py"):
            if each.is_file():
                _add_module(each, folder, found)
