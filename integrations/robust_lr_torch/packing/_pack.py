"""A pack: replicas of a task in the slots of one stack, stepped together; a free slot takes the next trial."""

from __future__ import annotations

import contextlib
import copy
import logging
import time
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from robust_lr._text import first_line
from robust_lr.runners.base import TrialSource, evaluate_trial, failed_trial
from robust_lr.schedules.closed_forms import Schedule
from robust_lr.trials import TrialResult, TrialSpec

from .._training import Training
from ._cuda_graph import ReplayedSteps, capture_cuda_graph
from ._inspect import inspect_replica
from ._rules import Stack
from ._tables import Block, Occupant, TrialTables
from ._trace import trace_step

_log = logging.getLogger("robust_lr")

_LONGEST_BLOCK = 64  # steps whose tables are put together at a time
_SECONDS_TO_COMPANY = 0.02  # the trials of one message of the pool come together


@dataclass(frozen=True)
class PackEvaluator:
    """An `Evaluator` that trains up to `slots` trials of a task at once."""

    task: Training
    schedules: Mapping[str, Schedule]
    slots: int
    compiled: bool = False
    ready: Pack | None = field(default=None, repr=False, compare=False)  # left out of pickles

    def results(self, source: TrialSource) -> Iterator[TrialResult]:
        with one_thread(self.task):
            pack = self.ready or Pack(self.task, self.schedules, self.slots, compiled=self.compiled)
        while True:
            trials, finished = _take(source, pack), list[TrialResult]()
            if not (trials or pack.specs):
                return
            with one_thread(self.task):
                for spec in trials:
                    try:
                        pack.load(spec)
                    except Exception:
                        finished.append(failed_trial(spec, traceback.format_exc()))
                if pack.specs:
                    finished += pack.run_block()
            yield from finished

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.task, self.schedules, self.slots, self.compiled)


class Pack:
    """The stacked parameters, buffers and optimizer states of `slots` replicas, which all step together.

    The differences at a step (learning rate, batch, dropout key) come from tables of the trial in the slot, so a slot
    can start over while the others continue, without a new trace.
    """

    def __init__(
        self, task: Training, schedules: Mapping[str, Schedule], slots: int, *, compiled: bool = False
    ) -> None:
        self.task, self.slots, self.is_compiled = task, slots, compiled
        self.replica = inspect_replica(task, seed=0)
        self.tables = TrialTables(task, schedules, self.replica)
        self._occupants: dict[int, Occupant] = {}
        self._stacks = {
            name: value.detach().expand(slots, *value.shape).clone(memory_format=torch.contiguous_format)
            for name, value in self.replica.state.items()
        }
        self._trained = {name: self._stacks[name] for name in self.replica.trained}
        self._state = self.replica.rule.initial_state(self._trained)
        rest = {name: value for name, value in self._stacks.items() if name not in self._trained}
        changing: list[Stack] = [self._trained, rest, {} if self.replica.rule.in_phase else self._state]
        rows, numbers, keys = (table[0] for table in self._block(1))
        self.traced = trace_step(task, self.replica, changing, self.tables.tensors, [*self._batch(rows), numbers, keys])
        self._graph = self.traced.compiled() if compiled else self.traced.graph
        self._replayed = self._replayable()

    def compiled(self) -> Pack:
        """Return a pack on the same arrays whose step is compiled; use one of the two."""
        pack = copy.copy(self)
        pack.is_compiled, pack._graph = True, self.traced.compiled()
        pack._replayed = pack._replayable()
        return pack

    @property
    def specs(self) -> list[TrialSpec]:
        return [occupant.spec for occupant in self._occupants.values()]

    @property
    def n_free(self) -> int:
        if self.replica.rule.in_phase and self._occupants:
            return 0
        return self.slots - len(self._occupants)

    def load(self, spec: TrialSpec) -> None:
        occupant, initial = Occupant(spec, self.tables), self.tables.initial(spec.seed)
        if self.replica.rule.in_phase and not self._occupants:
            self._state = self.replica.rule.initial_state(self._trained)
        slot = next(slot for slot in range(self.slots) if slot not in self._occupants)
        self._fill(slot, initial)
        self._occupants[slot] = occupant

    def clear(self) -> None:
        self._occupants.clear()

    def run_block(self) -> list[TrialResult]:
        """Make the next steps of all slots, at most `check_every`, and return the results of the trials that ended."""
        start = time.perf_counter()
        n_steps = min(longest_block(self.task), *(self.task.total_steps - o.step for o in self._occupants.values()))
        objectives = self.steps(n_steps)
        share = (time.perf_counter() - start) / len(self._occupants)
        finished = []
        for slot, occupant in list(self._occupants.items()):
            occupant.seconds += share
            occupant.step += n_steps
            diverged_at = occupant.watch.see(objectives[:, slot])
            if diverged_at is not None or occupant.step == self.task.total_steps:
                finished.append(self._finish(slot, diverged_at))
        return finished

    def steps(self, n_steps: int) -> NDArray[np.float64]:
        """Make steps in all slots; return the objectives before each update, float64 of shape (n_steps, slots)."""
        block = self._block(n_steps)
        with torch.inference_mode() if not self.replica.rule.in_phase else torch.no_grad():
            if self._replayed is not None:
                losses = self._replayed.run(*block)
            else:
                steps = zip(*(table.unbind() for table in block), strict=True)
                losses = torch.stack([self._one_step(*arguments) for arguments in steps])
            return np.asarray(losses.double().cpu())

    def model(self, slot: int) -> nn.Module:
        """Return the model in a slot; it is overwritten by the next call."""
        for name, value in self.replica.state.items():
            value.data.copy_(self._stacks[name][slot])
        return self.replica.model

    def _one_step(self, rows: Tensor, numbers: Tensor, keys: Tensor) -> Tensor:
        losses: Tensor
        losses, *gradients = self._graph(*self.traced.fixed, *self._batch(rows), numbers, keys)
        if gradients:
            named = dict(zip(self.replica.trained, gradients, strict=True))
            self.replica.rule.update(self._trained, named, self._state, numbers)
        return losses

    def _replayable(self) -> ReplayedSteps | None:
        on_device = torch.device(self.task.device).type == "cuda" and bool(self.tables.tensors)
        if self.replica.rule.in_phase or not on_device:
            return None
        rows, numbers, keys = (table[0] for table in self._block(1))
        changing = self.traced.fixed[: len(self.traced.fixed) - len(self.tables.tensors)]
        with torch.cuda.device(self.task.device), torch.inference_mode():
            try:
                return ReplayedSteps(
                    self._one_step, longest_block(self.task), (rows, numbers, keys), changing, capture_cuda_graph
                )
            except RuntimeError as error:
                _log.warning("no CUDA graph, each kernel is launched on its own: %s", first_line(error))
                return None

    def _finish(self, slot: int, diverged_at: int | None) -> TrialResult:
        occupant = self._occupants[slot]
        spec = occupant.spec

        def outcome(**trial: Any) -> dict[str, float]:
            if diverged_at is not None:
                return self.task.failure(diverged_at)
            with self.task.noise_of(spec.seed):
                return self.task.outcome(self.model(slot))

        result = evaluate_trial(outcome, spec, self.tables.schedules[spec.schedule])
        if result.status == "out_of_memory" and self.slots > 1:  # a smaller pack leaves room for the evaluation
            raise MemoryError(result.error)
        del self._occupants[slot]
        self._fill(slot, self.tables.initial(spec.seed))  # so that the numbers of an empty slot stay tame
        return replace(result, seconds=occupant.seconds + result.seconds)

    def _fill(self, slot: int, initial: Stack) -> None:
        with torch.no_grad():
            for name, value in initial.items():
                self._stacks[name][slot] = value
            if not self.replica.rule.in_phase:
                for tensor in self._state.values():
                    tensor[slot] = 0

    def _block(self, n_steps: int) -> Block:
        """Return rows (n_steps, slots, B), numbers (n_steps, n, slots), keys (n_steps, slots)."""
        nobody = self.tables.of_nobody(n_steps)
        slots = [self._occupants[i].next(n_steps) if i in self._occupants else nobody for i in range(self.slots)]
        rows, numbers, keys = zip(*slots, strict=True)
        device, is_double = self.task.device, any(v.dtype == torch.float64 for v in self._trained.values())
        return (
            torch.stack(rows, dim=1).to(device if self.tables.tensors else "cpu"),
            torch.stack(numbers, dim=2).to(device=device, dtype=torch.float64 if is_double else torch.float32),
            torch.stack(keys, dim=1).to(device),
        )

    def _batch(self, rows: Tensor) -> list[Tensor]:
        """Return what a step gets for rows (slots, B): the rows, or the tensors of the batch, each (slots, B, ...)."""
        if self.tables.tensors:
            return [rows]
        batches = [tree_leaves(self.tables.examples.rows(r)) for r in rows.long()]
        return [torch.stack(leaves).to(self.task.device) for leaves in zip(*batches, strict=True)]


def longest_block(task: Training) -> int:
    """Return how many steps are made before anybody looks at the losses."""
    return min(task.check_every, _LONGEST_BLOCK, task.total_steps)


def _take(source: TrialSource, pack: Pack) -> list[TrialSpec]:
    """Take trials for the free slots; wait for one only when the pack is empty."""
    if not pack.n_free:
        return []
    trials = source.take(pack.n_free, wait=not pack.specs)
    if trials and len(trials) < pack.n_free and not pack.specs:
        time.sleep(_SECONDS_TO_COMPANY)
        trials += source.take(pack.n_free - len(trials), wait=False)
    return trials


@contextlib.contextmanager
def one_thread(task: Training) -> Iterator[None]:
    """Let torch use one thread on the CPU: more would wait for each other in every operation of a small model."""
    threads = torch.get_num_threads()
    if torch.device(task.device).type == "cpu":
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
