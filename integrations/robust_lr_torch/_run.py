"""A training under way: its steps, its randomness, and its state, from which it can be taken up again."""

from __future__ import annotations

import copy
import inspect
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import cached_property
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils._python_dispatch import TorchDispatchMode

from robust_lr.exceptions import DataError

from .packing._dropout import CounterNoise


class TrainingRun:
    """The training of one model of a `SupervisedTask`; a `robust_lr.sweep.branches.BranchableRun`.

    The position in the data, and that of dropout, is the number of steps taken: each seed has one sequence of both.
    """

    def __init__(self, task: Any, model: nn.Module, *, lr: float, seed: int) -> None:
        self._task, self._model, self._lr, self._seed = task, model, lr, seed
        self._watch, self._n_steps, self._diverged_at = task.watch(), 0, None
        self._draws = True  # until a step has no dropout, to spare later steps the cost of looking for it
        self._random: Any = None  # the states of all generators after the last step; None before the first

    def advance(self, multipliers: Sequence[float]) -> None:
        """Take a step for each multiplier of the peak learning rate; none once the run has diverged."""
        with self._noise():
            steps = self.steps(multipliers)
            while self._diverged_at is None and (block := list(islice(steps, self._task.check_every))):
                self._diverged_at = self._watch.see(torch.stack(block).tolist())  # reading waits for the device

    def evaluate(self) -> dict[str, float]:
        """Return the figures of the model as it is now; see `SupervisedTask`."""
        if self._diverged_at is not None:
            return self._task.failure(self._diverged_at)
        with self._noise():
            return self._task.outcome(self._model, self._n_steps)  # type: ignore[no-any-return]

    def steps(self, multipliers: Sequence[float]) -> Iterator[Tensor]:
        """Take the steps lazily, and yield the objective of each before its update."""
        task, first = self._task, self._n_steps
        optimizer, model = self._optimizer, self._model
        data, values, closes = task.examples.on(task.device), list[Tensor](), needs_closure(optimizer)
        rows = task.batches(self._seed, first)
        keys = task.noise_keys(self._seed, first + len(multipliers))[first:]

        def closure() -> Any:
            optimizer.zero_grad()
            noise = CounterNoise(key) if self._draws else None
            with noise or nullcontext():
                objective = task.objective(model, inputs, targets)
            self._draws = noise is not None and noise.n_calls > 0
            with _NoDraws() if self._draws and self._n_steps == 0 else nullcontext():  # type: ignore[no-untyped-call]
                objective.backward()
            if task.clip_norm is not None:
                nn.utils.clip_grad_norm_(model.parameters(), task.clip_norm)
            values.append(objective.detach())
            return values[-1]

        for multiplier, key in zip(multipliers, keys, strict=True):  # noqa: B007  # the closure reads the key
            for group, peak in zip(optimizer.param_groups, self._peaks, strict=True):
                group["lr"] = peak * multiplier
            inputs, targets = data.batch(next(rows), task.device)
            values.clear()
            if closes:
                optimizer.step(closure)
            else:
                closure()
                optimizer.step()
            self._n_steps += 1
            yield values[0]

    def save(self) -> dict[str, Any]:
        """Return a copy of the whole state: parameters, buffers, optimizer, generators, position in the data.

        Attributes of modules and optimizers that are numbers or texts belong to it, such as a counter of calls; other
        objects that a model changes while it trains do not.
        """
        number: dict[Any, int] = {parameter: i for i, parameter in enumerate(self._trained())}
        return copy.deepcopy({
            "tensors": [tensor.detach() for tensor in self._tensors()],
            "plain": [_plain(holder) for holder in self._holders()],
            "optimizers": [
                {
                    "state": [(number.get(key, key), value) for key, value in each.state.items()],
                    "groups": [{k: v for k, v in group.items() if k != "params"} for group in each.param_groups],
                }
                for each in self._optimizers()
            ],
            "run": {name: getattr(self, name) for name in _OF_THE_RUN},
        })  # fmt: skip

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a state that `save` returned, of a run with the same task, learning rate and seed."""
        trained = self._trained()
        state = copy.deepcopy(dict(state))  # it may be loaded again
        with torch.no_grad():
            for tensor, saved in zip(self._tensors(), state["tensors"], strict=True):
                tensor.copy_(saved)
        for holder, plain in zip(self._holders(), state["plain"], strict=True):
            vars(holder).update(plain)
        for optimizer, saved in zip(self._optimizers(), state["optimizers"], strict=True):
            optimizer.state.clear()
            optimizer.state.update({trained[k] if isinstance(k, int) else k: value for k, value in saved["state"]})
            for group, values in zip(optimizer.param_groups, saved["groups"], strict=True):
                group.update(values)
        vars(self).update(state["run"])

    @cached_property
    def _optimizer(self) -> Optimizer:  # made in the first step, and so with the noise of the seed
        optimizer: Optimizer = self._task.make_optimizer(self._model, self._lr)
        self._peaks = [group["lr"] for group in optimizer.param_groups]
        return optimizer

    def _optimizers(self) -> list[Optimizer]:
        """The optimizer, and another one inside it."""
        return [self._optimizer, *(each for each in vars(self._optimizer).values() if isinstance(each, Optimizer))]

    def _trained(self) -> list[Tensor]:
        return [each for group in self._optimizer.param_groups for each in group["params"]]

    def _tensors(self) -> list[Tensor]:
        return [*self._model.parameters(), *self._model.buffers()]

    def _holders(self) -> list[Any]:
        return [*self._model.modules(), *self._optimizers()]

    @contextmanager
    def _noise(self) -> Iterator[None]:
        """Draw random numbers where the run has stopped; the caller's generators of torch stay as they were."""
        device = torch.device(self._task.device)
        with self._task.noise_of(self._seed):
            if self._random is not None:
                _set_random(self._random, device)
            yield
            self._random = _random_of(device)


_OF_THE_RUN = ("_watch", "_n_steps", "_diverged_at", "_draws", "_random")


def needs_closure(optimizer: Optimizer) -> bool:
    """Return whether its step must be given the objective as a function, which it calls as often as it likes."""
    parameters = inspect.signature(optimizer.step).parameters.values()
    return any(p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD for p in parameters)


class _NoDraws(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Raises if a backward pass draws random numbers, as an activation checkpoint that recomputes dropout does.

    `CounterNoise` is off there, so the masks would differ from those of the forward pass.
    """

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if torch.Tag.nondeterministic_seeded in func.tags:
            raise DataError("torch.utils.checkpoint would draw other dropout masks the second time; drop outside")
        return func(*args, **(kwargs or {}))


def _plain(holder: Any) -> dict[str, Any]:
    kinds = (bool, int, float, str, type(None))
    return {name: value for name, value in vars(holder).items() if isinstance(value, kinds)}


def _random_of(device: torch.device) -> tuple[Any, ...]:
    on_cuda = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
    return torch.default_generator.get_state(), on_cuda, np.random.get_state(), random.getstate()


def _set_random(states: tuple[Any, ...], device: torch.device) -> None:
    on_cpu, on_cuda, of_numpy, of_python = states
    torch.default_generator.set_state(on_cpu)
    if on_cuda is not None:
        torch.cuda.set_rng_state(on_cuda, device)
    np.random.set_state(of_numpy)
    random.setstate(of_python)
