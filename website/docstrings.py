"""An extension of griffe, which reads the docstrings for the reference: it knows `Examples:` only."""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension, Object


class Examples(Extension):
    """Lets a section with one example be a section of examples."""

    def on_object(self, *, obj: Object, **options: Any) -> None:
        """Rename the section in the docstring of any object."""
        if obj.docstring is not None:
            obj.docstring.value = re.sub(r"^Example:$", "Examples:", obj.docstring.value, flags=re.MULTILINE)
