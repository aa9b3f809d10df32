"""The benchmarks run, and what they write into the docs goes between its markers and nowhere else."""

import importlib.util
import itertools
import json
import math
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "benchmarks" / "packed.py"
SEARCHES = {
    "search.py": ["--curves", "1", "--families", "valley", "noisy", "--decades", "2", "4"],
    "search_tables.py": ["--decades", "0.2", "0.4", "--seeds", "1"],
}
STRATEGIES = ["robust-lr", "golden", "grid", "tpe", "cmaes", "qmc", "random"]


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    path = tmp_path_factory.mktemp("packed") / "packed.json"
    options = ["--quick", "--workloads", "logistic", "--replicas", "8", "--rounds", "1", "--json", str(path)]
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *options], check=False, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stderr
    return json.loads(path.read_text())


def loaded(name):
    spec = importlib.util.spec_from_file_location(f"{name}_benchmark", ROOT / "benchmarks" / f"{name}.py")
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def benchmark_module():
    return loaded("packed")


def test_every_way_of_the_packed_benchmark_is_timed(report):
    (case,) = report["cases"]
    assert set(case["ways"]) >= {"loop", "optuna", "one by one", "packed", "closed_form"}
    assert all(way["seconds_of_sweep"][1] > 0 for way in case["ways"].values())
    assert len(case["auto"]) == 5 and all(pilot["way"] in case["ways"] for pilot in case["auto"])


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


@pytest.fixture(scope="module", params=SEARCHES)
def searches(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("search") / "rows.json"
    options = [
        *SEARCHES[request.param],
        "--strategies",
        *STRATEGIES,
        "--budget",
        "6",
        "--jobs",
        "1",
        "--json",
        str(path),
    ]
    script = str(ROOT / "benchmarks" / request.param)
    done = subprocess.run([sys.executable, script, *options], check=False, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    return done.stdout, json.loads(path.read_text())


def test_each_strategy_of_a_search_has_a_row_for_each_range(searches):
    _, rows = searches
    assert {row["strategy"] for row in rows} == set(STRATEGIES)
    for name in STRATEGIES:
        own = [row for row in rows if row["strategy"] == name]
        assert len({row["range"] for row in own}) == 2
        assert all(0 <= share <= 1 for row in own for share in row["right"])
        assert all((row["stop"] is None) == (name in ("tpe", "cmaes", "qmc", "random")) for row in own)


def test_the_tables_of_a_search_are_markdown_of_at_most_100_columns(searches):
    text, _ = searches
    tables = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
    assert tables
    for header, rule, *rows in tables:
        assert rows
        assert set(rule) == set("|-: ")
        assert {(len(line), line.count("|")) for line in (rule, *rows)} == {(len(header), header.count("|"))}
        assert len(header) <= 100


def test_the_trials_of_robust_lr_are_set_against_the_range():
    module = loaded("search")
    runs = {2: {"valley": [4, 6], "noisy": [8, 10]}, 8: {"valley": [10, 10], "noisy": [10, 10]}}
    trials = {
        decades: {family: [module.Run(1, 1, n, 1, 0.0) for n in those] for family, those in families.items()}
        for decades, families in runs.items()
    }
    first, last = module.growth(trials)
    assert (first["mean"], first["more a decade"], first["most"], first["in the family"]) == (7, None, 9, "noisy")
    assert (last["mean"], last["more a decade"]) == (10, 0.5)


def test_a_package_that_a_strategy_needs_is_named_in_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "cmaes", None)
    with pytest.raises(SystemExit, match=r"^not installed: cmaes needs cmaes; [^\n]*$"):
        loaded("search").check_installed(["robust-lr", "cmaes", "tpe"])


def test_warm_searches_are_set_against_cold_ones_for_schedules_and_for_starts_that_are_off():
    script = str(ROOT / "benchmarks" / "search_transfer.py")
    options = ["--decades", "1", "--thin", "20", "--jobs", "1"]
    done = subprocess.run([sys.executable, script, *options], check=False, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    schedules, factors, spreads = (rows_of(block) for block in done.stdout.split("\n\n") if block.startswith("|"))
    assert [float(row["spread"]) for row in spreads] == [1.1, 1.4, 2, 3]
    assert all(float(row["factor 1.4"]) < float(row["cold"]) for row in spreads[:2])
    assert [row["to"] for row in schedules] == ["linear", "cosine", "all"]
    assert [float(row["off by"]) for row in factors] == [0.3, 1, 3]
    for row in schedules + factors:
        assert int(row["cases"]) > 0
        assert float(row["warm - cold"]) <= int(row["most"])
        assert all(0 <= float(share) <= 1 for share in row["right"].split("/"))


def test_short_trainings_save_long_ones_and_a_law_saves_more(tmp_path):
    rows = ["params,tokens,batch_size,lr,loss"]
    for params, tokens, batch in itertools.product((1e8, 2e8, 4e8), (1e9, 4e9, 16e9), (64, 256)):
        best = 0.01 * (params / 2e8) ** -0.5 * (batch / 128) ** 0.4 * (tokens / 4e9) ** (0.2 if batch > 100 else -0.2)
        rows += [
            f"{params:g},{tokens:g},{batch},{best * off:.6g},{2 + 0.02 * math.log(off) ** 2:.6f}"
            for off in (0.06, 0.12, 0.25, 0.5, 1, 2, 4, 8, 16)
        ]
    (tmp_path / "runs.csv").write_text("\n".join(rows))
    command = [sys.executable, str(ROOT / "benchmarks" / "horizons.py"), str(tmp_path / "runs.csv")]
    options = ["--length", "tokens", "--same", "params,batch_size", "--leave-out", "params"]
    done = subprocess.run([*command, *options], check=True, capture_output=True, text=True, timeout=200)
    searches, drifts = (rows_of(block) for block in done.stdout.strip().split("\n\n"))
    found = {row["search"]: row for row in searches}
    assert [float(row["corr batch_size"]) > 0.9 for row in drifts] == [True] * len(drifts)
    assert {row["pairs"] for row in found.values()} == {"18"}
    cost = {name: float(row["cost"]) for name, row in found.items()}
    assert cost["horizons, law"] < cost["horizons"] < cost["full length"]
    assert float(found["horizons, law"]["within"]) > 0.9


def test_a_proof_takes_fewer_trials_than_one_that_has_to_hold_the_initial_points():
    script = str(ROOT / "benchmarks" / "search_proof.py")
    options = ["--thin", "20", "--jobs", "1"]
    done = subprocess.run([sys.executable, script, *options], check=False, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    free, after_initial = (float(line.split()[3].strip(",")) for line in done.stdout.splitlines()[1:])
    assert 3 <= free < after_initial <= 7


def rows_of(table):
    header, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines())
    return [dict(zip(header, row, strict=True)) for row in rows]


def test_a_range_wider_than_the_tables_is_refused_in_one_line():
    script = str(ROOT / "benchmarks" / "search_transfer.py")
    done = subprocess.run([sys.executable, script, "--decades", "20"], check=False, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == "--decades must be in the tables, which hold no range of 20 decades\n"


def test_the_start_times_are_printed_as_multiples_of_numpy():
    command = [sys.executable, str(ROOT / "benchmarks" / "start_time.py"), "--rounds", "1"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=200)
    for name in ("import robust_lr", "robust-lr --help"):
        assert re.search(rf"^{name} +\d+ ms, [\d.]+ times import numpy$", done.stdout, re.MULTILINE)


def test_the_benchmark_of_adaptive_seeds_counts_trainings_and_agreement():
    script = ROOT / "benchmarks" / "adaptive_seeds.py"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(script), "--every", "40", "--jobs", "1"],
        check=True, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    head, *rows = [line.split() for line in done.stdout.splitlines()]
    trainings = {" ".join(row[:-8]): float(row[-8]) for row in rows}
    assert head[:3] == ["11", "sweeps", "trainings"]
    assert trainings["2 seeds"] == 32 <= trainings["adaptive"] < 80 == trainings["5 seeds"] == trainings["5 others"]


def test_the_benchmark_of_many_sweeps_checks_on_clusters_that_did_not_recommend(tmp_path):
    rows = [
        f"{size},{batch},{2.0**i},{2 + 0.01 * (i - (size + batch) % 3) ** 2}"
        for size in range(8) for batch in range(4) for i in range(-6, 7)
    ]  # fmt: skip
    (tmp_path / "runs.csv").write_text("\n".join(["size,batch,lr,loss", *rows]))
    script = [sys.executable, str(ROOT / "benchmarks" / "pooled.py"), str(tmp_path / "runs.csv")]
    options = ["--group-by", "size,batch", "--cluster-by", "size", "--splits", "5", "--tolerance", "0.05"]
    out = subprocess.run([*script, *options], check=True, capture_output=True, text=True, timeout=100).stdout
    assert out.startswith("32 sweeps, 8 clusters by size")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in out.splitlines() if line.startswith("| 0.05")]
    assert [row[1] for row in rows] == ["found", "given", "sweeps"]
    assert all(float(row[6]) == 1.0 for row in rows)  # every valley has the same width
