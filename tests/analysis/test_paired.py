"""Two sides compared: verdicts that hold, pairs of any kind, and what would tell."""

from __future__ import annotations

import json

import numpy as np
import pytest

from robust_lr import SweepResult
from robust_lr.analysis import compare_sweeps
from robust_lr.exceptions import DataError, InsufficientDataError, OptionError

X = np.arange(9) - 4.0
LRS = 2.0**X


def sweep(rng, seeds, *, up=0.0, center=0.0, sd=0.02, schedule="cosine", **options):
    seeds = range(seeds) if isinstance(seeds, int) else seeds
    noise = rng.normal(size=len(seeds)) + rng.normal(size=(9, len(seeds)))
    loss = 2.0 + up + 0.01 * (X - center)[:, None] ** 2 + sd * noise
    return SweepResult((schedule,), LRS, seeds, loss[None], **options)


def many(rng, n, **options):
    return {f"size = {i}": sweep(rng, 1, **{"center": rng.normal(), **options}) for i in range(n)}


def verdicts(make, n=30, **options):
    rng = np.random.default_rng(0)
    return [compare_sweeps(*make(rng), **options)[0].verdict for _ in range(n)]


@pytest.mark.parametrize(
    "make",
    [
        lambda rng: (sweep(rng, 2), sweep(rng, 2)),
        lambda rng: (sweep(rng, 5), sweep(rng, 2)),
        lambda rng: (sweep(rng, 3), sweep(rng, (7, 8, 9))),
        lambda rng: (sweep(rng, 3), sweep(rng, 3, sd=0.06)),
        lambda rng: (many(rng, 12), many(rng, 12, sd=0.06)),
    ],
    ids=["2 seeds", "unequal seeds", "other seeds", "a noisier side", "noisier sweeps"],
)
def test_equal_sides_are_hardly_ever_told_apart(make):
    assert sum(v in ("A", "B") for v in verdicts(make)) <= 4  # 1.5 of 30 on average at most


@pytest.mark.parametrize(
    ("make", "share"),
    [
        (lambda rng: (sweep(rng, 3), sweep(rng, 3, up=-0.2)), 0.9),
        (lambda rng: (sweep(rng, 3, up=0.2), sweep(rng, (7, 8, 9))), 0.9),
        (lambda rng: (many(rng, 12), many(rng, 12, up=-0.06, center=2.0)), 0.9),
    ],
    ids=["seeds", "other seeds", "sweeps"],
)
def test_a_clear_difference_is_seen(make, share):
    assert np.mean([v == "B" for v in verdicts(make, n=20)]) >= share


def test_the_difference_is_b_less_a_at_the_best_learning_rate_of_each():
    rng = np.random.default_rng(0)
    (found,) = compare_sweeps(sweep(rng, 3, sd=1e-4), sweep(rng, 3, sd=1e-4, up=0.1, center=2.0))
    assert found.at_best.difference == pytest.approx(0.1, abs=1e-3)
    assert found.best_lrs.tolist() == [[1.0, 4.0]] and found.verdict == "A"
    assert found.at_rates[found.learning_rates == 4.0] == pytest.approx(0.06, abs=1e-3)
    assert found.at_equal.difference == pytest.approx(0.1, abs=2e-3)  # over 0.5 to 8, around which it is symmetric


def test_swapping_the_sides_swaps_the_verdict():
    rng = np.random.default_rng(3)
    for a, b in ((sweep(rng, 3), sweep(rng, 3, up=0.2)), (sweep(rng, 3), sweep(rng, (5, 6, 7), up=0.2))):
        (one,), (other,) = compare_sweeps(a, b), compare_sweeps(b, a)
        assert {one.verdict, other.verdict} == {"A", "B"}
        assert one.at_best.difference == pytest.approx(-other.at_best.difference)
        assert one.at_best.interval == pytest.approx([-end for end in other.at_best.interval[::-1]])


def test_a_score_is_better_where_it_is_higher():
    rng = np.random.default_rng(0)
    sides = [sweep(rng, 3, sd=1e-3, up=up - 3.0, direction="maximize") for up in (0.0, -0.1)]
    (found,) = compare_sweeps(*sides, names=("plain", "dropout"))
    assert found.verdict == "B"
    assert "dropout is better: at the best learning rate of each, its score is higher by 0.0991" in " ".join(
        str(found).split()
    )


def test_one_seed_on_each_side_gives_no_verdict_and_says_what_would():
    rng = np.random.default_rng(0)
    a, b = sweep(rng, 1), sweep(rng, 1)
    (found,) = compare_sweeps(a, b)
    assert found.verdict == "" and found.enough_pairs() is None
    text = " ".join(str(found).split())
    assert "nothing shows the noise" in text and "a second seed at" in text
    (known,) = compare_sweeps(a, sweep(rng, 1, up=1.0), noise=0.03)
    assert known.verdict == "A" and np.isfinite(known.at_best.interval).all()


def test_a_difference_that_does_not_matter_is_called_so():
    rng = np.random.default_rng(0)
    (found,) = compare_sweeps(sweep(rng, 5, sd=1e-3), sweep(rng, 5, sd=1e-3), tolerance=0.05)
    assert found.verdict == "equal" and "all within 0.05" in " ".join(str(found).split())


def test_more_pairs_are_needed_for_a_smaller_difference():
    (found,) = compare_sweeps(*(sweep(np.random.default_rng(s), 3) for s in (0, 1)))
    needed = [found.enough_pairs(d) for d in (0.1, 0.03, 0.01)]
    assert needed == sorted(needed) and needed[0] >= 2 and needed[2] > 4 * needed[1]
    assert found.enough_pairs(0.0) is None


def test_the_number_of_pairs_shows_the_difference_it_was_asked_for():
    """With a probability of 80 %, over sweeps that know their noise no better; 8 pairs do if it is known."""
    rng, shown, pairs = np.random.default_rng(0), [], []
    for _ in range(80):
        (found,) = compare_sweeps(sweep(rng, 3), sweep(rng, 3))
        pairs.append(found.enough_pairs(0.05))
        noise = 0.028 * rng.normal(size=(2, 1, 1, pairs[-1]))
        more = [SweepResult(("a",), [1.0], range(pairs[-1]), loss) for loss in (noise[0], 0.05 + noise[1])]
        shown.append(compare_sweeps(*more)[0].verdict == "A")
    assert np.mean(shown) >= 0.8
    assert np.median(pairs) <= 12


def test_a_learning_rate_at_which_only_one_side_trains_is_said():
    rng = np.random.default_rng(0)
    a, b = sweep(rng, 3), sweep(rng, 3)
    loss = b.loss.copy()
    loss[0, 7:] = np.inf
    (found,) = compare_sweeps(a, SweepResult(("cosine",), LRS, range(3), loss), names=("low", "high"))
    assert np.isinf(found.at_rates[7:]).all() and str(found).count("only low trains") == 2


def test_sweeps_are_paired_by_name_and_those_without_a_result_are_named():
    rng = np.random.default_rng(0)
    a, b = many(rng, 6), many(rng, 5)
    b["size = 2"] = SweepResult(("cosine",), LRS, (0,), np.full((1, 9, 1), np.inf))
    (found,) = compare_sweeps(a, b, names=("old", "new"))
    assert found.sweeps == ("size = 0", "size = 1", "size = 3", "size = 4") and found.at_best.n_pairs == 4
    assert found.left_out == ("new at size = 2: every learning rate, 0.0625 to 16, diverged",)


def test_schedules_of_one_sweep_are_compared_and_several_share_the_error():
    rng = np.random.default_rng(0)
    parts = [sweep(rng, 3, up=up).loss for up in (0.0, 0.3)]
    both = SweepResult(("constant", "cosine"), LRS, range(3), np.concatenate(parts))
    (found,) = compare_sweeps(both, both, schedules=("constant", "cosine"))
    assert found.verdict == "A"
    assert [round(f.confidence_level, 3) for f in compare_sweeps(both, both)] == [0.975, 0.975]


def test_what_cannot_be_compared_is_one_line():
    rng = np.random.default_rng(0)
    a = sweep(rng, 2)
    with pytest.raises(DataError, match="no schedule in common: A has cosine, B has x, y"):
        compare_sweeps(a, SweepResult(("x", "y"), LRS, (0,), np.ones((2, 9, 1))))
    with pytest.raises(DataError, match="no sweep in common"):
        compare_sweeps({"p = 1": a}, {"p = 2": a})
    with pytest.raises(DataError, match="different directions"):
        compare_sweeps(a, sweep(rng, 2, direction="maximize"))
    with pytest.raises(InsufficientDataError, match="nothing to compare: B: every learning rate"):
        compare_sweeps(a, SweepResult(("cosine",), LRS, (0,), np.full((1, 9, 1), np.inf)))
    with pytest.raises(OptionError):
        compare_sweeps(a, a, confidence_level=1.0)


@pytest.mark.parametrize("n_rates", [1, 2])
def test_one_or_two_learning_rates_will_do(n_rates):
    rng = np.random.default_rng(0)
    sides = [
        SweepResult(("a",), LRS[:n_rates], range(5), up + 0.01 * rng.normal(size=(1, n_rates, 5))) for up in (0, 1)
    ]
    assert compare_sweeps(*sides)[0].verdict == "A"


def test_its_figures_are_json():
    rng = np.random.default_rng(0)
    for sides in ((sweep(rng, 1), sweep(rng, 1)), (many(rng, 3), many(rng, 3))):
        content = json.loads(json.dumps(compare_sweeps(*sides)[0].to_dict(), allow_nan=False))
        assert {"verdict", "conclusion", "at_best", "enough_pairs"} <= set(content)
