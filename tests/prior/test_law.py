"""The law of a quantity: its fit, and what it says where the data say little."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from robust_lr.prior._law import fit_law

PLAUSIBLE = np.array([0.5, 0.5])


def _data(n_clusters=8, each=6, seed=0, between=0.1):
    rng = np.random.default_rng(seed)
    cluster = np.repeat(np.arange(n_clusters), each)
    rows = np.column_stack([rng.normal(size=n_clusters)[cluster], rng.normal(size=len(cluster))])
    y = -5 + rows @ [-0.6, 0.3] + between * rng.normal(size=n_clusters)[cluster] + 0.2 * rng.normal(size=len(cluster))
    return y, np.full(len(y), 0.01), rows, cluster


def _slow_fit(y, variance, rows, cluster, plausible, typical):
    """The obvious twin: the full covariance matrix of all sweeps, on the same mesh."""
    design = np.column_stack([np.ones(len(y)), rows])
    prior = np.diag(np.concatenate([[1e4], plausible**2]))
    mesh = typical * np.exp(np.linspace(math.log(0.05), math.log(3.0), 14))
    best = None
    for within, between in itertools.product(mesh, mesh):
        noise = np.diag(variance + within**2) + between**2 * (cluster[:, None] == cluster)
        whole = noise + design @ prior @ design.T
        score = -(np.linalg.slogdet(whole)[1] + y @ np.linalg.solve(whole, y)) / 2
        score += sum(math.log(sd) - math.log1p((sd / typical) ** 2) / 2 for sd in (within, between))
        if best is None or score > best[0]:
            best = score, within, between, noise
    _, within, between, noise = best
    covariance = np.linalg.inv(design.T @ np.linalg.solve(noise, design) + np.linalg.inv(prior))
    return covariance @ design.T @ np.linalg.solve(noise, y), covariance, within, between


@pytest.mark.parametrize("seed", [0, 1])
def test_the_law_equals_that_of_the_full_covariance_matrix(seed):
    given = (*_data(4, 4, seed), PLAUSIBLE, 0.5)
    law, (coefficients, covariance, within, between) = fit_law(*given), _slow_fit(*given)
    assert law.coefficients == pytest.approx(coefficients, rel=1e-6)
    assert law.covariance == pytest.approx(covariance, rel=1e-5)
    assert (law.within, law.between) == pytest.approx((within, between))


def test_the_law_finds_the_exponents_and_how_much_sweeps_differ():
    law = fit_law(*_data(20, 8, between=0.3), PLAUSIBLE, 0.5)
    assert law.coefficients[1:] == pytest.approx([-0.6, 0.3], abs=0.2)
    assert law.within == pytest.approx(0.2, abs=0.1)
    assert law.between == pytest.approx(0.3, abs=0.15)


def test_a_constant_feature_leaves_a_prediction_as_uncertain_as_before_any_data():
    y, variance, rows, cluster = _data()
    rows[:, 0] = 0.0
    law = fit_law(y, variance, rows, cluster, PLAUSIBLE, 0.5)
    near, far = law.predict(np.array([0.0, 0.0])), law.predict(np.array([2.0, 0.0]))
    assert far.sd**2 - near.sd**2 == pytest.approx(1.0, rel=1e-6)  # (2 x 0.5)^2


def test_collinear_features_share_their_effect_and_do_no_harm():
    y, variance, rows, cluster = _data()
    rows[:, 0] = rows[:, 1]
    law = fit_law(y, variance, rows, cluster, PLAUSIBLE, 0.5)
    assert law.coefficients[1] == pytest.approx(law.coefficients[2])
    along, across = law.predict(np.array([1.0, 1.0])), law.predict(np.array([1.0, -1.0]))
    assert along.sd < across.sd


def test_three_sweeps_are_enough_for_a_law_that_knows_how_little_it_knows():
    law = fit_law(np.array([-5.0, -5.1, -5.3]), np.full(3, 0.01), np.zeros((3, 1)), np.arange(3), np.ones(1) / 2, 0.5)
    assert np.isfinite(law.covariance).all()
    assert law.predict(np.zeros(1)).mean == pytest.approx(-5.13, abs=0.05)
    assert law.predict(np.zeros(1)).sd > 0.1
