"""Deprecated: use `robust_lr_torch`. Version 0.3 removes this name."""

import importlib
import warnings


def __getattr__(name: str) -> object:
    if name.startswith("__"):
        raise AttributeError(name)
    value = getattr(importlib.import_module("robust_lr_torch"), name)
    text = f"robust_lr.training is now robust_lr_torch: import {name} from there (version 0.3 removes the old place)"
    warnings.warn(text, DeprecationWarning, 2)
    return value
