"""Notebooks as pages: their words, code and outputs as Markdown, without a tool that runs them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def pages(root: Path) -> dict[str, str]:
    """Return the Markdown of each notebook of the docs by the path of its page."""
    docs = root / "docs"
    return {
        path.relative_to(docs).with_suffix(".md").as_posix(): as_markdown(json.loads(path.read_text(encoding="utf-8")))
        for path in sorted((docs / "notebooks").glob("*.ipynb"))
    }


def as_markdown(notebook: dict[str, Any]) -> str:
    """Return a notebook as one page of Markdown.

    Example:
        >>> print(as_markdown({"cells": [{"cell_type": "code", "source": ["1 + 1"], "outputs": []}]}))
        ```python
        1 + 1
        ```
        <BLANKLINE>
    """
    return "\n".join(part for cell in notebook["cells"] for part in _cell(cell))


def _cell(cell: dict[str, Any]) -> Iterator[str]:
    source = "".join(cell["source"])
    if cell["cell_type"] != "code":
        yield f"{source}\n"
        return
    yield f"```python\n{source}\n```\n"
    for output in cell["outputs"]:
        data = output.get("data", {})
        if "image/png" in data:
            yield f"![output of the cell above](data:image/png;base64,{''.join(data['image/png']).strip()})\n"
        elif text := "".join(output.get("text", data.get("text/plain", ""))).rstrip():
            yield f"```text\n{text}\n```\n"
