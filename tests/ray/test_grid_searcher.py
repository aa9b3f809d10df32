"""A Tuner with a GridSearcher runs the cells that are missing, and no other."""

from __future__ import annotations

import json
import pickle

import pytest

from robust_lr import GeometricGrid, RobustLRError, SweepResult, TrialSpec, run_sweep
from robust_lr.exceptions import DataError, JournalError, OptionError, RobustLRWarning
from robust_lr.trials import expand_trials
from robust_lr_ray import GridSearcher
from robust_lr_ray._cells import spec_of

GRID = GeometricGrid(0.125, 1.0, 4)


def train(*, lr, schedule, seed):
    return lr + seed


@pytest.fixture
def fit(ray_local, tmp_path):
    """Run a searcher in a real Tuner; return the cells that ran, in the order in which they began."""
    from ray import tune

    def run(searcher, trainable=None, *, n=-1, callbacks=(), name="sweep", max_concurrent=2, space=None):
        def ends(config):
            if config["lr"] == 0.5 and config["seed"] == 1:
                raise OSError("the file server is away")
            tune.report({"loss": float("nan") if config["lr"] == 1.0 else config["lr"] + config["seed"], "width": 8})

        began = []

        class Began(tune.Callback):
            def on_trial_start(self, iteration, trials, trial, **info):
                began.append(spec_of(trial.config))

        run.results = tune.Tuner(
            trainable or ends,
            param_space=space or {},
            tune_config=tune.TuneConfig(
                search_alg=searcher, num_samples=n, max_concurrent_trials=max_concurrent, reuse_actors=True
            ),
            run_config=tune.RunConfig(
                name=name, storage_path=str(tmp_path / "tune"), verbose=0, callbacks=[Began(), *callbacks]
            ),
        ).fit()
        return began

    return run


def suggestions(searcher):
    found = []
    while (config := searcher.suggest(f"trial {len(found)}")) != searcher.FINISHED:
        found.append(config)
    return found


def test_it_hands_out_every_cell_once_coarse_before_fine():
    searcher = GridSearcher(GRID, ["cosine", "constant"], 2)
    assert [spec_of(config) for config in suggestions(searcher)] == expand_trials(
        ["cosine", "constant"], GRID.values, [0, 1]
    )


def test_a_schedule_travels_as_its_text_beside_its_name():
    (config,) = suggestions(GridSearcher([0.1], {"annealed": "warmup(0.1)+cosine"}, 1))
    assert config == {"lr": 0.1, "schedule": "warmup(0.1)+cosine", "seed": 0, "schedule_name": "annealed"}


def test_a_tuner_runs_the_sweep_into_a_journal_and_grows_it_by_only_the_new_cells(fit, tmp_path):
    journal = tmp_path / "sweep.jsonl"
    first = fit(GridSearcher(GRID, ["cosine"], 2, journal=journal), max_concurrent=1)
    sweep = SweepResult.from_journal(journal)
    assert sorted(first, key=repr) == sorted(expand_trials(["cosine"], GRID.values, [0, 1]), key=repr)
    assert sweep.loss[0, :2].tolist() == [[0.125, 1.125], [0.25, 1.25]]
    assert sweep.diverged[0, 3].all() and sweep.n_trials == 7, "NaN is a result, the trial that raised has none"
    assert sweep.metrics["width"][0, 0].tolist() == [8.0, 8.0] and set(sweep.metrics) == {"width"}

    larger = GridSearcher(GRID.refine(), ["cosine"], 3, journal=journal)
    new = set(larger.missing)
    second = fit(larger, name="grown", max_concurrent=1)
    assert len(second) == len(set(second)) == 7 * 3 - 7 and set(second) == new
    assert TrialSpec("cosine", 0.5, 1) in second, "what was given up is missing, for the next run to try again"
    assert SweepResult.from_journal(journal).n_trials == 20 and len(larger.missing) == 1


def test_a_sweep_of_run_sweep_goes_on_in_tune_and_the_other_way_round(fit, tmp_path):
    journal = tmp_path / "sweep.jsonl"
    run_sweep(train, GRID.values[:2], ["cosine"], 1, journal=journal, label="digits")
    assert {spec.lr for spec in fit(GridSearcher([*GRID.values[:2], 2.0], ["cosine"], 1, journal=journal))} == {2.0}
    sweep = run_sweep(train, [*GRID.values[:2], 2.0], ["cosine"], 1, journal=journal, label="digits")
    assert sweep.loss.ravel().tolist() == [0.125, 0.25, 2.0]


def test_the_results_of_an_earlier_tuner_and_its_folder_count_as_finished(fit, tmp_path):
    fit(GridSearcher([0.25, 1.0], {"annealed": "cosine"}, 1), max_concurrent=1)
    for i, finished in enumerate((fit.results, tmp_path / "tune" / "sweep")):
        journal = tmp_path / f"{i}.jsonl"
        searcher = GridSearcher([0.25, 1.0, 4.0], {"annealed": "cosine"}, 1, finished=finished, journal=journal)
        assert [spec.lr for spec in searcher.missing] == [4.0]
        assert SweepResult.from_journal(journal).loss.ravel()[:2].tolist() == [0.25, float("inf")]


def test_a_finished_sweep_runs_nothing(fit):
    sweep = run_sweep(train, GRID, ["cosine"], 1)
    assert fit(GridSearcher(GRID, ["cosine"], 1, finished=sweep)) == []


@pytest.mark.slow
def test_tuner_restore_runs_what_was_in_flight_and_what_is_left_once(fit, tmp_path, monkeypatch):
    from ray import tune

    monkeypatch.setenv("TUNE_GLOBAL_CHECKPOINT_S", "0")
    log, crashed = tmp_path / "log", tmp_path / "crashed"
    log.mkdir()

    def trainable(config):
        (log / f"{config['lr']}-{config['seed']}").open("a").write("x")
        tune.report({"loss": config["lr"]})

    class Crash(tune.Callback):
        n = 0

        def on_trial_complete(self, iteration, trials, trial, **info):
            self.n += 1

        def on_step_begin(self, iteration, trials, **info):
            if self.n == 3 and not crashed.exists():
                crashed.touch()
                raise RuntimeError("the driver is gone")

    journal = tmp_path / "sweep.jsonl"
    with pytest.raises(RuntimeError, match="the driver is gone"):
        fit(GridSearcher([0.5, 1.0], ["cosine"], 4, journal=journal), trainable, callbacks=[Crash()], max_concurrent=1)
    assert SweepResult.from_journal(journal).n_trials == 3
    results = tune.Tuner.restore(str(tmp_path / "tune" / "sweep"), trainable, resume_errored=True).fit()
    cells, runs = [spec_of(result.config) for result in results], {f.name: len(f.read_text()) for f in log.iterdir()}
    assert SweepResult.from_journal(journal).n_trials == len(runs) == 8
    assert len(set(cells)) == len(cells) == 8, "no cell is two trials"
    assert sum(runs.values()) <= 8 + 1, "only what was in flight is run again"


def test_what_was_saved_is_restored_into_a_larger_sweep(tmp_path):
    searcher = GridSearcher(GRID, ["cosine"], 1)
    for trial in ("done", "failed", "running"):
        searcher.suggest(trial)
    searcher.on_trial_complete("done", {"loss": 0.5})
    searcher.on_trial_complete("failed", error=True)
    searcher.save(str(tmp_path / "state"))
    assert json.loads((tmp_path / "state").read_text())["finished"] == [["cosine", 0.125, 0]]

    larger = GridSearcher(GRID.refine(), ["cosine", "linear"], 1)
    larger.restore(str(tmp_path / "state"))
    assert set(map(spec_of, suggestions(larger))) == {
        *expand_trials(["cosine", "linear"], GRID.refine().values, [0])
    } - {TrialSpec("cosine", 0.125, 0)}

    resumed = pickle.loads(pickle.dumps(GridSearcher(GRID, ["cosine"], 1)))  # as Tuner.restore does it
    resumed.restore(str(tmp_path / "state"))
    assert [config["lr"] for config in suggestions(resumed)] == [1.0], "Tune goes on with what was in flight"
    resumed.on_trial_complete("running", {"loss": 0.5})
    resumed.on_trial_complete(
        "a new name", {"loss": 0.5, "config/lr": 0.5, "config/schedule": "cosine", "config/seed": 0}
    )
    assert [spec.lr for spec in resumed.missing] == [1.0]


def test_earlier_results_count_by_the_text_of_a_schedule_and_are_copied_into_the_journal(tmp_path):
    sweep = run_sweep(train, GRID, ["cosine", "linear"], 1)
    journal = tmp_path / "sweep.jsonl"
    searcher = GridSearcher(GRID, {"annealed": "cosine"}, 2, finished=sweep, journal=journal)
    assert {spec.seed for spec in searcher.missing} == {1} and len(searcher.missing) == 4
    assert SweepResult.from_journal(journal).loss[0, :, 0].tolist() == GRID.values.tolist()


def test_where_more_is_better_the_journal_holds_the_negative(tmp_path):
    searcher = GridSearcher([0.1, 1.0], ["cosine"], 1, metric="accuracy", direction="maximize", journal=tmp_path / "j")
    for trial, accuracy in (("a", 0.75), ("b", float("nan"))):
        searcher.suggest(trial)
        searcher.on_trial_complete(trial, {"accuracy": accuracy, "time_total_s": 2.0})
    assert SweepResult.from_journal(tmp_path / "j").loss.ravel().tolist() == [-0.75, float("inf")]


def test_a_trial_that_reports_nothing_has_no_result():
    searcher = GridSearcher([0.1], ["cosine"], 1)
    searcher.suggest("a")
    searcher.on_trial_complete("a", None)
    assert len(searcher.missing) == 1 and searcher.suggest("b") == searcher.FINISHED


def test_too_few_samples_and_a_space_of_its_own_are_said(tmp_path):
    from ray import tune

    searcher = GridSearcher(GRID, ["cosine"], 1)
    assert searcher.set_search_properties("loss", "min", {"width": 64}, num_samples=2**63 - 1)
    with pytest.warns(RobustLRWarning, match="num_samples=1 is fewer than the 4 trials to run; -1 runs them all"):
        searcher.set_search_properties(None, None, {"width": 64}, num_samples=1)
    with pytest.raises(OptionError, match="TuneConfig has metric='accuracy', but GridSearcher has 'loss'"):
        searcher.set_search_properties("accuracy", None, {})
    with pytest.raises(RobustLRError, match="must leave 'lr' to GridSearcher"):
        searcher.set_search_properties(None, None, {"lr": 0.1})
    for value in (tune.grid_search([1, 2]), tune.uniform(0, 1)):
        with pytest.raises(RobustLRError, match="only constants beside GridSearcher, got 'width'"):
            searcher.set_search_properties(None, None, {"width": value})


@pytest.mark.parametrize(
    "arguments, error, says",
    [
        ({"metric": ""}, OptionError, "metric must be the name of what the trainable reports, got ''"),
        ({"direction": "least"}, OptionError, "direction must be 'minimize' or 'maximize', got 'least'"),
        ({"finished": 3}, OptionError, "finished must be a SweepResult, a ResultGrid or the folder of one, got 3"),
    ],
)
def test_wrong_arguments_are_refused(arguments, error, says):
    with pytest.raises(error, match=says):
        GridSearcher(GRID, ["cosine"], 1, **arguments)


def test_results_of_another_sweep_are_refused(tmp_path):
    sweep = run_sweep(train, GRID, {"annealed": "linear"}, 1)
    with pytest.raises(DataError, match="in the earlier results 'annealed' is linear, here it is cosine"):
        GridSearcher(GRID, {"annealed": "cosine"}, 1, finished=sweep)
    run_sweep(train, GRID, {"annealed": "linear"}, 1, journal=tmp_path / "j", label="digits")
    with pytest.raises(JournalError, match="schedule 'annealed' is linear in the journal and cosine here"):
        GridSearcher(GRID, {"annealed": "cosine"}, 1, journal=tmp_path / "j")
    (tmp_path / "state").write_text("{}")
    with pytest.raises(DataError, match="is not the state of a GridSearcher"):
        GridSearcher(GRID, ["cosine"], 1).restore(str(tmp_path / "state"))


def test_the_learning_rate_may_have_the_name_that_the_training_knows():
    searcher = GridSearcher([0.1, 1.0], ["cosine"], [0], lr_name="learning_rate", metric="objective")
    configs = suggestions(searcher)
    assert configs == [{"learning_rate": lr, "schedule": "cosine", "seed": 0} for lr in (0.1, 1.0)]
    restarted = {f"config/{name}": value for name, value in configs[0].items()}
    searcher.on_trial_complete("another name", {"objective": 0.5, **restarted})
    assert [trial.lr for trial in searcher.missing] == [1.0]


@pytest.mark.parametrize("name", ["", "seed", None])
def test_a_name_that_cannot_be_that_of_the_learning_rate_is_refused(name):
    with pytest.raises(OptionError, match="lr_name must be the name of the learning rate in the config"):
        GridSearcher([0.1], ["cosine"], [0], lr_name=name)
