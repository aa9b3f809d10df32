"""What version 0.1.0 left on disk is read and continued: experiments, states of searchers, journals.

The folder data was written by it; a Ray Tune experiment has only the files that are read.
"""

from __future__ import annotations

import math
import pickle
import shutil
from pathlib import Path

import pytest

from robust_lr import SweepResult, run_sweep, search_learning_rate
from robust_lr.journal import read_journal
from robust_lr_ray import GridSearcher, LearningRateSearcher, RayRunner, sweep_from_experiment
from robust_lr_ray._cells import spec_of
from tests.ray.killed_search import loss_at

DATA = Path(__file__).parent / "data"
GRID = [0.25, 0.5, 1.0]


@pytest.fixture
def data(tmp_path):
    return shutil.copytree(DATA, tmp_path / "data")


def losses(sweep):
    return {(t.spec.schedule, t.spec.lr, t.spec.seed): t.loss for t in sweep.trials() if t.is_final}


def suggestions(searcher):
    found = []
    while (config := searcher.suggest(f"trial {len(found)}")) != searcher.FINISHED:
        found.append(spec_of(config))
    return found


def test_an_experiment_of_a_grid_searcher_is_the_sweep_that_it_ran_and_counts_as_finished(data):
    sweep = sweep_from_experiment(data / "grid_searcher")
    expected = {("cosine", lr, seed): lr + seed for lr in GRID[:2] for seed in (0, 1)}
    expected = {("annealed", *cell[1:]): loss for cell, loss in expected.items() if cell[1:] != (0.5, 1)}
    expected |= {("annealed", 1.0, seed): math.inf for seed in (0, 1)}
    assert losses(sweep) == expected
    assert [f.error.splitlines()[-1] for f in sweep.failures] == ["OSError: the file server is away"]
    assert set(sweep.metrics) == {"width"}
    searcher = GridSearcher([*GRID, 2.0], {"annealed": "cosine"}, 2, finished=data / "grid_searcher")
    assert {(spec.lr, spec.seed) for spec in searcher.missing} == {(0.5, 1), (2.0, 0), (2.0, 1)}


def test_an_experiment_of_param_space_with_our_own_reports_is_the_sweep_that_it_ran(data):
    sweep = sweep_from_experiment(data / "param_space")
    assert losses(sweep) == {
        (name, lr, 0): 0.5 if lr == 0.5 else math.inf for name in ("annealed", "constant") for lr in (0.5, 1.0)
    }
    assert dict(sweep.specs) == {"annealed": "cosine", "constant": "constant"}
    assert set(sweep.metrics) == {"accuracy", "error"} and sweep.notes == ()


def test_an_experiment_of_packs_has_a_result_for_each_learning_rate(data):
    sweep = sweep_from_experiment(data / "packed")
    assert sweep.learning_rates.tolist() == [0.5, 2.0, 8.0] and sweep.seeds == (3,) and sweep.schedules == ("cosine",)
    assert losses(sweep)["cosine", 2.0, 3] == pytest.approx(0.26327, abs=1e-5)


def test_a_grid_searcher_continues_from_its_state_and_from_its_journal(data):
    searcher = GridSearcher([0.125, *GRID], ["cosine"], 1)
    searcher.restore(str(data / "grid_searcher_state.json"))
    assert {spec.lr for spec in suggestions(searcher)} == set(GRID), "what had failed or was in flight is missing"
    resumed = pickle.loads(pickle.dumps(GridSearcher([0.125, *GRID], ["cosine"], 1)))  # as Tuner.restore does it
    resumed.restore(str(data / "grid_searcher_state.json"))
    assert [spec.lr for spec in suggestions(resumed)] == [1.0], "Tune itself runs what was in flight"
    grown = GridSearcher([*GRID, 2.0], {"annealed": "cosine"}, 2, journal=data / "grid_searcher.jsonl")
    assert {(spec.lr, spec.seed) for spec in suggestions(grown)} == {(0.5, 1), (2.0, 0), (2.0, 1)}


def test_a_search_continues_from_its_state(data):
    searcher = LearningRateSearcher(1e-4, 1.0, tolerance=0.005, schedule="cosine")
    searcher.restore(str(data / "searcher_state.json"))
    assert [observation.lr for observation in searcher.result.history] == [0.01, 0.2154]
    assert searcher.suggest("e") == {"lr": 0.002155, "seed": 0, "schedule": "cosine"}, "what 0.1.0 asked for next"
    searcher.on_trial_complete("d", {"loss": loss_at(0.0004642)})  # in flight when it was saved
    assert searcher.result.n_trials == 3


def test_a_learning_rate_that_was_given_up_still_is(data):
    searcher = LearningRateSearcher(1e-4, 1.0, tolerance=0.005)
    searcher.restore(str(data / "searcher_state_given_up.json"))
    assert searcher.result.failed == (0.01,) and searcher.result.n_trials == 2
    others = [searcher.suggest(trial) for trial in "abc"]
    assert 0.01 not in {config["lr"] for config in others if config}


def test_a_search_continues_from_its_journal(data):
    searcher = LearningRateSearcher(1e-4, 1.0, tolerance=0.005, schedule="cosine", journal=data / "searcher.jsonl")
    assert searcher.result.n_trials == 2
    lr = searcher.suggest("a")["lr"]
    searcher.on_trial_complete("a", {"loss": loss_at(lr)})
    assert SweepResult.from_journal(data / "searcher.jsonl").n_trials == 3


def test_a_sweep_and_a_search_on_ray_continue_from_their_journals(ray_local, data):
    runner = RayRunner({"cpu": 1}, max_concurrent=1)

    def train(*, lr, schedule, seed):
        return 10 * lr + seed

    sweep = run_sweep(
        train, [*GRID, 2.0], {"annealed": "cosine"}, 2, runner=runner, journal=data / "runner.jsonl", label="digits"
    )
    assert sweep.loss[0].tolist() == [[0.25, 1.25], [0.5, 6.0], [math.inf, math.inf], [20.0, 21.0]]

    def valley(*, lr, schedule, seed):
        return losses[lr]

    losses = {r.spec.lr: r.loss for r in read_journal(data / "search.jsonl").results}
    found = search_learning_rate(
        valley, 1e-3, 0.1, tolerance=0.02, runner=runner, journal=data / "search.jsonl", label="valley"
    )
    assert (found.lr, found.stop) == (0.02399, "tolerance")
    assert len({each.lr for each in found.history}) == 4, "the journal holds all; only a repeat, for the noise, is new"
