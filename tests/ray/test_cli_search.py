"""`robust-lr search --ray`: the trials of a search run on a cluster, and are those of the search without one."""

from __future__ import annotations

import math
import os
import re
import sys

import pytest

from robust_lr import search_learning_rate
from robust_lr.cli import main as cli
from robust_lr.journal.journal import read_journal


def train(*, lr, schedule, seed):
    return {"loss": 0.3 + 0.03 * math.log(lr / 0.02) ** 2, "process": os.getpid()}


@pytest.mark.timeout(120)
def test_a_search_on_a_cluster_is_the_search_without_one(ray_local, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    words = ["--lr-min", "1e-3", "--lr-max", "0.1", "--tolerance", "0.02", "--n-jobs", "3", "--ray"]
    monkeypatch.setattr(sys, "argv", ["robust-lr", "search", f"{__name__}:train", *words])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    out, err = capsys.readouterr()
    assert not stop.value.code, err
    plain = search_learning_rate(train, 1e-3, 0.1, tolerance=0.02, n_jobs=3)
    assert out.startswith(f"Best learning rate: {plain.lr:.4g} (loss {plain.loss:.6g}, {plain.n_trials} trials)\n")
    assert re.fullmatch(r"search from .*\n(trial \d: lr .*\n)+0 results from search.jsonl, \d new\n", err)
    results = read_journal("search.jsonl").results
    assert {result.spec.lr for result in results} == {tell.lr for tell in plain.history}
    assert os.getpid() not in {result.metrics["process"] for result in results}
