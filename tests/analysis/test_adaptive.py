"""Adaptive seeds: where further ones go, when they stop, and that kills and runners change nothing."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robust_lr import GeometricGrid, ProcessPoolRunner, SweepResult, analyze_sweep, run_sweep
from robust_lr.analysis import AdaptiveSeeds
from robust_lr.analysis.adaptive import LEVEL
from robust_lr.exceptions import InsufficientDataError, OptionError
from robust_lr.journal.journal import read_journal
from robust_lr.sweep.plan import SeedPlan

LRS = 2.0 ** np.arange(16)
VALLEY = 0.002 * (np.arange(16) - 7.2) ** 2


def losses(size, *, seed=0, mean=VALLEY, n_seeds=5):
    rng = np.random.default_rng(seed)
    return mean[:, None] + size * (rng.normal(size=n_seeds) + rng.normal(size=(len(mean), n_seeds)))


def train(*, lr, schedule, seed):
    """A valley with noise that depends on learning rate and seed alone, so that every process computes the same."""
    place = int(np.log2(lr).round())
    return float(VALLEY[place] + 0.005 * random.Random(100 * seed + place).gauss(0, 1))


def sweep_of(loss, n_seeds):
    return SweepResult(("a",), LRS, range(n_seeds), loss[None, :, :n_seeds])


def carried_out(loss, plan):
    def table(*, lr, schedule, seed):
        return loss[int(np.log2(lr).round()), seed]

    return run_sweep(table, LRS, {"a": "constant"}, plan)


def cells(sweep):
    return {(trial.spec.schedule, trial.spec.lr, trial.spec.seed) for trial in sweep.trials()}


# Where further seeds go


def test_a_clear_sweep_needs_no_third_seed():
    sweep = carried_out(losses(1e-5), AdaptiveSeeds(tolerance=0.012))
    assert sweep.seeds == (0, 1) and sweep.n_trials == 32
    assert analyze_sweep(sweep, tolerance=0.012).recommendations["a"].ratio == 32


def test_a_hopeless_sweep_gets_no_third_seed():
    assert not AdaptiveSeeds(tolerance=1e-4).next_cells(sweep_of(losses(0.02), 2))


def test_further_seeds_go_to_the_valley_and_not_to_its_sides():
    plan, loss = AdaptiveSeeds(tolerance=0.012), losses(0.003, seed=3)
    places = sorted(int(np.log2(lr)) for _, lr in plan.next_cells(sweep_of(loss, 2)))
    assert places and set(places) <= set(range(3, 13))
    sweep = carried_out(loss, plan)
    assert 32 < sweep.n_trials < 60
    assert np.isfinite(sweep.loss[0, :, :2]).all() and np.isnan(sweep.loss[0, [0, 1, 14, 15], 2:]).all()


def test_a_further_seed_is_paired_with_itself():
    loss = losses(0.003, seed=3)
    plan = AdaptiveSeeds(tolerance=0.012)
    assert len({lr for _, lr in plan.next_cells(sweep_of(loss, 2))}) >= 2


def test_no_learning_rate_gets_more_seeds_than_the_limit():
    for limit in (2, 3, 4):
        sweep = carried_out(losses(0.003, seed=3), AdaptiveSeeds(tolerance=0.012, max_seeds=limit))
        assert len(sweep.seeds) <= limit
    assert len(sweep.seeds) == 4


def test_schedules_that_tie_get_further_seeds_where_they_are_best():
    rng = np.random.default_rng(1)
    gap = np.array([0.0, 0.002])[:, None, None]
    noise = 0.0005 * rng.normal(size=(2, 1, 2)) + 1e-5 * rng.normal(size=(2, 16, 2))
    both = SweepResult(("a", "b"), LRS, (0, 1), 10 * VALLEY[:, None] + gap + noise)
    found = AdaptiveSeeds(tolerance=0.012).next_cells(both)
    assert {name for name, _ in found} == {"a", "b"}
    assert {int(np.log2(lr)) for _, lr in found} == {7}
    apart = SweepResult(("a", "b"), LRS, (0, 1), 10 * VALLEY[:, None] + 100 * gap + noise)
    assert not AdaptiveSeeds(tolerance=0.012).next_cells(apart)


@pytest.mark.parametrize(
    "loss",
    [
        np.full((16, 2), np.inf),
        np.full((16, 2), 1.0),
        np.repeat(VALLEY[:, None], 2, axis=1),  # the training ignores its seed
        np.column_stack([VALLEY, np.full(16, np.nan)]),  # every second trial failed
    ],
)
def test_what_further_seeds_cannot_mend_gets_none(loss):
    assert not AdaptiveSeeds(tolerance=0.01).next_cells(sweep_of(loss, 2))


@pytest.mark.parametrize("seed", range(3))
def test_a_seed_that_diverges_is_trained_at_the_best_that_lacked_it(seed):
    loss = losses(0.003, seed=seed)
    loss[:, 2:] = np.inf
    sweep = carried_out(loss, AdaptiveSeeds(tolerance=0.012))
    assert len(sweep.seeds) > 2 and np.isinf(sweep.loss[0]).any(axis=1).all()
    loss = losses(0.003, seed=seed)
    loss[3:, 2:] = np.inf  # only the low side survives, and has every seed that diverged above
    sweep = carried_out(loss, AdaptiveSeeds(tolerance=0.012))
    best = np.where(np.isinf(sweep.loss[0]).any(axis=1), np.inf, np.nanmean(loss[:, :2], axis=1)).argmin()
    assert best < 3 and np.isfinite(sweep.loss[0, best, np.isinf(sweep.loss[0]).any(axis=0)]).all()


def test_two_learning_rates_are_trained_twice():
    assert run_sweep(train, [1.0, 2.0], ["cosine"], "adaptive").n_trials == 4


@given(st.integers(0, 10_000), st.sampled_from([0.001, 0.003, 0.01]), st.sampled_from([0.004, 0.012, 0.03]))
@settings(max_examples=25, deadline=None)
def test_it_ends_early_only_where_the_wider_bands_agree(seed, size, tolerance):
    plan, loss = AdaptiveSeeds(tolerance=tolerance), losses(size, seed=seed)
    sweep = sweep_of(loss, 2)
    if plan.next_cells(sweep):
        return

    def ratio(level):
        try:
            advice = analyze_sweep(sweep, tolerance=tolerance, confidence_level=level).recommendations.get("a")
        except InsufficientDataError:
            advice = None
        return None if advice is None else advice.ratio

    assert ratio(LEVEL) == ratio(1 - (1 - LEVEL) / 3)


@given(st.integers(0, 10_000))
@settings(max_examples=10, deadline=None)
def test_the_next_cells_depend_on_the_results_alone(seed):
    plan, loss = AdaptiveSeeds(tolerance=0.012), losses(0.003, seed=seed)
    first, again = sweep_of(loss, 3), sweep_of(loss, 3)
    assert plan.next_cells(first) == plan.next_cells(again)
    shifted = SweepResult(("a",), LRS, range(3), loss[None, :, :3] + 64.0)
    assert plan.next_cells(shifted) == plan.next_cells(first)


# In run_sweep


def test_the_sweep_says_what_it_saved():
    sweep = run_sweep(train, LRS, ["cosine"], AdaptiveSeeds(tolerance=0.012))
    assert f"adaptive seeds: {sweep.n_trials} trainings instead of 80 (5 seeds everywhere)" in sweep.notes


def test_the_word_stands_for_the_default_plan():
    assert cells(run_sweep(train, LRS, ["cosine"], "adaptive")) == cells(
        run_sweep(train, LRS, ["cosine"], AdaptiveSeeds())
    )
    with pytest.raises(OptionError, match=r"'adaptive', got 'adaptiv'"):
        run_sweep(train, LRS, ["cosine"], "adaptiv")


@pytest.mark.parametrize("options", [{"max_seeds": 1}, {"max_seeds": 2.5}, {"tolerance": -1}, {"noise": 0}])
def test_a_wrong_option_is_refused(options):
    with pytest.raises(OptionError):
        AdaptiveSeeds(**options)


def test_it_is_a_seed_plan_like_any_other():
    assert isinstance(AdaptiveSeeds(), SeedPlan)


PLAN = AdaptiveSeeds(tolerance=0.02)


@pytest.fixture(scope="module")
def uninterrupted():
    sweep = run_sweep(train, LRS, ["cosine", "linear"], PLAN)
    assert len(sweep.seeds) > 2
    return sweep


def test_processes_train_the_same_cells(uninterrupted, tmp_path):
    journal = tmp_path / "sweep.jsonl"
    sweep = run_sweep(train, LRS, ["cosine", "linear"], PLAN, runner=ProcessPoolRunner(2), journal=journal)
    assert cells(sweep) == cells(uninterrupted) and sweep.notes == uninterrupted.notes
    np.testing.assert_array_equal(sweep.loss, uninterrupted.loss)
    read = SweepResult.from_journal(journal)
    np.testing.assert_array_equal(read.loss, uninterrupted.loss)
    assert not any("unfinished" in note for note in read.notes)


def test_stopped_twenty_times_it_trains_the_same_cells(uninterrupted, tmp_path):
    journal, chance, n_calls, n_stops = tmp_path / "sweep.jsonl", random.Random(0), 0, 0

    def stops(*, lr, schedule, seed):
        nonlocal n_calls
        if n_calls == stop_at:
            raise KeyboardInterrupt
        n_calls += 1
        return train(lr=lr, schedule=schedule, seed=seed)

    while True:
        stop_at = n_calls + chance.randint(0, 6) if n_stops < 20 else -1
        try:
            sweep = run_sweep(stops, LRS, ["cosine", "linear"], PLAN, journal=journal, label="it", keep_results=True)
            break
        except KeyboardInterrupt:
            n_stops += 1
    assert n_stops == 20
    assert cells(sweep) == cells(uninterrupted) and n_calls == uninterrupted.n_trials
    assert len(read_journal(journal).results) == n_calls


def test_stopped_in_a_later_round_it_is_unfinished_until_the_same_call_ends_it(uninterrupted, tmp_path):
    journal, n_calls = tmp_path / "sweep.jsonl", 0

    def stops(*, lr, schedule, seed):
        nonlocal n_calls
        n_calls += 1
        if n_calls == 66:  # 64 trials are the first two seeds
            raise KeyboardInterrupt
        return train(lr=lr, schedule=schedule, seed=seed)

    options = {"journal": journal, "label": "it", "keep_results": True}
    with pytest.raises(KeyboardInterrupt):
        run_sweep(stops, LRS, ["cosine", "linear"], PLAN, **options)
    (note,) = SweepResult.from_journal(journal).notes
    assert note.startswith("65 of ") and note.endswith(" results: the sweep is unfinished")
    run_sweep(stops, LRS, ["cosine", "linear"], PLAN, **options)
    assert SweepResult.from_journal(journal).notes == ()
    run_sweep(stops, LRS, ["cosine", "linear"], 2, **options)  # asks for less, all of which is there
    assert SweepResult.from_journal(journal).notes == ()


SCRIPT = """
import sys, time
sys.path.insert(0, {folder!r})
from tests.analysis.test_adaptive import LRS, PLAN, run_sweep, train

def slow(*, lr, schedule, seed):
    time.sleep(0.005)
    return train(lr=lr, schedule=schedule, seed=seed)

print(run_sweep(slow, LRS, ["cosine", "linear"], PLAN, journal={journal!r}, label="it").n_trials)
"""


def test_killed_it_trains_the_same_cells(uninterrupted, tmp_path, request):
    journal = tmp_path / "sweep.jsonl"
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(folder=str(request.config.rootpath), journal=str(journal)))
    n_lines = 70  # in the third round
    process = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.DEVNULL)
    while process.poll() is None and (not journal.exists() or journal.read_bytes().count(b"\n") < n_lines):
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    n_before = len(read_journal(journal).results)
    done = subprocess.run([sys.executable, str(script)], check=True, capture_output=True, text=True)
    assert int(done.stdout) == uninterrupted.n_trials > n_before
    read = SweepResult.from_journal(journal)
    assert cells(read) == cells(uninterrupted)


def test_a_finished_sweep_of_all_seeds_needs_no_training(tmp_path, uninterrupted):
    journal = tmp_path / "sweep.jsonl"
    run_sweep(train, LRS, ["cosine", "linear"], 5, journal=journal)

    def never(*, lr, schedule, seed):
        raise AssertionError

    label = read_journal(journal).header.train
    sweep = run_sweep(never, LRS, ["cosine", "linear"], PLAN, journal=journal, label=label, keep_results=True)
    assert cells(sweep) == cells(uninterrupted)


def test_a_trial_that_fails_is_not_asked_for_again():
    def fails(*, lr, schedule, seed):
        if lr == LRS[7] and seed > 0:
            raise ValueError("no")
        return train(lr=lr, schedule=schedule, seed=seed)

    with pytest.warns(UserWarning, match="failed"):
        sweep = run_sweep(fails, LRS, ["cosine"], PLAN, max_retries=0)
    failed = [f.spec for f in sweep.failures]
    assert len(failed) == len(set(failed)) >= 1 and {spec.lr for spec in failed} == {LRS[7]}


def test_a_grid_of_any_kind_will_do():
    sweep = run_sweep(train, GeometricGrid(1.0, 64.0, 7), ["cosine"], PLAN)
    assert len(sweep.learning_rates) == 7 and 14 <= sweep.n_trials <= 35
