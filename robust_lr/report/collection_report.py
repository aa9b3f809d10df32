"""The HTML report of many sweeps: the answer, what each ratio loses, small multiples, and a table of the sweeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from .._page import Block, Line
from ..analysis import Analysis
from ..collection import CollectionAnalysis
from ._charts import Chart
from .html import Heading, analyses_body, write_page
from .pooled_figures import pooled_chart, valleys_chart
from .pooled_text import collection_blocks

MOST_ROWS = 300  # of the table of sweeps
_HOW_TO_READ = (
    "A grid of some ratio is a sub-grid of a sweep: every second, third, ... learning rate. What it loses is the best "
    "loss on it less the best loss on the full grid, at the worst offset. The bound counts clusters of sweeps, because "
    "sweeps of one cluster are alike: docs/many-sweeps.md."
)


def write_collection_report(
    analysis: CollectionAnalysis,
    path: str | Path,
    *,
    analyses: Mapping[str, Analysis] | None = None,
    title: str = "Learning-rate sweeps",
    reproduce: Sequence[str] = (),
    source: str = "",
) -> None:
    """Write the report of a collection as one self-contained HTML file.

    Args:
        analysis: of the collection.
        path: file to write.
        analyses: analyses of single sweeps by name, each a part of the report.
        title: headline.
        reproduce: shell commands that reproduce the figures.
        source: where the data came from, in words.

    Raises:
        RobustLRError: when matplotlib is not installed.
    """
    box, *blocks = collection_blocks(analysis, n_shown=MOST_ROWS)
    body: list[Block | Chart | Heading] = [box, pooled_chart(analysis), Line(_HOW_TO_READ)]
    body += [*blocks[:-2], valleys_chart(analysis), *blocks[-2:]]
    if analyses:
        body += analyses_body(analyses)
    write_page(path, body, title=title, source=source, reproduce=reproduce)
