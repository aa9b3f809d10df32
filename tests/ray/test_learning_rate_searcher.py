"""A Tuner with the searcher runs the trials of the plain search, and ends by itself."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import time

import pytest
from ray import tune

from robust_lr import LearningRateSearch, RobustLRError, SearchOptions, SweepResult, search_learning_rate
from robust_lr.exceptions import DataError, RobustLRWarning
from robust_lr.journal.journal import read_journal
from robust_lr_ray import LearningRateSearcher
from tests.ray import killed_search
from tests.ray.killed_search import loss_at


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


def test_a_trial_that_fails_is_tried_again_as_often_as_is_asked_for_and_then_left_out():
    searcher = LearningRateSearcher(1e-4, 1.0, tolerance=0.005, max_retries=1)
    first = searcher.suggest("a")["lr"]
    searcher.on_trial_complete("a", error=True)
    assert searcher.suggest("b") == {"lr": first, "seed": 0}
    searcher.on_trial_complete("b", error=True)
    others = [searcher.suggest(str(i))["lr"] for i in range(2)]
    assert first not in others


def search_where(fails, **options):
    """Run a search one trial at a time, where some learning rates fail; return it and how many trials were run."""
    searcher = LearningRateSearcher(1e-4, 1.0, **{"tolerance": 0.005, "max_retries": 1} | options)
    for n_run in range(100):
        config = searcher.suggest(str(n_run))
        if config == searcher.FINISHED:
            return searcher, n_run
        if fails(config["lr"]):
            searcher.on_trial_complete(str(n_run), error=True)
        else:
            searcher.on_trial_complete(str(n_run), {"loss": loss_at(config["lr"])})
    raise TimeoutError("the search never ends")


@pytest.mark.slow  # the searcher alone is tested below
def test_an_experiment_whose_trials_fail_ends_and_says_so(ray_local, tmp_path):
    def train(config):
        raise MemoryError

    options = SearchOptions(max_trials=1)
    searcher = LearningRateSearcher(1e-4, 1.0, tolerance=0.005, options=options, max_retries=1)
    grid = tune.Tuner(
        tune.with_resources(train, {"cpu": 1}),
        tune_config=tune.TuneConfig(search_alg=searcher, num_samples=9, max_concurrent_trials=1),
        run_config=tune.RunConfig(storage_path=str(tmp_path), verbose=0),
    ).fit()
    assert len(grid) == 2
    assert searcher.result.stop == "failures"


def test_a_search_ends_when_it_has_given_up_three_learning_rates():
    searcher, n_run = search_where(lambda lr: True)
    assert n_run == 6
    assert searcher.result.stop == "failures"
    assert searcher.result.reason == "trials at lr = 0.0004642, 0.01 and 0.2154 failed; 3 failures end a search"


def test_a_training_that_raises_above_some_learning_rate_ends_as_in_a_search_elsewhere():
    def train(*, lr, schedule, seed):
        if lr > 0.03:
            raise MemoryError("too large")
        return loss_at(lr)

    with pytest.warns(RobustLRWarning, match="trials failed .*; the first: MemoryError: too large"):
        plain = search_learning_rate(train, 1e-4, 1.0, tolerance=0.005, schedule="cosine")
    searcher, _ = search_where(lambda lr: lr > 0.03, schedule="cosine")
    assert searcher.result == plain
    assert plain.failed and (plain.stop, plain.reason) == (searcher.result.stop, searcher.result.reason)


def test_a_search_goes_round_one_learning_rate_that_fails_and_ends_as_ever():
    searcher, _ = search_where(lambda lr: lr == 0.01)
    assert searcher.result.stop == "tolerance"


def test_a_search_whose_failures_use_up_max_trials_says_so():
    searcher, n_run = search_where(lambda lr: lr == 0.2154, options=SearchOptions(max_trials=6))
    assert (searcher.result.n_trials, n_run) == (5, 7)
    assert searcher.result.stop == "failures"
    assert searcher.result.reason == "trials at lr = 0.2154 failed, and max_trials = 6 allows no more"


def test_a_failure_that_was_made_good_does_not_count():
    failed = set()

    def fails_at_first(lr):
        return lr not in failed and not failed.add(lr)

    searcher, n_run = search_where(fails_at_first, options=SearchOptions(noise=0.0))
    assert searcher.result == search_where(lambda lr: False, options=SearchOptions(noise=0.0))[0].result
    assert n_run == 2 * searcher.result.n_trials


def test_results_that_come_after_the_third_failure_still_count(tmp_path):
    searcher = LearningRateSearcher(1e-4, 1.0, tolerance=0.005, max_retries=1)
    running = searcher.suggest("first")["lr"]
    for trial in range(6):
        searcher.suggest(str(trial))
        searcher.on_trial_complete(str(trial), error=True)
    assert searcher.suggest("another") == searcher.FINISHED
    assert searcher.result.stop == "failures"
    searcher.save(str(tmp_path / "state"))
    restored = LearningRateSearcher(1e-4, 1.0, tolerance=0.005, max_retries=1)
    restored.restore(str(tmp_path / "state"))
    restored.on_trial_complete("first", {"loss": loss_at(running)})
    assert (restored.result.lr, restored.result.stop) == (running, "failures")


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
    with pytest.raises(DataError, match="is not the state of a LearningRateSearcher"):
        other.restore(str(tmp_path / "state"))


def n_finished(journal):
    return len(read_journal(journal).results) if journal.exists() else 0


@pytest.mark.slow
def test_a_search_whose_driver_is_killed_makes_with_its_journal_the_trials_of_one_that_was_not(ray_local, tmp_path):
    journal, address = tmp_path / "search.jsonl", ray_local.get_runtime_context().gcs_address
    driver = subprocess.Popen(
        [sys.executable, killed_search.__file__, str(tmp_path), address],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    deadline = time.monotonic() + 200
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


@pytest.mark.parametrize("fails", [lambda lr: lr < 0.003, lambda lr: 0.009 < lr < 0.011])
def test_killed_after_any_trial_it_goes_around_what_fails_as_before(fails, tmp_path):
    def search(journal, n_trials=99):
        options = {"max_retries": 0, "journal": tmp_path / journal, "options": SearchOptions(noise=0.0)}
        searcher = LearningRateSearcher(1e-4, 1.0, tolerance=0.005, **options)
        lrs = list[float]()
        while len(lrs) < n_trials and isinstance(config := searcher.suggest(str(len(lrs))), dict):
            lrs.append(config["lr"])
            loss = {"loss": loss_at(lrs[-1])}
            searcher.on_trial_complete(str(len(lrs) - 1), None if fails(lrs[-1]) else loss, error=fails(lrs[-1]))
        return searcher.result, lrs

    whole, tried = search("whole")
    assert whole.failed
    for n_trials in range(1, len(tried) + 1):
        _, before = search(str(n_trials), n_trials)
        result, after = search(str(n_trials))
        assert {*before, *after} == set(tried)
        assert all(fails(lr) for lr in set(before) & set(after)), "what has a result runs once"
        assert (result.stop, result.lr, result.failed) == (whole.stop, whole.lr, whole.failed)
    given_up = [each.spec.lr for each in read_journal(tmp_path / "whole").results if not each.is_final]
    assert sorted(given_up) == list(whole.failed)


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
    assert lr not in {observation.lr for observation in found.history}
    assert finer.result.n_trials == n_finished(options["journal"]) == found.n_trials + 1


def test_where_more_is_better_the_loss_is_the_negative():
    searcher = LearningRateSearcher(1e-4, 1.0, tolerance=0.005, metric="accuracy", direction="maximize")
    searcher.suggest("a")
    searcher.on_trial_complete("a", {"accuracy": 0.75})
    assert searcher.result.loss == -0.75
    assert "(score 0.75, 1 trial)" in str(searcher.result)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"lr_min": 1.0, "lr_max": 0.1}, "lr_min must be below lr_max"),
        ({"tolerance": math.nan}, "tolerance"),
        ({"direction": "best"}, "direction must be 'minimize' or 'maximize'"),
        ({"metric": ""}, "metric must be the name of"),
        ({"journal": "no such folder/search.jsonl"}, "no such folder/search.jsonl"),
    ],
    ids=str,
)
def test_wrong_arguments_are_refused(options, said):
    with pytest.raises(RobustLRError, match=said):
        LearningRateSearcher(**{"lr_min": 1e-4, "lr_max": 1.0, "tolerance": 0.005, **options})


def test_an_option_that_there_is_not_is_refused_by_the_searcher_itself():
    with pytest.raises(TypeError, match=r"^LearningRateSearcher\.__init__\(\) got an unexpected .* 'points'$"):
        LearningRateSearcher(1e-4, 1.0, tolerance=0.005, points=3)


def test_a_space_of_its_own_is_refused():
    searcher = LearningRateSearcher(1e-4, 1.0, tolerance=0.005)
    for space in ({"lr": 0.1}, {"width": tune.grid_search([1, 2])}):
        with pytest.raises(RobustLRError, match="param_space"):
            searcher.set_search_properties(None, None, space)
    with pytest.raises(RobustLRError, match="say the same in both"):
        searcher.set_search_properties("accuracy", None, {})
