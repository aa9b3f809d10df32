"""One step of all replicas as one traced function of tensors."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call, grad_and_value, vmap
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._pytree import tree_flatten, tree_unflatten

from .._examples import split
from .._training import Training
from ._inspect import Objective, Replica
from ._memory import bytes_of, peak_bytes
from ._not_vectorizable import not_vectorizable, place_of
from ._rules import Stack, clip_grad_norm_per_replica


@dataclass(frozen=True, eq=False)
class TracedStep:
    """One step of a stack of replicas, as a pure function of tensors.

    ``graph(*fixed, *moving)`` updates the stacks among the fixed tensors (parameters, buffers, optimizer state), in
    place, and returns the losses, shape (C,); if the rule cannot be traced, it returns the gradients too and does not
    update the parameters. The training data are fixed as well, if a step reads rows of them. Moving are the rows (C,
    B), or else the tensors of the batch, each (C, B, ...); the numbers of the rule (n, C); and the dropout keys (C,).
    """

    graph: GraphModule
    fixed: tuple[Tensor, ...]
    moving: tuple[Tensor, ...]
    n_shared_bytes: int

    @property
    def bytes_per_replica(self) -> int:
        return (peak_bytes(self.graph) - self.n_shared_bytes) // len(self.moving[-1])

    @property
    def n_operations(self) -> int:
        return sum(node.op == "call_function" for node in self.graph.graph.nodes)

    @property
    def resolution(self) -> float:
        """The relative distance of neighboring numbers of the coarsest type that it computes in: 2^-7 for bfloat16."""
        values = (node.meta.get("val") for node in self.graph.graph.nodes)
        return max(torch.finfo(v.dtype).eps for v in values if isinstance(v, Tensor) and v.is_floating_point())

    def compiled(self) -> Callable[..., Sequence[Tensor]]:
        import torch._inductor as inductor

        with not_vectorizable("torch cannot compile it"), torch.inference_mode():  # perhaps without a C++ compiler
            return inductor.compile(self.graph, [*self.fixed, *self.moving])  # type: ignore[no-any-return]


def trace_step(
    task: Training, replica: Replica, stacks: Sequence[Stack], data: Sequence[Tensor], moving: Sequence[Tensor]
) -> TracedStep:
    objective, rule = Objective(task, replica.model), replica.rule
    fixed, structure = tree_flatten(list(stacks))
    n_fixed, n_data, of_batch = len(fixed), len(data), task.examples.structure

    def objective_of(trained: Stack, rest: Stack, batch: list[Tensor], key: Tensor) -> Any:
        state = {f"model.{name}": value for name, value in {**trained, **rest}.items()}
        return functional_call(objective, state, (*split(tree_unflatten(batch, of_batch)), key))

    def step(*tensors: Tensor) -> list[Tensor]:
        trained, rest, state = tree_unflatten(list(tensors[:n_fixed]), structure)
        shared, (*batch, numbers, keys) = tensors[n_fixed : n_fixed + n_data], tensors[n_fixed + n_data :]
        if shared:
            rows = batch[0]
            batch = [d.index_select(0, rows.reshape(-1)).reshape(*rows.shape, *d.shape[1:]) for d in shared]
        gradients, losses = vmap(grad_and_value(objective_of))(trained, rest, batch, keys)
        if task.clip_norm is not None:
            clip_grad_norm_per_replica(gradients, task.clip_norm)
        if rule.in_phase:
            return [losses, *(gradients[name] for name in replica.trained)]
        rule.update(trained, gradients, state, numbers)
        return [losses]

    def copies() -> list[Tensor]:
        return [*(leaf.clone() for leaf in fixed), *data, *moving]

    with not_vectorizable("torch.func cannot batch it", place_of(task.make_model)):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*performance drop because we have not yet implemented.*")
            graph = make_fx(step)(*copies())
        with torch.no_grad():  # operations without a batching rule can leave a graph that does not run
            graph(*copies())
    return TracedStep(graph, (*fixed, *data), tuple(moving), bytes_of(list(data)))
