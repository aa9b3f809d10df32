"""The metrics of a training script, printed so that `CommandTask` reads them."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping


def report_metrics(metrics: Mapping[str, object]) -> None:
    """Print the numbers among the metrics in a line of JSON, which `robust-lr run --command` reads if it is the last.

    Numbers of numpy and torch count; NaN and infinity report divergence.

    Args:
        metrics: numbers by name; what is no number is left out.

    Example:
        >>> report_metrics({"eval_loss": 0.25, "model": "tiny"})
        {"eval_loss": 0.25}
    """
    numbers = {}
    for name, value in metrics.items():
        try:
            numbers[name] = float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            continue
    sys.stdout.write(json.dumps(numbers) + "\n")
    sys.stdout.flush()
