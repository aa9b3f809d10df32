"""What the mini tier of examples/wrn.py found on Fashion-MNIST: tables and figures from the journals in the repository.

    python examples/wrn.py --tier mini --journal benchmarks/networks/sgd.jsonl
    python examples/wrn.py --tier mini --optimizer adamw --journal benchmarks/networks/adamw.jsonl
    python benchmarks/networks.py --write-docs

The first two train, and take minutes each, or a moment if the journals are complete. This one trains nothing.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from robust_lr import Analysis, SweepResult, analyze_sweep
from robust_lr.analysis import LearningRateProfile
from robust_lr.report.matplotlib_plots import answer_figure
from robust_lr.report.tables import degradation_rows, recommendation_rows

ROOT = Path(__file__).parents[1]
JOURNALS = ROOT / "benchmarks" / "networks"
TITLES = {"sgd": "SGD with Nesterov momentum", "adamw": "AdamW"}
TOLERANCE = 0.02
BEGIN, END = (f"<!-- {word} of the tables of benchmarks/networks.py -->" for word in ("begin", "end"))
FACTORS = (1 / 8, 1 / 4, 1 / 2, 2, 4, 8, 16)
CHANCE = np.log(10)  # the loss of one who knows nothing of ten classes


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table of Markdown; a second line of a cell follows the first."""
    lines = [[cell.replace("\n", " ") for cell in row] for row in (header, ["---"] * len(header), *rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def losses_at(profile: LearningRateProfile, factor: float) -> NDArray[np.float64] | None:
    """Return the loss of each seed at the best learning rate times a power of two; None outside of the grid."""
    place = np.isclose(profile.learning_rates, profile.best_lr * factor)
    return profile.loss[place][0] if place.any() else None


def n_broken(losses: NDArray[np.float64]) -> int:
    """Return how many seeds learned nothing, or diverged."""
    return int((~(losses < 0.98 * CHANCE)).sum())


def misses(profiles: Sequence[LearningRateProfile]) -> str:
    """Return the table of what a learning rate costs that is a factor off the best, and of where training breaks."""
    header = ["schedule", "best lr", "loss", *(f"best x {f:g}" if f > 1 else f"best / {1 / f:g}" for f in FACTORS)]
    rows = []
    for profile in profiles:
        costs = [cost(losses_at(profile, f), profile.best_loss) for f in FACTORS]
        cliff = "none in the range" if profile.cliff is None else f"{profile.before_cliff:.3g} to {profile.cliff:.3g}"
        rows.append([profile.schedule, f"{profile.best_lr:.3g}", f"{profile.best_loss:.4f}", *costs, cliff])
    return markdown([*header, "cliff"], rows)


def cost(losses: NDArray[np.float64] | None, best: float) -> str:
    """Return what the mean loss is above the best, or how many seeds have learned nothing."""
    if losses is None:
        return ""
    return f"{n} of {len(losses)} break" if (n := n_broken(losses)) else f"+{losses.mean() - best:.4f}"


def breaks(profiles: Sequence[LearningRateProfile]) -> str:
    """Return in a sentence from which learning rate on training breaks under each schedule."""
    first: dict[str, list[str]] = {}
    for profile in profiles:
        above = zip(profile.learning_rates, profile.loss, strict=True)
        broken = [lr for lr, losses in above if lr > profile.best_lr and n_broken(losses)]
        first.setdefault(f"from {min(broken):.3g}" if broken else "nowhere in the range", []).append(profile.schedule)
    parts = [f"{where} under {', '.join(names)}" for where, names in sorted(first.items())]
    return f"The first seeds break (diverge, or end no better than a guess) {'; '.join(parts)}."


def section(name: str, analysis: Analysis) -> str:
    """Return the tables of an optimizer."""
    profiles = [entry.profile for entry in analysis.schedules if entry.profile is not None]
    accuracy = analysis.sweep.metrics["validation_accuracy"].mean(axis=2)
    best = "{:.1%} to {:.1%}".format(*np.sort(np.nanmax(accuracy, axis=1))[[0, -1]])
    return "\n\n".join([
        f"### {TITLES[name]}",
        f"![Final loss against the learning rate under {TITLES[name]}](networks-{name}.png)",
        f"{analysis.sweep.loss.size} trials, {int(np.isinf(analysis.sweep.loss).sum())} diverged; validation accuracy "
        f"of the schedules at their best learning rates {best}.",
        "What a grid may lose at its worst offset, in nats, with 95 % bands:",
        markdown(*degradation_rows(analysis, bands=True)),
        f"The grids for a tolerance of {analysis.tolerance:g}:",
        markdown(*recommendation_rows(analysis)),
        "What a learning rate costs that is off the best by a factor, seen on the seeds that chose the best:",
        misses(profiles),
        breaks(profiles),
    ])  # fmt: skip


def analyses_of(journals: Path) -> dict[str, Analysis]:
    """Return the analyses of the journals that there are, by optimizer."""
    paths = {name: journals / f"{name}.jsonl" for name in TITLES}
    return {
        name: analyze_sweep(SweepResult.from_journal(path), tolerance=TOLERANCE)
        for name, path in paths.items()
        if path.exists()
    }


def tables(journals: Path) -> str:
    """Return what the page shows of them."""
    sections = [section(name, analysis) for name, analysis in analyses_of(journals).items()]
    return "\n\n".join(sections) or "The sweeps have not been run to their end yet."


def write_docs(journals: Path, folder: Path) -> None:
    """Draw the figures, and put the tables between the markers; the rest of the page stays as it is."""
    page = folder / "networks.md"
    before, found_begin, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, found_end, after = rest.partition(END)
    if not (found_begin and found_end):
        raise SystemExit(f"{page.name} must hold the lines {BEGIN} and {END}")
    page.write_text(f"{before}{BEGIN}\n{tables(journals)}\n{END}{after}", encoding="utf-8")
    for name, analysis in analyses_of(journals).items():
        answer_figure(analysis).savefig(folder / f"networks-{name}.png", dpi=120, metadata={"Software": None})


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--journals", type=Path, default=JOURNALS, help="folder of sgd.jsonl and adamw.jsonl")
    parser.add_argument("--write-docs", action="store_true", help="write docs/explanation/networks.md and its figures")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs" / "explanation", help="folder of the page")
    args = parser.parse_args(arguments)
    print(tables(args.journals))
    if args.write_docs:
        write_docs(args.journals, args.docs)


if __name__ == "__main__":
    main()
