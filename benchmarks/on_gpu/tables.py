"""The figures of a run as tables of Markdown, between the markers of the pages that show them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from on_gpu.models import MODELS

BEGIN, END = (f"<!-- {word} of the tables of benchmarks/gpu.sh -->" for word in ("begin", "end"))
ENGINE_COLUMNS = ["model", "engine", "R", "loop, us a step", "kernel by kernel, us a replica-step"]
ENGINE_COLUMNS += ["CUDA graph, us a replica-step", "prepare, s", "MB a replica, in a step", "MB a replica, making"]
ENGINE_COLUMNS += ["difference of losses: median; largest"]
WAYS = ("one by one", "processes", "packed", "auto")


def fill(page: Path, text: str) -> str:
    """Return a page with another text between its markers.

    Raises:
        SystemExit: when the page has no markers.
    """
    before, found_begin, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, found_end, after = rest.partition(END)
    if not (found_begin and found_end):
        raise SystemExit(f"{page.name} must hold the lines {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{text}\n{END}{after}"


def packs_page(report: Mapping[str, Any]) -> str:
    """Return what docs/how-to/packed.md says: the engines against the loop, and packs against processes."""
    parts = report["parts"]
    engines = [row for part in MODELS for row in engine_rows(part, parts.get(part, {}).get("found", {}))]
    blocks = [said(report), table(ENGINE_COLUMNS, engines) if engines else "No engine was timed."]
    if sharing := parts.get("sharing", {}).get("found"):
        header = ["model", "trials x steps", *(f"{way}: ms a trial-step; s in all" for way in WAYS)]
        blocks.append(table(header, [sharing_row(name, entry) for name, entry in sharing.items()]))
    return "\n\n".join([*blocks, stages(report)])


def networks_page(report: Mapping[str, Any]) -> str:
    """Return what docs/explanation/networks.md says: the degradation of each schedule, or the sweep's progress."""
    found = report["parts"].get("fashion-mnist", {}).get("found")
    if not found:
        return f"{said(report)}\n\nNo trial was run."
    network = "small CNN" if found["network"] == "cnn" else f"WRN-{found['network']}"
    blocks = [said(report), f"{network}, {found['epochs']} epochs: {found['trials']} of {found['of']} trials are done."]
    header, rows = found["degradation"]
    if rows:
        one_line = [[cell.replace("\n", " ") for cell in row] for row in (header, *rows)]
        blocks.append(table(one_line[0], one_line[1:]))
    return "\n\n".join(blocks)


def engine_rows(part: str, found: Mapping[str, Any]) -> Iterator[list[str]]:
    """Yield a row for each case of a model."""
    for case in found.get("cases", []):
        head = [MODELS[part].title, case["engine"], str(case["replicas"])]
        if "us_a_replica_step" not in case:
            yield [*head, case.get("error", "not measured")[:80].replace("|", "/").replace("\n", " "), *[""] * 6]
            continue
        us, gains, n_bytes = case["us_a_replica_step"], case["gain_over_loop"], case["bytes_a_replica"]
        ways = [f"{us[way]:.4g} ({gains[way]:.3g} x)" if way in gains else "" for way in ("kernels", "graph")]
        way = "graph" if "graph" in gains else "kernels"
        off = [f"{case[f'{way}: {which} difference of losses']:.1g}" for which in ("median", "largest")]
        memory = [f"{n_bytes[key] / 1e6:.3g}" if n_bytes.get(key) else "" for key in (way, "making")]
        yield [*head, f"{us['loop']:.4g}", *ways, f"{case['seconds_to_prepare']:.2g}", *memory, "; ".join(off)]


def sharing_row(name: str, entry: Mapping[str, Any]) -> list[str]:
    """Return the row of a model: for each way what a step of a trial takes once all run, and the sweep in seconds."""
    cells = []
    for way in WAYS:
        figures = entry["ways"].get(way, {})
        if "seconds" not in figures:
            cells.append(figures.get("error", "")[:40].replace("|", "/"))
            continue
        at_a_time = entry["processes"] if way == "processes" else 1
        seconds = figures["seconds_of_a_trial"] / at_a_time / entry["steps"]
        cells.append(f"{seconds * 1e3:.3g}; {figures['seconds']:.3g} ({figures['trials']} trials)")
    return [MODELS[name].title, f"{entry['trials']} x {entry['steps']}", *cells]


def said(report: Mapping[str, Any]) -> str:
    """Return in a sentence on what it was measured."""
    size = ", `--tiny`: these figures mean nothing" if report["tiny"] else ""
    return f"{report['device']}; Python {report['python']}, torch {report['torch']}; {report['rounds']} rounds{size}."


def stages(report: Mapping[str, Any]) -> str:
    """Return in a sentence how each stage ended."""
    ends = [f"{name} {entry['status']} ({entry.get('seconds', 0):.0f} s)" for name, entry in report["parts"].items()]
    return f"Stages: {', '.join(ends)}."


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table of Markdown."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *rows))
