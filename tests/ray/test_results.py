"""A Tune experiment becomes the sweep that its trials are, whoever ran it, in memory or on disk."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys

import numpy as np
import optuna
import pytest

from robust_lr import TrialDiverged, analyze_sweep
from robust_lr.exceptions import DataError, OptionError
from robust_lr_ray.results import sweep_from_experiment, sweep_from_result_grid

LRS = [0.5, 1.0, 2.0, 4.0, 8.0]
STATE = "experiment_state-*.json"


@pytest.fixture(scope="module")
def tune_run(ray_local, ray_folder):
    """Run an experiment of Tune; return its ResultGrid and its folder."""
    from ray import tune

    names = iter(range(1000))

    def run(train, space, *, logs=True, name=None, max_failures=0, **config):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "0" if logs else "1")
            grid = tune.Tuner(
                train,
                param_space=space,
                tune_config=tune.TuneConfig(reuse_actors=True, max_concurrent_trials=1, **config),  # one process
                run_config=tune.RunConfig(
                    name=name or f"run{next(names)}",
                    storage_path=str(ray_folder / "tune"),
                    verbose=0,
                    failure_config=tune.FailureConfig(max_failures=max_failures),
                ),
            ).fit()
        return grid, ray_folder / "tune" / grid.experiment_path.rpartition("/")[2]

    return run


@pytest.fixture(scope="module")
def valley():
    """A training function with a minimum at 1 that diverges at 4, and at 8 raises, with seed 1 that it diverged."""

    def train(config):
        from ray import tune

        for step in (2, 1, 0):
            seed = config.get("seed", 0)
            loss = math.log2(config["lr"]) ** 2 + 0.01 * seed + step
            if config["lr"] > 4 and step == 1:
                raise TrialDiverged("loss above 1e6") if seed else OSError("out of disk")
            tune.report({"loss": math.nan if config["lr"] == 4 else loss, "eval": {"accuracy": -loss}, "note": "x"})

    return train


@pytest.fixture(scope="module")
def space():
    from ray import tune

    return {"lr": tune.grid_search(LRS), "seed": tune.grid_search([0, 1]), "width": 64}


@pytest.fixture(scope="module", params=["with logs", pytest.param("without logs", marks=pytest.mark.slow)])
def grid_run(request, tune_run, valley, space):
    return tune_run(valley, space, logs=request.param == "with logs")


@pytest.fixture(scope="module")
def small_run(tune_run, valley):
    from ray import tune

    return tune_run(valley, {"lr": tune.grid_search([0.5, 1.0, 2.0])})


@pytest.fixture
def copied(small_run, tmp_path):
    """The folder of a small finished experiment, to be damaged."""
    return shutil.copytree(small_run[1], tmp_path / "digits")


def losses(sweep):
    return {(t.spec.schedule, t.spec.lr, t.spec.seed): t.loss for t in sweep.trials() if t.is_final}


def without_logs(folder):
    """The folder of an experiment as it is where Tune's loggers are turned off."""
    for name in ("result.json", "progress.csv", "params.json", "params.pkl"):
        for file in folder.glob(f"*/{name}"):
            file.unlink()
    return folder


def said(sweep, text):
    return any(text in note for note in sweep.notes)


EXPECTED = {("sweep", lr, seed): math.log2(lr) ** 2 + 0.01 * seed for lr in LRS[:3] for seed in (0, 1)}
EXPECTED |= {("sweep", lr, seed): math.inf for lr, seed in ((4.0, 0), (4.0, 1), (8.0, 1))}


# What a trial is


def test_a_grid_in_memory_and_on_disk_is_the_sweep_that_was_run(grid_run):
    grid, folder = grid_run
    for sweep in (sweep_from_result_grid(grid), sweep_from_experiment(folder)):
        assert losses(sweep) == pytest.approx(EXPECTED)
        (failure,) = sweep.failures
        assert (failure.spec.lr, failure.spec.seed, failure.status) == (8.0, 0, "failed")
        assert failure.error.endswith("OSError: out of disk") and "\x1b" not in failure.error
        assert sweep.notes == () and sweep.metrics["eval/accuracy"][0, 1, 0] == 0
        assert analyze_sweep(sweep, tolerance=0.1).schedules[0].profile.best_lr == 1


def test_a_loss_that_is_maximized_is_turned_round_and_said(grid_run):
    grid, folder = grid_run
    options = {"metric": "eval/accuracy", "direction": "maximize"}
    for sweep in (sweep_from_result_grid(grid, **options), sweep_from_experiment(folder, **options)):
        assert losses(sweep)["sweep", 2.0, 1] == pytest.approx(1.01)
        assert (sweep.notes, sweep.direction) == (("judged by 'eval/accuracy'",), "maximize")


@pytest.mark.slow  # test_cli_analyze.py reads such an experiment from its folder
def test_names_are_found_one_level_below_and_that_is_said(tune_run):
    def nested(config):
        from ray import tune

        tune.report({"loss": config["cell"]["lr"] + config["cell"]["seed"]})

    from ray import tune

    cells = [{"lr": lr, "seed": seed, "schedule": s} for lr in (1.0, 2.0) for seed in (3, 4) for s in ("cosine", "wsd")]
    grid, folder = tune_run(nested, {"cell": tune.grid_search(cells)})
    for sweep in (sweep_from_result_grid(grid), sweep_from_experiment(folder, lr_name="cell/lr")):
        assert losses(sweep) == {(c["schedule"], c["lr"], c["seed"]): c["lr"] + c["seed"] for c in cells}
    assert sweep_from_result_grid(grid).notes == ("'lr' is 'cell/lr'",)
    assert sweep_from_result_grid(grid, lr_name="cell/lr").notes == ()


def test_numbers_of_numpy_are_numbers(tune_run):
    def train(config):
        from ray import tune

        tune.report({"loss": np.float32("nan" if config["lr"] > 1 else 0.5)})

    from ray import tune

    grid, folder = tune_run(train, {"lr": tune.grid_search([1.0, 2.0])})
    expected = {("sweep", 1.0, 0): 0.5, ("sweep", 2.0, 0): math.inf}
    assert losses(sweep_from_result_grid(grid)) == losses(sweep_from_experiment(folder)) == expected


def test_our_own_reports_say_what_they_are_and_what_the_schedules_are(tune_run):
    def ours(config):
        from ray import tune

        from robust_lr import parse_schedule
        from robust_lr.runners import evaluate_trial
        from robust_lr_ray._cells import report_of, spec_of

        def train(*, lr, schedule, seed):
            if lr == 2.0:
                raise TrialDiverged("loss above 1e6")
            return {"loss": lr + seed, "accuracy": 0.5}

        tune.report(report_of(evaluate_trial(train, spec_of(config), parse_schedule(config["schedule"]))))

    from robust_lr_ray.search_space import param_space

    grid, folder = tune_run(ours, param_space([1.0, 2.0], {"half": "cosine", "constant": "constant"}, 2))
    for sweep in (sweep_from_result_grid(grid), sweep_from_experiment(folder)):
        assert losses(sweep) == {
            (name, lr, seed): lr + seed if lr == 1 else math.inf
            for name in ("half", "constant")
            for lr in (1.0, 2.0)
            for seed in (0, 1)
        }
        assert dict(sweep.specs) == {"half": "cosine", "constant": "constant"}
        assert set(sweep.metrics) == {"accuracy"} and sweep.notes == ()


def test_a_retried_trial_is_one_result_of_its_last_run(tune_run, tmp_path):
    def flaky(config):
        from pathlib import Path

        from ray import tune

        flag = Path(config["folder"], str(config["lr"]))
        for step in range(3):
            tune.report({"loss": config["lr"] + step})
            if config["lr"] == 1 and step == 1 and not flag.exists():
                flag.touch()
                raise OSError("the file server is away")

    from ray import tune

    grid, folder = tune_run(flaky, {"lr": tune.grid_search([1.0, 2.0]), "folder": str(tmp_path)}, max_failures=1)
    for sweep in (sweep_from_result_grid(grid), sweep_from_experiment(folder)):
        assert losses(sweep) == {("sweep", 1.0, 0): 3.0, ("sweep", 2.0, 0): 4.0}
        assert sweep.failures == () and sweep.notes == ()


def test_a_pack_gives_one_result_for_each_of_its_learning_rates(tune_run):
    def pack(config):
        from ray import tune

        for lr in config["lrs"]:
            cell = {"packed": True, "lr": lr, "schedule": "cosine", "schedule_name": "half", "seed": config["seed"]}
            status = "diverged" if lr > 1 else "ok"
            tune.report(cell | {"loss": lr if lr < 2 else math.inf, "status": status, "seconds": 2.0, "accuracy": 0.5})

    from ray import tune

    space = {"lrs": [0.5, 1.0, 2.0], "seed": tune.grid_search([0, 1])}
    grid, folder = tune_run(pack, space)
    for sweep in (sweep_from_result_grid(grid), sweep_from_experiment(folder)):
        assert losses(sweep) == {
            ("half", lr, seed): lr if lr < 2 else math.inf for lr in (0.5, 1.0, 2.0) for seed in (0, 1)
        }
        assert dict(sweep.specs) == {"half": "cosine"} and sweep.notes == ()
        assert set(sweep.metrics) == {"accuracy"} and sweep.seconds[0, 0, 0] == 2.0


# Which trials count


def test_trials_that_asha_stopped_are_left_out(tune_run):
    def slow(config):
        from ray import tune

        for step in range(9):
            tune.report({"loss": config["lr"] + 1 / (1 + step)})

    from ray import tune
    from ray.tune.schedulers import ASHAScheduler

    lrs = [0.001 * 2**k for k in range(9)]
    grid, folder = tune_run(
        slow,
        {"lr": tune.grid_search(lrs)},
        metric="loss",
        mode="min",
        scheduler=ASHAScheduler(max_t=9, grace_period=1, reduction_factor=3, brackets=1),
    )
    ends = {r.config["lr"] for r in grid if r.metrics["training_iteration"] == 9}
    assert 0 < len(ends) < len(lrs)
    sweeps = [sweep_from_result_grid(grid), sweep_from_experiment(folder)]
    for sweep in (*sweeps, sweep_from_experiment(without_logs(folder))):
        assert {lr for _, lr, _ in losses(sweep)} == ends
        n = len(lrs) - len(ends)
        assert said(sweep, f"{n} trials left out: stopped after fewer reports than others; a loss before the end")


def test_a_function_that_returns_early_by_itself_has_a_final_loss(tune_run):
    def early(config):
        from ray import tune

        for _ in range(int(config["lr"])):
            tune.report({"loss": config["lr"]})

    from ray import tune

    grid, folder = tune_run(early, {"lr": tune.grid_search([1.0, 2.0, 4.0])})
    for sweep in (sweep_from_result_grid(grid), sweep_from_experiment(folder)):
        assert losses(sweep) == {("sweep", lr, 0): lr for lr in (1.0, 2.0, 4.0)}


def test_a_search_by_tpe_is_analyzed_to_the_end(tune_run, valley):
    from ray import tune
    from ray.tune.search.optuna import OptunaSearch

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    search = OptunaSearch(sampler=optuna.samplers.TPESampler(seed=0))
    space = {"lr": tune.loguniform(1e-3, 2.0), "dropout": tune.uniform(0.0, 0.5)}
    grid, folder = tune_run(valley, space, search_alg=search, num_samples=8, metric="loss", mode="min")
    for sweep in (sweep_from_result_grid(grid), sweep_from_experiment(folder)):
        best = grid.get_best_result().config["lr"]
        assert sweep.loss.shape == (1, 8, 1)
        assert analyze_sweep(sweep, tolerance=0.1).schedules[0].profile.best_lr == pytest.approx(best)
        assert said(sweep, "not a geometric grid") and said(sweep, "the trials also differ in dropout")


def test_repeats_without_seeds_are_replicates_and_with_seeds_the_first_counts(tune_run):
    def once(config):
        from ray import tune

        tune.report({"loss": config["run"]["lr"] + config["run"]["draw"]})

    from ray import tune

    runs = [{"lr": lr, "draw": draw} for draw in (0.0, 0.1) for lr in (1.0, 2.0)]
    grid, folder = tune_run(once, {"run": tune.grid_search(runs), "rng": 5})
    for sweep in (sweep_from_result_grid(grid), sweep_from_experiment(folder)):
        assert losses(sweep) == {("sweep", lr, k): lr + 0.1 * k for lr in (1.0, 2.0) for k in (0, 1)}
        assert said(sweep, "are replicates") and said(sweep, "also differ in run/draw")
    for sweep in (sweep_from_result_grid(grid, seed_name="rng"), sweep_from_experiment(folder, seed_name="rng")):
        assert losses(sweep) == {("sweep", 1.0, 5): 1.0, ("sweep", 2.0, 5): 2.0}
        assert said(sweep, "2 trials left out: an earlier trial has the same learning rate, schedule and seed")


# An experiment on disk that is not as it should be


def test_what_tune_logged_after_its_last_snapshot_is_read(copied):
    """As when the driver was killed: the snapshot knows one trial as running, and does not know another."""
    state = next(copied.glob(STATE))
    snapshot = json.loads(state.read_text())
    by_lr = {json.loads(trial)["config"]["lr"]: [trial, run] for trial, run in snapshot["trial_data"]}
    by_lr[1.0] = [by_lr[1.0][0].replace('"TERMINATED"', '"RUNNING"'), json.dumps({"last_result": {}})]
    del by_lr[2.0]
    state.write_text(json.dumps(snapshot | {"trial_data": list(by_lr.values())}))
    expected = {("sweep", 0.5, 0): 1.0, ("sweep", 1.0, 0): 0.0, ("sweep", 2.0, 0): 1.0}
    assert losses(sweep_from_experiment(copied)) == expected, "they have as many reports as the one that has ended"
    for log in copied.glob("*lr=[12].0*/result.json"):
        log.write_text(log.read_text()[:-40])
    sweep = sweep_from_experiment(copied)
    assert losses(sweep) == {("sweep", 0.5, 0): 1.0} and sweep.notes == ("2 trials left out: not finished",)


def test_the_newest_snapshot_that_can_be_read_counts(copied):
    (state,) = copied.glob(STATE)
    snapshot = json.loads(state.read_text())
    trial, run = snapshot["trial_data"][0]
    other = json.loads(trial) | {"trial_id": "older", "relative_logdir": "older", "config": {"lr": 0.25}}
    (copied / "experiment_state-2020-01-01_00-00-00.json").write_text(
        json.dumps(snapshot | {"trial_data": [[json.dumps(other), run]]})
    )
    sweep = sweep_from_experiment(copied)
    assert sweep.learning_rates.tolist() == [0.5, 1.0, 2.0]
    assert len(sweep.notes) == 1 and said(sweep, "1 trial left out: only in an older snapshot")
    (copied / "experiment_state-2099-01-01_00-00-00.json").write_text(state.read_text()[:1000])
    assert losses(sweep_from_experiment(copied)) == losses(sweep)


def test_an_experiment_that_was_restored_is_read_as_one(tune_run, valley, tmp_path):
    from ray import tune

    def away(config):
        from pathlib import Path

        if config["lr"] == 2.0 and not Path(config["flag"]).exists():
            Path(config["flag"]).touch()
            raise OSError("the file server is away")
        valley(config)

    space = {"lr": tune.grid_search([0.5, 1.0, 2.0]), "flag": str(tmp_path / "flag")}
    _, folder = tune_run(away, space)
    assert [f.spec.lr for f in sweep_from_experiment(folder).failures] == [2.0]
    grid = tune.Tuner.restore(str(folder), trainable=away, restart_errored=True).fit()
    for sweep in (sweep_from_result_grid(grid), sweep_from_experiment(folder)):
        assert losses(sweep) == {("sweep", 0.5, 0): 1.0, ("sweep", 1.0, 0): 0.0, ("sweep", 2.0, 0): 1.0}
        assert sweep.failures == () and not said(sweep, "not finished")


def test_nothing_is_unpickled_and_ray_is_not_needed(copied):
    for file in copied.rglob("*.pkl"):
        file.write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    code = (
        "import sys; sys.modules['ray'] = None\n"
        "from robust_lr_ray.results import sweep_from_experiment\n"
        f"print(sweep_from_experiment({str(copied)!r}).n_trials)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "3\n", done.stderr


def test_reading_changes_nothing(copied):
    before = {file: file.read_bytes() for file in copied.rglob("*") if file.is_file()}
    sweep_from_experiment(copied)
    assert {file: file.read_bytes() for file in copied.rglob("*") if file.is_file()} == before


# What is wrong is said in one line


@pytest.mark.parametrize(
    "options, says",
    [
        ({"lr_name": "eta"}, "experiment 'digits' has no 'eta' in its configs; they have lr"),
        ({"schedule_name": "anneal"}, "has no 'anneal' in its configs; they have lr"),
        ({"seed_name": "rng"}, "has no 'rng' in its configs; they have lr"),
        ({"metric": "val_loss"}, "has no report of 'val_loss'; its trials reported eval/accuracy and loss"),
        ({"direction": "least"}, "direction must be 'minimize' or 'maximize', got 'least'"),
    ],
)
def test_a_name_that_is_not_there_is_said_with_those_that_are(copied, options, says):
    with pytest.raises((DataError, OptionError)) as error:
        sweep_from_experiment(copied, **options)
    assert says in str(error.value) and "\n" not in str(error.value)


def test_a_folder_that_is_no_experiment_is_said_to_be_none(copied, tmp_path):
    (tmp_path / "file").touch()
    for path, says in [
        (tmp_path / "none", "cannot read .*none: no such folder"),
        (tmp_path / "file", "cannot read .*file: not a folder"),
        (tmp_path, r"is no experiment of Ray Tune, it holds no experiment_state-\*.json; its folder digits is one"),
        ("s3://bucket/digits", "s3://bucket/digits is not on this machine"),
    ]:
        with pytest.raises(DataError, match=says):
            sweep_from_experiment(path)
    next(copied.glob(STATE)).write_text('{"trial_')
    with pytest.raises(DataError, match=r"its experiment_state-\*.json is damaged"):
        sweep_from_experiment(copied)


def test_an_experiment_without_a_result_says_what_it_has_instead(tune_run):
    from ray import tune

    grid, folder = tune_run(lambda config: None, {"lr": tune.grid_search([1.0, 2.0])})
    for read, what in ((sweep_from_result_grid, grid), (sweep_from_experiment, folder)):
        with pytest.raises(DataError, match="has no finished trial with a result; 2 trials left out: without a report"):
            read(what)


@pytest.mark.parametrize(
    "lr, says", [(-1.0, r"must be positive .*, got -1\.0"), ("high", "must be a number, got 'high'")]
)
def test_a_learning_rate_that_is_none_is_refused_with_its_trial(copied, lr, says):
    state = next(copied.glob(STATE))
    snapshot = json.loads(state.read_text())
    trial = json.loads(snapshot["trial_data"][0][0]) | {"config": {"lr": lr}}
    snapshot["trial_data"][0][0] = json.dumps(trial)
    state.write_text(json.dumps(snapshot))
    with pytest.raises(DataError, match=f"trial {trial['relative_logdir']}: lr {says}"):
        sweep_from_experiment(copied)
