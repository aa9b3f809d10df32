"""Fingerprints: what a training function consists of, by content, so that a journal notices an edit.

The walk begins at the function. It follows the functions, classes and modules that the code reads, as far as they are
the user's own, and the values bound to it: closures, partial arguments, attributes. docs/how-to/resuming.md lists
them all.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from .._text import main_line
from ._walk import Walk

_SCHEME = "1"  # of the digests; those of another scheme cannot be compared


def fingerprint_of(train: object) -> dict[str, str]:
    """Return a digest for each part of a training function, by a name such as "helpers.py:loss".

    An object may define ``__robust_lr_fingerprint__()``; what that returns stands for it.

    Example:
        >>> import functools
        >>> sorted(fingerprint_of(functools.partial(sorted, key=len)))
        ['argument key', 'scheme']
    """
    walk = Walk()
    try:
        walk.visit(train, "train")
        return {"scheme": _SCHEME, **walk.finish()}
    except Exception as error:  # in a property or a __repr__ of the user's, which must not stop the training
        logging.getLogger("robust_lr").info(
            f"an edit of {type(train).__qualname__} cannot be noticed: {main_line(repr(error))}"
        )
        return {}


def changed_parts(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    """Return the names of the parts that differ, in the order of the walk.

    What cannot be compared counts as equal: bytecode, known by its prefix, with source code or with that of another
    version of Python; parts that only one of the two knows if the other saw no source; and files that only one knows.
    """
    if not old or old.get("scheme") != new.get("scheme"):
        return []
    is_blind = any(":" in digest for digest in (*old.values(), *new.values()))
    names = [*new, *(name for name in old if name not in new)]
    return [name for name in names if _differ(name, old.get(name), new.get(name), is_blind=is_blind)]


def _differ(name: str, one: str | None, other: str | None, *, is_blind: bool) -> bool:
    if one is None or other is None:
        return not is_blind and not name.startswith("file ")
    kinds = [text.rpartition(":")[0] for text in (one, other)]
    return kinds[0] == kinds[1] and one != other
