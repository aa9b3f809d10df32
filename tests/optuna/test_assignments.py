"""The assignment log: the same cells for whoever reads it, each to one trial, whatever is logged, however often."""

from __future__ import annotations

import math
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robust_lr_optuna._assignments import AssignmentLog, Axes, Cell, LogEntry, as_axes, find_lr
from robust_lr_optuna._parameter_values import SAME

LRS = tuple(10.0**-i for i in range(6, -1, -1))

axes = st.builds(
    as_axes,
    st.lists(st.sampled_from(LRS), max_size=4, unique=True),
    st.lists(st.sampled_from(["cosine", "linear", "constant"]), max_size=2, unique=True),
    st.lists(st.integers(0, 3), max_size=2, unique=True),
)
numbers = st.lists(st.integers(0, 40), max_size=3).map(tuple)
orders = st.builds(LogEntry, grow=axes, assign=numbers, retry=numbers, never_ran=numbers, suspect=numbers)
fixed = st.tuples(st.none() | st.sampled_from(LRS), st.none() | st.just("cosine"), st.none() | st.integers(0, 3))
entries = st.lists(st.just("trial") | orders | fixed, max_size=40)


def read(log, entry):
    if entry == "trial":
        log.read_trial()
    elif isinstance(entry, LogEntry):
        log.read_entry(entry)
    else:
        log.read_fixed(*entry)


def replay(history):
    log = AssignmentLog()
    for entry in history:
        read(log, entry)
    return log


def state_of(log):
    return log.axes, log.n_read, log.assigned, log.attempts, log.waiting


def ends_without_a_cell_twice(log, history):
    """Every cell waits or was given to trials of which all but one were ordered again."""
    cells = set(log.axes.cells())
    waiting = log.waiting
    assert len(waiting) == len(set(waiting))
    holders = {}
    for number, cell in log.assigned.items():
        if not log.was_requeued(number):
            holders.setdefault(cell, []).append(number)
    assert set(waiting) | set(holders) == cells
    assert not set(waiting) & set(holders)
    assert all(len(trials) == 1 for trials in holders.values())


@given(entries)
def test_every_cell_waits_or_belongs_to_one_trial_after_any_history(history):
    ends_without_a_cell_twice(replay(history), history)


@given(entries, st.integers(0, 40))
def test_reading_in_two_halves_is_reading_at_once(history, cut):
    log = replay(history[:cut])
    for entry in history[cut:]:
        read(log, entry)
    assert state_of(log) == state_of(replay(history))


@given(entries, orders)
def test_an_entry_that_two_workers_write_counts_once(history, order):
    without_assignment = LogEntry(order.grow, (), order.retry, order.never_ran, order.suspect)
    once = replay([*history, without_assignment])
    twice = replay([*history, without_assignment, without_assignment])
    assert once.waiting == twice.waiting
    assert (once.axes, once.assigned, once.attempts) == (twice.axes, twice.assigned, twice.attempts)


@given(st.lists(axes, min_size=1, max_size=6), st.randoms())
def test_concurrent_growth_gives_the_product_in_whatever_order_it_arrives(growths, random):
    shuffled = [LogEntry(grow=growth) for growth in growths]
    random.shuffle(shuffled)
    log = replay(shuffled)
    lrs = {lr for growth in growths for lr in growth.lrs}
    schedules = {name for growth in growths for name in growth.schedules} or {None}
    seeds = {seed for growth in growths for seed in growth.seeds} or {None}
    assert set(log.waiting) == {Cell(*values) for values in product(lrs, schedules, seeds)}


@given(st.lists(st.sampled_from(["trial", "fail", "grow", "vanish"]), max_size=60))
def test_workers_that_order_what_has_failed_finish_every_cell_once(events):
    log, n_grown, done, running = AssignmentLog(), 0, [], []
    log.read_entry(LogEntry(grow=as_axes(LRS[:2], (), (0,))))
    for event in events:
        if event == "trial" and log.n_waiting:
            running.append(log.n_read)
            assert log.read_trial() is not None
        elif event == "grow" and n_grown < 3:
            n_grown += 1
            log.read_entry(LogEntry(grow=as_axes(LRS[: 2 + n_grown], (), (n_grown,))))
        elif event in ("fail", "vanish") and running:
            number = running.pop()
            log.read_entry(LogEntry(retry=(number,)) if event == "fail" else LogEntry(never_ran=(number,)))
            log.read_entry(LogEntry(retry=(number,)))  # a second worker that saw the same
    while log.n_waiting:
        running.append(log.n_read)
        log.read_trial()
    done = [log.assigned[number] for number in running]
    assert sorted(done) == sorted(log.axes.cells())


def test_coarse_learning_rates_come_before_fine_ones_each_with_all_its_seeds():
    log = replay([LogEntry(grow=as_axes(LRS[:5], (), (0, 1)))])
    assert [(cell.lr, cell.seed) for cell in log.waiting] == [
        (LRS[i], seed) for i in (0, 4, 2, 1, 3) for seed in (0, 1)
    ]


def test_a_failed_cell_comes_before_all_others_and_has_one_attempt_less():
    log = replay([LogEntry(grow=as_axes(LRS, (), ())), "trial", LogEntry(retry=(1,))])
    assert log.waiting[0] == log.assigned[1]
    assert log.attempts == {log.assigned[1]: 1}


def test_a_void_trial_costs_no_attempt():
    log = replay([LogEntry(grow=as_axes(LRS, (), ())), "trial", LogEntry(never_ran=(1,))])
    assert log.waiting[0] == log.assigned[1]
    assert log.attempts == {log.assigned[1]: 0}


def test_a_trial_that_came_too_early_is_served_later():
    log = replay(["trial", LogEntry(grow=as_axes(LRS, (), ()), assign=(0,))])
    assert log.assigned == {0: Cell(LRS[0])}


def test_an_entry_assigns_only_trials_before_it():
    log = replay([LogEntry(grow=as_axes(LRS, (), ()), assign=(0, 1))])
    assert log.assigned == {}


def test_a_result_that_was_found_is_not_run_again():
    log = replay(["trial", LogEntry(grow=as_axes(LRS[:2], (), ()), found={0: Cell(LRS[1])})])
    assert log.waiting == [Cell(LRS[0])]
    assert log.assigned == {0: Cell(LRS[1])}


def test_a_trial_with_a_cell_whose_result_is_that_of_another_cell_gives_its_own_back():
    log = replay([LogEntry(grow=as_axes(LRS[:3], (), ())), "trial", LogEntry(found={1: Cell(LRS[1])})])
    assert log.assigned == {1: Cell(LRS[1])}
    assert set(log.waiting) == {Cell(LRS[0]), Cell(LRS[2])}


def test_a_found_cell_that_the_sweep_does_not_have_changes_nothing():
    log = replay([LogEntry(grow=as_axes(LRS[:2], (), ())), "trial", LogEntry(found={1: Cell(0.5)})])
    assert log.assigned == {1: Cell(LRS[0])}


def test_a_fixed_trial_takes_the_first_cell_that_agrees_with_it():
    log = replay([LogEntry(grow=as_axes(LRS[:3], (), (0, 1))), (LRS[1], None, 1), (LRS[1], None, None)])
    assert log.assigned == {1: Cell(LRS[1], None, 1), 2: Cell(LRS[1], None, 0)}


def test_a_fixed_trial_off_the_grid_takes_no_cell():
    log = replay([LogEntry(grow=as_axes(LRS[:3], (), ())), (0.3, None, None), (float("nan"), None, None)])
    assert log.assigned == {} and log.n_waiting == 3


def test_a_repetition_by_optuna_takes_the_cell_of_what_it_repeats_once():
    log = replay([LogEntry(grow=as_axes(LRS[:1], (), ())), "trial"])
    assert log.read_fixed(None, None, None, repeats=1) == Cell(LRS[0])
    assert log.read_fixed(None, None, None, repeats=1) is None
    log.read_entry(LogEntry(retry=(1,)))
    assert log.n_waiting == 0


def test_trials_from_before_a_new_axis_count_for_its_first_value():
    log = replay([LogEntry(grow=as_axes(LRS[:2], (), ())), "trial", LogEntry(grow=as_axes((), ("cosine",), (3, 4)))])
    assert log.assigned == {1: Cell(LRS[0], "cosine", 3)}
    assert set(log.waiting) == set(log.axes.cells()) - {Cell(LRS[0], "cosine", 3)}


@given(orders, st.dictionaries(st.integers(0, 9), st.builds(Cell, st.sampled_from(LRS)), max_size=3))
def test_an_entry_survives_its_storage(order, found):
    order = LogEntry(order.grow, order.assign, order.retry, order.never_ran, order.suspect, found)
    assert LogEntry.from_json(order.to_json()) == order


@given(st.lists(st.sampled_from(LRS), unique=True), st.sampled_from(LRS), st.floats(-0.4 * SAME, 0.4 * SAME))
def test_learning_rates_are_known_up_to_rounding(lrs, lr, error):
    lrs = sorted(lrs)
    assert find_lr(lrs, lr * (1 + error)) == next((known for known in lrs if math.isclose(known, lr)), None)


def test_a_learning_rate_given_with_another_rounding_is_the_one_that_was_there():
    known = as_axes((0.1, 1.0), (), ())
    assert known.missing(as_axes((0.1 * (1 + 1e-12), 1.0000000000000007), (), ())) == Axes()
    assert known.grown(as_axes((0.1 * (1 + 1e-12), 10.0), (), ())).lrs == (0.1, 1.0, 10.0)


@pytest.mark.parametrize("part", ["lrs", "schedules", "seeds"])
def test_what_is_missing_is_only_what_is_new(part):
    known, wanted = as_axes((0.1,), ("cosine",), (0,)), as_axes((0.1, 1.0), ("cosine", "linear"), (0, 1))
    missing = known.missing(wanted)
    assert getattr(missing, part) == {"lrs": (1.0,), "schedules": ("linear",), "seeds": (1,)}[part]
    assert known.grown(missing) == known.grown(wanted) == Axes((0.1, 1.0), ("cosine", "linear"), (0, 1))


def test_a_trial_fixed_before_there_was_a_grid_is_the_run_of_its_cell():
    log = replay([(LRS[1], None, None), LogEntry(grow=as_axes(LRS[:3], (), ()))])
    assert log.assigned == {0: Cell(LRS[1])}
    assert set(log.waiting) == {Cell(LRS[0]), Cell(LRS[2])}
