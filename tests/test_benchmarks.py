"""The benchmarks run, and what they write into the docs goes between its markers and nowhere else."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "benchmarks" / "packed.py"


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    path = tmp_path_factory.mktemp("packed") / "packed.json"
    options = ["--quick", "--workloads", "logistic", "--replicas", "8", "--rounds", "1", "--json", str(path)]
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *options], check=False, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stderr
    return json.loads(path.read_text())


@pytest.fixture(scope="module")
def benchmark_module():
    spec = importlib.util.spec_from_file_location("packed_benchmark", SCRIPT)
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_way_of_the_packed_benchmark_is_timed(report):
    (case,) = report["cases"]
    assert set(case["ways"]) >= {"loop", "optuna", "one by one", "packed", "closed_form"}
    assert all(way["seconds_of_sweep"][1] > 0 for way in case["ways"].values())
    assert case["auto"]["way"] in case["ways"]


def test_the_engines_that_are_timed_train_what_a_trial_alone_trains(report):
    (case,) = report["cases"]
    for name in ("packed", "closed_form"):
        assert max(case["ways"][name]["differences"]) < 1e-6


def test_the_tables_go_between_their_markers(report, benchmark_module, tmp_path):
    page = tmp_path / "packed.md"
    text = benchmark_module.DOCS.read_text()
    page.write_text(text)
    benchmark_module.write_docs(report, page)
    once = page.read_text()
    benchmark_module.write_docs(report, page)
    assert page.read_text() == once
    begin, end = (text.index(f"<!-- {word} of the tables of benchmarks/packed.py, cpu") for word in ("begin", "end"))
    assert once.startswith(text[:begin])
    assert once.endswith(text[end:])
    assert "| logistic regression, d=100, B=32 | 8 |" in once


def test_a_page_without_markers_is_refused(report, benchmark_module, tmp_path):
    page = tmp_path / "packed.md"
    page.write_text("nothing")
    with pytest.raises(SystemExit, match="must hold the lines"):
        benchmark_module.write_docs(report, page)
    assert page.read_text() == "nothing"
