"""A Tuner with the searcher runs the trials of the plain search, and ends by itself."""

from __future__ import annotations

import math

import pytest
from ray import tune

from robust_lr import DataError, LearningRateSearch, RobustLRError
from robust_lr_ray import LearningRateSearcher

pytestmark = pytest.mark.timeout(120)


def loss_at(lr):
    """A valley at 0.02, and a cliff above 0.3."""
    return math.inf if lr > 0.3 else 0.3 + 0.03 * math.log(lr / 0.02) ** 2


def plain(**options):
    search = LearningRateSearch(1e-4, 1.0, tolerance=0.005, **options)
    while not search.done:
        for lr in search.ask():
            loss = loss_at(lr)
            search.tell(lr, loss, status="ok" if math.isfinite(loss) else "diverged")
    return search.result


def fit(searcher, folder, trainable=None, *, at_once=1, **options):
    def train(config):
        tune.report({"loss": loss_at(config["lr"])})

    return tune.Tuner(
        tune.with_resources(trainable or train, {"cpu": 1}),
        tune_config=tune.TuneConfig(
            search_alg=searcher, num_samples=-1, max_concurrent_trials=at_once, reuse_actors=True
        ),
        run_config=tune.RunConfig(storage_path=str(folder), verbose=0, **options),
    ).fit()


def test_one_trial_at_a_time_is_the_plain_search(ray_local, tmp_path):
    searcher = LearningRateSearcher(1e-4, 1.0, tolerance=0.005)
    grid = fit(searcher, tmp_path)
    assert searcher.result == plain()
    assert len(grid) == searcher.result.n_trials


def test_trials_at_the_same_time_end_with_the_same_promise(ray_local, tmp_path):
    searcher = LearningRateSearcher(1e-4, 1.0, tolerance=0.005)
    fit(searcher, tmp_path, at_once=2)
    assert searcher.result.excess_bound <= 0.005
    assert searcher.result.loss - 0.3 <= 0.005


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
