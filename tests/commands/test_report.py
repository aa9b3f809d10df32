"""report_metrics prints what a command's runner reads."""

import math

import numpy as np

from robust_lr.commands import report_metrics
from robust_lr.commands._outputs import JsonLines


def test_the_runner_of_commands_reads_what_is_printed(capsys):
    report_metrics({"loss": 9.0})
    report_metrics({"loss": np.float32(0.5), "accuracy": float("nan"), "name": "tiny", "batch": None, "n": 3})
    lines = JsonLines("loss")
    for line in capsys.readouterr().out.encode().splitlines():
        lines.see(line)
    found = lines.metrics()
    assert math.isnan(found.pop("accuracy"))
    assert found == {"loss": 0.5, "n": 3.0}
