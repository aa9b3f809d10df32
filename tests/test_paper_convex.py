"""The measurement behind docs/explanation/paper.md: trains, fits and shows what its text says."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from robust_lr import parse_schedule

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "benchmarks" / "paper_convex.py"
FEW_STEPS = 1000


@pytest.fixture(scope="module")
def paper():
    spec = importlib.util.spec_from_file_location("paper_convex", SCRIPT)
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def kept(paper):
    return paper.read_table(paper.TABLE)


def trained_alone(one, lr, schedule, drawn):
    """A plain loop over the steps of one training: the last iterate, and the average weighted by the steps."""
    w, total, n = one.start.copy(), np.zeros(len(one.start)), len(drawn)
    multipliers = parse_schedule(schedule)(np.arange(n), n)
    for rate, draw in zip(lr * multipliers, drawn, strict=True):
        total += rate * w
        if hasattr(one, "sharpness"):
            w = np.clip(w - rate * (one.sharpness * np.sign(w) + draw), -1, 1)
            continue
        x, y = one.inputs[draw], one.targets[draw]
        slope = np.sign(x @ w - y) if one.kind == "absolute" else -y / (1 + np.exp(y * (x @ w)))
        w = w - rate * slope * x
        w = w * min(1.0, one.radius / max(np.linalg.norm(w), 1e-12))
    return w, total / (lr * multipliers.sum())


@pytest.mark.parametrize("name", ["absolute", "noisy", "separable", "every scale"])
def test_all_trainings_at_once_are_those_of_a_plain_loop(paper, name):
    steps, schedules = 60, ("constant", "cosine")
    last, average = paper.train(name, schedules, steps, n_seeds=2)
    one = paper.problem(name)
    for s, schedule in enumerate(schedules):
        lrs = paper.learning_rates(name, schedule, steps)
        for place, seed in ((0, 0), (25, 1), (50, 0), (61, 1)):
            drawn = one.draws(np.random.default_rng([seed, steps]), steps)
            for found, w in zip((last, average), trained_alone(one, lrs[place], schedule, drawn), strict=True):
                assert found[s, place, seed] == pytest.approx(one.excess(w[None, :, None])[0, 0], rel=1e-3)


@pytest.mark.parametrize("name", ["absolute", "noisy", "separable", "breast cancer"])
def test_no_point_of_the_ball_is_better_than_the_best(paper, name):
    one, rng = paper.problem(name), np.random.default_rng(0)
    near = one.best + rng.normal(size=(200, len(one.best))) * 10.0 ** rng.uniform(-6, 0, size=(200, 1))
    near *= np.minimum(1, one.radius / np.linalg.norm(near, axis=1))[:, None]
    assert one.excess(near.T[None]).min() > -1e-12
    assert np.linalg.norm(one.best) <= one.radius * (1 + 1e-12)


def test_a_power_law_has_its_exponent_and_noise_gives_it_a_band(paper):
    rho = 10.0 ** ((np.arange(62) - 22) / paper.PER_DECADE)
    law = np.maximum(1 / rho, rho**0.4)[:, None] * np.ones(10)
    assert paper.exponent_band(law) == pytest.approx((0.4, 0.4, 0.4), abs=1e-6)
    held = 0
    for seed in range(20):
        noise = np.random.default_rng(seed).lognormal(sigma=0.5, size=law.shape)
        _, low, high = paper.exponent_band(law * noise)
        held += low <= 0.4 <= high
    assert held >= 17
    assert np.isnan(paper.exponent(law[:40]))


def test_losses_are_kept_to_a_part_in_five_hundred(paper, tmp_path):
    losses = {("sharp", "last", 1000, "linear"): np.random.default_rng(0).lognormal(sigma=5, size=(73, 3))}
    paper.write_table(paper.Sweeps(losses, {"sharp": 1.5}, "by hand"), tmp_path / "table.csv.gz")
    read = paper.read_table(tmp_path / "table.csv.gz")
    assert (read.seconds, read.versions) == ({"sharp": 1.5}, "by hand")
    for key, each in losses.items():
        np.testing.assert_allclose(read.losses[key], each, rtol=2e-3)


def test_on_the_worst_case_annealing_forgives_in_the_order_of_theory_and_a_floor_takes_it_back(paper):
    schedules = ("constant", "polynomial(power=0.5)", "linear", "polynomial(power=2)", "polynomial(power=2, floor=0.1)")
    last, _ = paper.train("every scale", schedules, FEW_STEPS, n_seeds=10)
    constant, half, linear, square, floored = (paper.exponent(losses) for losses in last)
    assert constant > half + 0.05 > linear + 0.1 > square + 0.1
    assert floored > square + 0.3


def test_the_committed_losses_are_complete_and_small(paper, kept):
    assert kept.problems == list(paper.PROBLEMS)
    assert kept.steps == list(paper.STEPS)
    assert {key[3] for key in kept.losses} == set(paper.SCHEDULES)
    assert all(losses.shape[1] == paper.SEEDS and np.isfinite(losses).all() for losses in kept.losses.values())
    assert paper.TABLE.stat().st_size < 1e6


def test_the_page_shows_the_exponents_of_the_committed_losses(paper, kept):
    page = paper.DOCS.read_text(encoding="utf-8")
    assert paper.said(kept) in page
    rows = [line.split(" | ") for line in page.split("Exponent of f - f*", 1)[1].splitlines() if line.startswith("| ")]
    header = [cell.strip("| ") for cell in rows[0]]
    for row in rows[2 : 2 + len(paper.SCHEDULES)]:
        (schedule,) = (s for s in paper.SCHEDULES if paper.short(s) == row[0].strip("| "))
        for name, cell in list(zip(header, row, strict=True))[4:6]:
            figures = paper.exponent_band(kept.losses[name, "last", kept.steps[-1], schedule])
            assert [float(x) for x in re.findall(r"-?\d+\.\d+", cell)] == pytest.approx(figures, abs=0.011)


def test_a_small_run_prints_its_tables():
    options = ["--problems", "sharp", "absolute", "--steps", "100", "--seeds", "2", "--jobs", "1"]
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *options], check=False, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n### ") == 6
    assert "| constant | 1.00 |" in done.stdout
