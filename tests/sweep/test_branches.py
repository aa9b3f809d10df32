"""The plan of branches: every shared step once, whatever the schedules."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from robust_lr import parse_schedule
from robust_lr.schedules.closed_forms import tabulated
from robust_lr.sweep.branches import plan_branches

TRAININGS = st.lists(st.lists(st.sampled_from([0.5, 1.0]), min_size=1, max_size=7), min_size=1, max_size=8)


def n_beginnings(trainings):
    """The slow obvious twin: the steps to take are the distinct beginnings of all trainings."""
    return len({tuple(each[:n]) for each in trainings for n in range(1, len(each) + 1)})


def follow(plan):
    """Train by the plan with a run whose state is its history; return each history, and the most states at a time."""
    states, ends, most = {}, {}, 0
    for branch in plan:
        history = list(states[branch.start]) if branch.start else []
        states = {fork: state for fork, state in states.items() if fork in branch.forks}
        for fork in branch.forks:
            if fork > len(history):
                history += branch.multipliers[len(history) : fork]
                states[fork] = list(history)
        most = max(most, len(states))
        ends[branch.key] = history + list(branch.multipliers[len(history) :])
    return ends, most


@given(TRAININGS)
def test_each_training_takes_its_own_steps_and_each_shared_one_is_taken_once(trainings):
    plan = plan_branches(dict(enumerate(trainings)))
    ends, _ = follow(plan)
    assert ends == dict(enumerate(trainings))
    assert sum(branch.n_steps for branch in plan) == n_beginnings(trainings)


@settings(max_examples=50)
@given(
    st.lists(st.integers(40, 400), min_size=1, max_size=5, unique=True),
    st.lists(st.floats(0.02, 1), min_size=1, max_size=4, unique=True),
    st.sampled_from(["linear", "1-sqrt", "cosine"]),
    st.integers(0, 30),
)
def test_a_trunk_with_cooldowns_needs_one_saved_state_at_a_time(horizons, cooldowns, shape, warmup):
    tables = {
        (n, c): parse_schedule(f"warmup(steps={warmup})+wsd({c}, shape={shape})")(np.arange(n), n).tolist()
        for n in horizons
        for c in cooldowns
    }
    plan = plan_branches(tables)
    ends, most = follow(plan)
    assert ends == tables
    assert most <= 1
    assert sum(branch.n_steps for branch in plan) == n_beginnings(tables.values())


def test_the_steps_of_a_trunk_and_its_cooldowns():
    # The first step of a cooldown is still at the peak, so each branch begins one step later.
    tables = {(n, c): tabulated(parse_schedule(f"wsd({c})"), n).tolist() for n in (100, 200) for c in (0.1, 0.2)}
    assert [(branch.key, branch.start, branch.n_steps) for branch in plan_branches(tables)] == [
        ((100, 0.2), 0, 100),
        ((100, 0.1), 81, 19),
        ((200, 0.2), 91, 109),
        ((200, 0.1), 161, 39),
    ]
