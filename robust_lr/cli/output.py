"""What a command leaves behind: the analysis of a sweep, its files, the log on stderr."""

from __future__ import annotations

import contextlib
import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._tolerance import read_tolerance
from ..exceptions import RobustLRError

if TYPE_CHECKING:
    from ..analysis import Analysis
    from ..sweep import SweepResult


def absolute_tolerance(text: str, sweep: SweepResult) -> float:
    """Return a tolerance in units of the loss; a relative one is of the lowest mean over the seeds.

    Example:
        >>> from robust_lr import SweepResult
        >>> absolute_tolerance("10%", SweepResult(("cosine",), [0.1], (0, 1), [[[1.0, 3.0]]]))
        0.2
    """
    import numpy as np

    n_results = np.sum(~np.isnan(sweep.loss), axis=-1, keepdims=True)
    # The division comes first: a sum of huge losses overflows, a mean of them does not.
    means = np.nansum(sweep.loss / np.maximum(n_results, 1), axis=-1)[n_results[..., 0] > 0]
    return read_tolerance(text).of(float(means.min(initial=np.inf)))


def analyze(sweep: SweepResult, tolerance: str, confidence_level: float = 0.95) -> Analysis:
    """Return the analysis of a sweep with the tolerance that was typed."""
    from ..analysis import analyze_sweep

    return analyze_sweep(sweep, tolerance=absolute_tolerance(tolerance, sweep), confidence_level=confidence_level)


def figures(analysis: Analysis) -> dict[str, Any]:
    """Return the analysis as docs/analysis-json.md describes it, with the conclusion of the terminal and the report."""
    from ..report.words import conclusion

    return analysis.to_dict() | {"conclusion": conclusion(analysis)}


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write strict JSON."""
    with writing(path):
        path.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Name the file that cannot be written, in one line."""
    try:
        yield
    except OSError as error:
        raise RobustLRError(f"cannot write {error.filename or path}: {error.strerror or error}") from None


class _StderrHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        # Looked up each time: a progress bar replaces stderr, to stay below what is printed.
        print(self.format(record), file=sys.stderr)


@contextlib.contextmanager
def log_on_stderr() -> Iterator[None]:
    """Show what the library logs, such as the choice of a packed runner."""
    logger, handler = logging.getLogger("robust_lr"), _StderrHandler()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)
