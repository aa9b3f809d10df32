"""What many one-seed sweeps say about the next one."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from robust_lr import SweepCollection, SweepResult, run_sweep
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
    assert "more than the tolerance of 1e-06" in kept.why


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


def on_grids(*strides, curvature=0.05, seed=0):
    """Sweeps on every `stride`-th rate of one grid, with optima that differ from sweep to sweep."""
    rng, pairs = np.random.default_rng(seed), []
    for i, stride in enumerate(strides):
        loss = valley(LRS, 0.7 * rng.normal(), curvature) + 5e-4 * rng.normal(size=len(LRS))
        pairs.append(({"model": f"m{i}"}, sweep(loss[::stride], LRS[::stride])))
    return SweepCollection.from_sweeps(pairs)


@pytest.mark.parametrize("n_fine", [4, 5, 8])
def test_a_ratio_is_judged_by_the_sweeps_with_finer_grids_and_not_by_those_that_have_only_that_ratio(n_fine):
    mixed = analyze_collection(on_grids(*[1] * n_fine, *[2] * (12 - n_fine)), tolerance=0.02).answer
    fine = analyze_collection(on_grids(*[1] * n_fine), tolerance=0.02).answer
    assert mixed.ratios == fine.ratios and mixed.ratio == pytest.approx(2) and mixed.n_trials == 13
    assert mixed.ratios[1].n_sweeps == n_fine and mixed.ratios[1].bound > 0.02
    assert mixed.left_out == {"a grid coarser than the ratio of 2 that the others have": 12 - n_fine}


def test_grids_whose_ratios_are_no_multiples_are_judged_from_the_finest_too():
    wide = 10.0 ** np.arange(-2, 3)
    pairs = [({"i": i}, sweep(valley(LRS, np.sin(i)))) for i in range(4)]
    pairs += [({"i": i}, sweep(valley(wide, np.sin(i)), wide)) for i in range(4, 12)]
    answer = analyze_collection(SweepCollection.from_sweeps(pairs), tolerance=1e-6).answer
    assert answer.ratio == pytest.approx(2) and answer.n_sweeps == 4


def test_finer_grids_in_too_few_sweeps_to_recommend_by_are_said_with_what_they_show():
    answer = analyze_collection(on_grids(1, 1, *[2] * 10), tolerance=0.001).answer
    assert answer.ratio == pytest.approx(4) and answer.n_sweeps == 12
    lost = max(each.at(4.0) for each in answer.sweeps[:2])
    assert f"2 of 12 sweeps tried a finer grid, on which ratio 4 loses up to {lost:.4f}" in " ".join(answer.warnings)


def test_narrow_sweeps_do_not_make_a_wide_ratio_cheap():
    pairs = [({"i": i}, sweep(valley(LRS, 0.3 * np.sin(i), 0.05))) for i in range(6)]
    narrow = [({"i": i}, sweep(valley(LRS[5:8], 0.3 * np.sin(i), 0.05), LRS[5:8])) for i in range(6, 40)]
    answer = analyze_collection(SweepCollection.from_sweeps(pairs + narrow), tolerance=0.4).answer
    alone = analyze_collection(SweepCollection.from_sweeps(pairs), tolerance=0.4).answer
    assert (answer.n_trials, answer.n_trials_full) == (alone.n_trials, alone.n_trials_full)
    wide = [row for row in answer.ratios if row.ratio > 4.1]
    assert {row.n_sweeps for row in wide} == {6}
    assert all(row.bound >= own.bound for row, own in zip(wide, alone.ratios[2:], strict=True))


def test_the_trials_of_a_ratio_fill_the_range_of_the_sweeps_however_many_rates_are_missing():
    rng, pairs = np.random.default_rng(0), []
    for i in range(20):
        kept = np.sort(np.r_[0, 12, rng.choice(np.arange(1, 12), 9, replace=False)])
        pairs.append(({"i": i}, sweep(valley(LRS, np.sin(i))[kept], LRS[kept])))
    answer = analyze_collection(SweepCollection.from_sweeps(pairs), tolerance=0.05).answer
    spans = [round(math.log(LRS[-1] / LRS[0]) / math.log(row.ratio) - 0.49) + 1 for row in answer.ratios]
    assert [row.n_trials for row in answer.ratios] == spans and answer.n_trials_full == 13


def test_learning_rates_drawn_at_random_give_no_recommendation_and_the_reason():
    rng, pairs = np.random.default_rng(0), []
    for i in range(20):
        lrs = np.sort(10 ** rng.uniform(-4, -1, 15))
        pairs.append(({"i": i}, sweep(valley(lrs, -7.0 + np.sin(i)), lrs)))
    with pytest.raises(InsufficientDataError, match="20 sweeps left out: the learning rates are not a geometric grid"):
        analyze_collection(SweepCollection.from_sweeps(pairs))


def train(*, lr, schedule, seed):
    return 1 + (math.log10(lr / 0.01)) ** 2


def journals(folder, *n_kept):
    """Journals of sweeps over seven learning rates and two seeds, each with its first results only."""
    for i, n in enumerate(n_kept):
        path = folder / f"size={i}.jsonl"
        run_sweep(train, np.geomspace(1e-3, 1, 7), ["cosine"], seeds=2, journal=path)
        path.write_text("".join(path.read_text().splitlines(keepends=True)[: 1 + n]))
    return SweepCollection.from_folder(folder)


def test_a_sweep_that_a_time_budget_ended_is_no_coarse_grid(tmp_path):
    analysis = analyze_collection(journals(tmp_path, 14, 14, 6, 6))
    assert analysis.answer.ratio == pytest.approx(10**0.5) and analysis.answer.n_sweeps == 2
    assert "2 sweeps left out: the sweep is unfinished: run the same command again" in " ".join(str(analysis).split())


def test_unfinished_sweeps_alone_give_no_recommendation(tmp_path):
    with pytest.raises(InsufficientDataError, match="3 sweeps left out: the sweep is unfinished"):
        analyze_collection(journals(tmp_path, 6, 7, 9))


def test_a_sweep_that_lacks_only_further_seeds_counts(tmp_path):
    assert analyze_collection(journals(tmp_path, 13, 13)).answer.n_sweeps == 2


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


def two_schedules(difference, lrs_of_constant, *, n=12, seed=0):
    """Cosine on the full grid, and constant, which ends `difference` above it, on some of its learning rates."""
    rng, pairs = np.random.default_rng(seed), []
    for i in range(n):
        valleys = valley(LRS, 0.5 * rng.normal(), 0.05) + 5e-4 * rng.normal(size=(2, len(LRS)))
        loss = np.stack([valleys[0], np.where(np.isin(LRS, lrs_of_constant), valleys[1] + difference, math.nan)])
        pairs.append(({"model": f"m{i}"}, SweepResult(("cosine", "constant"), LRS, (0,), loss[:, :, None])))
    return SweepCollection.from_sweeps(pairs)


@pytest.mark.parametrize("difference", [-0.003, 0.0, 0.02])
@pytest.mark.parametrize("start", [0, 1])
def test_a_schedule_on_a_finer_grid_does_not_end_lower_by_that(difference, start):
    found = []
    for seed in range(8):
        (pair,) = analyze_collection(two_schedules(difference, LRS[start::2], seed=seed)).pairs
        sign = 1 if pair.lower == "cosine" else -1
        found.append(sorted(sign * end for end in pair.interval))
        assert pair.on_shared and pair.n_sweeps == 12
    assert sum(low <= difference <= high for low, high in found) >= 6


def test_a_schedule_that_is_lower_on_a_coarser_grid_is_found_and_its_own_coarse_grid_is_no_merit():
    lower = analyze_collection(two_schedules(-0.02, LRS[::2]))
    assert lower.answer.schedule == "constant" and "constant  " in str(lower) and "12 of 12" in str(lower)
    assert "with both, at the learning rates that both tried." in " ".join(str(lower).split())
    tied = analyze_collection(two_schedules(0.0, LRS[::2], seed=1))
    assert tied.pairs[0].tied and tied.answer.schedule == "cosine"


def test_a_range_beyond_that_of_the_other_schedule_counts():
    pairs = []
    for i in range(8):
        loss = np.stack([valley(LRS, 5.0), valley(LRS, -4.0)])
        loss[0, :4], loss[1, 9:] = math.nan, math.nan
        pairs.append(({"i": i}, SweepResult(("cosine", "constant"), LRS, (0,), loss[:, :, None] + 0.01 * i)))
    (pair,) = analyze_collection(SweepCollection.from_sweeps(pairs)).pairs
    assert pair.difference == pytest.approx(0.0, abs=1e-12)


def test_schedules_without_a_learning_rate_in_common_are_not_compared_unless_their_ratios_are_equal():
    for step, compared in ((2, True), (4, False)):
        pairs = []
        for i in range(8):
            loss = np.stack([valley(LRS, np.sin(i)), valley(LRS, np.sin(i))])
            loss[0, 1::2], loss[1, np.setdiff1d(np.arange(13), np.arange(1, 13, step))] = math.nan, math.nan
            pairs.append(({"i": i}, SweepResult(("cosine", "constant"), LRS, (0,), loss[:, :, None])))
        analysis = analyze_collection(SweepCollection.from_sweeps(pairs))
        assert bool(analysis.pairs) == compared
        said = "cosine is not compared with constant: no sweep tried the same learning rates under both"
        assert (said in " ".join(str(analysis).split())) == (not compared)


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
