"""Files and folders below a folder, never through a link."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..exceptions import DataError

_MOST_ENTRIES = 1_000_000


def is_folder(path: Path) -> bool:
    """Return whether a path is a folder, and no link to one."""
    return path.is_dir() and not path.is_symlink()


def is_plain_file(path: Path) -> bool:
    """Return whether a path is a file, and no link, pipe or device."""
    return path.is_file() and not path.is_symlink()


def entries_of(folder: Path) -> list[Path]:
    """Return the files and folders in a folder, in the order of their names, without links and hidden ones."""
    try:
        found = sorted(each for each in folder.iterdir() if not each.name.startswith("."))
    except OSError as error:
        raise DataError(f"cannot read {folder}: {error.strerror}") from None
    return [each for each in found if is_folder(each) or is_plain_file(each)]


def walk(root: Path, is_found: Callable[[Path], bool]) -> None:
    """Show a folder and what is below it to a function, and look into the folders of which it returns False."""
    waiting, n_seen = [root], 0
    while waiting:
        path = waiting.pop()
        if is_found(path) or not path.is_dir():
            continue
        inside = entries_of(path)
        n_seen += len(inside)
        if n_seen > _MOST_ENTRIES:
            raise DataError(f"{root} holds more than {_MOST_ENTRIES} files: give the folder of the runs")
        waiting += reversed(inside)
