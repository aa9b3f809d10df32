"""Labels: texts that identify a training function, a schedule or a value, the same in every run."""

from __future__ import annotations

import functools
import hashlib
import inspect
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

_LONGEST = 80
_VAGUE = re.compile(r"<(locals|lambda|genexpr|object)>| at 0x[0-9a-fA-F]")


def label_of(value: object) -> str:
    """Return a text that identifies a value: its name, its arguments, a digest of its numbers.

    A value with an attribute `label` has that as its label. `is_vague` says whether the text leaves something out.

    Example:
        >>> label_of(functools.partial(label_of, value=[1, "a"]))
        "robust_lr._labels:label_of(value=[1, 'a'])"
    """
    own = getattr(value, "label", None)
    if isinstance(own, str) and own and not isinstance(value, type):
        return own
    if isinstance(value, functools.partial):
        bound = [label_of(v) for v in value.args] + [f"{k}={label_of(v)}" for k, v in value.keywords.items()]
        return label_of(value.func) + (f"({', '.join(bound)})" if bound else "")
    if inspect.ismethod(value):
        return f"{label_of(value.__self__)}.{value.__name__}"
    if hasattr(value, "__qualname__"):
        return f"{getattr(value, '__module__', None) or type(value).__module__}:{value.__qualname__}"
    return _label_of_data(value)


def is_vague(label: str) -> bool:
    """Return whether several things may share a label, such as local functions, lambdas, or objects without a text.

    Example:
        >>> is_vague(label_of(lambda x: x)), is_vague(label_of(len))
        (True, False)
    """
    return _VAGUE.search(label) is not None


def has_text(value: object) -> bool:
    """Return whether an object prints as more than its address."""
    kind = type(value)
    return kind.__str__ is not object.__str__ or kind.__repr__ is not object.__repr__


def spec_text(schedule: object) -> str:
    """Return the text of a schedule, or the name of its class if it has none."""
    kind = type(schedule)
    return str(schedule) if has_text(schedule) else f"{kind.__module__}:{kind.__qualname__}"


def _label_of_data(value: object) -> str:
    if isinstance(value, Mapping):
        return _short("{" + ", ".join(f"{label_of(k)}: {label_of(v)}" for k, v in value.items()) + "}")
    if isinstance(value, (list, tuple)):
        return _short(f"[{', '.join(map(label_of, value))}]")
    if isinstance(value, (set, frozenset)):
        return _short("{" + ", ".join(sorted(map(label_of, value))) + "}")
    kind = type(value)
    name = f"{kind.__module__}:{kind.__qualname__}"
    if hasattr(value, "__array__") and not isinstance(value, np.generic):
        return f"{name}({_digest_of_array(value)})"
    if callable(getattr(value, "state_dict", None)):  # a module of torch, which prints without its weights
        plain = {k: v for k, v in vars(value).items() if isinstance(v, (bool, int, float, str))}
        return f"{name}({label_of([plain, value.state_dict(), repr(value)])})"  # type: ignore[attr-defined]
    if not has_text(value):
        return f"{name}.<object>"
    text = str(value) if kind.__repr__ is object.__repr__ else repr(value)
    return _short(f"{kind.__module__}:{text}" if callable(value) else text)


def _digest_of_array(value: Any) -> str:
    """Shape, type and digest of an array, or of a tensor of torch wherever it lies."""
    try:
        if hasattr(value, "detach"):
            value = value.detach().cpu()
            value = value.float() if "bfloat16" in str(value.dtype) else value  # which numpy does not have
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError):
        return "<object>"
    if array.dtype.hasobject:
        items = label_of(array.tolist())
        return items if is_vague(items) else f"sha={_digest(items.encode())}"
    return f"{array.dtype}{list(array.shape)}, sha={_digest(np.ascontiguousarray(array).reshape(-1).view(np.uint8))}"


def _short(text: str) -> str:
    line = " ".join(text.split())
    if line == text and (len(text) <= _LONGEST or is_vague(text)):
        return text
    return f"{line[: _LONGEST // 2]}..sha={_digest(text.encode())}" + (" <object>" if is_vague(text) else "")


def _digest(data: Any) -> str:
    return hashlib.sha256(data).hexdigest()[:12]
