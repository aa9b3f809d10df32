"""The order in which results are listed means nothing: an analysis is the same for any."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robust_lr import SweepResult, analyze_sweep


def sweep_of(seed):
    rng, x = np.random.default_rng(seed), np.arange(9) - 4.0
    loss = 2 + 0.02 * x[:, None] ** 2 + 0.01 * (rng.normal(size=(2, 9, 4)) + rng.normal(size=4))
    loss[rng.random(loss.shape) < 0.2] = np.nan
    loss[:, :, 0] = np.where(np.isnan(loss[:, :, 0]), 2.5, loss[:, :, 0])
    loss[:, -1, rng.integers(4)] = rng.choice([np.inf, 1e5, 2.4])
    return SweepResult(("constant", "cosine"), 2.0**x, range(4), loss)


def same(one, other):
    """Numbers agree up to rounding, all else exactly."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return one == pytest.approx(other, rel=1e-6, abs=1e-9) if isinstance(one, float) else one == other


@settings(max_examples=25)
@given(st.integers(0, 10**6), st.randoms(use_true_random=False))
def test_the_analysis_is_the_same_for_any_order_of_the_rows_of_a_table(tmp_path_factory, seed, random):
    path = tmp_path_factory.mktemp("rows") / "runs.csv"
    sweep_of(seed).to_csv(path)
    first = analyze_sweep(SweepResult.from_csv(path)).to_dict()
    header, *rows = path.read_text().splitlines()
    random.shuffle(rows)
    path.write_text("\n".join([header, *rows]) + "\n")
    again = analyze_sweep(SweepResult.from_csv(path)).to_dict()
    assert same(*({entry["schedule"]: entry for entry in found["schedules"]} for found in (first, again)))


@settings(max_examples=25)
@given(st.integers(0, 10**6), st.permutations(range(4)))
def test_the_analysis_is_the_same_for_any_order_of_the_seeds(seed, order):
    sweep = sweep_of(seed)
    other = SweepResult(sweep.schedules, sweep.learning_rates, order, sweep.loss[..., order])
    one, two = analyze_sweep(sweep), analyze_sweep(other)
    assert one.tolerance == pytest.approx(two.tolerance)
    for a, b in zip(one.schedules, two.schedules, strict=True):
        assert (a.recommendation is None) == (b.recommendation is None)
        for name in ("worst_interval", "mean_interval", "worst", "final_loss"):
            np.testing.assert_allclose(getattr(a.curve, name), getattr(b.curve, name), rtol=1e-6, atol=1e-9)
        if a.recommendation is not None:
            assert a.recommendation.ratio == b.recommendation.ratio
    np.testing.assert_allclose(one.comparison.interval, two.comparison.interval, rtol=1e-6, atol=1e-9)
