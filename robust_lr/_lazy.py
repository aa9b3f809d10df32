"""Lazy imports (PEP 562): a package's names are imported when first used, so importing the package is cheap."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Collection, Mapping
from importlib import import_module
from types import ModuleType
from typing import Any


def lazy_names(
    package: str,
    homes: Mapping[str, str],
    *,
    moved: Mapping[str, str] | None = None,
    extra: str = "",
    frameworks: Collection[str] = (),
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Return the ``__getattr__``, ``__dir__`` and ``__all__`` of a package.

    Args:
        package: its ``__name__``.
        homes: for each module, relative to the package, the names that the package offers from it, in one text.
        moved: the same for names that have left the package, by the absolute name of their new home. They still
            work, with a DeprecationWarning that gives the new place.
        extra: name of the extra that the package needs: ``"optuna"``. If its framework is missing, the error says how
            to install it.
        frameworks: names of the frameworks, if they are not that of the extra.
    """
    home_of = {name: module for module, names in homes.items() for name in names.split()}
    new_home_of = {name: module for module, names in (moved or {}).items() for name in names.split()}

    def get(name: str) -> Any:
        if name in new_home_of:
            text = f"{package}.{name} has moved: from {new_home_of[name]} import {name}"
            warnings.warn(f"{text} (version 0.3 removes the old place)", DeprecationWarning, 2)
            return getattr(import_module(new_home_of[name]), name)
        if name not in home_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        try:
            value = getattr(import_module(f".{home_of[name]}", package), name)
        except ModuleNotFoundError as error:
            if not extra or error.name not in (
                frameworks or (extra,)
            ):  # a framework that is installed and broken must say so itself
                raise
            raise ModuleNotFoundError(
                f"{package} needs {error.name}: pip install 'robust-lr[{extra}]'", name=error.name
            ) from error
        setattr(sys.modules[package], name, value)
        return value

    def names() -> list[str]:
        own = vars(sys.modules[package]).items()
        return sorted({*home_of, *(n for n, value in own if n.startswith("__") or isinstance(value, ModuleType))})

    return get, names, sorted(home_of)
