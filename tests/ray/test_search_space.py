"""The space of a Tuner of one's own holds each cell once, coarse before fine."""

from __future__ import annotations

import pytest

from robust_lr import CosineDecay, GeometricGrid, RobustLRError, TableSchedule, parse_schedule
from robust_lr.exceptions import GridError, ScheduleError
from robust_lr.trials import expand_trials
from robust_lr_ray._cells import spec_of
from robust_lr_ray.search_space import param_space

GRID = GeometricGrid(0.125, 2.0, 5)


def configs(space):
    """What Tune makes of a space whose only grid is "cell"."""
    of_key = {key: value for key, value in space.items() if key != "cell"}
    cells = [{"cell": cell} for cell in space["cell"]["grid_search"]]
    return [cell | {key: domain.sample(cell) for key, domain in of_key.items()} for cell in cells]


def test_a_tuner_runs_each_cell_once_coarse_before_fine(ray_local, tmp_path):
    from ray import tune

    began = []

    class Began(tune.Callback):
        def on_trial_start(self, iteration, trials, trial, **info):
            began.append(trial.config)

    tune.Tuner(
        lambda config: {"loss": config["lr"]},
        param_space=param_space([1.0, 2.0, 4.0], {"annealed": "cosine(floor=0.1)"}, 2) | {"width": 8},
        tune_config=tune.TuneConfig(reuse_actors=True, max_concurrent_trials=1),
        run_config=tune.RunConfig(storage_path=str(tmp_path), verbose=0, callbacks=[Began()]),
    ).fit()
    assert [spec_of(config) for config in began] == expand_trials(["annealed"], [1.0, 2.0, 4.0], [0, 1])
    assert parse_schedule(began[0]["schedule"]) == CosineDecay(floor=0.1)
    assert {config["width"] for config in began} == {8}


def test_schedules_with_no_name_of_their_own_go_by_their_text():
    space = param_space(GRID, [CosineDecay(), "linear"], [3, 5])
    assert list(space) == ["cell", "lr", "schedule", "seed"]
    assert [spec_of(config) for config in configs(space)] == expand_trials(["cosine", "linear"], GRID.values, [3, 5])


def test_two_names_of_one_schedule_are_two_cells():
    found = configs(param_space([0.1], {"a": "cosine", "b": "cosine"}, 1))
    assert [spec_of(config).schedule for config in found] == ["a", "b"]
    assert [config["schedule"] for config in found] == ["cosine", "cosine"]


@pytest.mark.parametrize(
    "arguments, error, says",
    [
        (([0.1, -1.0], ["cosine"], 1), GridError, "learning rates must be positive finite numbers, got -1.0"),
        (([0.1], ["cosin"], 1), ScheduleError, "unknown schedule 'cosin'"),
        (([0.1], [TableSchedule([1.0, 0.5])], 1), ScheduleError, "travels to the cluster as its text, and table"),
        (([0.1], ["cosine"], 0), RobustLRError, "a number of seeds must be at least 1, got 0"),
    ],
)
def test_wrong_arguments_are_refused(arguments, error, says):
    with pytest.raises(error, match=says):
        param_space(*arguments)
