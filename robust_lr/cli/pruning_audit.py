"""`robust-lr analyze --pruning-audit`: how often ranking learning rates in the middle of training would be wrong."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ..exceptions import OptionError

if TYPE_CHECKING:
    from ..loss_curves import LossCurve


def print_pruning_audit(
    options: argparse.Namespace, read: Callable[[], tuple[Sequence[LossCurve], Sequence[str]]] | None
) -> int:
    """Print the audit of the curves that a source reads.

    Raises:
        OptionError: when the source has no curves.
    """
    from ..analysis.pruning_audit import audit_ranking
    from ..report.console import make_console, print_rows

    if read is None:
        raise OptionError("--pruning-audit needs the histories of runs: a table with a row for each step, or a study")
    curves, notes = read()
    audit = audit_ranking(curves, tolerance=options.tolerance or "0.1%")
    console = make_console()
    console.print(audit.advice(), soft_wrap=not console.is_terminal, style="bold")
    print_rows(console, audit.rows(), "The learning rate that leads at a share of the run, against the best at its end")
    for note in (*notes, *audit.notes):
        console.print(f"Note: {note}", soft_wrap=True)
    return 0
