"""A row of the evidence: what was tested, how hard, and what came out; measured by functions, kept as JSON.

A group of rows is a module with functions that return `Row` values. `main` makes a command of them:

    python -m benchmarks.evidence.pool                       every measurement of the group
    python -m benchmarks.evidence.pool kills --rounds 3      one of them, in a short form

A row is written as soon as it is measured, and replaces the one of the same name.
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
import platform
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("numpy", "optuna", "ray")


@dataclass(frozen=True)
class Row:
    """What was tested, how hard, the figure, and whether it is as promised."""

    what: str
    how_hard: str
    figure: str
    is_right: bool = True
    command: str = ""  # by default the one that measures the row
    date: str = ""  # by default today


Measurement = Callable[..., Iterable[Row]]  # called with `rounds`, and `seed` if it has one


def main(*measurements: Measurement) -> None:
    """Run the measurements that the command line names, write their rows, and exit with 1 if one is not as promised."""
    known = {measurement.__name__.replace("_", "-"): measurement for measurement in measurements}
    spec = sys.modules["__main__"].__spec__
    module = spec.name if spec else Path(sys.argv[0]).stem
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=sys.modules["__main__"].__doc__)
    parser.add_argument("names", nargs="*", choices=[[], *known], help="all by default")
    parser.add_argument("--rounds", type=int, help="how hard; by default as hard as the page says")
    parser.add_argument("--seed", type=int, help="of what is random")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the JSON files")
    options = parser.parse_args()
    path, are_right = options.results / f"{module.rpartition('.')[2]}.json", True
    for name in options.names or known:
        given = {word: getattr(options, word) for word in ("rounds", "seed")}
        asked = {
            word: parameter.default if given[word] is None else given[word]
            for word, parameter in inspect.signature(known[name]).parameters.items()
        }
        command = " ".join([f"python -m {module} {name}", *(f"--{word} {n}" for word, n in asked.items())])
        for row in known[name](**asked):
            print(f"{row.what} | {row.how_hard} | {row.figure}{'' if row.is_right else ' | WRONG'}", flush=True)
            given = {name: value for name, value in asdict(row).items() if value != ""}
            _write(path, {"command": command, **_circumstances(), **given})
            are_right &= row.is_right
    sys.exit(0 if are_right else 1)


def _circumstances() -> dict[str, Any]:
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{len(os.sched_getaffinity(0))} cores, {platform.system()}",
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}},
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _write(path: Path, row: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = {known["what"]: known for known in read(path)} | {row["what"]: row}
    path.write_text(json.dumps(list(rows.values()), indent=1) + "\n", encoding="utf-8")


def read(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a file, none if there is no such file."""
    rows: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    return rows
