"""Plain values, whose text identifies them, and digests of texts and files."""

from __future__ import annotations

import enum
import hashlib
import os
import types
from collections.abc import Iterable, Mapping
from pathlib import Path

from ._own import attributes, is_own_class

SIMPLE = (type(None), bool, int, float, complex, str, bytes, Path, enum.Enum, range, slice)
NAMESPACES = ("Namespace", "SimpleNamespace")


def is_simple(value: object, *, depth: int = 0) -> bool:
    """Return whether the value itself can be compared: plain data, and not an array, which may be large."""
    inner: Iterable[object] | None = None
    if isinstance(value, (list, tuple, set, frozenset)):
        inner = value
    elif isinstance(value, Mapping):
        inner = [*value, *value.values()]
    elif type(value).__name__ in NAMESPACES or (is_own_class(type(value)) and not hasattr(type(value), "state_dict")):
        inner = attributes(value).values()
    if inner is None or isinstance(value, SIMPLE):
        return isinstance(value, (*SIMPLE, types.FunctionType, type))
    return depth < 5 and all(is_simple(each, depth=depth + 1) for each in inner)


def digest_of(text: str) -> str:
    """Return 12 hexadecimal digits that identify a text."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]


def file_digest(path: Path) -> str:
    """Return a digest of a file: its size and its content, of a file above 256 MiB the first and last MiB."""
    size, big, part = path.stat().st_size, 1 << 28, 1 << 20
    with path.open("rb") as stream:
        content = hashlib.sha256(str(size).encode())
        if size > big:
            content.update(stream.read(part))
            stream.seek(-part, os.SEEK_END)
        while block := stream.read(part):
            content.update(block)
    return content.hexdigest()[:12]
