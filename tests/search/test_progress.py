"""What a search prints while it runs, one line per trial."""

from __future__ import annotations

import math
import re

import pytest

from robust_lr import SearchOptions, search_learning_rate

BOUND = re.compile(r"nothing is better by more than (\S+)$")


def printed(train, capsys, **options):
    result = search_learning_rate(train, 1e-3, 1.0, tolerance=0.02, progress=True, **options)
    return result, [line for line in capsys.readouterr().err.splitlines() if line.startswith(("trial", "note"))]


def noisy(size):
    def train(*, lr, schedule, seed):
        wave = math.sin(12.9898 * seed + 78.233 * math.log(lr))  # noise that is the same on every machine
        return 0.02 + 0.03 * math.log(lr / 0.25) ** 2 + size * wave

    return train


@pytest.mark.parametrize("size", [0.0, 1e-4, 2e-3, 0.01])
def test_no_bound_is_stated_as_a_fact_before_a_repeat_has_shown_the_noise(capsys, size):
    result, lines = printed(noisy(size), capsys)
    seeds = [re.search(r"lr (\S+), seed (\d+)", line).groups() for line in lines]
    repeat = next(i for i, (_, seed) in enumerate(seeds) if seed != "0")
    bounds = [(i, line) for i, line in enumerate(lines) if BOUND.search(line)]
    assert any(i < repeat for i, _ in bounds) and any(i >= repeat for i, _ in bounds)
    for i, line in bounds:
        assert ("; if there is no noise, nothing is better" in line) == (i < repeat)
    least = 0.02 - size
    for i, line in bounds:
        if i >= repeat:
            best = float(re.search(r"best so far (\S+) at", line)[1])
            assert best - least <= float(BOUND.search(line)[1]) + 2 * size
    assert result.noise is not None


def test_a_noise_that_is_given_needs_no_condition(capsys):
    _, lines = printed(noisy(0.0), capsys, options=SearchOptions(noise=0.0))
    assert any(BOUND.search(line) for line in lines)
    assert not any("if there is no noise" in line for line in lines)


def test_a_caveat_that_comes_up_is_printed_once_and_while_there_is_time(capsys):
    def train(*, lr, schedule, seed):
        return 0.03 * math.log(lr / 0.0213) ** 2

    search_learning_rate(train, 1e-3, 1.0, tolerance="1%", progress=True)
    lines = capsys.readouterr().err.splitlines()
    notes = [i for i, line in enumerate(lines) if line.startswith("note: the best loss is near 0")]
    assert notes and notes[0] < len(lines) - 2
    assert len({lines[i] for i in notes}) == len(notes) <= 3
