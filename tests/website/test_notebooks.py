"""The notebooks run from top to bottom and show what they showed; a function of theirs runs in the process pool."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest

from website.notebooks import as_markdown, executed

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))


QUICK = "first-search"


def words(notebook):
    """The words of a notebook and its outputs, in any number: a search may take a trial more elsewhere."""
    return set(re.findall(r"[A-Za-z_]{2,}", as_markdown(notebook)))


@pytest.mark.filterwarnings("default")  # of the Jupyter client and its sockets, in this process
@pytest.mark.parametrize(
    "path", [pytest.param(p, id=p.stem, marks=() if p.stem == QUICK else pytest.mark.slow) for p in NOTEBOOKS]
)
def test_a_notebook_runs_and_shows_the_words_that_it_showed(path, tmp_path):
    kept = nbformat.read(path, as_version=4)
    assert words(executed(path, tmp_path)) == words(kept)


def test_there_are_three_notebooks_and_each_keeps_its_outputs():
    assert [path.stem for path in NOTEBOOKS] == ["first-search", "many-sweeps", "optuna-study"]
    for path in NOTEBOOKS:
        page = as_markdown(nbformat.read(path, as_version=4))
        assert page.startswith("# Notebook: ") and "```text\n" in page, path.name
