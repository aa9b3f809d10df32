"""`robust-lr analyze --group-by` with many sweeps."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from tests.cli.command_line import write


def table(n_sizes=6, n_batches=6, seed=0):
    rng, rows = np.random.default_rng(seed), ["size,batch,lr,loss"]
    for size in range(n_sizes):
        curvature = 0.01 * np.exp(0.4 * rng.normal())
        for batch in range(n_batches):
            best = rng.uniform(-1, 1)
            rows += [f"{10**size},{2**batch},{2.0**i},{2 + curvature * (i - best) ** 2:.6f}" for i in range(-5, 6)]
    return "\n".join(rows)


def test_many_sweeps_are_answered_together_and_in_few_lines(robust_lr):
    write("runs.csv", table())
    answer = robust_lr(
        "analyze", "runs.csv", "--group-by", "size,batch", "--tolerance", 0.05, "--json", "a.json", "--report", "r.html"
    )
    assert answer.code == 0 and answer.err == ""
    assert answer.out.splitlines()[1].startswith("Next sweep")
    assert answer.out.count("\n") <= 60
    content = json.loads(Path("a.json").read_text(), parse_constant=lambda name: 1 / 0)
    assert content["pooled"]["n_sweeps"] == 36 and content["pooled"]["cluster_by"] == ["size"]
    assert len(content) == 37 and "schedules" in content["size = 1, batch = 1"]
    assert Path("r.html").stat().st_size < 300_000


def test_details_print_each_sweep(robust_lr):
    write("runs.csv", table(2, 3))
    short = robust_lr("analyze", "runs.csv", "--group-by", "size,batch").out
    long = robust_lr("analyze", "runs.csv", "--group-by", "size,batch", "--details").out
    assert long.startswith(short.rstrip("\n"))
    assert long.count("No recommendation: one seed does not show the noise") == 6


def test_the_clusters_can_be_named(robust_lr, one_line):
    write("runs.csv", table())
    by = ["analyze", "runs.csv", "--group-by", "size,batch"]
    assert "6 clusters of equal batch" in " ".join(robust_lr(*by, "--cluster-by", "batch").out.split())
    assert "each counted as independent" in " ".join(robust_lr(*by, "--cluster-by", "none").out.split())
    assert one_line(*by, "--cluster-by", "tokens").endswith("no covariate 'tokens'; it has size and batch")


def test_sweeps_that_show_nothing_together_are_shown_apart(robust_lr):
    write("runs.csv", "size,lr,loss\n1,0.1,1\n1,0.2,2\n2,0.1,1\n2,0.2,3\n")
    answer = robust_lr("analyze", "runs.csv", "--group-by", "size", "--json", "a.json", "--report", "r.html")
    assert answer.code == 1
    assert "No recommendation for further sweeps: no schedule has two sweeps" in answer.out
    assert json.loads(Path("a.json").read_text())["pooled"] is None


def test_sweeps_without_an_answer_together_still_say_what_was_noted_when_they_were_read(robust_lr):
    lines = [f"{size},{lr},{lr},{state}" for size in "12" for lr, state in ((0.1, "finished"), (0.2, "running"))]
    write("runs.csv", "\n".join(["size,lr,loss,state", *lines]))
    answer = robust_lr("analyze", "runs.csv", "--group-by", "size")
    assert "No recommendation for further sweeps" in answer.out
    assert answer.out.count("Note: 1 trial left out: state is running.\n") == 1


def test_every_field_of_the_pooled_json_is_documented(robust_lr, pytestconfig):
    write("runs.csv", table())
    robust_lr("analyze", "runs.csv", "--group-by", "size,batch", "--json", "a.json")
    page = (pytestconfig.rootpath / "docs" / "reference" / "analysis-json.md").read_text(encoding="utf-8")
    pooled = json.loads(Path("a.json").read_text())["pooled"]
    for field in [*pooled, *pooled["quantiles"][0], *pooled["sweeps"][0]]:
        assert f"`{field}`" in page, field
