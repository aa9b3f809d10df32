"""Notebooks as pages: their words, code and outputs as Markdown, without a tool that runs them."""

from __future__ import annotations

import json
import os
import tempfile
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


def executed(path: Path, folder: Path) -> Any:
    """Run a notebook in a folder with the code of this tree, and return it with its outputs."""
    import nbformat
    from nbclient import NotebookClient

    root = Path(__file__).parents[1]
    notebook = nbformat.read(path, as_version=4)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), str(root / "integrations")])}
    client = NotebookClient(notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(folder)}})
    client.execute(env=environment)
    for cell in notebook.cells:
        if cell["cell_type"] == "code":  # neither times nor what goes to stderr is the same twice
            cell["metadata"].pop("execution", None)
            cell["outputs"] = [output for output in cell["outputs"] if output.get("name") != "stderr"]
    return notebook


def main() -> None:
    """Run all notebooks, and keep their outputs in them."""
    import nbformat

    for path in sorted((Path(__file__).parents[1] / "docs" / "notebooks").glob("*.ipynb")):
        with tempfile.TemporaryDirectory() as folder:
            nbformat.write(executed(path, Path(folder)), path)


if __name__ == "__main__":
    main()
