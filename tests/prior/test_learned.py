"""`LearningRatePrior`: from many sweeps to what a new one takes."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from robust_lr import SweepCollection, SweepResult
from robust_lr.exceptions import DataError, InsufficientDataError, OptionError
from robust_lr.search import LearningRatePrior

SIZES, BATCHES = (1e7, 2e7, 4e7, 8e7, 1.6e8, 3.2e8), (32, 64, 128, 256)


def one_sweep(params, batch_size, seed=0, *, low=-5, high=6, factor=1.0, noise=0.001):
    """A sweep of ratio sqrt 2 whose best learning rate follows a law, with a little luck of its own."""
    rng = np.random.default_rng([int(params), int(batch_size), seed])
    best = factor * 0.004 * (params / 1e8) ** -0.5 * (batch_size / 100) ** 0.3 * math.exp(0.25 * rng.normal())
    lrs = 0.004 * 2 ** (np.arange(low, high) / 2)
    u = np.log2(lrs / best)
    losses = 3 + np.where(u < 0, 0.008 * np.abs(u) ** 1.5, 0.012 * u**2) + noise * rng.normal(size=len(u))
    return {"params": params, "batch_size": batch_size}, SweepResult(("cosine",), lrs, (0,), losses[None, :, None])


def collection(sizes=SIZES, batches=BATCHES, **more):
    return SweepCollection.from_sweeps([one_sweep(n, b, **more) for n in sizes for b in batches])


@pytest.fixture(scope="module")
def prior():
    return LearningRatePrior.fit(collection())


def test_it_finds_the_law_behind_the_sweeps(prior):
    assert prior.exponents["params"].mean == pytest.approx(-0.5, abs=0.15)
    assert prior.exponents["batch_size"].mean == pytest.approx(0.3, abs=0.2)
    assert prior.at(params=1e8, batch_size=100).lr == pytest.approx(0.004, rel=0.3)


def test_it_finds_the_valley_and_the_noise_of_a_run(prior):
    new = prior.at(params=1e8, batch_size=100)
    assert (new.left_rise, new.right_rise) == pytest.approx((0.008, 0.012), rel=0.3)
    assert new.noise == pytest.approx(0.001, rel=0.5)
    assert new.lr_spread == pytest.approx(0.27, abs=0.1)


def test_its_words_say_the_law_and_its_errors(prior):
    text = str(prior)
    assert "Twice the params: learning rate times 0.7" in text
    assert "On left-out clusters (24 sweeps): it is off by" in text


def test_a_saved_prior_loads_as_the_same_prior(prior, tmp_path):
    prior.save(tmp_path / "prior.json")
    loaded = LearningRatePrior.load(tmp_path / "prior.json")
    assert loaded.at(params=1e8, batch_size=64) == prior.at(params=1e8, batch_size=64)
    assert str(loaded) == str(prior)
    assert loaded.sweeps == prior.sweeps or str(loaded.sweeps) == str(prior.sweeps)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda c: c.update(kind="other"), "is no prior"),
        (lambda c: c.update(format=9), "format 9"),
        (lambda c: c.pop("noise"), "'noise' is missing"),
        (lambda c: c.update(noise="x"), "noise must be a finite number"),
        (lambda c: c["laws"]["left_rise"].update(intercept=None), "coefficients"),
        (lambda c: c["laws"]["left_rise"]["covariance"][0].reverse(), "symmetric"),
        (lambda c: c["sweeps"][0].update(loss=[1.0]), "as many losses as learning rates"),
        (lambda c: c.update(features=[]), "damaged"),
    ],
    ids=["kind", "format", "missing", "text", "none", "covariance", "losses", "features"],
)
def test_a_damaged_file_is_refused_in_one_line(prior, tmp_path, change, says):
    prior.save(tmp_path / "prior.json")
    content = json.loads((tmp_path / "prior.json").read_text())
    change(content)
    (tmp_path / "prior.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=says) as error:
        LearningRatePrior.load(tmp_path / "prior.json")
    assert "\n" not in str(error.value)


def test_a_file_that_is_no_json_is_refused(tmp_path):
    (tmp_path / "prior.json").write_text("lr,loss\n")
    with pytest.raises(DataError, match="no JSON"):
        LearningRatePrior.load(tmp_path / "prior.json")


def test_it_grows_to_the_prior_of_all_sweeps_together():
    few, more = collection(SIZES[:3], BATCHES[:2]), collection(SIZES[3:5], BATCHES[:2])
    both = collection(SIZES[:5], BATCHES[:2])
    grown = LearningRatePrior.fit(few, cluster_by=["params"]).grown_by(more)
    whole = LearningRatePrior.fit(both, cluster_by=["params"])
    assert grown.at(params=1e8, batch_size=64) == whole.at(params=1e8, batch_size=64)


def test_three_sweeps_guide_a_search_but_cannot_end_it():
    prior = LearningRatePrior.fit(collection(SIZES[:3], BATCHES[:1]))
    assert prior.at(params=1e7, batch_size=32).required == 1.0
    assert "cannot end one" in str(prior)


def test_outside_of_the_sweeps_it_says_so_and_widens(prior):
    inside, outside = prior.at(params=1e8, batch_size=64), prior.at(params=1e9, batch_size=64)
    far = prior.at(params=1e13, batch_size=64)
    assert inside.notes == ()
    assert outside.notes == ("params = 1e+09 is outside the earlier sweeps (1e+07 to 3.2e+08)",)
    assert inside.lr_spread < outside.lr_spread < far.lr_spread
    assert "far outside" in far.notes[0]
    assert far.required == 1.0  # nothing was measured there


def test_an_unknown_level_widens_and_a_known_one_has_its_own_effect():
    def sweep(name, size):
        values, result = one_sweep(size, 64, factor=3.0 if name == "lion" else 1.0, seed=len(name))
        return values | {"optimizer": name}, result

    prior = LearningRatePrior.fit(
        SweepCollection.from_sweeps([sweep(name, size) for name in ("adam", "lion") for size in SIZES])
    )
    at = {name: prior.at(params=5e7, batch_size=64, optimizer=name) for name in ("adam", "lion", "muon")}
    assert at["lion"].lr / at["adam"].lr == pytest.approx(3.0, rel=0.4)
    assert at["muon"].lr_spread > 1.5 * at["adam"].lr_spread
    assert at["muon"].notes == ("optimizer = muon is unknown; the earlier sweeps have adam and lion",)


def test_sweeps_whose_best_lies_on_the_edge_count_as_at_the_edge_or_beyond():
    cut = collection(SIZES, BATCHES, low=-9, high=0)
    lr = LearningRatePrior.fit(cut).at(params=1e8, batch_size=100).lr
    assert lr == pytest.approx(0.004, rel=0.35)  # although no sweep goes above 0.0028


def test_a_missing_or_unknown_covariate_is_named(prior):
    with pytest.raises(OptionError, match="batch_size is missing"):
        prior.at(params=1e8)
    with pytest.raises(OptionError, match="did you mean 'params'"):
        prior.at(parms=1e8, batch_size=64)
    with pytest.raises(OptionError, match="params must be a number > 0"):
        prior.at(params="big", batch_size=64)


def test_too_few_sweeps_or_unknown_clusters_are_refused():
    with pytest.raises(InsufficientDataError, match="at least two sweeps"):
        LearningRatePrior.fit(collection(SIZES[:1], BATCHES[:1]))
    with pytest.raises(OptionError, match="cluster_by must name covariates"):
        LearningRatePrior.fit(collection(SIZES[:2], BATCHES[:1]), cluster_by=["tokens"])


def test_with_several_schedules_the_schedule_is_a_covariate():
    def sweep(size):
        values, result = one_sweep(size, 64)
        _, other = one_sweep(size, 64, factor=0.5)
        losses = np.concatenate([result.loss, other.loss])
        return values, SweepResult(("cosine", "constant"), result.learning_rates, (0,), losses)

    prior = LearningRatePrior.fit(SweepCollection.from_sweeps([sweep(size) for size in SIZES]))
    cosine, constant = (prior.at(params=5e7, batch_size=64, schedule=name).lr for name in ("cosine", "constant"))
    assert constant / cosine == pytest.approx(0.5, rel=0.25)
