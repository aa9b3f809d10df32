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
    small_step: float = SMALL_STEP
    n_bytes: int = 0  # of a replica, about

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
            bytes_per_replica=self.n_bytes,
            on_cpu=self.on_cpu,
            small_step=self.small_step,
        )


# NVIDIA H200, CUDA graphs: benchmarks/gpu/h200.json
MLP = Machine(1324, {8: 19.4, 32: 5.74, 128: 2.23}, {8: 7.17, 32: 2.49, 128: 1.02}, 0.35, 11, (12, 140))
CNN = Machine(1461, {8: 42.1, 32: 16.2, 128: 11.3}, {8: 25.1, 32: 10.4, 128: 8.05}, 0.49, 12.8, (17, 168))
CHAR_LM = Machine(3899, {8: 198, 32: 72.6, 128: 45.0}, {32: 30.8, 128: 19.1}, 1.34, 22, (131, 1010))
# One core of a shared EPYC: benchmarks/packed.py, and `Pack` by slots
SHARED_EPYC = {"on_cpu": True, "small_step": 145e-6}
MLP_ON_CPU = Machine(
    560, {2: 260, 8: 119, 32: 100}, {2: 160, 8: 52, 32: 60}, 0.2, 15, (12, 140), n_bytes=238_561, **SHARED_EPYC
)
CNN_ON_CPU = Machine(
    1930,
    {2: 1840, 4: 1300, 8: 1250, 32: 1590},
    {2: 770, 3: 740, 8: 1200, 32: 1400},
    0.4,
    22,
    (17, 168),
    n_bytes=1_277_716,
    **SHARED_EPYC,
)
LM_ON_CPU = Machine(
    10_300, {2: 9900, 8: 8900}, {2: 6500, 8: 7200}, 1.7, 43, (153, 1028), n_bytes=17_370_843, **SHARED_EPYC
)
FILLED_ON_CPU = replace(LM_ON_CPU, packed={2: 10_600}, compiled={2: 8300})  # all gain the least one may count on


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


@pytest.mark.parametrize(
    ("machine", "packed", "compiled"), [(CNN_ON_CPU, 6, 3), (LM_ON_CPU, 2, 2)], ids=["cnn", "language model"]
)
def test_on_a_cpu_a_pack_is_no_larger_than_its_cache(machine, packed, compiled):
    tried, _, _ = choose(machine, 32, 10_000)
    assert [taken(m) for m in tried] == [(packed, False), (compiled, True)]
    as_asked = replace(machine.choice(32, 10_000), slots=16)
    assert as_asked.next_attempt([]).slots == 16


ON_CPU = {"mlp": MLP_ON_CPU, "cnn": CNN_ON_CPU, "language model": LM_ON_CPU, "filled": FILLED_ON_CPU}


def best_in_hindsight(machine, n_trials, total_steps):
    steps = n_trials * total_steps

    def least(times):
        return min(us for slots, us in times.items() if slots <= n_trials) * 1e-6 * steps

    packed = machine.seconds_to_trace + least(machine.packed)
    compiled = machine.seconds_to_trace + machine.seconds_to_compile + least(machine.compiled)
    return min(machine.choice(n_trials, total_steps).seconds_alone, packed, compiled)


@pytest.mark.parametrize("machine", ON_CPU.values(), ids=ON_CPU)
@pytest.mark.parametrize("alone", [0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000, 3000, 10_000])
def test_on_a_cpu_the_choice_is_never_much_slower_than_one_after_the_other(machine, alone):
    total_steps = max(1, round(alone / (32 * machine.alone * 1e-6)))
    assert choose(machine, 32, total_steps)[2] < 1.03 * machine.choice(32, total_steps).seconds_alone


@pytest.mark.parametrize("machine", ON_CPU.values(), ids=ON_CPU)
@pytest.mark.parametrize("n_trials", [8, 32, 128])
def test_on_a_cpu_a_sweep_of_1_10_or_100_times_the_attempts_is_within_a_tenth_of_the_best(machine, n_trials):
    step = n_trials * machine.alone * 1e-6
    _, _, seconds = choose(machine, n_trials, round(3000 / step))
    tried_for = seconds - choose_without_attempts(machine, n_trials, round(3000 / step))
    for times in (1, 10, 100):
        total_steps = round(times * tried_for / step)
        assert choose(machine, n_trials, total_steps)[2] < best_in_hindsight(machine, n_trials, total_steps) / 0.9


def choose_without_attempts(machine, n_trials, total_steps):
    _, best, _ = choose(machine, n_trials, total_steps)
    return (best.seconds if best else machine.alone * 1e-6) * n_trials * total_steps


def test_a_sweep_of_few_steps_is_too_short_before_a_step_is_timed():
    untimed = replace(LM_ON_CPU.choice(32, 2), alone=math.nan)
    assert untimed.is_too_short
    assert replace(untimed, n_trials=1, total_steps=300).is_too_short
    assert not replace(untimed, total_steps=100).is_too_short
    on_gpu = MLP.choice(32, 10)
    assert not replace(on_gpu, alone=math.nan).is_too_short, "a pack on a GPU gains much"


def test_a_busy_machine_is_not_taken_for_a_model_of_long_steps():
    busy = replace(MLP_ON_CPU.choice(32, 50), alone=900e-6, small_step=3 * SMALL_STEP)
    assert busy.next_attempt([]).slots == 32
    assert replace(busy, small_step=SMALL_STEP).next_attempt([]) is None


def test_a_pack_that_is_slower_than_one_after_the_other_may_win_once_it_is_compiled():
    tried, best, _ = choose(LM_ON_CPU, 32, 2000)
    assert [taken(m) for m in tried] == [(2, False), (2, True)] and taken(best) == (2, True)


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
