"""Questions about paths that a user gives, which may be no possible names."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path


def is_file(path: str | os.PathLike[str]) -> bool:
    """Return whether this is a regular file; not, if its name is too long or the file cannot be looked at."""
    return _holds(Path.is_file, path)


def is_folder(path: str | os.PathLike[str]) -> bool:
    """Return whether this is a folder; see `is_file`."""
    return _holds(Path.is_dir, path)


def exists(path: str | os.PathLike[str]) -> bool:
    """Return whether there is anything; see `is_file`."""
    return _holds(Path.exists, path)


def _holds(question: Callable[[Path], bool], path: str | os.PathLike[str]) -> bool:
    try:
        return question(Path(path))
    except OSError:
        return False
