"""A study becomes the sweep that its trials are, whoever filled it, and says what it left out."""

from __future__ import annotations

import math
import warnings

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

from robust_lr import GeometricGrid, SweepResult, TrialDiverged, analyze_sweep
from robust_lr.exceptions import DataError, RobustLRWarning
from robust_lr_optuna._storages import journal_storage
from robust_lr_optuna.grid_sampler import GeometricGridSampler
from robust_lr_optuna.results import sweep_from_storage, sweep_from_study

LRS = [2.0**k for k in range(-4, 5)]


@pytest.fixture(autouse=True)
def quiet():
    optuna.logging.set_verbosity(optuna.logging.ERROR)


@pytest.fixture(params=["memory", "sqlite", "journal"])
def storage(request, tmp_path):
    """A storage and the name by which `sweep_from_storage` finds it, None for that in memory."""
    if request.param == "memory":
        return optuna.storages.InMemoryStorage(), None
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'study.db'}"
        return optuna.storages.RDBStorage(url), url
    return journal_storage(tmp_path / "study.log"), tmp_path / "study.log"


def valley(lr, seed=0):
    return math.log2(lr) ** 2 + 0.01 * seed


def objective(trial):
    return valley(trial.suggest_float("lr", 1e-3, 1e3, log=True), trial.suggest_int("seed", 0, 99))


def add(study, value=None, *, state=TrialState.COMPLETE, lr=1.0, user_attrs=None, system_attrs=None, **others):
    """Add a trial with these parameters."""
    params = {name: v for name, v in {"lr": lr, **others}.items() if v is not None}
    kinds = {
        name: FloatDistribution(-1e9, 1e9)
        if isinstance(v, float)
        else IntDistribution(-1000, 1000)
        if isinstance(v, int)
        else CategoricalDistribution(["cosine", "linear", "adam", "sgd"])
        for name, v in params.items()
    }
    values = value if isinstance(value, list) else None
    study.add_trial(
        create_trial(
            state=state, value=None if values else value, values=values, params=params, distributions=kinds,
            user_attrs=user_attrs or {}, system_attrs=system_attrs or {},
        )
    )  # fmt: skip


def losses(sweep):
    return {(t.spec.schedule, t.spec.lr, t.spec.seed): t.loss for t in sweep.trials() if t.status != "failed"}


def said(sweep, text):
    return any(text in note for note in sweep.notes)


# Who filled it


def test_a_grid_sampler_of_ours_gives_the_sweep_that_it_ran(storage):
    place, url = storage
    sampler = GeometricGridSampler(GeometricGrid(1 / 16, 16, 9), seeds=3)
    study = optuna.create_study(storage=place, sampler=sampler)
    study.optimize(objective)
    sweep = sweep_from_study(study)
    assert losses(sweep) == {("sweep", lr, seed): valley(lr, seed) for lr in LRS for seed in range(3)}
    assert sweep.notes == () and np.all(sweep.seconds > 0)
    if url is not None:
        again = sweep_from_storage(url)
        assert losses(again) == losses(sweep) and again.seeds == (0, 1, 2)
        assert losses(sweep_from_storage(url, study.study_name, lr_name="lr")) == losses(sweep)


def test_names_that_the_objective_gave_to_schedule_and_seed_need_not_be_told():
    sampler = GeometricGridSampler(
        LRS[3:6], lr_name="eta", schedules=["cosine", "linear"], seeds=2, schedule_name="anneal", seed_name="rng"
    )
    study = optuna.create_study(sampler=sampler)

    def renamed(trial):
        eta = trial.suggest_float("eta", 1e-3, 1e3, log=True)
        worse = trial.suggest_categorical("anneal", ["linear", "cosine"]) == "linear"
        return valley(eta, trial.suggest_int("rng", 0, 9)) + worse

    study.optimize(renamed)
    sweep = sweep_from_study(study, lr_name="eta")
    assert losses(sweep) == {
        (schedule, lr, seed): valley(lr, seed) + (schedule == "linear")
        for schedule in ("cosine", "linear")
        for lr in LRS[3:6]
        for seed in (0, 1)
    }
    assert sweep.notes == ()


def test_what_was_run_before_there_were_seeds_counts_for_the_first():
    study = optuna.create_study(sampler=GeometricGridSampler(LRS[3:6]))
    study.optimize(lambda trial: valley(trial.suggest_float("lr", 1e-3, 1e3, log=True)))
    study.sampler = GeometricGridSampler(LRS[3:6], seeds=[7, 8])
    study.optimize(objective)
    assert set(losses(sweep_from_study(study))) == {("sweep", lr, seed) for lr in LRS[3:6] for seed in (7, 8)}


def test_the_grid_sampler_of_optuna_gives_its_grid():
    study = optuna.create_study(sampler=optuna.samplers.GridSampler({"lr": LRS, "seed": [0, 1]}, seed=0))
    study.optimize(objective)
    assert losses(sweep_from_study(study)) == {("sweep", lr, seed): valley(lr, seed) for lr in LRS for seed in (0, 1)}


def test_tpe_over_a_continuous_range_is_analyzed_to_the_end(storage):
    study = optuna.create_study(storage=storage[0], sampler=optuna.samplers.TPESampler(seed=1))
    study.optimize(lambda trial: valley(trial.suggest_float("lr", 1e-3, 1e3, log=True)), n_trials=30)
    sweep = sweep_from_study(study)
    assert sweep.loss.shape == (1, 30, 1)
    assert dict(zip(sweep.learning_rates.tolist(), sweep.loss[0, :, 0].tolist(), strict=True)) == {
        float(f"{trial.params['lr']:.12g}"): trial.value for trial in study.trials
    }
    assert said(sweep, "the learning rates are not a geometric grid (neighbors are 1.0")
    analysis = analyze_sweep(sweep, tolerance=0.1)
    assert analysis.schedules[0].profile.best_lr == pytest.approx(study.best_params["lr"])


def test_the_machinery_is_that_of_a_csv_file(tmp_path):
    rng = np.random.default_rng(0)
    rows = [(float(lr), float(rng.normal())) for lr in (0.1, 0.2, 0.2, 0.4, 0.1, 0.2, 0.30000000000000004, 0.3)]
    study = optuna.create_study()
    for lr, loss in rows:
        add(study, loss, lr=lr)
    (tmp_path / "runs.csv").write_text("lr,loss\n" + "".join(f"{lr!r},{loss!r}\n" for lr, loss in rows))
    ours, csv = sweep_from_study(study), SweepResult.from_csv(tmp_path / "runs.csv")
    assert losses(ours) == losses(csv) and ours.schedules == csv.schedules
    assert said(ours, "are replicates")


def test_identical_repeats_of_all_learning_rates_are_one_run():
    study = optuna.create_study()
    for lr in (0.5, 1.0, 2.0, 0.5, 1.0, 2.0):
        add(study, valley(lr), lr=lr)
    sweep = sweep_from_study(study)
    assert sweep.seeds == (0,) and said(sweep, "3 trials left out: exact duplicates")


# Which trials count


def test_failed_and_retried_trials_are_one_result():
    tries = {}

    def flaky(trial):
        lr, seed = trial.suggest_float("lr", 1e-3, 1e3, log=True), trial.suggest_int("seed", 0, 9)
        tries[lr, seed] = tries.get((lr, seed), 0) + 1
        if (lr, seed) == (2.0, 1) or (tries[lr, seed] == 1 and seed == 0):
            raise OSError("out of disk")
        return valley(lr, seed)

    study = optuna.create_study(sampler=GeometricGridSampler(LRS[3:7], seeds=2))
    with pytest.warns(RobustLRWarning, match=r"lr=2, seed=1 is given up: trials \d, \d and \d failed"):
        study.optimize(flaky, catch=OSError)
    sweep = sweep_from_study(study)
    assert set(losses(sweep)) == {("sweep", lr, seed) for lr in LRS[3:7] for seed in (0, 1)} - {("sweep", 2.0, 1)}
    (failure,) = sweep.failures
    assert (failure.spec.lr, failure.spec.seed, failure.status) == (2.0, 1, "failed")
    assert sweep.learning_rates.tolist() == LRS[3:7]
    assert sweep.failures[0].error == "trial 5 failed; the study does not say why"


def test_a_failed_trial_gives_the_reason_where_the_study_has_one():
    study = optuna.create_study()
    add(study, 1.0)
    add(study, state=TrialState.FAIL, lr=2.0, user_attrs={"error": "OSError: out of disk"})
    add(study, state=TrialState.FAIL, lr=4.0)
    assert [f.error for f in sweep_from_study(study).failures] == [
        "OSError: out of disk",
        "trial 2 failed; the study does not say why",
    ]


@pytest.mark.parametrize("direction, worst", [("minimize", math.inf), ("maximize", -math.inf)])
def test_every_way_to_diverge_is_a_divergence(direction, worst):
    def broken(trial):
        lr = trial.suggest_float("lr", 1e-3, 1e3, log=True)
        if lr == 2.0:
            raise TrialDiverged("loss above 1e6")
        if lr == 16.0:
            trial.report(math.nan, 3)
            raise optuna.TrialPruned
        return {4.0: math.nan, 8.0: worst}.get(lr, lr)

    study = optuna.create_study(direction=direction, sampler=GeometricGridSampler(LRS[4:]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        study.optimize(broken, catch=TrialDiverged)
    add(study, 0.5, state=TrialState.PRUNED, lr=32.0, system_attrs={"robust_lr:diverged": True})
    sweep = sweep_from_study(study)
    sign = 1 if direction == "minimize" else -1
    assert losses(sweep) == {("sweep", lr, 0): math.inf for lr in (2.0, 4.0, 8.0, 16.0, 32.0)} | {
        ("sweep", 1.0, 0): sign * 1.0
    }


def test_a_failure_without_a_reason_is_said_to_be_a_divergence_perhaps():
    def nan_above_one(trial):
        lr = trial.suggest_float("lr", 1e-3, 1e3, log=True)
        if lr == 8.0:
            trial.report(math.nan, 1)
        return lr if lr <= 1 else math.nan

    study = optuna.create_study(sampler=optuna.samplers.GridSampler({"lr": [0.5, 1.0, 2.0, 4.0, 8.0]}))
    study.optimize(nan_above_one)
    sweep = sweep_from_study(study)
    assert sorted(failure.spec.lr for failure in sweep.failures) == [2.0, 4.0]
    assert losses(sweep)["sweep", 8.0, 0] == math.inf, "the value that it reported last tells"
    assert said(sweep, "2 trials failed, and the study does not say why; Optuna stores a loss of NaN as a failure")


def test_a_grid_that_is_refined_in_part_is_still_a_grid():
    study = optuna.create_study()
    for lr in (1.0, 2.0, 4.0, 8.0, 4.0 * 2 ** (1 / 8)):
        add(study, valley(lr), lr=lr)
    assert sweep_from_study(study).notes == ()


def test_a_maximized_objective_is_turned_round_and_said():
    study = optuna.create_study(direction="maximize")
    for lr in LRS:
        add(study, -valley(lr), lr=lr)
    sweep = sweep_from_study(study)
    assert losses(sweep) == {("sweep", lr, 0): valley(lr) for lr in LRS}
    assert sweep.direction == "maximize"


def test_pruned_and_unfinished_trials_are_left_out_and_counted():
    study = optuna.create_study()
    add(study, 1.0)
    add(study, 0.001, state=TrialState.PRUNED, lr=2.0)
    add(study, 0.002, state=TrialState.PRUNED, lr=4.0)
    add(study, state=TrialState.RUNNING, lr=8.0)
    study.enqueue_trial({"lr": 8.0})
    sweep = sweep_from_study(study)
    assert losses(sweep) == {("sweep", 1.0, 0): 1.0}
    assert said(sweep, "2 trials left out: pruned; a loss before the end of training is not comparable")
    assert said(sweep, "1 trial left out: not finished")


def test_the_first_complete_trial_of_a_cell_counts():
    study = optuna.create_study()
    for value in (1.0, 3.0, 2.0):
        add(study, value, seed=4)
    sweep = sweep_from_study(study)
    assert losses(sweep) == {("sweep", 1.0, 4): 1.0}
    assert said(sweep, "2 trials left out: an earlier trial has the same learning rate, schedule and seed")


# What they are judged by, and by which names


def test_an_objective_is_chosen_by_position_or_name():
    study = optuna.create_study(directions=["minimize", "maximize"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.set_metric_names(["loss", "accuracy"])
    add(study, [0.3, 0.9])
    assert losses(sweep_from_study(study)) == {("sweep", 1.0, 0): 0.3}
    for metric in (1, "accuracy"):
        assert losses(sweep_from_study(study, metric=metric)) == {("sweep", 1.0, 0): -0.9}


def test_a_user_attribute_may_be_the_loss():
    study = optuna.create_study()
    add(study, 1.0, user_attrs={"validation": 3.0, "note": "x"})
    add(study, 1.0, lr=2.0, user_attrs={"metrics": {"validation": 4}})
    add(study, math.inf, lr=4.0, user_attrs={"validation": 5.0})
    add(study, 1.0, lr=8.0)
    sweep = sweep_from_study(study, metric="validation")
    assert losses(sweep) == {("sweep", 1.0, 0): 3.0, ("sweep", 2.0, 0): 4.0, ("sweep", 4.0, 0): math.inf}
    assert said(sweep, "the loss is the user attribute 'validation'")
    assert said(sweep, "1 trial left out: without a number for 'validation'")


def test_any_parameter_or_user_attribute_may_be_the_schedule_and_the_seed():
    study = optuna.create_study()
    for i, name in enumerate(["adam", "sgd", "adam"]):
        add(study, float(i), optimizer=name, user_attrs={"run": float(i)})
    add(study, 9.0, user_attrs={"run": 9})
    sweep = sweep_from_study(study, schedule_name="optimizer", seed_name="run")
    assert losses(sweep) == {("adam", 1.0, 0): 0.0, ("sgd", 1.0, 1): 1.0, ("adam", 1.0, 2): 2.0}
    assert said(sweep, "1 trial left out: without 'optimizer'")


def test_other_parameters_that_differ_are_named():
    study = optuna.create_study()
    for lr in LRS:
        add(study, valley(lr), lr=lr, layers=int(lr), width=7)
    sweep = sweep_from_study(study)
    assert said(sweep, "the trials also differ in layers") and not said(sweep, "width")
    assert not said(sweep_from_study(study, schedule_name="layers"), "differ")


@pytest.mark.parametrize(
    "options, says",
    [
        ({"lr_name": "eta"}, "the study has no parameter 'eta'; its parameters are lr and seed"),
        ({"schedule_name": "anneal"}, "no parameter or user attribute 'anneal'; it has lr, note and seed"),
        ({"seed_name": "rng"}, "no parameter or user attribute 'rng'; it has lr, note and seed"),
        ({"metric": 1}, "metric must be the position of an objective, 0 to 0, or a name, got 1"),
        ({"metric": True}, "got True"),
        ({"metric": "accuracy"}, "has no metric 'accuracy'; it has note"),
    ],
)
def test_a_name_that_is_not_there_is_said_with_those_that_are(options, says):
    study = optuna.create_study()
    add(study, 1.0, seed=1, user_attrs={"note": 2})
    with pytest.raises(DataError, match=says):
        sweep_from_study(study, **options)


def test_a_study_without_a_result_says_what_it_has_instead():
    study = optuna.create_study(study_name="digits")
    add(study, state=TrialState.RUNNING)
    with pytest.raises(DataError, match="study 'digits' has no finished trial"):
        sweep_from_study(study)
    add(study, 1.0, state=TrialState.PRUNED)
    add(study, state=TrialState.FAIL)
    with pytest.raises(DataError, match=r"no finished trial with a result; 1 trial left out: not finished; .*pruned"):
        sweep_from_study(study)


@pytest.mark.parametrize("lr", [-1.0, 0.0])
def test_a_learning_rate_that_is_not_positive_is_refused_with_its_trial(lr):
    study = optuna.create_study()
    add(study, 1.0)
    add(study, 1.0, lr=lr)
    with pytest.raises(DataError, match=rf"trial 1: lr must be positive \(1e-100 to 1e100\), got {lr}"):
        sweep_from_study(study)
    named = optuna.create_study()
    add(named, 1.0, lr="cosine")
    with pytest.raises(DataError, match="trial 0: lr must be a number, got 'cosine'"):
        sweep_from_study(named)


# Storages


def test_a_study_is_found_by_its_name_or_as_the_only_one(tmp_path):
    url = f"sqlite:///{tmp_path / 'study.db'}"
    add(optuna.create_study(storage=url, study_name="a"), 1.0)
    assert losses(sweep_from_storage(url)) == {("sweep", 1.0, 0): 1.0}
    add(optuna.create_study(storage=url, study_name="b"), 2.0)
    assert losses(sweep_from_storage(url, "b")) == {("sweep", 1.0, 0): 2.0}
    with pytest.raises(DataError, match="holds 2 studies, name one of them: a and b"):
        sweep_from_storage(url)
    with pytest.raises(DataError, match="holds no study 'c'; it holds a and b"):
        sweep_from_storage(url, "c")


def test_reading_makes_and_changes_nothing(tmp_path):
    for where in (tmp_path / "none.log", f"sqlite:///{tmp_path / 'none.db'}"):
        with pytest.raises(DataError, match="no such file"):
            sweep_from_storage(where)
    assert list(tmp_path.iterdir()) == []
    study = optuna.create_study(storage=journal_storage(tmp_path / "study.log"))
    add(study, 1.0)
    with (tmp_path / "study.log").open("ab") as file:
        file.write(b'{"op_code": 4, "wor')  # killed while it wrote
    before = (tmp_path / "study.log").read_bytes()
    assert losses(sweep_from_storage(tmp_path / "study.log")) == {("sweep", 1.0, 0): 1.0}
    assert (tmp_path / "study.log").read_bytes() == before


@pytest.mark.parametrize(
    "content", [b"lr,loss\n0.1,2\n", b'{"header": 1}\n{"x": 2}\n', b"SQLite format 3\0\xff\n\xfe\n"]
)
def test_a_file_that_is_no_journal_of_optuna_is_said_to_be_none(tmp_path, content):
    (tmp_path / "runs").write_bytes(content)
    with pytest.raises(DataError, match=r"is not a journal of Optuna \(an SQLite file is given as sqlite:///"):
        sweep_from_storage(tmp_path / "runs")


def test_a_database_without_studies_is_left_as_it_is(tmp_path):
    (tmp_path / "empty.db").touch()
    with pytest.raises(DataError, match="holds no study"):
        sweep_from_storage(f"sqlite:///{tmp_path / 'empty.db'}")
    assert (tmp_path / "empty.db").stat().st_size == 0


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg://me:s3cret@127.0.0.1:1/db",
        "postgresql+psycopg://127.0.0.1:1/db?user=me&password=s3cret",
        "postgresql+psycopg://me:s3c@s3cret@127.0.0.1:1/db",
        "nosuchdialect://me:s3cret@127.0.0.1/db",
        "mysql+nosuchdriver://me:s3cret@127.0.0.1/db",
        "://me:s3cret@",
        "redis://me:s3cret@127.0.0.1",
    ],
)
def test_a_storage_that_cannot_be_reached_is_one_line_without_the_password(url):
    with pytest.raises(DataError) as error:
        sweep_from_storage(url, "digits")
    text = str(error.value)
    assert "s3c" not in text and "\n" not in text and text.startswith("cannot read ")
    assert error.value.__cause__ is None and error.value.__suppress_context__


def test_seeds_that_were_drawn_with_the_learning_rate_are_noise_and_no_axis():
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    study.optimize(lambda t: t.suggest_float("lr", 1e-3, 1.0, log=True) + t.suggest_int("seed", 0, 2), n_trials=9)
    sweep = sweep_from_study(study)
    assert sweep.loss.shape == (1, 9, 1) and sweep.n_trials == 9
    assert any("no learning rate was run with two seeds" in note for note in sweep.notes)
