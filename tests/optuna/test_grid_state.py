"""What is left of a sweep: what no trial has run, by its own parameters, whatever its note says."""

from __future__ import annotations

import itertools

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

from robust_lr_optuna._cells import Cell, as_axes
from robust_lr_optuna._grid_state import GridState

NAMES = {"lr": "lr", "schedule": "schedule", "seed": "seed"}
AXES = as_axes([0.1, 1.0], [], [0, 1])
CELLS = AXES.cells()
SPACE = {"lr": FloatDistribution(0.01, 10.0), "seed": IntDistribution(0, 9), "wd": FloatDistribution(0.0, 1.0)}
STATES = [TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL, TrialState.RUNNING]


def a_trial(number, state=TrialState.COMPLETE, params=None, claim=None, why=None):
    attrs = (
        {} if claim is None else {"robust_lr:cell": {**claim, "number": number, "worker": {"machine": "x", "pid": 1}}}
    )
    attrs |= {} if why is None else {"robust_lr:outcome": why}
    trial = create_trial(
        state=state,
        value=0.0 if state == TrialState.COMPLETE else None,
        params=params or {},
        distributions={name: SPACE[name] for name in params or {}},
        system_attrs=attrs,
    )
    trial.number = number
    return trial


def claim(cell):
    return {"lr": cell.lr, "schedule": None, "seed": cell.seed, "names": {"lr": "lr", "seed": "seed"}}


def params(cell):
    return {"lr": cell.lr, "seed": cell.seed}


def state_of(*trials, max_retries=1):
    state = GridState(AXES, NAMES, max_retries)
    state.read(list(trials))
    return state


def left(*trials):
    return list(state_of(*trials).free(number=-1))


FIRST, SECOND = CELLS[:2]


@pytest.mark.parametrize(
    ("trial", "is_done"),
    [
        (a_trial(0, params=params(FIRST), claim=claim(FIRST)), True),
        (a_trial(0, params={**params(FIRST), "wd": 0.5}, claim=claim(FIRST)), True),
        (a_trial(0, TrialState.PRUNED, params(FIRST), claim(FIRST)), True),
        (a_trial(0, TrialState.FAIL, params(FIRST), claim(FIRST), "diverged"), True),
        (a_trial(0, TrialState.FAIL, params(FIRST), claim(FIRST)), False),
        (a_trial(0, TrialState.FAIL, params(FIRST), claim(FIRST), "interrupted"), False),
        (a_trial(0, params={"lr": FIRST.lr}, claim=claim(FIRST)), False),  # it forgot the seed
        (a_trial(0, params={}, claim=claim(FIRST)), False),
        (a_trial(0, TrialState.PRUNED, {}, claim(FIRST)), False),
        (a_trial(0, params=params(FIRST)), True),  # of another sampler
        (a_trial(0, params={**params(FIRST), "wd": 0.5}), False),
        (a_trial(0, TrialState.PRUNED, params(FIRST)), False),
    ],
)
def test_a_cell_is_finished_only_by_a_trial_whose_own_parameters_are_its_values(trial, is_done):
    assert left(trial) == CELLS[is_done:]


def test_what_ran_something_else_is_the_result_of_that_and_gives_its_own_cell_back():
    assert left(a_trial(0, params=params(SECOND), claim=claim(FIRST))) == [cell for cell in CELLS if cell != SECOND]


def test_a_running_trial_holds_its_cell_and_one_of_another_grid_does_not():
    running = a_trial(0, TrialState.RUNNING, claim=claim(FIRST))
    assert left(running) == CELLS[1:] and list(state_of(running).free(0)) == CELLS
    other = {**claim(FIRST), "names": {"lr": "learning_rate", "seed": "seed"}}
    assert left(a_trial(0, TrialState.RUNNING, claim=other)) == CELLS


def test_a_trial_that_has_ended_and_is_not_stored_yet_counts_as_it_will():
    state = state_of(*(a_trial(i, TrialState.RUNNING, claim=claim(cell)) for i, cell in enumerate(CELLS)))
    assert state.n_work(9) == 0
    state.end(a_trial(0, params=params(FIRST), claim=claim(FIRST)))
    assert state.n_work(9) == 0
    state.end(a_trial(1, TrialState.FAIL, params(SECOND), claim(SECOND)))
    assert list(state.free(9)) == [SECOND]


@pytest.mark.parametrize("max_retries", [0, 1, 3])
def test_a_cell_is_given_up_after_its_retries(max_retries):
    for n in range(max_retries + 2):
        state = state_of(*(a_trial(i, TrialState.FAIL, {}, claim(FIRST)) for i in range(n)), max_retries=max_retries)
        assert (FIRST in state.free(-1)) == (n <= max_retries)
        assert state.failed[FIRST] == list(range(n))


trials = st.builds(
    lambda state, ran, claimed, why: (state, ran, claimed, why),
    st.sampled_from(STATES),
    st.none() | st.sampled_from(CELLS),
    st.none() | st.sampled_from(CELLS),
    st.sampled_from([None, "diverged", "interrupted"]),
)


@given(st.lists(trials, max_size=8), st.integers(0, 8))
def test_reading_step_by_step_is_reading_at_once_and_what_the_slow_twin_says(history, cut):
    made = [
        a_trial(i, state, None if ran is None else params(ran), None if claimed is None else claim(claimed), why)
        for i, (state, ran, claimed, why) in enumerate(history)
    ]
    early = [a_trial(t.number, TrialState.RUNNING, claim=None) if t.number % 2 else t for t in made[:cut]]
    state = state_of(*early)
    state.read(made)
    assert list(state.free(-1)) == left(*made) == slow_twin(made)


def slow_twin(made):
    def is_free(cell):
        failures = 0
        for trial in made:
            claimed = trial.system_attrs.get("robust_lr:cell")
            is_claimed = claimed is not None and (claimed["lr"], claimed["seed"]) == (cell.lr, cell.seed)
            has_run, why = trial.params == params(cell), trial.system_attrs.get("robust_lr:outcome")
            if trial.state == TrialState.RUNNING:
                if is_claimed or (claimed is None and has_run):
                    return False
            elif has_run and (
                trial.state == TrialState.COMPLETE
                or (claimed is not None and (trial.state == TrialState.PRUNED or why == "diverged"))
            ):
                return False
            elif trial.state == TrialState.FAIL and is_claimed and why != "interrupted":
                failures += why != "diverged" or not trial.params
        return failures <= 1

    return list(itertools.filterfalse(lambda cell: not is_free(cell), CELLS))


def test_trials_of_a_study_with_the_old_id_are_not_those_of_the_new_one():
    studies = [optuna.create_study() for _ in range(2)]
    for study in studies:
        study.optimize(lambda trial: trial.suggest_float("lr", 0.1, 1.0), n_trials=2)
    state = GridState(AXES, NAMES, 0)
    state.read(studies[0].trials[:1])
    assert state.is_of(studies[0].trials)
    assert not state.is_of(studies[1].trials) and not state.is_of([])


def test_axes_without_seeds_have_cells_without_seeds():
    state = GridState(as_axes([0.1], [], []), NAMES, 0)
    state.read([a_trial(0, params={"lr": 0.1, "seed": 3}, claim={"lr": 0.1, "schedule": None, "seed": 3})])
    assert list(state.free(-1)) == [] and state.names == {"lr": "lr"}
    assert state.finished_by(a_trial(1, params={"lr": 0.1})) == Cell(0.1)
