"""What is the user's own code, and what belongs to Python or an installed package."""

from __future__ import annotations

import functools
import importlib.machinery
import inspect
import sys
import sysconfig
import types
from pathlib import Path

_LIBRARIES = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib")})
_WRAPPED = ("__wrapped__", "py_func", "_torchdynamo_orig_callable", "_function")
_NOT_FOLLOWED = {"builtins", *(f"robust_lr{part}" for part in ("", "_torch", "_optuna", "_ray", "_sklearn"))}


def is_own(file: str | None) -> bool:
    """Return whether a file is the user's own code, and not that of Python or an installed package."""
    if not file or file.startswith("<frozen"):
        return False
    return {"site-packages", "dist-packages"}.isdisjoint(Path(file).parts) and not file.startswith(_LIBRARIES)


def is_own_code(value: object) -> bool:
    """Return whether the walk follows a value as code; it stops at functions of others by itself."""
    if isinstance(value, (functools.partial, types.FunctionType)) or inspect.ismethod(value):
        return True
    return is_own_class(value) or wrapped_in(value) is not None


def wrapped_in(value: object) -> object | None:
    """Return the function inside the wrapper that functools, numba, torch.compile or ray.remote made of it."""
    inner = {} if isinstance(value, type) else getattr(value, "__dict__", None) or {}
    return next((inner[name] for name in _WRAPPED if callable(inner.get(name))), None)


def is_own_module(name: str | None) -> bool:
    """Return whether a module has the name of neither one of Python's nor one of this project's."""
    top = (name or "").partition(".")[0]
    return top == "__main__" or (top not in sys.stdlib_module_names and top not in _NOT_FOLLOWED)


def is_own_class(kind: object) -> bool:
    """Return whether a value is a class of the user's own."""
    if not isinstance(kind, type) or not is_own_module(kind.__module__):
        return False
    module = sys.modules.get(kind.__module__)
    return kind.__module__ == "__main__" or is_own(getattr(module, "__file__", None))


def attributes(value: object) -> dict[str, object]:
    """Return the attributes that an object itself holds, by name, without what it has cached."""
    slots = [name for kind in type(value).__mro__ for name in getattr(kind, "__slots__", ()) if name[:2] != "__"]
    found = {name: getattr(value, name) for name in slots if hasattr(value, name)} | getattr(value, "__dict__", {})
    return {name: each for name, each in found.items() if not _is_cache(getattr(type(value), name, None))}


def _is_cache(member: object) -> bool:
    return isinstance(member, functools.cached_property)  # it may be filled or not


def functions_of(member: object) -> list[types.FunctionType]:
    """Return the functions behind a member of a class: a method, a static one, those of a property."""
    found = [member, *(getattr(member, name, None) for name in ("__func__", "fget", "fset", "func", "dispatcher"))]
    functions = [each for each in found if isinstance(each, types.FunctionType)]
    # What dataclasses write follows from the body of the class.
    return [each for each in functions if not inspect.unwrap(each).__code__.co_filename.startswith("<string")]


def file_name(module: str | None) -> str:
    """Return the name of a module as a file, wherever it lies: "package/helpers.py"."""
    if module == "__main__":
        main = sys.modules["__main__"]
        spec = getattr(main, "__spec__", None)
        file = getattr(main, "__file__", None)
        module = spec.name if spec else Path(file).stem if file and not file.startswith("<") else "notebook"
    return f"{(module or '?').replace('.', '/')}.py"


def file_of(module: str) -> str | None:
    """Return the file of a module, which need not be loaded, and is not loaded here."""
    if module in sys.modules:
        return getattr(sys.modules[module], "__file__", None)
    folders: list[str] | None = None
    for name in module.split("."):  # find_spec("a.b") would import a
        spec = importlib.machinery.PathFinder.find_spec(name, folders)
        if spec is None:
            return None
        folders = list(spec.submodule_search_locations or [])
    return spec.origin if spec else None
