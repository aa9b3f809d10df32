"""The valley of one sweep."""

from __future__ import annotations

import math

import numpy as np
import pytest

from robust_lr.prior._law import Prediction
from robust_lr.prior._valley import Powers, fit_valley

POWERS = Powers(1.5, 2.0)
VAGUE = (Prediction(-5.0, 2.0), Prediction(math.log(0.01), 1.0), Prediction(math.log(0.01), 1.0))


def _losses(x, best=-5.2, left=0.008, right=0.015):
    u = (x - best) / math.log(2)
    return 3 + np.where(u < 0, left * np.abs(u) ** 1.5, right * np.abs(u) ** 2)


def test_a_whole_sweep_shows_its_best_and_what_half_and_twice_of_it_cost():
    x = -5 + math.log(2) / 2 * np.arange(-6, 7)
    fit = fit_valley(x, _losses(x), VAGUE, POWERS, 0.0005, 0.05)
    assert fit.mean == pytest.approx([-5.2, math.log(0.008), math.log(0.015)], abs=0.12)
    assert np.sqrt(fit.variance[0]) < 0.1


def test_a_sweep_that_ends_below_its_best_says_only_that_the_best_is_above():
    x = -6 + math.log(2) / 2 * np.arange(-6, 1)
    fit = fit_valley(x, _losses(x, best=-5.4), VAGUE, POWERS, 0.001, 0.1)
    assert fit.mean[0] > x[-1]
    assert fit.variance[2] == pytest.approx(VAGUE[2].sd ** 2, rel=0.1)  # the right side was not seen


def test_a_loss_far_above_the_best_is_no_part_of_the_valley():
    x = -5 + math.log(2) / 2 * np.arange(-6, 7)
    loss = _losses(x)
    broken = np.where(x > -4.2, 9.0, loss)
    assert fit_valley(x, broken, VAGUE, POWERS, 0.0005, 0.05).mean[0] == pytest.approx(-5.2, abs=0.15)
