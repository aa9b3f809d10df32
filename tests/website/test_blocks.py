"""Every block of code in the docs runs: Python in one namespace for a page, `robust-lr` lines in the page's folder."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import optuna
import pytest

from robust_lr.cli.main import run_command

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
# A block below a comment `<!-- needs: a Ray cluster -->` does not run; one below `<!-- file: train.py -->` is written.
BLOCK = re.compile(r"(?:<!-- (needs|file|output): (.+?) -->\n+)?^```(python|bash|console|sh)\n(.*?)^```", re.DOTALL | re.MULTILINE)
# Other tests run these pages, with the worlds that they need.
ELSEWHERE = {
    "tutorials/huggingface.md": "tests/examples/test_stock_scripts.py",
    "tutorials/lightning.md": "tests/examples/test_stock_scripts.py",
    "how-to/accelerate.md": "tests/examples/test_stock_scripts.py",
}


def blocks(path):
    return [match.groups() for match in BLOCK.finditer(path.read_text(encoding="utf-8"))]


PAGES = {p.relative_to(DOCS).as_posix(): blocks(p) for p in sorted(DOCS.rglob("*.md"))}
RUN = [name for name, found in PAGES.items() if found and name not in ELSEWHERE]
SLOW = {}


def commands(text):
    return [shlex.split(line, comments=True) for line in text.replace("\\\n", " ").splitlines() if line.startswith("robust-lr ")]


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow if n in SLOW else ()) for n in RUN])
def test_the_blocks_of_a_page_run_one_after_the_other(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    verbosity, modules = optuna.logging.get_verbosity(), set(sys.modules)
    names = {"__name__": "__main__"}
    try:
        for mark, word, language, code in PAGES[name]:
            if mark == "file":
                (tmp_path / word).write_text(code, encoding="utf-8")
            elif language == "python" and mark != "needs":
                exec(compile(code, name, "exec"), names)
            elif mark != "needs":
                for command in commands(code):
                    assert run_command(command[1:]) == 0, command
    finally:
        optuna.logging.set_verbosity(verbosity)
        for module in set(sys.modules) - modules:
            if (tmp_path / f"{module}.py").exists():
                del sys.modules[module]
