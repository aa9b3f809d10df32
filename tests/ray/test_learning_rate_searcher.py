"""A Tuner with the searcher runs the trials of the plain search, and ends by itself."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import time

import pytest
from ray import tune

from robust_lr import DataError, LearningRateSearch, RobustLRError, SweepResult, search_learning_rate
from robust_lr.journal import read_journal
from robust_lr_ray import LearningRateSearcher
from tests.ray import killed_search
from tests.ray.killed_search import loss_at

pytestmark = pytest.mark.timeout(120)


def plain():
    search = LearningRateSearch(1e-4, 1.0, tolerance=0.005)
    while not search.done:
        for lr in search.ask():
            loss = loss_at(lr)
            search.tell(lr, loss, status="ok" if math.isfinite(loss) else "diverged")
    return search.result


def test_trials_at_the_same_time_end_with_the_same_promise(ray_local, tmp_path):
    def train(config):
        tune.report({"loss": loss_at(config["lr"])})

    searcher = LearningRateSearcher(1e-3, 0.1, tolerance=0.02)
    grid = tune.Tuner(
        tune.with_resources(train, {"cpu": 1}),
        tune_config=tune.TuneConfig(search_alg=searcher, num_samples=-1, max_concurrent_trials=2, reuse_actors=True),
        run_config=tune.RunConfig(storage_path=str(tmp_path), verbose=0),
    ).fit()
    assert len(grid) == searcher.result.n_trials
    assert searcher.result.excess_bound <= 0.02
    assert searcher.result.loss - 0.3 <= 0.02


def test_a_trial_that_fails_is_asked_for_once_more_and_then_left_out():
    searcher = LearningRateSearcher(1e-4, 1.0, tolerance=0.005)
    first = searcher.suggest("a")["lr"]
    searcher.on_trial_complete("a", error=True)
    assert searcher.suggest("b") == {"lr": first, "seed": 0}
    searcher.on_trial_complete("b", error=True)
    others = [searcher.suggest(str(i))["lr"] for i in range(2)]
    assert first not in others


def test_what_was_saved_goes_on_as_it_would_have(tmp_path):
    searcher = LearningRateSearcher(1e-4, 1.0, tolerance=0.005, schedule="cosine")
    for trial in "ab":
        config = searcher.suggest(trial)
        assert config["schedule"] == "cosine"
    searcher.on_trial_complete("a", {"loss": 0.4})
    searcher.save(str(tmp_path / "state"))
    other = LearningRateSearcher(1e-4, 1.0, tolerance=0.005, schedule="cosine")
    other.restore(str(tmp_path / "state"))
    for each in (searcher, other):
        each.on_trial_complete("b", {"loss": 0.5})
    assert searcher.suggest("c") == other.suggest("c")
    assert searcher.result == other.result
    (tmp_path / "state").write_text("{}")
    with pytest.raises(DataError, match="cannot be read as the state of a LearningRateSearcher"):
        other.restore(str(tmp_path / "state"))


def n_finished(journal):
    return len(read_journal(journal).results) if journal.exists() else 0


def test_a_search_whose_driver_is_killed_makes_with_its_journal_the_trials_of_one_that_was_not(ray_local, tmp_path):
    journal, address = tmp_path / "search.jsonl", ray_local.get_runtime_context().gcs_address
    driver = subprocess.Popen(
        [sys.executable, killed_search.__file__, str(tmp_path), address],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    deadline = time.monotonic() + 60
    while n_finished(journal) < 3 and driver.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    driver.kill()
    driver.wait()
    finished = [result.spec.lr for result in read_journal(journal).results]
    undisturbed = plain()
    assert 3 <= len(finished) < undisturbed.n_trials
    assert killed_search.search(tmp_path).result == undisturbed
    assert SweepResult.from_journal(journal).n_trials == undisturbed.n_trials
    begun = [float(lr) for lr in (tmp_path / "begun.txt").read_text().split()]
    assert [begun.count(lr) for lr in finished] == [1] * len(finished)
    assert len(begun) <= undisturbed.n_trials + 1, "only what was in flight is run again"


def tell_next(searcher, trial):
    """Suggest a trial and end it; return its learning rate."""
    lr = searcher.suggest(trial)["lr"]
    searcher.on_trial_complete(trial, {"loss": loss_at(lr)})
    return lr


def test_a_state_older_than_the_journal_goes_on_from_the_journal(tmp_path):
    options = {"lr_min": 1e-4, "lr_max": 1.0, "tolerance": 0.005, "journal": tmp_path / "search.jsonl"}
    searcher = LearningRateSearcher(**options)
    tell_next(searcher, "a")
    lr = searcher.suggest("b")["lr"]
    searcher.save(str(tmp_path / "state"))
    searcher.on_trial_complete("b", {"loss": loss_at(lr)})
    tell_next(searcher, "c")
    restored = LearningRateSearcher(**options)
    restored.restore(str(tmp_path / "state"))
    assert restored.result.n_trials == 3
    restored.on_trial_complete("b", {"loss": loss_at(lr)})  # which Tune has run again
    assert restored.result.n_trials == n_finished(tmp_path / "search.jsonl") == 3
    assert restored.suggest("d") == searcher.suggest("d")


def test_the_journal_of_a_search_elsewhere_counts(tmp_path):
    def train(*, lr, schedule, seed):
        return loss_at(lr)

    options = {"tolerance": 0.005, "schedule": "cosine", "journal": tmp_path / "search.jsonl"}
    found = search_learning_rate(train, 1e-4, 1.0, label="mine", **options)
    searcher = LearningRateSearcher(1e-4, 1.0, **options)
    assert searcher.suggest("a") == searcher.FINISHED
    assert searcher.result == found
    finer = LearningRateSearcher(1e-4, 1.0, **options | {"tolerance": 1e-4})
    lr = tell_next(finer, "a")
    assert lr not in {tell.lr for tell in found.history}
    assert finer.result.n_trials == n_finished(options["journal"]) == found.n_trials + 1


def test_where_more_is_better_the_loss_is_the_negative():
    searcher = LearningRateSearcher(1e-4, 1.0, tolerance=0.005, metric="accuracy", mode="max")
    searcher.suggest("a")
    searcher.on_trial_complete("a", {"accuracy": 0.75})
    assert searcher.result.loss == -0.75


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"lr_min": 1.0, "lr_max": 0.1}, "lr_min must be below lr_max"),
        ({"tolerance": math.nan}, "tolerance"),
        ({"mode": "best"}, "mode must be 'min' or 'max'"),
        ({"metric": ""}, "metric must be a name"),
        ({"journal": "no such folder/search.jsonl"}, "no such folder/search.jsonl"),
    ],
    ids=str,
)
def test_wrong_arguments_are_refused(options, said):
    with pytest.raises(RobustLRError, match=said):
        LearningRateSearcher(**{"lr_min": 1e-4, "lr_max": 1.0, "tolerance": 0.005, **options})


def test_a_space_of_its_own_is_refused():
    searcher = LearningRateSearcher(1e-4, 1.0, tolerance=0.005)
    for space in ({"lr": 0.1}, {"width": tune.grid_search([1, 2])}):
        with pytest.raises(RobustLRError, match="param_space"):
            searcher.set_search_properties(None, None, space)
    with pytest.raises(RobustLRError, match="say the same in both"):
        searcher.set_search_properties("accuracy", None, {})
