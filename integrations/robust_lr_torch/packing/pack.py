"""A pack: replicas of a task in the lanes of one stack, stepped together; a lane whose trial ends takes the next."""

from __future__ import annotations

import contextlib
import logging
import time
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from robust_lr.divergence import DivergenceWatch
from robust_lr.exceptions import DataError
from robust_lr.runners.base import TrialSource, evaluate_trial, failed_trial, is_out_of_memory
from robust_lr.schedules.closed_forms import Schedule, tabulated
from robust_lr.trials import TrialResult, TrialSpec

from .cuda_graph import ReplayedSteps, capture_cuda_graph
from .trainable import Trainable
from .vectorize import Replica, Stack, inspect_replica, state_of, trace_step

_log = logging.getLogger("robust_lr")

_FEWEST_LANES = 2  # the kernels for a batch of one are other ones, and round otherwise
_LONGEST_BLOCK = 64  # steps whose tables are put together at a time
_BYTES_KEPT = 64 << 20  # of the tables of seeds
_MODELS_KEPT = 8
_SECONDS_TO_COMPANY = 0.02  # the trials of one message of the pool come together


@dataclass(frozen=True)
class PackEvaluator:
    """Trains up to `slots` trials of a task at once; a slot whose trial has ended takes the next one.

    Args:
        task: the task.
        schedules: the schedule for each name in the trials.
        slots: at least 1.
        compiled: whether the step is compiled (torch's inductor).
        ready: an empty pack for just this, if there is one; it stays behind when the evaluator is pickled.
    """

    task: Trainable
    schedules: Mapping[str, Schedule]
    slots: int
    compiled: bool = False
    ready: Pack | None = field(default=None, repr=False, compare=False)

    def results(self, source: TrialSource) -> Iterator[TrialResult]:
        """Take trials until there are none left, and yield the result of each as it ends."""
        with one_thread(self.task):
            pack = self.ready or Pack(self.task, self.schedules, self.slots, compiled=self.compiled)
        while True:
            trials = _take(source, pack)
            for spec in trials:
                try:
                    with one_thread(self.task):
                        pack.load(spec)
                except Exception:
                    yield failed_trial(spec, traceback.format_exc())
            if pack.specs:
                with one_thread(self.task):
                    finished = pack.run_block()
                yield from finished
            elif not trials:
                return

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "ready": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)


class Pack:
    """The stacked parameters, buffers and optimizer states of `slots` replicas, and the trial that each is training.

    All lanes step together. What distinguishes them at a step (learning rate, bias corrections, batch, dropout key) is
    read from tables of the trial, so that a lane starts over while the others go on, and nothing is traced again.
    """

    def __init__(
        self, task: Trainable, schedules: Mapping[str, Schedule], slots: int, *, compiled: bool = False
    ) -> None:
        self.task, self.slots, self.is_compiled = task, slots, compiled
        self.replica = inspect_replica(task, seed=0)
        self.tables = TrialTables(task, schedules, self.replica)
        self.lanes = 0
        self._occupants: dict[int, _Occupant] = {}
        on_cpu = torch.device(task.device).type == "cpu"
        wanted = slots if compiled or not on_cpu else max(_FEWEST_LANES, slots)
        while self.lanes < wanted:
            self._allocate(wanted)
            data = self.tables.data if self.tables.reads_rows else []
            self.traced = trace_step(task, self.replica, self._changing(), data, self._moving(), self.lanes)
            if on_cpu and not compiled:
                wanted = max(wanted, slots + self.traced.spare_lanes)
        self._graph = self.traced.compiled() if compiled else self.traced.graph
        self._replayed = self._replayable()

    @property
    def specs(self) -> list[TrialSpec]:
        """The trials in training."""
        return [occupant.spec for occupant in self._occupants.values()]

    @property
    def n_free(self) -> int:
        """The number of trials that can be loaded now."""
        if self.replica.rule.in_phase and self._occupants:
            return 0
        return self.slots - len(self._occupants)

    def load(self, spec: TrialSpec) -> None:
        """Put a trial, at its first step, into a free slot."""
        occupant = _Occupant(spec, self.tables)
        initial = self.tables.initial(spec.seed)
        if self.replica.rule.in_phase and not self._occupants:
            self._state = self.replica.rule.initial_state(self._trained)
        lane = next(lane for lane in range(self.slots) if lane not in self._occupants)
        self._fill(lane, initial)
        self._occupants[lane] = occupant

    def clear(self) -> None:
        """Drop the trials in training."""
        self._occupants.clear()

    def run_block(self) -> list[TrialResult]:
        """Make the next steps of all lanes, at most `check_every`, and return the results of the trials that ended."""
        start = time.perf_counter()
        n_steps = min(
            self.task.check_every, _LONGEST_BLOCK, *(self.task.total_steps - o.step for o in self._occupants.values())
        )
        objectives = self.steps(n_steps)
        share = (time.perf_counter() - start) / len(self._occupants)
        finished = []
        for lane, occupant in list(self._occupants.items()):
            occupant.seconds += share
            occupant.step += n_steps
            diverged_at = occupant.watch.see(objectives[:, lane])
            if diverged_at is not None or occupant.step == self.task.total_steps:
                finished.append(self._finish(lane, diverged_at))
        return finished

    def steps(self, n_steps: int) -> NDArray[np.float64]:
        """Make steps in all lanes; return the objectives before each update, float64 of shape (n_steps, lanes)."""
        block = self._block(n_steps)
        with torch.inference_mode() if self.replica.rule.traceable else torch.no_grad():
            if self._replayed is not None:
                losses = self._replayed.run(*block)
            else:
                steps = zip(*(table.unbind() for table in block), strict=True)
                losses = torch.stack([self._one_step(*arguments) for arguments in steps])
            return np.asarray(losses.double().cpu())

    def model(self, lane: int) -> nn.Module:
        """Return the model in a lane; it is overwritten by the next call."""
        for name, value in self.replica.state.items():
            value.data.copy_(self._stacks[name][lane])
        return self.replica.model

    def _one_step(self, rows: Tensor, numbers: Tensor, keys: Tensor) -> Tensor:
        losses: Tensor
        losses, *gradients = self._graph(*self.traced.fixed, *self._batch(rows), numbers, keys)
        if gradients:
            named = dict(zip(self.replica.trained, gradients, strict=True))
            self.replica.rule.update(self._trained, named, self._state, numbers)
        return losses

    def _replayable(self) -> ReplayedSteps | None:
        """Return the step as a CUDA graph, where there is a GPU and the whole step is on it."""
        on_device = torch.device(self.task.device).type == "cuda" and self.tables.reads_rows
        if not (on_device and self.replica.rule.traceable):
            return None
        rows, numbers, keys = (table[0] for table in self._block(1))
        longest = min(self.task.check_every, _LONGEST_BLOCK, self.task.total_steps)
        changing = self.traced.fixed[: len(self.traced.fixed) - len(self.tables.data)]
        with torch.cuda.device(self.task.device), torch.inference_mode():
            try:
                return ReplayedSteps(self._one_step, longest, (rows, numbers, keys), changing, capture_cuda_graph)
            except RuntimeError as error:
                _log.warning("no CUDA graph, each kernel is launched on its own: %s", str(error).splitlines()[0])
                return None

    def _finish(self, lane: int, diverged_at: int | None) -> TrialResult:
        occupant = self._occupants[lane]
        spec, out_of_memory = occupant.spec, list[Exception]()

        def outcome(**trial: Any) -> dict[str, float]:
            try:
                with self.task.noise_of(spec.seed):
                    return self.task.outcome(self.model(lane), diverged_at)
            except Exception as error:
                out_of_memory.extend([error] if is_out_of_memory(error) else [])
                raise

        result = evaluate_trial(outcome, spec, self.tables.schedules[spec.schedule])
        if out_of_memory and self.slots > 1:  # a smaller pack leaves room for the evaluation
            raise out_of_memory[0]
        del self._occupants[lane]
        self._fill(lane, self.tables.initial(spec.seed))  # so that what an empty lane goes on computing stays tame
        return TrialResult(
            spec, result.loss, result.status, occupant.seconds + result.seconds, result.metrics, result.error
        )

    def _fill(self, lane: int, initial: Mapping[str, Tensor]) -> None:
        with torch.no_grad():
            for name, value in initial.items():
                self._stacks[name][lane] = value
            if not self.replica.rule.in_phase:
                for tensor in self._state.values():
                    tensor[lane] = 0

    def _allocate(self, lanes: int) -> None:
        replica = self.replica
        self.lanes = lanes
        self._stacks = {
            name: value.detach().expand(lanes, *value.shape).clone(memory_format=torch.contiguous_format)
            for name, value in replica.state.items()
        }
        self._trained = {name: self._stacks[name] for name in replica.trained}
        self._state = replica.rule.initial_state(self._trained)
        self._dtype = torch.float64 if any(v.dtype == torch.float64 for v in self._trained.values()) else torch.float32

    def _changing(self) -> list[Stack]:
        """Return trained parameters, other parameters and buffers, and the optimizer state that is in the graph."""
        rest = {name: value for name, value in self._stacks.items() if name not in self._trained}
        return [self._trained, rest, self._state if self.replica.rule.traceable else {}]

    def _moving(self) -> list[Tensor]:
        """Return what a step reads, as `trace_step` wants it, for lanes that hold nobody."""
        rows, numbers, keys = (table[0] for table in self._block(1))
        return [*self._batch(rows), numbers, keys]

    def _block(self, n_steps: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return rows (n_steps, lanes, B), numbers (n_steps, n_coefficients, lanes), keys (n_steps, lanes)."""
        nobody = self.tables.of_nobody(n_steps)
        lanes = [self._occupants[i].tables(n_steps) if i in self._occupants else nobody for i in range(self.lanes)]
        rows, numbers, keys = zip(*lanes, strict=True)
        device = self.task.device
        return (
            torch.stack(rows, dim=1).to(self.tables.device_of_rows),
            torch.stack(numbers, dim=2).to(device=device, dtype=self._dtype),
            torch.stack(keys, dim=1).to(device),
        )

    def _batch(self, rows: Tensor) -> list[Tensor]:
        """Return what a step wants of rows (lanes, B): themselves, or inputs and targets, each (lanes, B, ...)."""
        if self.tables.reads_rows:
            return [rows]
        return [torch.stack([data[r] for r in rows.long()]).to(self.task.device) for data in self.tables.data]


class TrialTables:
    """What the trials of a task read at each step, each table made once for all trials that share it."""

    def __init__(self, task: Trainable, schedules: Mapping[str, Schedule], replica: Replica) -> None:
        self.task, self.schedules, self.replica = task, schedules, replica
        self.reads_rows = all(isinstance(data, Tensor) for data in task.train_data)
        self.device_of_rows = torch.device(task.device if self.reads_rows else "cpu")
        self.data = [data.to(task.device) if self.reads_rows else data for data in task.train_data]
        self.initial = lru_cache(_MODELS_KEPT)(self._initial)
        n_kept = max(1, _BYTES_KEPT // (task.total_steps * (task.batch_size + 1) * 4))
        self.rows = lru_cache(n_kept)(lambda seed: task.batch_indices(seed).to(torch.int32))
        self.keys = lru_cache(n_kept)(lambda seed: task.noise_keys(seed).cpu())

    def numbers(self, schedule: str, lr: float) -> Tensor:
        """Return what the update rule reads at each step: float64, shape (total_steps, n_coefficients)."""
        multipliers = tabulated(self.schedules[schedule], self.task.total_steps)
        return torch.from_numpy(self.replica.rule.coefficients(lr * multipliers))

    def of_nobody(self, n_steps: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return the tables of an empty lane: rows, numbers and keys, for a learning rate of 0."""
        numbers = torch.from_numpy(self.replica.rule.coefficients(np.zeros(1))).expand(n_steps, -1)
        rows = torch.arange(self.task.batch_size, dtype=torch.int32).expand(n_steps, -1)
        return rows, numbers, torch.zeros(n_steps, dtype=torch.int32)

    def _initial(self, seed: int) -> dict[str, Tensor]:
        state = {name: value.detach() for name, value in state_of(self.task.initial_model(seed)).items()}
        shapes, expected = ({name: v.shape for name, v in s.items()} for s in (state, self.replica.state))
        if shapes != expected:
            raise DataError(f"make_model gives a model of other parameters for seed {seed} than for seed 0")
        return state


class _Occupant:
    """A trial in a lane, and how far it has come."""

    def __init__(self, spec: TrialSpec, tables: TrialTables) -> None:
        self.spec, self.step, self.seconds = spec, 0, 0.0
        task = tables.task
        self.watch = DivergenceWatch(factor=task.divergence_factor, patience=task.divergence_patience)
        self._tables = tables.rows(spec.seed), tables.numbers(spec.schedule, spec.lr), tables.keys(spec.seed)

    def tables(self, n_steps: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return rows, numbers and keys of the next steps."""
        rows, numbers, keys = (table[self.step : self.step + n_steps] for table in self._tables)
        return rows, numbers, keys


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
def one_thread(task: Trainable) -> Iterator[None]:
    """Let torch use one thread on the CPU: more wait for each other in every operation of a small model."""
    threads = torch.get_num_threads()
    if torch.device(task.device).type == "cpu" and threads > 1:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
