"""An analysis as a list of blocks, in reading order."""

from __future__ import annotations

from collections.abc import Iterator

from .._page import Block, Line, Table
from .._text import main_line
from ..analysis._entry import Analyzed
from .answer import answer_box
from .tables import degradation_rows, recommendation_rows
from .words import alerts, caveats, comparison_sentences, details, headline, how_bands_are_made

COSTS = "Excess loss of a coarser grid, in the worst case (in parentheses: the sweep is too narrow to tell)"


def analysis_blocks(analysis: Analyzed, *, every_detail: bool = True, bands: bool = False) -> list[Block]:
    """Return the answer in a box, then caveats, tables, the reasons schedule by schedule, and what was read.

    Args:
        analysis: of a sweep.
        every_detail: include all other findings on each schedule.
        bands: include the confidence bands in the table of coarser grids.
    """
    return list(_blocks(analysis, every_detail, bands))


def _blocks(analysis: Analyzed, every_detail: bool, bands: bool) -> Iterator[Block]:
    yield answer_box(analysis)
    yield from (Line(caveat) for caveat in caveats(analysis))
    yield Table(f"Grid for new seeds of this task, tolerance {analysis.tolerance:.3g}", *recommendation_rows(analysis))
    header, rows = degradation_rows(analysis, bands=bands)
    if len(header) > 1:
        yield Table(COSTS, header, rows)
    for entry in analysis.schedules:
        lines = details(entry, analysis.tolerance) if every_detail else alerts(entry)
        if lines or every_detail or entry.recommendation is None:
            yield Line(headline(entry), strong=True)
            yield from (Line(line, indented=True) for line in lines)
    yield from (Line(sentence) for sentence in comparison_sentences(analysis))
    if bands_said := how_bands_are_made(analysis):
        yield Line(bands_said)
    yield Line(f"{analysis.sweep.describe()}.")
    for failure in analysis.sweep.failures[:3]:
        spec = failure.spec
        yield Line(f"Failed: {spec.schedule}, lr {spec.lr:g}, seed {spec.seed}: {main_line(failure.error)}")
    if len(analysis.sweep.failures) > 3:
        yield Line(f"and {len(analysis.sweep.failures) - 3} more")
