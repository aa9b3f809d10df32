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
            if name and i and words[i - 1] == "-m":
                for each in _module_files(folder, f"{name}.__main__"):
                    _add_module(each, folder, (folder,), found)
                continue
            if not name or not os.path.isfile(path):  # noqa: PTH113  # Path.is_file raises if the name is too long
                continue
            if path.suffix == ".py":
                _add_module(path, folder, (path.parent, folder), found)
            elif path.suffix.lower() in _SETTINGS or path.read_bytes()[:2] == b"#!":
                found[f"file {name}"] = digest_of(path.read_text(encoding="utf-8", errors="replace"))
    return found


def _add_module(path: Path, folder: Path, roots: Sequence[Path], found: dict[str, str]) -> None:
    root = next((each for each in (folder, *roots) if path.is_relative_to(each)), path.parent)
    name = f"file {path.relative_to(root)}"
    if name in found:
        return
    source = source_of(str(path))
    found[name] = digest_of(canonical(source.tree.body) if source else path.read_text("utf-8", "replace"))
    for module, level in imports_in(source.tree.body) if source else ():
        bases = [path.parents[min(level, len(path.parents)) - 1]] if level else roots
        for each in (file for base in dict.fromkeys(bases) for file in _module_files(base, module)):
            _add_module(each, folder, roots, found)


def _module_files(base: Path, module: str) -> list[Path]:
    """The files that run when a module is imported: its own, and those of the packages around it."""
    parts = module.split(".")
    paths = [base.joinpath(*parts[:n]) for n in range(1, len(parts) + 1)]
    files = [file for path in paths for file in (path.with_suffix(".py"), path / "__init__.py")]
    return [file for file in files if file.is_file()]
