"""The Trainer's own hyperparameter search on Ray, under our searchers: real transformers, a tiny model."""

import math

import pytest
import torch

from robust_lr import SearchOptions
from robust_lr_ray import GridSearcher, LearningRateSearcher, sweep_from_result_grid
from tests.hf.tiny import QUIET, arguments, data, tiny_model

pytestmark = [
    pytest.mark.slow,  # Tune starts a process that imports transformers for each trial
    *(pytest.mark.filterwarnings(line) for line in QUIET),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),
]
torch.set_num_threads(1)

LRS, SCHEDULES, SEEDS = [1e-2, 3e37], ["constant", "warmup(steps=2)+cosine"], [0, 1]


@pytest.fixture
def search(ray_local, tmp_path):
    """Run a searcher in the search of an annealed Trainer; return the best run and what ended each trial."""
    from accelerate.state import GradientState
    from transformers import Trainer

    from robust_lr_hf import annealed

    def run(searcher):
        GradientState._reset_state()  # after a training in this process, no Trainer can be sent to another
        trainer = annealed(Trainer, "linear")(model_init=tiny_model, args=arguments(tmp_path / "out"), **data())
        return trainer.hyperparameter_search(
            hp_space=lambda _: {},
            backend="ray",
            n_trials=-1,
            search_alg=searcher,
            storage_path=str(tmp_path / "tune"),
            name="search",
            resources_per_trial={"cpu": 4},
            verbose=0,
        )

    return run


def trained_alone(folder, lr, schedule, seed):
    from transformers import Trainer

    from robust_lr_hf import annealed

    args = arguments(folder, learning_rate=lr, seed=seed)
    trainer = annealed(Trainer, schedule)(model_init=tiny_model, args=args, **data())
    trainer.train()
    return trainer.evaluate()["eval_loss"]


def test_a_grid_runs_each_cell_once_as_it_would_run_alone(search, tmp_path):
    searcher = GridSearcher(LRS, SCHEDULES, SEEDS, lr_name="learning_rate", metric="objective")
    best = search(searcher)
    assert searcher.missing == []
    assert best.hyperparameters["learning_rate"] == 1e-2
    sweep = sweep_from_result_grid(tmp_path / "tune" / "search", lr_name="learning_rate", metric="objective")
    assert len(sweep.trials()) == 8
    assert all((result.status == "diverged") == (result.spec.lr == 3e37) for result in sweep.trials())
    for result in sweep.trials():
        spec = result.spec
        if spec.lr < 1:
            alone = trained_alone(tmp_path, spec.lr, spec.schedule, spec.seed)
            assert result.loss == pytest.approx(alone, rel=1e-6)


def test_a_search_ends_by_itself(search):
    searcher = LearningRateSearcher(
        1e-3, 1.0, tolerance=0.05, schedule="cosine", lr_name="learning_rate", metric="objective",
        options=SearchOptions(max_trials=4),
    )  # fmt: skip
    search(searcher)
    assert 3 <= searcher.result.n_trials <= 4
    assert math.isfinite(searcher.result.lr)
