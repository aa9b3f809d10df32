"""What a user of scikit-learn relies on: an estimator like `GridSearchCV`, which chooses its grid while it goes."""

from __future__ import annotations

import pickle
import warnings

import numpy as np
import pytest
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.datasets import load_diabetes, load_digits
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import SGDClassifier, SGDRegressor
from sklearn.model_selection import GridSearchCV, GroupKFold, ShuffleSplit
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from robust_lr import SearchOptions
from robust_lr.exceptions import DataError, GridError, OptionError, RobustLRWarning
from robust_lr_sklearn import LearningRateSearchCV

DIGITS = tuple(part[:300] for part in load_digits(return_X_y=True))
DIABETES = load_diabetes(return_X_y=True)
CLASSIFIER = SGDClassifier(loss="log_loss", learning_rate="constant", max_iter=5, tol=None, random_state=0)
PIPELINE = make_pipeline(MinMaxScaler(), CLASSIFIER)


class GradientDescent(RegressorMixin, BaseEstimator):
    """Least squares that overflow above a learning rate, and then raise FloatingPointError or hold NaN."""

    def __init__(self, lr=0.1, on_overflow="raise"):
        self.lr = lr
        self.on_overflow = on_overflow

    def fit(self, X, y):
        X = X * 20
        self.coef_ = np.zeros(X.shape[1])
        with np.errstate(over=self.on_overflow, invalid=self.on_overflow):
            for _ in range(2000):
                self.coef_ -= self.lr * X.T @ (X @ self.coef_ - y + y.mean()) / len(y)
        self.mean_ = y.mean()
        return self

    def predict(self, X):
        return X * 20 @ self.coef_ + self.mean_


def search_cv(estimator, **options):
    options = {"lr_min": 1e-5, "lr_max": 10.0, "tolerance": 0.01} | options
    return LearningRateSearchCV(estimator, **options)


def search_digits(**options):
    options = {"lr_name": "sgdclassifier__eta0", "scoring": "neg_log_loss", "cv": 3} | options
    return search_cv(PIPELINE, **options)


@pytest.mark.filterwarnings("ignore")  # the checks set the filters that they need
@parametrize_with_checks([LearningRateSearchCV(SGDClassifier(random_state=0), 1e-5, 10.0, tolerance=0.01)])
def test_it_is_an_estimator_by_the_checks_of_scikit_learn(estimator, check):
    check(estimator)


def test_it_finds_what_a_fine_grid_finds_with_a_quarter_of_the_trials():
    search = search_digits(tolerance=0.01).fit(*DIGITS)
    grid = {"sgdclassifier__eta0": np.geomspace(1e-5, 10.0, 37)}
    fine = GridSearchCV(PIPELINE, grid, scoring="neg_log_loss", cv=3).fit(*DIGITS)
    assert search.best_score_ >= fine.best_score_ - 0.01
    assert len(search.cv_results_["params"]) <= 9
    assert search.search_result_.stop == "tolerance"


def test_the_best_row_is_what_the_search_has_found():
    search = search_digits(tolerance=0.05).fit(*DIGITS)
    found, results = search.search_result_, search.cv_results_
    assert search.best_params_ == {"sgdclassifier__eta0": found.lr} == results["params"][search.best_index_]
    assert search.best_score_ == -found.loss == results["mean_test_score"][search.best_index_]
    assert [params["sgdclassifier__eta0"] for params in results["params"]] == [each.lr for each in found.history]
    assert search.best_estimator_[-1].eta0 == found.lr
    assert search.score(*DIGITS) > search.best_score_
    assert search.n_splits_ == 3


@pytest.mark.parametrize(
    ("estimator", "lr_name", "data"),
    [
        (SGDRegressor(learning_rate="invscaling", max_iter=20, tol=None, random_state=0), "eta0", DIABETES),
        (MLPClassifier((32,), max_iter=10, random_state=0), "learning_rate_init", DIGITS),
        (HistGradientBoostingRegressor(max_iter=5, max_leaf_nodes=5, random_state=0), "learning_rate", DIABETES),
    ],
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning", "ignore:overflow:RuntimeWarning")
def test_any_parameter_that_is_a_learning_rate_can_be_searched(estimator, lr_name, data):
    search = search_cv(estimator, lr_name=lr_name, cv=2, tolerance=0.05, options=SearchOptions(max_trials=12)).fit(
        *data
    )
    assert search.best_score_ > 0.15
    assert search.predict(data[0]).shape == data[1].shape


def test_every_learning_rate_is_scored_on_the_same_splits_though_the_splitter_draws():
    ignores_eta0 = SGDClassifier(random_state=0, max_iter=5, tol=None)
    with pytest.warns(RobustLRWarning, match="SGDClassifier does not read eta0 while learning_rate='optimal'"):
        search = search_cv(ignores_eta0, cv=ShuffleSplit(3)).fit(*DIGITS)
    scores = search.cv_results_["split0_test_score"]
    assert len(scores) > 2
    assert len(set(scores)) == 1


def test_the_warning_of_an_unread_learning_rate_looks_into_pipelines():
    model = make_pipeline(MinMaxScaler(), MLPClassifier((4,), solver="lbfgs", max_iter=3, random_state=0))
    search = search_cv(model, lr_name="mlpclassifier__learning_rate_init", cv=2, options=SearchOptions(max_trials=1))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        search.fit(*DIGITS)
    assert any("mlpclassifier__solver='lbfgs'" in str(each.message) for each in caught)


@pytest.mark.parametrize("on_overflow", ["raise", "ignore"])
def test_a_learning_rate_that_overflows_has_diverged_and_is_a_row_like_others(on_overflow):
    search = search_cv(GradientDescent(on_overflow=on_overflow), lr_name="lr", cv=2).fit(*DIABETES)
    found, results = search.search_result_, search.cv_results_
    diverged = np.array([each.status == "diverged" for each in found.history])
    assert diverged[:-1].any()
    assert found.cliff > found.lr
    assert search.best_score_ > 0.45
    assert np.isnan(results["mean_test_score"]).tolist() == diverged.tolist()
    assert results["param_lr"].tolist() == [each.lr for each in found.history]
    assert results["rank_test_score"].dtype == np.int32
    assert set(results["rank_test_score"][diverged]) == {sum(~diverged) + 1}
    assert {len(column) for column in results.values()} == {found.n_trials}


def test_a_fit_that_fails_ends_the_search_where_errors_are_to_be_raised():
    with pytest.raises(FloatingPointError, match="overflow"):
        search_cv(GradientDescent(), lr_name="lr", cv=2, error_score="raise").fit(*DIABETES)


@pytest.mark.parametrize("refit", [True, False])
def test_where_nothing_works_the_error_names_the_reason_in_one_line(refit):
    model = SGDRegressor(penalty="none")
    with pytest.raises(ValueError, match="penalty") as caught:
        search_cv(model, cv=2, refit=refit, options=SearchOptions(max_trials=3)).fit(*DIABETES)
    assert isinstance(caught.value, DataError)
    assert "\n" not in str(caught.value)
    assert "3 tried from" in str(caught.value)


def test_where_no_score_is_finite_there_is_no_best():
    def nan_score(model, X, y):
        return float("nan")

    with pytest.raises(DataError, match="no learning rate has a finite score in every split, 2 tried"):
        search_cv(CLASSIFIER, cv=2, scoring=nan_score, options=SearchOptions(max_trials=2)).fit(*DIGITS)


def test_what_the_estimator_warns_of_is_still_heard():
    model = SGDClassifier(learning_rate="constant", max_iter=1, random_state=0)
    with pytest.warns(UserWarning, match="Maximum number of iteration reached"):
        search_cv(model, cv=2, options=SearchOptions(max_trials=1), refit=False).fit(*DIGITS)


def test_the_number_of_jobs_changes_nothing():
    alone, both = (search_digits(options=SearchOptions(max_trials=4), n_jobs=n).fit(*DIGITS) for n in (None, 2))
    assert alone.search_result_ == both.search_result_


def test_several_learning_rates_at_once_take_fewer_rounds(capsys):
    rounds = []
    for n in (1, 4):
        search = search_digits(n_at_once=n, tolerance=0.01, verbose=1).fit(*DIGITS)
        assert search.search_result_.stop == "tolerance"
        rounds.append(capsys.readouterr().out.count("Fitting 3 folds"))
    assert rounds[1] < rounds[0]


def test_splits_that_can_be_read_only_once_are_refused():
    with pytest.raises(DataError, match="cv must be a list of splits, got generator"):
        search_cv(CLASSIFIER, cv=ShuffleSplit(2).split(*DIGITS)).fit(*DIGITS)
    listed = search_cv(CLASSIFIER, cv=list(ShuffleSplit(2).split(*DIGITS)), options=SearchOptions(max_trials=1)).fit(
        *DIGITS
    )
    assert listed.n_splits_ == 2


def test_with_several_metrics_refit_names_the_one_to_search_by():
    options = {"scoring": ["accuracy", "neg_log_loss"], "tolerance": 0.05}
    search = search_digits(**options, refit="neg_log_loss").fit(*DIGITS)
    assert search.best_score_ == -search.search_result_.loss
    assert f"(score {search.best_score_:.6g}, " in str(search.search_result_)
    assert "mean_test_accuracy" in search.cv_results_
    with pytest.raises(DataError, match="refit must name the metric to search by, one of"):
        search_digits(**options, refit=False).fit(*DIGITS)


def test_a_function_may_pick_the_best():
    search = search_digits(refit=lambda results: 1, options=SearchOptions(max_trials=3)).fit(*DIGITS)
    assert search.best_index_ == 1


def test_groups_and_weights_go_where_they_go_in_a_grid_search():
    X, y = DIGITS
    groups, weights = np.arange(len(y)) % 3, np.ones(len(y))
    search = search_cv(CLASSIFIER, cv=GroupKFold(3), options=SearchOptions(max_trials=2))
    search.fit(X, y, groups=groups, sample_weight=weights)
    assert search.n_splits_ == 3


def test_a_fitted_search_can_be_pickled():
    search = search_digits(options=SearchOptions(max_trials=2)).fit(*DIGITS)
    again = pickle.loads(pickle.dumps(search))
    assert again.search_result_ == search.search_result_
    assert np.array_equal(again.predict(DIGITS[0]), search.predict(DIGITS[0]))


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        (
            {"lr_name": "eta"},
            OptionError,
            "lr_name must be a parameter of SGDClassifier, got 'eta'; its numbers: .*'eta0'",
        ),
        ({"lr_min": 2.0, "lr_max": 1.0}, GridError, "lr_min must be below lr_max"),
        ({"tolerance": float("nan")}, OptionError, "tolerance must be a positive number"),
        ({"n_at_once": 0}, OptionError, "n_at_once must be a whole number of at least 1, got 0"),
        ({"options": SearchOptions(noise=0.1)}, OptionError, "leave options.noise out: .* got 0.1"),
        ({"error_score": 0.0}, OptionError, "error_score must be NaN or 'raise', got 0.0"),
        ({"options": SearchOptions(start=100.0)}, GridError, "start must be"),
    ],
)
def test_a_wrong_option_is_an_error_of_one_line_in_fit(options, error, words):
    with pytest.raises(error, match=words) as caught:
        search_cv(CLASSIFIER, **options).fit(*DIGITS)
    assert "\n" not in str(caught.value)


class FailsAbove(BaseEstimator):
    """A valley at 0.01, as a score, of an estimator that runs out of memory above a learning rate."""

    def __init__(self, limit, eta0=0.1):
        self.limit = limit
        self.eta0 = eta0

    def fit(self, X, y):
        if self.eta0 > self.limit:
            raise MemoryError("too large")
        return self

    def score(self, X, y):
        return -0.3 - 0.03 * np.log(self.eta0 / 0.01) ** 2


@pytest.mark.parametrize(("limit", "stop"), [(0.3, "tolerance"), (0.03, "failures")])
@pytest.mark.parametrize("n", [1, 4])
def test_a_fit_that_raises_is_a_failed_trial_as_in_every_other_search(limit, stop, n):
    search = search_cv(FailsAbove(limit), lr_min=1e-3, lr_max=1.0, tolerance=0.005, cv=2, n_at_once=n)
    found = search.fit(np.zeros((8, 1)), np.zeros(8)).search_result_
    assert found.stop == stop
    assert found.failed == tuple(sorted(each.lr for each in found.history if each.lr > limit))
    assert {each.status for each in found.history} == {"ok", "failed"}
    assert search.best_params_ == {"eta0": found.lr}
    if stop == "failures":
        lrs = [f"{lr:.4g}" for lr in found.failed]
        assert found.reason == f"trials at lr = {', '.join(lrs[:-1])} and {lrs[-1]} failed; 3 failures end a search"


def test_where_every_fit_raises_the_error_is_said():
    with pytest.raises(DataError, match=r"3 tried from .*: MemoryError: too large"):
        search_cv(FailsAbove(0.0), cv=2).fit(np.zeros((8, 1)), np.zeros(8))


@pytest.mark.parametrize("scoring", [None, "accuracy", "f1_macro"])
def test_a_metric_that_counts_predictions_has_no_bound(scoring):
    found = search_digits(scoring=scoring, tolerance=0.02).fit(*DIGITS).search_result_
    assert (found.stop, found.excess_bound) == ("steps", None)
    assert "step" in found.bound_note
