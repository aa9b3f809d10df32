"""`robust-lr check`."""

from __future__ import annotations

import json

import pytest

from tests.cli.command_line import GOOD, LLAMA, said, write


@pytest.mark.parametrize(
    ("lr", "code", "words"),
    [
        (16, 0, "16 is the best of the sweep"),
        (8, 0, "8 is within 0.06: 0.05"),
        (2, 1, "2 is worse than allowed (0.06): 0.5"),
        (0.1, 1, "the sweep does not reach 0.1; train it. Best: 16"),
    ],
)
def test_it_fails_where_the_learning_rate_is_worse_than_allowed(robust_lr, lr, code, words):
    answer = robust_lr("check", write("good.csv", GOOD), "--expect-lr", lr, "--tolerance", "3%")
    assert answer.code == code and words in said(answer)


def test_each_sweep_of_a_table_is_checked(robust_lr):
    table = GOOD.replace("lr,", "size,lr,").replace("\n", "\na,")[:-2]
    worse = "".join(f"b,{i},{s},{5 - i + s}\n" for i in (4, 8, 16) for s in range(3)).replace("-11", "0.5")
    words = ["check", write("two.csv", table + worse), "--group-by", "size", "--expect-lr", 8, "--tolerance", 0.06]
    answer = robust_lr(*words)
    assert answer.code == 1 and "size = a: all runs: 8 is within" in said(answer)
    assert [each["sweep"] for each in json.loads(robust_lr(*words, "--json").out)["checks"]] == ["size = a", "size = b"]


def test_one_seed_is_enough(robust_lr):
    answer = robust_lr("check", write("llama.csv", LLAMA), "--expect-lr", 1e-3, "--tolerance", 0.02)
    assert answer.code == 0 and "one seed does not show the noise" in said(answer)


def test_without_a_learning_rate_it_says_what_to_give(one_line):
    assert "--expect-lr" in one_line("check", write("good.csv", GOOD))
