"""Inspection of a task: the parts of one replica, and the obstacles to training many together."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from robust_lr.exceptions import NotVectorizable

from .._training import Training
from ._dropout import CounterNoise
from ._memory import bytes_of, makes_view
from ._not_vectorizable import not_vectorizable, place_of, user_place
from ._optimizers import rule_of
from ._rules import Stack, UpdateRule

_BACKWARD, _STATES = 1.2, 4  # tensors alive at the worst moment; parameters, gradients and an optimizer's two averages


@dataclass(frozen=True, eq=False)
class Replica:
    """A model of the task, and the names of its trainable parameters that get a gradient."""

    model: nn.Module
    trained: tuple[str, ...]
    rule: UpdateRule
    n_operations: int  # of the forward pass
    forward_bytes: int  # of the tensors that it makes

    @property
    def state(self) -> Stack:
        return state_of(self.model)

    @property
    def bytes_per_replica(self) -> int:
        """About what a pack needs for each; `Traced.bytes_per_replica` knows it exactly, after seconds of tracing."""
        return int(_BACKWARD * self.forward_bytes) + _STATES * sum(map(bytes_of, self.state.values()))


class Objective(nn.Module):
    """The objective as a module, so that a penalty too sees the replica's parameters and not the model's own."""

    def __init__(self, task: Training, model: nn.Module) -> None:
        super().__init__()
        self.task, self.model = task, model

    def forward(self, inputs: Any, targets: Any, key: Tensor) -> Tensor:
        with CounterNoise(key, in_pack=True):
            return self.task.objective(self.model, inputs, targets)


def inspect_replica(task: Training, seed: int) -> Replica:
    model, place = task.initial_model(seed), place_of(task.make_model)
    rule = rule_of(task, model)
    _refuse_hooks(model)
    before = _hidden_state(model)
    with not_vectorizable("its first step fails", place), task.noise_of(seed):
        inputs, targets = _first_batch(task, seed)
        with _Inspector() as inspector:  # type: ignore[no-untyped-call]
            value = Objective(task, model)(inputs, targets, task.noise_keys(seed)[0])
        value.backward()
    for name, value in _hidden_state(model).items():
        old = before.get(name, None if isinstance(value, Tensor) else value)
        if old is not value if isinstance(value, Tensor) else old != value:
            raise NotVectorizable(f"its attribute {name} changes with each step", place)
    trained = tuple(name for name, p in model.named_parameters() if p.requires_grad and p.grad is not None)
    if not trained:
        raise NotVectorizable("no parameter gets a gradient", place)
    return Replica(task.initial_model(seed), trained, rule, inspector.n_operations, inspector.n_bytes)


def state_of(model: nn.Module) -> Stack:
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def _first_batch(task: Training, seed: int) -> tuple[Any, Any]:
    rows, generator = next(task.batches(seed)), torch.get_rng_state()
    first, second = (task.examples.batch(rows, task.device) for _ in range(2))
    same = all(torch.equal(a, b) for a, b in zip(tree_leaves(first), tree_leaves(second), strict=True))
    if not (same and torch.equal(torch.get_rng_state(), generator)):  # they have no seed in a pack
        raise NotVectorizable("the training data draw random numbers")
    return first


def _refuse_hooks(model: nn.Module) -> None:
    for name, p in model.named_parameters():
        if p._backward_hooks or getattr(p, "_post_accumulate_grad_hooks", None):
            raise NotVectorizable(f"the parameter {name} has a hook on its gradient, which a pack would not call")
    for name, module in model.named_modules():
        if module._backward_hooks or module._backward_pre_hooks:
            raise NotVectorizable(f"the module {name or type(module).__name__} has a hook on its backward pass")


def _hidden_state(model: nn.Module) -> dict[str, Any]:
    """Return the attributes of modules and their classes: numbers, texts, tensors; buffers as objects."""
    found = dict[str, Any]()
    for path, module in model.named_modules():
        for name, value in {**vars(type(module)), **vars(module), **module._buffers}.items():
            plain = isinstance(value, (bool, int, float, str)) and name != "training" and not name.startswith("__")
            if plain or isinstance(value, Tensor):
                found[f"{path}.{name}".lstrip(".")] = value
    return found


class _Inspector(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Raises at the first operation that replicas cannot share, and counts the others and the bytes that they make."""

    n_operations = n_bytes = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if reason := _obstacle(func, args):
            frames = traceback.extract_stack()
            # The frames above the objective belong to the caller of the sweep.
            inner = next((i for i, f in enumerate(frames) if f.filename == __file__ and f.name == "forward"), 0)
            raise NotVectorizable(reason, user_place(frames[inner:]))
        result = func(*args, **(kwargs or {}))
        self.n_operations += 1
        self.n_bytes += 0 if makes_view(func) else bytes_of(result)
        return result


def _obstacle(func: Any, args: tuple[Any, ...]) -> str | None:
    name, tags = str(func), func.tags
    if name.startswith(("aten.index.", "aten.index_put")):
        masks = [i for i in args[1] if isinstance(i, Tensor) and i.dtype in (torch.bool, torch.uint8)]
        dynamic = bool(masks) and name.startswith("aten.index.")
    else:
        dynamic = torch.Tag.dynamic_output_shape in tags
    if dynamic:
        return "a shape depends on the data (indexing by a boolean mask, nonzero, unique); torch.where keeps the shape"
    if torch.Tag.data_dependent_output in tags:
        return "it reads the value of a tensor (.item(), float(), `if tensor:`), which differs between replicas"
    if "cudnn_rnn" in name:  # tagged as random, for the dropout between its layers
        return "torch.func cannot batch it: cuDNN's recurrent layers have no rule for vmap"
    if torch.Tag.nondeterministic_seeded in tags:
        return f"it draws random numbers ({name}); only dropout layers and functional.dropout can be packed"
    return None
