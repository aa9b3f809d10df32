"""The tables that trials read at each step, each made once for all trials that share it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from robust_lr.exceptions import DataError
from robust_lr.schedules.closed_forms import Schedule, tabulated
from robust_lr.trials import TrialSpec

from .._training import Training
from ._inspect import Replica, state_of
from ._rules import Stack

_BYTES_KEPT = 64 << 20  # of the tables of seeds
_MODELS_KEPT = 8
Block = tuple[Tensor, Tensor, Tensor]  # rows (n, B), numbers of the rule (n, n_numbers), dropout keys (n,)


class TrialTables:
    def __init__(self, task: Training, schedules: Mapping[str, Schedule], replica: Replica) -> None:
        self.task, self.schedules, self.replica = task, schedules, replica
        self.examples = task.examples.on(task.device)
        self.tensors = self.examples.tensors or []  # which a step reads rows of; else it gets its batch
        self.initial = lru_cache(_MODELS_KEPT)(self._initial)
        n_kept = max(1, _BYTES_KEPT // (task.total_steps * (task.batch_size + 1) * 4))
        self.rows = lru_cache(n_kept)(lambda seed: task.batch_indices(seed).to(torch.int32))
        self.keys = lru_cache(n_kept)(lambda seed: task.noise_keys(seed).cpu())

    def of_nobody(self, n_steps: int) -> Block:
        """Return the next steps of an empty slot: any rows, at a learning rate of 0."""
        numbers = torch.from_numpy(self.replica.rule.coefficients(np.zeros(1))).expand(n_steps, -1)
        rows = torch.arange(self.task.batch_size, dtype=torch.int32).expand(n_steps, -1)
        return rows, numbers, torch.zeros(n_steps, dtype=torch.int32)

    def _initial(self, seed: int) -> Stack:
        state = {name: value.detach() for name, value in state_of(self.task.initial_model(seed)).items()}
        shapes, expected = ({name: v.shape for name, v in s.items()} for s in (state, self.replica.state))
        if shapes != expected:
            raise DataError(f"make_model gives a model of other parameters for seed {seed} than for seed 0")
        return state


class Occupant:
    def __init__(self, spec: TrialSpec, tables: TrialTables) -> None:
        self.spec, self.step, self.seconds, self.watch = spec, 0, 0.0, tables.task.watch()
        lrs = spec.lr * tabulated(tables.schedules[spec.schedule], tables.task.total_steps)
        numbers = torch.from_numpy(tables.replica.rule.coefficients(lrs))
        self._tables = tables.rows(spec.seed), numbers, tables.keys(spec.seed)

    def next(self, n_steps: int) -> Block:
        rows, numbers, keys = (table[self.step : self.step + n_steps] for table in self._tables)
        return rows, numbers, keys
