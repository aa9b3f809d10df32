"""What a user types on the command line means what it says."""

import math
import sys

import pytest

from robust_lr import SweepResult, analyze_sweep
from robust_lr.cli.arguments import import_function, split_specs
from robust_lr.exceptions import DataError

INF, NAN = math.inf, math.nan


def test_a_percentage_is_of_the_lowest_loss():
    sweep = SweepResult(("a",), [0.1, 1.0], (0,), [[[2.0], [float("inf")]]])
    assert analyze_sweep(sweep, tolerance="1%").tolerance == pytest.approx(0.02)
    assert analyze_sweep(sweep, tolerance="0.5").tolerance == 0.5


@pytest.mark.parametrize(
    ("loss", "tolerance"),
    [
        ([[1.0, 3.0], [0.1, 4.1]], 0.02),  # not of the lowest single run
        ([[0.1, INF], [3.0, 5.0]], 0.04),  # a mean with a divergence in it is no mean
        ([[2.0, NAN], [NAN, NAN]], 0.02),
        ([[-4.0, -2.0], [INF, 1.0]], 0.03),
        ([[1e308, 1e308], [1.7e308, 1.7e308]], 1e306),
        ([[INF, 1.0], [INF, NAN]], 0.01),
    ],
)
def test_a_percentage_is_of_the_lowest_mean_over_the_seeds(loss, tolerance):
    sweep = SweepResult(("a",), [0.1, 1.0], (0, 1), [loss])
    assert analyze_sweep(sweep, tolerance="1%").tolerance == pytest.approx(tolerance)


def test_commas_inside_brackets_do_not_split_schedules():
    assert split_specs("constant, wsd(0.2, shape=1-sqrt),cosine") == ["constant", "wsd(0.2, shape=1-sqrt)", "cosine"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path


def test_a_function_is_found_by_module_or_by_file(folder):
    (folder / "my_training_a.py").write_text("def train(*, lr, schedule, seed):\n    return lr\n")
    assert import_function("my_training_a:train") is import_function("my_training_a.py:train")


def test_a_file_that_another_module_hides_is_refused_rather_than_mistaken(folder):
    (folder / "random.py").write_text("def train(*, lr, schedule, seed):\n    return lr\n")
    with pytest.raises(DataError, match="another module has the name 'random'; rename the file"):
        import_function("random.py:train")
