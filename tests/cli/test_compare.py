"""`robust-lr compare`: two files, two values of a column, two schedules of a journal."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from robust_lr import SweepResult, run_sweep
from tests.cli.command_line import said


@pytest.fixture
def table(tmp_path):
    rng, lines = random.Random(1), ["optimizer,size,lr,seed,loss"]
    for optimizer, up in (("adam", 0.0), ("sgd", 0.03)):
        for size in range(1, 7):
            for i in range(9):
                for seed in (0, 1):
                    loss = 2 + 0.01 * (i - 4) ** 2 + up + 0.1 / size + rng.gauss(0, 0.003)
                    lines.append(f"{optimizer},{size},{2**-i},{seed},{loss}")
    (tmp_path / "runs.csv").write_text("\n".join(lines) + "\n")
    return "runs.csv"


def test_two_values_of_a_column_are_paired_over_the_groups(robust_lr, table):
    answer = robust_lr("compare", table, "--by", "optimizer", "--group-by", "size", "--json", "out.json")
    assert answer.code == 0
    assert "adam is better: at the best learning rate of each, its loss is lower by 0.03" in said(answer)
    assert "6 pairs of sweeps" in said(answer)
    (content,) = json.loads(Path("out.json").read_text())["comparisons"]
    assert content["verdict"] == "A" and len(content["best_lrs"]) == 6


def test_two_files_are_paired_over_their_seeds(robust_lr, table):
    for name in ("adam", "sgd"):
        SweepResult.from_csv(table, where=[f"optimizer={name}", "size=1"]).to_csv(f"{name}.csv")
    answer = robust_lr("compare", "adam.csv", "sgd.csv")
    assert answer.code == 0 and "adam is better" in said(answer) and "2 paired seeds" in said(answer)
    again = robust_lr("compare", table, "--by", "optimizer", "--where", "size=1")
    assert said(again) == said(answer)


def test_two_schedules_of_a_journal(robust_lr, tmp_path):
    def train(*, lr, schedule, seed):
        return (lr - 0.1) ** 2 + 0.01 * seed + 0.001 * random.Random(f"{lr}{seed}{schedule}").random()

    run_sweep(train, [0.05, 0.1, 0.2], ["constant", "linear", "cosine"], 3, journal=tmp_path / "j.jsonl", label="x")
    answer = robust_lr("compare", "j.jsonl", "--by", "schedule", "--values", "constant,cosine")
    assert answer.code == 1 and "constant or cosine?" in said(answer) and "What would tell" in said(answer)


def test_a_wrong_use_is_one_line(robust_lr, one_line, table):
    assert "give two files, or one with --by COLUMN" in one_line("compare", table)
    assert "size has 6 values: choose two of 1, 2, 3, 4, 5 and 6 with --values A,B" in one_line(
        "compare", table, "--by", "size", "--where", "optimizer=adam"
    )
    assert "size has no '9'" in one_line("compare", table, "--by", "size", "--values", "1,9")
    assert "one file" in one_line("compare", table, table, "--by", "size")
