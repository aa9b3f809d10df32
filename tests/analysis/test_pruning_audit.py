"""How often ranking learning rates in the middle of training is wrong, on any curves."""

from __future__ import annotations

import math

import numpy as np
import pytest

from robust_lr.analysis.pruning_audit import audit_ranking
from robust_lr.exceptions import DataError, InsufficientDataError, OptionError
from robust_lr.loss_curves import LossCurve

LRS = (0.01, 0.02, 0.04, 0.08, 0.16)


def curve(lr, losses, *, seed="0", schedule="", steps=None):
    steps = tuple(range(1, len(losses) + 1)) if steps is None else tuple(steps)
    return LossCurve(lr=lr, steps=steps, losses=tuple(losses), final=losses[-1], seed=seed, schedule=schedule)


def crossing(power, n_seeds=3, schedule=""):
    """The smallest learning rate leads early, the fourth is the best at the end; the later, the larger the power."""
    curves = []
    for seed in range(n_seeds):
        for k, lr in enumerate(LRS):
            weight = [(t / 10) ** power for t in range(1, 11)]
            losses = [1 + w * abs(k - 3) + (1 - w) * k + 0.01 * seed for w in weight]
            curves.append(curve(lr, losses, seed=str(seed), schedule=schedule))
    return curves


def test_curves_that_cross_late_make_early_rankings_wrong_and_say_so():
    audit = audit_ranking(crossing(6))
    assert [(each.share, each.n_wrong, each.n_searches) for each in audit.figures] == [
        (0.3, 3, 3), (0.5, 3, 3), (0.7, 3, 3), (0.9, 0, 3),
    ]  # fmt: skip
    first = audit.figures[0]
    assert (first.mean_excess, first.worst_excess, first.n_to_keep) == pytest.approx((3.0, 3.0, 4))
    assert audit.advice().startswith("At 30% of the run, the leading learning rate ended worse than the best by more")
    assert "in 3 of 3 searches. Rank whole runs only" in audit.advice()


def test_curves_that_do_not_cross_make_no_ranking_wrong():
    curves = [curve(lr, [1 + k - 0.1 * t for t in range(10)]) for k, lr in enumerate(LRS)]
    audit = audit_ranking(curves)
    assert [each.n_wrong for each in audit.figures] == [0] * 4
    assert "At 30% of the run and later, the leading learning rate always ended within 0.1% of the best." in (
        audit.advice()
    )


def test_a_leader_within_the_tolerance_of_the_best_is_no_mistake():
    assert audit_ranking(crossing(6), tolerance=2.9, shares=[0.5]).figures[0].n_wrong == 3
    assert audit_ranking(crossing(6), tolerance=3.1, shares=[0.5]).figures[0].n_wrong == 0


def test_each_schedule_is_judged_on_its_own():
    audit = audit_ranking([*crossing(6, schedule="late"), *crossing(0.2, schedule="early")], shares=[0.5])
    assert {each.schedule: each.n_wrong for each in audit.figures} == {"late": 3, "early": 0}
    header, rows = audit.rows()
    assert [row[0] for row in rows] == ["late", "early"]
    assert {len(row) for row in rows} == {len(header)}


def test_a_leader_that_diverges_later_is_wrong_and_one_that_diverged_before_does_not_lead():
    curves = crossing(0.01, n_seeds=1)
    later = curve(0.32, [0.1] * 9 + [math.nan])
    before = curve(0.64, [0.1, math.inf] + [math.inf] * 8)
    assert audit_ranking([*curves, later], shares=[0.5]).figures[0].worst_excess == math.inf
    assert audit_ranking([*curves, before], shares=[0.5]).figures[0].n_wrong == 0


@pytest.mark.parametrize("seed", range(3))
def test_the_figures_are_those_of_a_plain_count(seed):
    rng = np.random.default_rng(seed)
    table = rng.normal(size=(4, 5, 10)).cumsum(axis=2)  # searches, learning rates, steps
    curves = [curve(lr, table[s, k].tolist(), seed=str(s)) for s in range(4) for k, lr in enumerate(LRS)]
    for each in audit_ranking(curves, tolerance=1e-9).figures:
        leaders = table[:, :, round(10 * each.share) - 1].argmin(axis=1)
        excess = table[range(4), leaders, -1] - table[:, :, -1].min(axis=1)
        assert each.n_wrong == (excess > 1e-9).sum()
        assert each.mean_excess == pytest.approx(excess.mean())


def test_a_search_of_two_learning_rates_is_left_out_and_counted():
    audit = audit_ranking([*crossing(6), *[curve(lr, [1.0, lr], seed="few") for lr in (0.1, 0.2)]])
    assert audit.figures[0].n_searches == 3
    assert audit.notes == ("searches left out because they have fewer than 3 curves or all diverged: 1",)
    with pytest.raises(InsufficientDataError, match="3 learning rates"):
        audit_ranking([curve(lr, [1.0, lr]) for lr in (0.1, 0.2)])


def test_what_is_no_curve_is_refused():
    for steps, losses, words in [((2, 1), (1.0, 1.0), "ascending"), ((1, 2), (1.0,), "a loss for each step")]:
        with pytest.raises(DataError, match=words):
            LossCurve(lr=0.1, steps=steps, losses=losses, final=1.0)
    with pytest.raises(OptionError, match="a share must be a finite number > 0 and < 1"):
        audit_ranking(crossing(6), shares=[30])
