"""Deprecated: what was here is in `robust_lr_torch`. This name goes with version 0.3."""

import importlib
import warnings


def __getattr__(name: str) -> object:
    if name.startswith("__"):
        raise AttributeError(name)
    value = getattr(importlib.import_module("robust_lr_torch"), name)
    warnings.warn(f"robust_lr.training is now robust_lr_torch: import {name} from there", DeprecationWarning, 2)
    return value
