"""What engine "auto" tries and takes, by timings of an H200 and of a CPU, and by made-up ones."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import pytest

from robust_lr_torch.packing._choice import SMALL_STEP, Choice, Measured

OVERHEAD = 2.0  # a pilot waits for a GPU more often than training, and so sees slower packs


@dataclass(frozen=True)
class Machine:
    """Microseconds of a step of a replica alone and in packs, by slots; seconds to make packs; operations."""

    alone: float
    packed: dict[int, float]
    compiled: dict[int, float]
    seconds_to_trace: float
    seconds_to_compile: float
    n_operations: tuple[int, int]  # of a forward pass, and of a traced step
    on_cpu: bool = False

    def measure(self, attempt):
        times = self.compiled if attempt.is_compiled else self.packed
        us = np.exp(np.interp(np.log(attempt.slots), np.log(list(times)), np.log(list(times.values()))))
        preparation = self.seconds_to_compile if attempt.is_compiled else self.seconds_to_trace
        seconds = us * 1e-6 * (1 if self.on_cpu else OVERHEAD)
        return Measured(attempt, seconds, preparation, self.n_operations[1], most_slots=10_000)

    def choice(self, n_trials, total_steps):
        return Choice(
            n_trials=n_trials,
            total_steps=total_steps,
            alone=self.alone * 1e-6,
            n_operations=self.n_operations[0],
            on_cpu=self.on_cpu,
        )


# NVIDIA H200, CUDA graphs: benchmarks/gpu/h200.json
MLP = Machine(1324, {8: 19.4, 32: 5.74, 128: 2.23}, {8: 7.17, 32: 2.49, 128: 1.02}, 0.35, 11, (12, 140))
CNN = Machine(1461, {8: 42.1, 32: 16.2, 128: 11.3}, {8: 25.1, 32: 10.4, 128: 8.05}, 0.49, 12.8, (17, 168))
CHAR_LM = Machine(3899, {8: 198, 32: 72.6, 128: 45.0}, {32: 30.8, 128: 19.1}, 1.34, 22, (131, 1010))
# An EPYC core: docs/how-to/packed.md
MLP_ON_CPU = Machine(300, {8: 118, 32: 86.8, 128: 87}, {8: 46.7, 32: 44.6}, 0.6, 2.8, (12, 140), on_cpu=True)
CNN_ON_CPU = Machine(1300, {8: 1040, 32: 1440}, {8: 640, 32: 1180}, 1.0, 7, (17, 168), on_cpu=True)
LM_ON_CPU = Machine(8400, {8: 8750, 32: 8850}, {8: 6360, 32: 7170}, 2.2, 18, (131, 1010), on_cpu=True)


def choose(machine, n_trials, total_steps):
    """What was tried, what was taken, and the seconds of all that and of the sweep."""
    choice, tried, seconds = machine.choice(n_trials, total_steps), [], 0.0
    while attempt := choice.next_attempt(tried):
        measured = machine.measure(attempt)
        tried.append(measured)
        if math.isfinite(measured.seconds):
            seconds += measured.preparation + 10 * attempt.slots * measured.seconds
    best = choice.best(tried)
    step = best.seconds / (1 if machine.on_cpu else OVERHEAD) if best else choice.alone
    return tried, best, seconds + step * n_trials * total_steps


def taken(best):
    return best and (best.attempt.slots, best.attempt.is_compiled)


# On a GPU


@pytest.mark.parametrize(
    ("machine", "n_trials", "total_steps", "at_least"),
    [(MLP, 32, 1000, 25), (CNN, 32, 400, 15), (CHAR_LM, 31, 400, 15)],  # 42, 19 and 48 s one after the other
    ids=["mlp", "cnn", "char-lm"],
)
def test_on_a_gpu_a_sweep_of_half_a_minute_is_one_pack(machine, n_trials, total_steps, at_least):
    tried, best, seconds = choose(machine, n_trials, total_steps)
    assert taken(best) == (n_trials, False) and len(tried) == 1
    assert machine.choice(n_trials, total_steps).seconds_alone / seconds > at_least


@pytest.mark.parametrize("machine", [MLP, CNN, CHAR_LM], ids=["mlp", "cnn", "char-lm"])
@pytest.mark.parametrize("alone", [0.3, 1, 3, 10, 100, 1000, 10_000, 100_000])
def test_on_a_gpu_the_choice_is_nearly_as_fast_as_the_best_in_hindsight(machine, alone):
    n_trials = 128
    total_steps = max(1, round(alone / (n_trials * machine.alone * 1e-6)))
    _, best, seconds = choose(machine, n_trials, total_steps)
    ways = [machine.choice(n_trials, total_steps).seconds_alone]
    for times, preparation in (
        (machine.packed, machine.seconds_to_trace),
        (machine.compiled, machine.seconds_to_compile),
    ):
        ways.append(preparation + min(times.values()) * 1e-6 * n_trials * total_steps)
    assert seconds < 3 * min(ways)
    if alone > 10:
        assert best and seconds < ways[0] / 4


def test_on_a_gpu_larger_packs_are_tried_and_long_sweeps_are_compiled():
    tried, best, _ = choose(CHAR_LM, 128, 10_000)  # 83 minutes
    assert [(m.attempt.slots, m.attempt.is_compiled) for m in tried] == [(43, False), (128, False), (128, True)]
    assert taken(best) == (128, True)


@pytest.mark.parametrize(("total_steps", "loss"), [(100, 0.13), (400, 0.1), (10_000, 0.01)])
def test_on_a_gpu_that_a_step_alone_fills_the_trial_of_a_pack_costs_little(total_steps, loss):
    filled = Machine(9000, {8: 9000 / OVERHEAD}, {8: 9000 / OVERHEAD}, 1.0, 10, (131, 1010))
    _, best, seconds = choose(filled, 48, total_steps)
    assert best is None and seconds < filled.choice(48, total_steps).seconds_alone * (1 + loss)


# On a CPU


def test_on_a_cpu_small_steps_are_packed():
    tried, best, _ = choose(MLP_ON_CPU, 32, 2000)  # 19 s
    assert taken(best) == (32, False) and len(tried) == 1, "neither a larger pack nor the compiler is worth a try"


@pytest.mark.parametrize("machine", [CNN_ON_CPU, LM_ON_CPU], ids=["cnn", "language model"])
@pytest.mark.parametrize("total_steps", [10, 100, 1000, 10_000])
def test_on_a_cpu_long_steps_are_tried_in_small_packs_and_lose_little(machine, total_steps):
    tried, _, seconds = choose(machine, 32, total_steps)
    assert all(m.attempt.slots <= 8 for m in tried)
    assert seconds < 1.1 * machine.choice(32, total_steps).seconds_alone


@pytest.mark.parametrize("machine", [MLP_ON_CPU, CNN_ON_CPU, LM_ON_CPU], ids=["mlp", "cnn", "language model"])
@pytest.mark.parametrize("alone", [0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000, 3000])
def test_on_a_cpu_the_choice_is_nearly_the_best_in_hindsight_and_never_much_slower_than_sequential(machine, alone):
    n_trials = 32
    total_steps = max(1, round(alone / (n_trials * machine.alone * 1e-6)))
    _, _, seconds = choose(machine, n_trials, total_steps)
    sequential, steps = machine.choice(n_trials, total_steps).seconds_alone, n_trials * total_steps
    packed = machine.seconds_to_trace + min(machine.packed.values()) * 1e-6 * steps
    compiled = machine.seconds_to_trace + machine.seconds_to_compile + min(machine.compiled.values()) * 1e-6 * steps
    assert seconds < 1.03 * sequential
    assert seconds < 1.2 * min(sequential, packed, compiled)  # 1.19 where compiling takes 3 s instead of the usual 7
    if (alone >= 100 and machine is not LM_ON_CPU) or alone >= 300:
        assert seconds < 1.01 * compiled, "it compiles where that saves"


@pytest.mark.parametrize("alone", [3, 30, 100])
def test_where_nothing_is_faster_the_attempts_cost_little(alone):
    machine = Machine(8400, {8: 8750}, {8: 8750}, 2.2, 18, (131, 1010), on_cpu=True)
    choice = machine.choice(32, round(alone / (32 * 8400e-6)))
    assert choose(machine, 32, choice.total_steps)[2] < 1.03 * choice.seconds_alone


def test_a_busy_machine_is_not_taken_for_a_model_of_long_steps():
    busy = replace(MLP_ON_CPU.choice(32, 2000), alone=900e-6, small_step=3 * SMALL_STEP)
    assert busy.next_attempt([]).slots == 32
    assert replace(busy, small_step=SMALL_STEP).next_attempt([]).slots == 8


def test_a_pack_that_is_slower_than_one_after_the_other_may_win_once_it_is_compiled():
    tried, best, _ = choose(LM_ON_CPU, 32, 2000)
    assert [taken(m) for m in tried] == [(8, False), (8, True)] and taken(best) == (8, True)


def test_a_sweep_that_is_over_in_a_moment_tries_nothing():
    for machine in (MLP, CNN, CHAR_LM, MLP_ON_CPU, CNN_ON_CPU, LM_ON_CPU):
        assert choose(machine, 2, 8)[0] == []


# Memory


def test_without_memory_a_pack_of_a_quarter_of_the_slots_is_tried():
    choice = MLP.choice(128, 10_000)
    first = choice.next_attempt([])
    lost = Measured.out_of_memory(first)
    second = choice.next_attempt([lost])
    assert (first.slots, second.slots) == (43, 10) and choice.best([lost]) is None
    assert choice.next_attempt([lost, MLP.measure(second)]).is_compiled is False
    tried = [lost]
    while attempt := choice.next_attempt(tried):
        tried.append(Measured.out_of_memory(attempt))
    assert [m.attempt.slots for m in tried] == [43, 10, 2] and choice.best(tried) is None


def test_a_pack_is_as_large_as_the_memory_that_its_trace_states():
    choice = MLP.choice(128, 10_000)
    first = choice.next_attempt([])
    refused = Measured(first, math.inf, 0.3, 140, most_slots=20)
    second = choice.next_attempt([refused])
    assert second.slots == 20
    fits = Measured(second, 1e-5, 0.3, 140, most_slots=20)
    third = choice.next_attempt([refused, fits])
    assert third is None or third.is_compiled, "there is no memory for a larger one"
