"""`robust-lr noise`."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.command_line import GOOD, said, write


def test_it_says_how_much_runs_differ(robust_lr):
    noisy = "lr,seed,loss\n" + "".join(
        f"{2**i},{s},{(i - 4) ** 2 + 0.01 * ((i * 7 + s * 13) % 5)}\n" for i in range(9) for s in range(3)
    )
    answer = robust_lr("noise", write("runs.csv", noisy), "--json", "out.json")
    assert answer.code == 0
    assert "all runs: runs differ by 0.023 [0.014, 0.057]" in said(
        answer
    ) and "degrees of freedom, from repeated runs" in said(answer)
    (floor,) = json.loads(Path("out.json").read_text())["noise"]
    assert f"--noise {floor['sd']:.2g}" in said(answer) and floor["source"] == "seeds"


def test_without_a_repeated_run_it_says_what_is_needed(robust_lr):
    one = write("runs.csv", "\n".join(line for line in GOOD.splitlines() if line.split(",")[1] in ("seed", "0")))
    answer = robust_lr("noise", one)
    assert answer.code == 1 and "no learning rate was run twice" in answer.err
