"""Attaches the schedule doctor to the optimizers of a Python process; Python imports this module when it starts."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_FOLDER = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120  # pathlib would slow down every start
_MODULE = "torch.optim"


class _AfterTorch:
    """A finder that attaches the doctor once the optimizers of torch can be used."""

    def find_spec(self, name: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name != _MODULE:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is None or spec.loader is None:
            return None
        run = spec.loader.exec_module

        def run_and_attach(module: ModuleType) -> None:
            run(module)
            try:
                from robust_lr.doctor.attached import attach
            except ImportError as error:
                print(f"schedule doctor: it cannot watch {sys.executable}: {error}", file=sys.stderr)  # noqa: T201
            else:
                attach(module)

        spec.loader.exec_module = run_and_attach  # type: ignore[method-assign]
        return spec


def _import_the_one_behind() -> None:
    """Import the sitecustomize that this one hides."""
    others = [path for path in sys.path if os.path.abspath(path) != _FOLDER]  # noqa: PTH100
    if (spec := importlib.machinery.PathFinder.find_spec("sitecustomize", others)) is not None and spec.loader:
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


if __name__ == "sitecustomize":
    if os.environ.get("ROBUST_LR_DOCTOR"):
        sys.meta_path.insert(0, _AfterTorch())
    _import_the_one_behind()
