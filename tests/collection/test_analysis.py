"""What many one-seed sweeps say about the next one."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from robust_lr import SweepCollection, SweepResult
from robust_lr.collection import analyze_collection
from robust_lr.exceptions import DataError, InsufficientDataError, OptionError
from tests.collection.synthetic import LRS, collection, sweep, valley


def test_many_sweeps_with_one_seed_give_a_recommendation():
    answer = analyze_collection(collection(), tolerance=0.05).answer
    assert answer.ratio == pytest.approx(8) and (answer.n_trials, answer.n_trials_full) == (5, 13)
    assert answer.bound <= 0.05 < next(row.bound for row in answer.ratios if row.ratio > answer.ratio)
    assert (answer.n_sweeps, answer.n_clusters, answer.cluster_by) == (48, 8, ("size",))
    assert str(answer).startswith("cosine: ratio 8, 5 trials, excess loss at most 0.0")


def test_the_recommendation_holds_for_sizes_that_it_has_not_seen():
    rng, within = np.random.default_rng(5), []
    for _ in range(20):
        sizes = list(collection(24, 5, rng=rng, noise=0.002).clusters(["size"]).values())
        seen, unseen = ([each for size in part for each in size] for part in (sizes[:8], sizes[8:]))
        advice = analyze_collection(SweepCollection(tuple(seen)), tolerance=0.06).answer
        others = analyze_collection(SweepCollection(tuple(unseen)), tolerance=0.06).answer
        excess = np.nan_to_num([others.excess_of(each, advice.ratio) for each in others.sweeps])
        within.append(np.mean(excess <= 0.06))
    assert np.mean(within) >= 0.95
    assert np.sort(within)[1] >= 0.9


def test_a_larger_tolerance_never_gives_a_finer_grid_and_keeping_it_is_always_an_answer():
    ratios = [analyze_collection(collection(), tolerance=t).answer.ratio for t in (1e-6, 0.01, 0.03, 0.1, 0.3, 10)]
    assert ratios == sorted(ratios)
    kept = analyze_collection(collection(), tolerance=1e-6).answer
    assert kept.keeps_the_grid and kept.bound == 0 and kept.n_trials == kept.n_trials_full
    assert "more than your 1e-06" in kept.why


def test_a_tolerance_in_percent_is_of_the_lowest_loss_of_each_sweep():
    pairs = [
        ({"i": i, "scale": s}, sweep(10.0**s * valley(LRS, np.sin(i))))
        for i, s in enumerate(np.arange(40) % 4)
    ]  # fmt: skip
    relative = analyze_collection(SweepCollection.from_sweeps(pairs), tolerance="1%").answer
    assert relative.relative and relative.ratio == pytest.approx(4)
    assert "1%" in relative.why


def test_where_most_optima_are_at_the_edge_the_range_comes_first():
    pairs = [({"i": i}, sweep(valley(LRS, 6.0 if i % 3 else 0.0))) for i in range(30)]
    analysis = analyze_collection(SweepCollection.from_sweeps(pairs), tolerance=10.0)
    assert analysis.answer.beyond == "upper" and analysis.answer.keeps_the_grid
    assert "higher learning rates under cosine, at ratio 2 as here" in " ".join(str(analysis).split())


def test_sweeps_that_show_nothing_are_counted_and_do_not_count():
    pairs = [({"i": i}, sweep(valley(LRS, np.sin(i)))) for i in range(20)]
    pairs += [({"i": 20}, sweep(np.full(13, math.inf))), ({"i": 21}, sweep([1.0, 2.0], LRS[:2]))]
    answer = analyze_collection(SweepCollection.from_sweeps(pairs), tolerance=0.05).answer
    assert answer.n_sweeps == 20
    assert answer.left_out == {"every learning rate diverged": 1, "fewer than 3 learning rates": 1}


def three_schedules(n=20):
    at = np.sin(np.arange(n))
    rng = np.random.default_rng(0)
    losses = [np.stack([valley(LRS, x) + d + 0.001 * rng.normal(size=13) for d in (0.0, 0.02, 0.0)]) for x in at]
    names = ("cosine", "constant", "linear")
    pairs = [({"i": i}, SweepResult(names, LRS, (0,), loss[:, :, None])) for i, loss in enumerate(losses)]
    return SweepCollection.from_sweeps(pairs)


def test_schedules_are_compared_on_the_same_sweeps():
    analysis = analyze_collection(three_schedules(), tolerance=0.05)
    pairs = {(pair.lower, pair.higher): pair for pair in analysis.pairs}
    pair = pairs["cosine", "constant"]
    assert pair.interval[0] < 0.02 < pair.interval[1] and pair.n_lower == pair.n_sweeps == 20 and not pair.tied
    assert next(p for p in analysis.pairs if {p.lower, p.higher} == {"cosine", "linear"}).tied
    assert analysis.answer.schedule in ("cosine", "linear")
    assert "below constant on average, and in 20 of 20 sweeps with both" in str(analysis)


def test_the_figures_are_strict_json():
    content = json.loads(json.dumps(analyze_collection(three_schedules()).to_dict(), allow_nan=False))
    assert {"ratio", "n_trials", "n_sweeps", "n_clusters", "quantiles", "bound", "schedules", "comparison"} <= set(
        content
    )
    assert [each["schedule"] for each in content["schedules"]] == ["cosine", "constant", "linear"]
    assert {"ratio", "n_trials", "n_sweeps", "median", "high", "bound"} == set(content["quantiles"][0])
    assert len(content["sweeps"]) == 20 and len(content["sweeps"][0]["excess"]) == len(content["quantiles"])


@pytest.mark.parametrize("n_sizes", [2, 40])
def test_the_text_is_short_however_many_sweeps_there_are(n_sizes):
    text = str(analyze_collection(collection(n_sizes, 6)))
    assert len(text.splitlines()) <= 60
    assert text.splitlines()[1].startswith("Next sweep")


def test_the_text_of_many_schedules_is_short_too():
    names = tuple(f"wsd({i})" for i in range(30))
    loss = np.stack([valley(LRS, 0.0) + i for i in range(30)])[:, :, None]
    pairs = [({"i": i}, SweepResult(names, LRS, (0,), loss + i)) for i in range(12)]
    text = str(analyze_collection(SweepCollection.from_sweeps(pairs)))
    assert len(text.splitlines()) <= 60 and "and 21 more schedules" in text


def test_what_cannot_be_analyzed_is_refused_in_one_line():
    with pytest.raises(InsufficientDataError, match="no schedule has two sweeps of three learning rates"):
        analyze_collection(SweepCollection.from_sweeps([({}, sweep(valley(LRS)))]))
    with pytest.raises(DataError, match="no covariate 'model'; it has size and batch"):
        analyze_collection(collection(), cluster_by=["model"])
    with pytest.raises(OptionError, match="confidence_level must be"):
        analyze_collection(collection(), confidence_level=0.3)
