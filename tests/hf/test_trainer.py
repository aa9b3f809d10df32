"""annealed: what a Trainer trains with, alone and in its own hyperparameter search."""

import optuna
import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook
from transformers import Trainer

from robust_lr import CosineDecay, FunctionSchedule, SearchOptions, parse_schedule
from robust_lr.exceptions import OptionError, RobustLRWarning, ScheduleError
from robust_lr_hf import annealed
from robust_lr_optuna import GeometricGridSampler, LearningRateSampler, has_diverged, search_result, sweep_from_study
from tests.hf.tiny import QUIET, arguments, cheap_collections, data, tiny_model

pytestmark = [pytest.mark.filterwarnings(line) for line in QUIET]
torch.set_num_threads(1)

LRS, SCHEDULES, SEEDS = [1e-2, 3e37], ["constant", "warmup(steps=2)+cosine"], [0, 1]


@pytest.fixture(scope="module", autouse=True)
def _cheap_collections():
    with cheap_collections():
        yield


@pytest.fixture
def rates():
    found = []
    handle = register_optimizer_step_pre_hook(lambda optimizer, *_: found.append(optimizer.param_groups[0]["lr"]))
    yield found
    handle.remove()


def searching_trainer(folder, **options):
    return annealed(Trainer, "linear")(model_init=tiny_model, args=arguments(folder, **options), **data())


def space(trial):
    return {
        "learning_rate": trial.suggest_float("learning_rate", 1e-4, 3e37, log=True),
        "schedule": trial.suggest_categorical("schedule", SCHEDULES),
        "seed": trial.suggest_int("seed", 0, 9),
    }


def trained_alone(folder, lr, schedule, seed):
    args = arguments(folder, learning_rate=lr, seed=seed)
    trainer = annealed(Trainer, schedule)(model_init=tiny_model, args=args, **data())
    trainer.train()
    return trainer.evaluate()["eval_loss"]


def test_a_grid_in_the_trainers_own_search_runs_each_cell_as_it_would_run_alone(tmp_path, rates):
    sampler = GeometricGridSampler(LRS, schedules=SCHEDULES, seeds=SEEDS, lr_name="learning_rate")
    storage = optuna.storages.InMemoryStorage()
    best = searching_trainer(tmp_path).hyperparameter_search(
        space, backend="optuna", n_trials=None, sampler=sampler, storage=storage, study_name="tiny"
    )
    study = optuna.load_study(study_name="tiny", storage=storage)
    assert len(study.trials) == len(LRS) * len(SCHEDULES) * len(SEEDS)
    assert all(has_diverged(trial) == (trial.params["learning_rate"] == 3e37) for trial in study.trials)
    expected = [
        trial.params["learning_rate"] * float(parse_schedule(trial.params["schedule"])(step, 6))
        for trial in study.trials
        for step in range(6)
    ]
    assert rates == pytest.approx(expected, rel=1e-12)
    sweep = sweep_from_study(study, lr_name="learning_rate", schedule_name="schedule", seed_name="seed")
    for result in sweep.trials():
        if result.spec.lr < 1 and result.spec.seed == 1:  # the seed of a trial, not that of the trial before
            spec = result.spec
            assert result.loss == trained_alone(tmp_path, spec.lr, spec.schedule, spec.seed)
    assert best.objective == min(result.loss for result in sweep.trials())


def test_a_search_in_the_trainers_own_search_ends_by_itself(tmp_path):
    sampler = LearningRateSampler(
        tolerance=0.05, schedule="linear", lr_name="learning_rate", options=SearchOptions(max_trials=5)
    )
    storage = optuna.storages.InMemoryStorage()
    searching_trainer(tmp_path, max_steps=3).hyperparameter_search(
        lambda trial: {"learning_rate": trial.suggest_float("learning_rate", 1e-3, 1.0, log=True)},
        backend="optuna", n_trials=None, sampler=sampler, storage=storage, study_name="tiny",
    )  # fmt: skip
    study = optuna.load_study(study_name="tiny", storage=storage)
    assert 3 <= len(study.trials) <= 5
    assert search_result(study).lr == study.best_params["learning_rate"]


def test_each_train_of_a_trainer_begins_its_schedule_anew(tmp_path, rates):
    trainer = annealed(Trainer, CosineDecay(floor=0.1))(model=tiny_model(), args=arguments(tmp_path), **data())
    trainer.train()
    trainer.train()
    expected = [0.01 * float(CosineDecay(floor=0.1)(step, 6)) for step in range(6)]
    assert rates == pytest.approx(expected * 2, rel=1e-12)


def test_trainers_that_share_their_arguments_keep_their_schedules(tmp_path):
    args = arguments(tmp_path)
    first, second = (annealed(Trainer, name)(model=tiny_model(), args=args) for name in ("cosine", "linear"))
    assert (first.args.schedule, second.args.schedule) == ("cosine", "linear")
    assert not hasattr(args, "schedule")


def test_a_subclass_of_the_trainer_stays_one(tmp_path):
    class Own(Trainer):
        def create_optimizer(self, model=None):
            self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.5)
            return self.optimizer

    triangle = FunctionSchedule(lambda step, total: 1 - abs(step / total - 0.5))
    trainer = annealed(Own, triangle)(model=tiny_model(), args=arguments(tmp_path))
    trainer.create_optimizer_and_scheduler(4)
    assert isinstance(trainer, Own)
    assert trainer.lr_scheduler.get_last_lr() == [0.25]


def test_a_schedule_and_a_warm_up_of_the_arguments_are_not_ignored_in_silence(tmp_path):
    args = arguments(tmp_path, lr_scheduler_type="cosine", warmup_steps=10)
    with pytest.warns(RobustLRWarning, match=r"replaces lr_scheduler_type and warm-up of the Trainer's arguments: rem"):
        annealed(Trainer, "cosine")(model=tiny_model(), args=args)


def test_what_is_wrong_shows_before_a_trainer_is_built(tmp_path):
    with pytest.raises(OptionError, match=r"takes the class of a Trainer, as in annealed\(Trainer, 'cosine'\)\(model="):
        annealed(arguments(tmp_path), "cosine")
    with pytest.raises(ScheduleError, match="cosin"):
        annealed(Trainer, "cosin")
    with pytest.raises(OptionError, match='on_new_horizon must be "error", "stretch" or "keep", got \'longer\''):
        annealed(Trainer, "cosine", on_new_horizon="longer")
