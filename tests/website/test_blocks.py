"""Every block of code in the docs runs: a page's Python in one namespace, its `robust-lr` lines in the same folder."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import optuna
import pytest

from robust_lr import GeometricGrid, run_sweep
from robust_lr.cli.main import run_command

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
# A comment above a block names the file that the block is, what it needs (then it does not run), or why it is slow.
BLOCK = re.compile(
    r"(?:<!-- (file|needs|slow|output): ([^\n]+?) -->\n+)?^```(python|bash)\n(.*?)^```", re.DOTALL | re.MULTILINE
)
# Another test runs these pages, and looks at what they print.
ELSEWHERE = {"tutorials/huggingface.md", "tutorials/lightning.md", "how-to/accelerate.md"}
TOO_LONG = {"how-to/packed.md": "measures engines for ten seconds"}


def blocks_of(name):
    return [match.groups() for match in BLOCK.finditer((DOCS / name).read_text(encoding="utf-8"))]


NAMES = sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))
PAGES = {name: found for name in NAMES if name not in ELSEWHERE and (found := blocks_of(name))}


def train(*, lr, schedule, seed):
    return 0.3 + 0.03 * np.log(lr / 0.02) ** 2 + 0.001 * seed


def sweep(seeds=3):
    return run_sweep(train, GeometricGrid(1e-3, 1.0, n_points=7), ["constant", "cosine"], seeds)


def scheduler():
    import torch

    from robust_lr_torch import AnnealedLR

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    return {"optimizer": optimizer, "scheduler": AnnealedLR(optimizer, "cosine", total_steps=3), "loader": range(3)}


def before_and_after():
    for file in ("before.jsonl", "after.jsonl"):
        run_sweep(train, GeometricGrid(1e-3, 1.0, n_points=7), ["cosine"], 3, journal=file)
    return {"sweep": sweep()}


def table_of_sweeps():
    rows = ["params,tokens,batch_size,lr,loss"]
    rows += [
        f"{params},{tokens},{size},{lr},{3 + 0.1 * np.log(lr / 0.01) ** 2}"
        for params in (1e6, 1e7) for tokens in (1e8, 1e9) for size in (64, 128) for lr in 2.0 ** np.arange(-12, -1)
    ]  # fmt: skip
    Path("runs.csv").write_text("\n".join(rows))
    return {}


def script():
    Path("train.py").write_text("import json\nprint(json.dumps({'val_loss': 0.3}))")
    return {}


# What a page takes for granted: the reader's own training, results and files.
GIVEN = {
    "how-to/adaptive-seeds.md": lambda: {"train": train},
    "how-to/commands.md": script,
    "how-to/compare.md": before_and_after,
    "how-to/doctor.md": scheduler,
    "how-to/many-sweeps.md": table_of_sweeps,
    "how-to/ray.md": lambda: {"train": train},
}


def run(code, name, names):
    """Run a block; one that starts processes runs as a script, as a reader would run it."""
    if "__main__" not in code:
        exec(compile(code, name, "exec"), names)
        return
    Path("page.py").write_text(code, encoding="utf-8")
    done = subprocess.run([sys.executable, "-W", "error", "page.py"], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    print(done.stdout)


def run_lines(code):
    """Run the lines of a block that are commands of robust-lr."""
    for line in code.replace("\\\n", " ").splitlines():
        if line.startswith("robust-lr "):
            assert run_command(shlex.split(line)[1:]) == 0, line


@pytest.fixture
def in_folder(tmp_path, monkeypatch):
    """The folder of a page; what its files leave in this process is gone afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    verbosity, modules = optuna.logging.get_verbosity(), set(sys.modules)
    yield tmp_path
    optuna.logging.set_verbosity(verbosity)
    for module in set(sys.modules) - modules:
        if (tmp_path / f"{module}.py").exists():
            del sys.modules[module]


def run_page(name, marks):
    """Run the blocks of a page in their order; of those with a mark, only those that are asked for."""
    names = GIVEN.get(name, dict)()
    for mark, word, language, code in PAGES[name]:
        if mark == "file":
            Path(word).write_text(code, encoding="utf-8")
        elif mark not in marks:
            continue
        elif language == "python":
            run(code, name, names)
        else:
            run_lines(code)


QUICK = [pytest.param(n, marks=pytest.mark.slow if n in TOO_LONG else ()) for n in PAGES]


@pytest.mark.parametrize("name", QUICK)
def test_the_blocks_of_a_page_run_one_after_the_other(name, in_folder, capsys):
    run_page(name, (None, "output"))
    if "print(" in "".join(code for mark, _, _, code in PAGES[name] if mark is None):
        assert capsys.readouterr().out.strip(), "a page that prints shows something"


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in PAGES if any(mark == "slow" for mark, *_ in PAGES[name])])
def test_the_slow_blocks_of_a_page_run_too(name, in_folder):
    run_page(name, (None, "output", "slow"))


def test_few_blocks_need_what_a_test_does_not_have():
    needs = {(name, word) for name, found in PAGES.items() for mark, word, *_ in found if mark == "needs"}
    assert len(needs) <= 6, needs


def test_no_block_is_fetched_from_elsewhere_when_it_is_shown():
    for name in NAMES:
        assert "```mermaid" not in (DOCS / name).read_text(encoding="utf-8"), name
