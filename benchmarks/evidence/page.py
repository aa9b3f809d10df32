"""Write docs/explanation/evidence.md from the rows that were measured: `python -m benchmarks.evidence.page`."""

from __future__ import annotations

from pathlib import Path

from .rows import RESULTS, read

PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "evidence.md"
GROUPS = {  # file of the results -> its title
    "pool": "Kills: the process pool, and commands",
    "studies": "Kills: Optuna studies",
    "cluster": "Kills: a Ray cluster",
    "processes": "Trials that break their process, hang or leak",
    "disks": "Full disks",
    "journals": "Torn journals",
    "inputs": "Nonsense as input",
    "scale": "Long sweeps",
    "stored": "Statistics: coverage, search success, false verdicts",
}
_INTRODUCTION = """# What was tested, and how hard

Each row is a measurement: what was done to robust-lr, how hard, what came out, the command that measures it again, and
when it ran. `make evidence` runs them all and writes this page (hours on two cores); `python -m
benchmarks.evidence.GROUP NAME --rounds N` runs one, as hard as you like. `make test-slow` runs a short form of each.

A training that was *lost* had begun and its result was not written; it ran again. *Exact* means that each cell has one
result, none twice and none missing. The figures are from shared machines: times are upper limits.
"""


def text() -> str:
    """Return the page."""
    parts = [_INTRODUCTION]
    for name, title in GROUPS.items():
        rows = read(RESULTS / f"{name}.json")
        if not rows:
            continue
        lines = [f"## {title}", "", "| what | how hard | figure | command | date |", "| --- | --- | --- | --- | --- |"]
        for row in rows:
            figure = row["figure"] if row["is_right"] else f"**not as promised:** {row['figure']}"
            cells = (row["what"], row["how_hard"], figure, f"`{row['command']}`", row["date"])
            lines.append(f"| {' | '.join(cells)} |")
        parts.append("\n".join(lines) + "\n")
    seen = [row for name in GROUPS for row in read(RESULTS / f"{name}.json")]
    made = sorted({f"{row['machine']}, {', '.join(' '.join(v) for v in row['versions'].items())}" for row in seen})
    return "\n".join([*parts, "Measured on: " + "; ".join(made) + ".\n"])


if __name__ == "__main__":
    PAGE.write_text(text(), encoding="utf-8")
    print(f"wrote {PAGE}")
