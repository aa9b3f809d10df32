"""The next attempt of engine "auto", as a function of the times measured so far.

It tries each candidate whose predicted time for the sweep, preparation included, beats the best so far; but not if the
sweep could end more than 3 % later than sequentially, should the candidate gain only what one may count on. Predictions
use typical values until there are measurements, by one rule for CPU and GPU.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

_LEAST_GAIN = 1.1  # below this gain, the simpler engine is as good
_MOST_LOSS = 0.03  # of the time of sequential training, when nothing that was tried is faster
_GROWTH = 4  # factor on the slots of the next pack; its inverse when memory runs out
_TRACE_SECONDS, _TRACE_SECONDS_PER_OPERATION = 0.065, 0.0065
_COMPILE_SECONDS, _COMPILE_SECONDS_PER_OPERATION = 2.0, 0.02
_FIRST_COMPILE_SECONDS = 5.5  # more, in a process that has compiled nothing yet
_LONGEST_STEP = 100.0  # seconds
_STEPS_TO_TRY = 10  # to verify and to time a pack; more if they are quick, in the same time


@dataclass(frozen=True)
class Gain:
    """A gain before it is measured: the typical one, and the least that one may count on."""

    typical: float
    least: float = 1.0


@dataclass(frozen=True)
class Typical:
    """The slots of a first pack, and the gains of packing, of more slots, of compiling a pack."""

    slots: int
    packing: Gain
    growing: Gain
    compiling: Gain


# A short step is mostly overhead, which a pack saves: an H200 gains at least 15, launching kernel by kernel. On a CPU,
# a larger pack falls out of the cache.
_TYPICAL = {  # by the longest step, in seconds, on a machine where a step of one linear layer takes this:
    "cpu": (
        (5.5e-4, Typical(48, Gain(2.5, 2.0), Gain(1.0), Gain(2.0, 1.4))),
        (7e-4, Typical(48, Gain(2.0, 1.3), Gain(1.0), Gain(2.0, 1.4))),
        (math.inf, Typical(48, Gain(1.1), Gain(1.0), Gain(1.4, 1.25))),
    ),
    "gpu": (
        (1e-2, Typical(48, Gain(15.0, 5.0), Gain(1.4), Gain(1.5))),
        (math.inf, Typical(8, Gain(1.05), Gain(1.4), Gain(1.3))),
    ),
}
SMALL_STEP = 6e-5
_LEAST_SLOTS, USUAL_SLOTS = 2, 48
_CACHE, _CACHE_COMPILED = 8 << 20, 4 << 20  # bytes of a CPU's that a pack may take


@dataclass(frozen=True)
class Attempt:
    slots: int
    is_compiled: bool = False


@dataclass(frozen=True)
class Measured:
    attempt: Attempt
    seconds: float  # of a step of one replica; infinite when the pack could not be made
    preparation: float = 0.0  # the seconds to make it
    n_operations: int = 0  # of the traced step
    most_slots: int = 0  # that fit into memory

    @classmethod
    def out_of_memory(cls, attempt: Attempt) -> Measured:
        return cls(attempt, math.inf, most_slots=attempt.slots // _GROWTH)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The trials of one worker, all of `total_steps`; `alone` is the seconds of a step of one trial."""

    n_trials: int
    total_steps: int
    alone: float
    on_cpu: bool
    n_operations: int = 0  # of a forward pass
    bytes_per_replica: int = 0  # about; 0 is not known yet
    slots: int | None = None  # asked for
    small_step: float = SMALL_STEP  # the seconds of one that is nothing but overhead
    has_compiled: bool = False  # this process, before

    @property
    def is_too_short(self) -> bool:
        """Whether there is no attempt, however long a step may be: then timing one is in vain."""
        return not any(replace(self, alone=alone).next_attempt([]) for alone in self._alone_to_try)

    def next_attempt(self, tried: Sequence[Measured]) -> Attempt | None:
        typical = self._typical
        if not tried:
            preparation = self._to_prepare(_TRACE_SECONDS, _TRACE_SECONDS_PER_OPERATION, self.n_operations)
            return self._if_worth(Attempt(self._first_slots), preparation, typical.packing, tried)
        last = tried[-1]
        if last.attempt.is_compiled:
            return None
        pack = fastest(tried)
        if pack is None:
            smaller = Attempt(min(last.most_slots, last.attempt.slots - 1))
            return self._if_worth(smaller, last.preparation, typical.packing, tried) if smaller.slots else None
        if math.isfinite(last.seconds) and self.seconds(tried[:-1]) / last.seconds > _LEAST_GAIN:
            larger = Attempt(min(last.most_slots, self._balanced(_GROWTH * last.attempt.slots)))
            is_larger = larger.slots > last.attempt.slots
            if is_larger and self._if_worth(larger, last.preparation, typical.growing, tried):
                return larger
        compiled = Attempt(self._slots_compiled(pack.attempt.slots), is_compiled=True)
        preparation = self._to_prepare(self._compile_seconds, _COMPILE_SECONDS_PER_OPERATION, pack.n_operations)
        return self._if_worth(compiled, preparation, typical.compiling, tried, pack.seconds)

    def best(self, tried: Sequence[Measured]) -> Measured | None:
        """Return the pack to train with; None is one trial after the other."""
        best, seconds = None, self.alone
        for measured in tried:  # the compiler's time is spent by then
            if seconds / measured.seconds > (1.0 if measured.attempt.is_compiled else _LEAST_GAIN):
                best, seconds = measured, measured.seconds
        return best

    def seconds(self, tried: Sequence[Measured]) -> float:
        """Return the seconds of a step of one replica by the best of what was tried."""
        best = self.best(tried)
        return best.seconds if best else self.alone

    @property
    def n_steps(self) -> int:
        return self.n_trials * self.total_steps

    @property
    def seconds_alone(self) -> float:
        return self.alone * self.n_steps

    @property
    def _typical(self) -> Typical:
        slowness = self._slowness if self.on_cpu else 1.0
        return next(typical for longest, typical in self._kinds if self.alone < longest * slowness)

    @property
    def _kinds(self) -> Sequence[tuple[float, Typical]]:
        return _TYPICAL["cpu" if self.on_cpu else "gpu"]

    @property
    def _alone_to_try(self) -> list[float]:  # the longest step of each kind
        return [0.999 * min(longest, _LONGEST_STEP) for longest, _ in self._kinds]

    @property
    def _slowness(self) -> float:  # of this machine, busy as it may be
        return max(1.0, self.small_step / SMALL_STEP)

    @property
    def _compile_seconds(self) -> float:
        return _COMPILE_SECONDS + (0.0 if self.has_compiled else _FIRST_COMPILE_SECONDS)

    def _to_prepare(self, seconds: float, per_operation: float, n_operations: int) -> float:
        # Machines differ less in this than in the time of a small step.
        return math.sqrt(self._slowness) * (seconds + per_operation * n_operations)

    @property
    def _first_slots(self) -> int:
        if not self.on_cpu:
            return self._balanced(self._typical.slots)
        n_bytes = self.bytes_per_replica
        return self._balanced(slots_in_cache(n_bytes) if n_bytes else _LEAST_SLOTS)

    def _slots_compiled(self, slots: int) -> int:
        if not self.on_cpu:
            return slots
        return min(slots, self._balanced(slots_in_cache(self.bytes_per_replica, is_compiled=True)))

    def _balanced(self, slots: int) -> int:
        return balanced(self.n_trials, slots if self.slots is None else self.slots)

    def _if_worth(
        self, attempt: Attempt, preparation: float, gain: Gain, tried: Sequence[Measured], than: float | None = None
    ) -> Attempt | None:
        """Return the attempt unless it is predicted to cost time, given its gain over a step of `than` seconds."""
        now, left = self.seconds(tried), self.n_steps
        expected, least = ((now if than is None else than) / g for g in (gain.typical, gain.least))
        cost = preparation + _STEPS_TO_TRY * attempt.slots * least
        spent = sum(
            m.preparation + _STEPS_TO_TRY * m.attempt.slots * m.seconds for m in tried if math.isfinite(m.seconds)
        )
        is_faster = cost + left * expected < left * now
        is_safe = spent + cost + left * min(now, least) < left * self.alone * (1 + _MOST_LOSS)
        return attempt if is_faster and is_safe else None


def fastest(tried: Sequence[Measured]) -> Measured | None:
    """Return the fastest pack, even if it is slower than one trial after the other."""
    return min((m for m in tried if math.isfinite(m.seconds)), key=lambda m: m.seconds, default=None)


def slots_in_cache(bytes_per_replica: int, *, is_compiled: bool = False) -> int:
    """Return the slots of a pack on a CPU: more would fall out of its cache, and be slower."""
    cache = _CACHE_COMPILED if is_compiled else _CACHE
    return max(_LEAST_SLOTS, min(USUAL_SLOTS, cache // max(1, bytes_per_replica)))


def balanced(n_trials: int, slots: int) -> int:
    """Return the slots of equally full packs, at most `slots`."""
    return math.ceil(n_trials / math.ceil(n_trials / slots))
