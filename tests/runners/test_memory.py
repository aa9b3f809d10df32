"""A worker that grows from trial to trial is named once; one that only fluctuates, or has its size, is not."""

from __future__ import annotations

import logging

import pytest

from robust_lr.runners.memory import MemoryWatch, resident_bytes

MB = 1_000_000


def warnings_of(sizes, caplog):
    watch = MemoryWatch()
    with caplog.at_level(logging.WARNING, "robust_lr"):
        for size in sizes:
            watch.note(0, size)
    return [record.getMessage() for record in caplog.records]


def test_growth_by_the_same_amount_each_trial_is_named_once_with_the_way_out(caplog):
    (said,) = warnings_of([400 * MB + k * 30 * MB for k in range(40)], caplog)
    assert said.startswith("the process of a worker grew from 0.4 to 0.7 GB in 10 trials")
    assert "trials_per_worker=10 (--trials-per-worker)" in said


@pytest.mark.parametrize(
    "sizes",
    [
        [400 * MB] * 40,
        [400 * MB + (k % 2) * 300 * MB for k in range(40)],
        [100 * MB, *[900 * MB] * 40],  # libraries are loaded in the first trial
        [400 * MB + k * MB for k in range(40)],
        [0] * 40,  # the system does not show it
    ],
    ids=["constant", "up and down", "once", "a little", "unknown"],
)
def test_anything_else_is_no_leak(sizes, caplog):
    assert warnings_of(sizes, caplog) == []


def test_a_new_process_begins_anew():
    watch = MemoryWatch()
    for k in range(40):
        if k % 5 == 0:
            watch.begin(0)
        assert not watch.note(0, 400 * MB + k * 30 * MB)


def test_this_process_has_a_size_on_linux():
    assert resident_bytes() == 0 or resident_bytes() > 5 * MB
    assert resident_bytes(2**30) == 0
