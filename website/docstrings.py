"""An extension of griffe, which reads the docstrings for the reference."""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension, Object


class HouseStyle(Extension):
    """Lets griffe read what the docstrings of this house have: one example, and ``::`` before an indented block."""

    def on_object(self, *, obj: Object, **options: Any) -> None:
        """Put the docstring of any object into griffe's words."""
        if obj.docstring is not None:
            text = re.sub(r"^Example:$", "Examples:", obj.docstring.value, flags=re.MULTILINE)
            obj.docstring.value = re.sub(r"::$", ":", text, flags=re.MULTILINE)
