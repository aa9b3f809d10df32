"""Run the commands whose output README.md and docs show, and compare; with --write, replace it and the pictures.

    python benchmarks/readme_output.py                 compare, and say which blocks differ
    python benchmarks/readme_output.py --write         write what the commands print now
    python benchmarks/readme_output.py --only search   only the commands that contain this text
    make gallery                                       the commands of docs/gallery.md, which are the examples

A block of output stands below a comment that names its command, and the code that a command needs below a comment that
names its file:

    <!-- file: train.py -->      <!-- output: robust-lr search train.py:train --lr-min 1e-3 --lr-max 1 -->

Commands run in one temporary folder, in the order of the pages. Numbers may differ a little between processors and
versions, and times always do: the comparison is of the words, and `--write` shows the rest in the diff.
"""

from __future__ import annotations

import argparse
import difflib
import itertools
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
PICTURES = {"answer.png": "answer.png", "degradation.png": "degradation.png"}  # of the demo -> in docs
_FILE = re.compile(r"<!-- file: (\S+) -->\n+```python\n(.*?)```", re.DOTALL)
_OUTPUT = re.compile(r"(<!-- output: (.+?) -->\n+)(```text\n(?:(?!```).*\n)*```|(?:\|.*\n)+)")
_NUMBER = re.compile(r"\d+(\.\d+)?(e[+-]?\d+)?")


@dataclass(frozen=True)
class Block:
    """The output of one command in a page: as a block of text, or as a Markdown table."""

    command: str
    shown: str

    @property
    def is_table(self) -> bool:
        """Whether the output is a table, in which the command's other lines are left out."""
        return self.shown.startswith("|")


def blocks_of(page: str) -> list[Block]:
    """Return the blocks of output in a page, in its order."""
    return [Block(match[2], match[3]) for match in _OUTPUT.finditer(page)]


def replaced(page: str, block: Block, now: str) -> str:
    """Return the page with another output below the command of a block; equal outputs of others stay.

    Example:
        >>> page = "<!-- output: a -->\\n```text\\n```\\n<!-- output: b -->\\n```text\\n```"
        >>> replaced(page, blocks_of(page)[1], "new")
        '<!-- output: a -->\\n```text\\n```\\n<!-- output: b -->\\nnew'
    """
    return _OUTPUT.sub(lambda match: match[1] + now if match[2] == block.command else match[0], page)


def files_of(page: str) -> dict[str, str]:
    """Return the code that the page's commands use, by the name of its file."""
    return dict(_FILE.findall(page))


def printed(block: Block, folder: Path) -> str:
    """Run the command of a block in a folder, and return its output as the page shows it."""
    python = shutil.which("python", path=str(Path(sys.executable).parent)) or sys.executable
    command = re.sub(r"^robust-lr ", f"{python} -m robust_lr ", block.command)
    command = re.sub(r"^python ", f"{python} ", command)
    command = re.sub(r"\b(benchmarks|examples)/", rf"{ROOT}/\1/", command)
    paths = [str(ROOT), str(ROOT / "integrations"), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        ["bash", "-c", command], cwd=folder, env=os.environ | {"PYTHONPATH": os.pathsep.join(paths), "COLUMNS": "100"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise SystemExit(f"{block.command}\nended with {done.returncode}:\n{done.stderr}")
    lines = [line.rstrip() for line in done.stdout.splitlines()]
    if block.is_table:
        return "".join(f"{line}\n" for line in lines if line.startswith("|"))
    return "```text\n" + "\n".join(lines).strip("\n") + "\n```"


def same_words(shown: str, now: str) -> bool:
    """Return whether two outputs agree but for their numbers, the widths of their columns and what follows from them.

    Example:
        >>> same_words("loss 0.2629\\n5 s", "loss 0.26301\\n14 s"), same_words("loss 0.2", "value 0.2")
        (True, False)
    """
    return _words(shown) == _words(now)


def _words(text: str) -> list[str]:
    words = re.sub(r"[─\-]{2,}:?", "", _NUMBER.sub("0", text)).split()
    return [word for word, _ in itertools.groupby(words)]  # a search may take a trial more elsewhere


def main() -> int:
    """Compare or rewrite the blocks, and return 1 if any differs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--write", action="store_true", help="replace what differs")
    parser.add_argument("--only", default="", metavar="TEXT", help="only the commands that contain this text")
    options = parser.parse_args()
    differ = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for path in PAGES:
            page = path.read_text(encoding="utf-8")
            for file, code in files_of(page).items():
                (folder / file).write_text(code, encoding="utf-8")
            for block in blocks_of(page):
                if options.only in block.command:
                    now = printed(block, folder)
                    differ += not same_words(block.shown, now)
                    print(_report(path, block, now), end="")
                    page = replaced(page, block, now)
            if options.write:
                path.write_text(page, encoding="utf-8")
        for made, kept in PICTURES.items():
            if options.write and (folder / "demo-output" / made).exists():
                shutil.copy(folder / "demo-output" / made, ROOT / "docs" / kept)
    return int(differ > 0 and not options.write)


def _report(path: Path, block: Block, now: str) -> str:
    if same_words(block.shown, now):
        return f"same words: {path.name}: {block.command}\n"
    changed = difflib.unified_diff(block.shown.splitlines(), now.splitlines(), lineterm="", n=0)
    return "\n".join([f"differs: {path.name}: {block.command}", *changed, ""])


if __name__ == "__main__":
    sys.exit(main())
