"""benchmarks/networks.py: tables and figures from the journals of examples/wrn.py."""

import importlib.util
import math
import sys
from pathlib import Path

import pytest

from robust_lr import GeometricGrid, run_sweep

ROOT = Path(__file__).parents[1]


def loaded(name):
    spec = importlib.util.spec_from_file_location(f"{name}_benchmark", ROOT / "benchmarks" / f"{name}.py")
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def networks():
    return loaded("networks")


def train(*, lr, schedule, seed):
    """A valley at 1/16 under annealing and at 1/32 without; at 1/2 the network learns nothing, at 1 it diverges."""
    off = math.log2(lr) + (5 if schedule(999, 1000) == 1 else 4)
    loss = math.inf if lr == 1 else math.log(10) if lr == 0.5 else 0.4 + 0.02 * off**2 + 0.001 * seed
    return {"loss": loss, "validation_accuracy": 0.9 - 0.01 * abs(off)}


def test_the_tables_say_what_a_coarse_grid_and_a_wrong_learning_rate_cost(networks, tmp_path, capsys):
    run_sweep(train, GeometricGrid(2**-9, 1, 10), ["constant", "linear"], 3, journal=tmp_path / "sgd.jsonl")
    page = tmp_path / "networks.md"
    page.write_text(f"before\n{networks.BEGIN}\nold\n{networks.END}\nafter\n")
    for _ in range(2):  # writing again changes nothing
        networks.main(["--journals", str(tmp_path), "--docs", str(tmp_path), "--write-docs"])
        out = capsys.readouterr().out
        assert page.read_text() == f"before\n{networks.BEGIN}\n{out.rstrip()}\n{networks.END}\nafter\n"
    costs = [line.strip("| ").split(" | ") for line in out.split("off the best by a factor")[1].splitlines()]
    rows = {name: cells for name, *cells in costs}
    assert rows["linear"][:2] == ["0.0625", "0.4010"]
    assert rows["linear"][2:8] == ["+0.1800", "+0.0800", "+0.0200", "+0.0200", "+0.0800", "3 of 3 break"]
    assert rows["constant"][0] == "0.0312"
    assert rows["constant"][7:9] == ["+0.1800", "3 of 3 break"]
    assert "validation accuracy of the schedules at their best learning rates 90.0% to 90.0%" in out
    assert "or end no better than a guess) from 0.5 under constant, linear." in out
    assert "| schedule | ratio 4 5 trials | ratio 8 4 trials |" in out
    assert (tmp_path / "networks-sgd.png").stat().st_size > 10_000


def test_the_page_shows_the_journals_in_the_repository(networks):
    journals = sorted(path.stem for path in networks.JOURNALS.glob("*.jsonl"))
    assert "sgd" in journals
    folder = ROOT / "docs" / "explanation"
    shown = (folder / "networks.md").read_text().partition(networks.BEGIN)[2].partition(networks.END)[0]
    assert loaded("readme_output").same_words(shown.strip(), networks.tables(networks.JOURNALS))
    assert all((folder / f"networks-{name}.png").exists() for name in journals)
