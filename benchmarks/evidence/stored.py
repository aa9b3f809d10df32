"""Coverage and search success, as the pages of the docs have them: long simulations, which are not run again here.

Each figure is read from the table under its command, with the date at which that page last changed. If a page no longer
has a figure, this fails.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable
from pathlib import Path

from .rows import Row, main

_ROOT = Path(__file__).parents[2]


def coverage(rounds: int = 1) -> Iterable[Row]:
    """Whether the 95 % bands of the analysis cover the truth."""
    for command, data in (
        ("--sweeps 100", "made-up sweeps of 144 kinds"),
        ("--sweeps 50 --seeds-file", "two real trainings"),
    ):
        text, line, date = _after("coverage.md", "benchmarks/coverage.py " + command)
        rows = [words.split() for words in text.split("```")[1].splitlines() if words[:1].isdigit()]
        covered, upper = ([float(row[place]) for row in rows] for place in (3, 5))
        yield Row(
            f"coverage of the 95 % bands, {data}",
            "2, 3 and 5 seeds; largest and mean excess, and the difference of two schedules",
            f"{min(covered):.1%} to {max(covered):.1%} of the bands hold the truth; their upper end is above it in "
            f"{min(upper):.1%} to {max(upper):.1%} (nominal 97.5 %)",
            min(covered) >= 0.95, line, date,
        )  # fmt: skip


def searches(rounds: int = 1) -> Iterable[Row]:
    """Whether a search finds a learning rate within the tolerance, and whether its bound is true."""
    for command, what in (
        ("search_tables.py", "tables of small trainings"),
        ("search.py --curves 20", "made-up curves"),
    ):
        text, line, date = _after("search.md", f"benchmarks/{command}")
        for table in text.split("\n\n"):
            if "| range | strategy" not in table:
                continue
            rows = [
                dict(zip(_cells(table.splitlines()[0]), _cells(row), strict=True)) for row in table.splitlines()[2:]
            ]
            ours = next(row for row in rows if row["strategy"] == "robust-lr")
            right, bound = float(ours["right"].split("/")[0]), float(ours["bound"])
            cases = f"{ours['cases']} searches" if "cases" in ours else "20 curves of each family"
            yield Row(
                f"search over {ours['range']} decades, {what}", cases,
                f"{right:.1%} end within the tolerance; {bound:.1%} of the bounds are true; "
                f"{ours['stop'].split('/')[-1]} trials on average",
                right >= 0.95 and bound >= 0.95, line, date,
            )  # fmt: skip


def comparisons(rounds: int = 1) -> Iterable[Row]:
    """How often two equal sides are called different."""
    text, line, date = _after("compare.md", "benchmarks/compare.py")
    table = next(block for block in text.split("\n\n") if block.startswith("| kind"))
    rows = [_cells(row) for row in table.splitlines()[2:]]
    false = [float(found) for row in rows[:-1] for found in re.findall(r"\.\d+", row[1])]
    overall = float(rows[-1][1].strip("*"))
    yield Row(
        "two equal sides compared", f"{len(false)} kinds of pairs",
        f"{overall:.1%} false verdicts in all (nominal at most 5 %), {max(false):.0%} in the worst kind",
        overall <= 0.05, line, date,
    )  # fmt: skip


def _after(name: str, command: str) -> tuple[str, str, str]:
    """Return the page from a command on, the command itself, and the page's date."""
    (path,) = (_ROOT / "docs").rglob(name)
    page = path.read_text(encoding="utf-8")
    found = re.search(rf"python {re.escape(command)}[^\n`]*", page)
    if not found:
        raise SystemExit(f"{path} no longer says: python {command}")
    log = ["git", "log", "-1", "--format=%cs", "--", path]
    date = subprocess.run(log, cwd=_ROOT, capture_output=True, text=True, check=True).stdout.strip()
    return page[found.end() :].split("\n    python ")[0], found[0].strip(), date


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


if __name__ == "__main__":
    main(coverage, searches, comparisons)
