"""Nothing that has finished is lost or run twice, whatever dies: a small run of benchmarks/ray_chaos.py."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "ray_chaos.py"


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_killed_node_and_a_killed_driver_lose_nothing_and_repeat_nothing():
    options = ["--nodes", "2", "--cells", "18", "--seconds", "0.4", "--kills", "1", "--gpus", "1"]
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *options], capture_output=True, text=True, timeout=220, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    said = re.findall(r"(\d+) of (\d+) cells with a result, (\d+) begun, (\d+) begun again", done.stdout)
    assert [(found, cells) for found, cells, _, _ in said] == [("18", "18"), ("30", "30"), ("18", "18")]
    assert {again for _, _, _, again in said} == {"0"}
