"""Can the replicas of a task be trained together? If so, one step of all of them as one traced function."""

from __future__ import annotations

import inspect
import re
import sysconfig
import traceback
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten

from robust_lr.exceptions import NotVectorizable

from .noise import CounterNoise
from .replica_optimizers import UpdateRule, clip_grad_norm_per_replica, rule_of
from .trainable import Trainable

Stack = dict[str, Tensor]  # tensors of all replicas by name, each of shape (lanes, ...)

_LIBRARIES = tuple(
    Path(path).resolve() for path in (torch.__path__[0], Path(__file__).parent.parent, sysconfig.get_path("stdlib"))
)
_VECTOR_LENGTH = 32  # floats that the CPU kernels of torch take at once; what is left over, they compute otherwise
_INEXACT = re.compile(
    r"_?(exp(?!and)|log(?!ical)|sigmoid|silu|elu|[cs]elu|gelu|softplus|mish|erf|pow|a?(sin|cos|tan)h?2?|rsqrt)|.*batch_norm"
)


@dataclass(frozen=True, eq=False)
class Replica:
    """What one replica of a task is made of, found out by running one step of it.

    Attributes:
        model: a model of the task.
        trained: names of the parameters that the optimizer changes; not of those that are frozen or get no gradient.
        rule: how the optimizer updates a stack of replicas.
        n_operations: tensor operations of the forward pass.
    """

    model: nn.Module
    trained: tuple[str, ...]
    rule: UpdateRule
    n_operations: int

    @property
    def state(self) -> dict[str, Tensor]:
        """The parameters and buffers of the model, by name."""
        return state_of(self.model)


@dataclass(frozen=True, eq=False)
class TracedStep:
    """One step of `lanes` replicas, as a function of tensors and nothing else.

    ``graph(*fixed, *moving)`` updates the stacks among the fixed tensors (parameters, buffers, optimizer state), in
    place, and returns the losses, shape (lanes,), and, where the rule cannot be traced, the gradients instead of
    updating the parameters.

    Attributes:
        graph: the step.
        fixed: the stacks, and the training data where they are tensors: the same tensors at every step.
        moving: what a step reads, as an example: rows of the data, or the batch; numbers of the rule; dropout keys.
        lanes: replicas in the stacks.
        n_shared_bytes: bytes of the training data among the fixed tensors, which the replicas share.
    """

    graph: GraphModule
    fixed: tuple[Tensor, ...]
    moving: tuple[Tensor, ...]
    lanes: int
    n_shared_bytes: int

    @property
    def bytes_per_replica(self) -> int:
        """Bytes of all tensors that are alive at once, at the worst moment of a step, divided by the lanes."""
        return (_peak_bytes(self.graph) - self.n_shared_bytes) // self.lanes

    @property
    def n_operations(self) -> int:
        """Tensor operations in a step."""
        return sum(node.op == "call_function" for node in self.graph.graph.nodes)

    @property
    def spare_lanes(self) -> int:
        """Lanes to leave empty at the end of a stack, so that what a replica computes does not depend on its lane.

        The CPU kernels compute functions such as exp by whole vectors, and the last few elements of a tensor by
        another formula; those must not be a replica's.
        """
        smallest = _smallest_inexact(self.graph, self.lanes)
        return 0 if smallest is None else -(-(_VECTOR_LENGTH - 1) // smallest)

    def compiled(self) -> Callable[..., Sequence[Tensor]]:
        """Return the step compiled by torch's inductor.

        Raises:
            NotVectorizable: when this machine cannot compile it, as for want of a C++ compiler.
        """
        import torch._inductor as inductor

        try:
            with torch.inference_mode():
                return inductor.compile(self.graph, [*self.fixed, *self.moving])  # type: ignore[no-any-return]
        except Exception as error:
            raise NotVectorizable(f"torch cannot compile it: {_first_line(error)}") from error


class _Objective(nn.Module):
    """The objective as a module, so that a penalty too sees the replica's parameters and not the model's own."""

    def __init__(self, task: Trainable, model: nn.Module) -> None:
        super().__init__()
        self.task, self.model = task, model

    def forward(self, inputs: Tensor, targets: Tensor, key: Tensor) -> Tensor:
        with CounterNoise(key, write_out_attention=True):
            return self.task.objective(self.model, inputs, targets)


def inspect_replica(task: Trainable, seed: int) -> Replica:
    """Run one step of one replica, and return what it is made of.

    Raises:
        NotVectorizable: when the step does what replicas cannot do together, with the place in the user's code.
    """
    rule = rule_of(task.optimizer, task.optimizer_options)
    model = task.initial_model(seed)
    _refuse_hooks(model)
    before = _hidden_state(model)
    try:
        with task.noise_of(seed):
            inputs, targets = _first_batch(task, seed)
            with _Inspector() as inspector:  # type: ignore[no-untyped-call]
                value = _Objective(task, model)(inputs, targets, task.noise_keys(seed)[0])
            value.backward()
    except NotVectorizable as error:
        raise NotVectorizable(error.reason, error.where or _place_of(task.make_model)) from None
    except Exception as error:
        where = user_place(traceback.extract_tb(error.__traceback__)) or _place_of(task.make_model)
        raise NotVectorizable(f"its first step fails: {_first_line(error)}", where) from error
    for name, value in _hidden_state(model).items():
        if not _is_same(before.get(name, None if isinstance(value, Tensor) else value), value):
            raise NotVectorizable(f"its attribute {name} changes with each step", _place_of(task.make_model))
    trained = tuple(name for name, p in model.named_parameters() if p.requires_grad and p.grad is not None)
    if not trained:
        raise NotVectorizable("no parameter gets a gradient", _place_of(task.make_model))
    return Replica(task.initial_model(seed), trained, rule, inspector.n_operations)


def _first_batch(task: Trainable, seed: int) -> tuple[Tensor, Tensor]:
    """Return the first batch of a seed; raise when the data draw random numbers, which in a pack have no seed."""
    rows, generator = task.batch_indices(seed)[0], torch.get_rng_state()
    inputs, targets = (data[rows].to(task.device) for data in task.train_data)
    if not torch.equal(torch.get_rng_state(), generator):
        raise NotVectorizable("the training data draw random numbers")
    return inputs, targets


def _refuse_hooks(model: nn.Module) -> None:
    for name, p in model.named_parameters():
        if p._backward_hooks or getattr(p, "_post_accumulate_grad_hooks", None):
            raise NotVectorizable(f"the parameter {name} has a hook on its gradient, which a pack would not call")
    for name, module in model.named_modules():
        if module._backward_hooks or module._backward_pre_hooks:
            raise NotVectorizable(f"the module {name or type(module).__name__} has a hook on its backward pass")


def _hidden_state(model: nn.Module) -> dict[str, Any]:
    """What modules and their classes keep in attributes, by name: numbers, texts, tensors; buffers as the objects."""
    found = dict[str, Any]()
    for path, module in model.named_modules():
        for name, value in {**vars(type(module)), **vars(module), **module._buffers}.items():
            plain = isinstance(value, (bool, int, float, str)) and name != "training" and not name.startswith("__")
            if plain or isinstance(value, Tensor):
                found[f"{path}.{name}".lstrip(".")] = value
    return found


def _is_same(before: Any, after: Any) -> bool:
    return before is after if isinstance(after, Tensor) else bool(before == after)


def state_of(model: nn.Module) -> dict[str, Tensor]:
    """Return the parameters and buffers of a model, by name."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def trace_step(
    task: Trainable,
    replica: Replica,
    stacks: Sequence[Stack],
    data: Sequence[Tensor],
    moving: Sequence[Tensor],
    lanes: int,
) -> TracedStep:
    """Trace one step of `lanes` replicas.

    Args:
        task: the task.
        replica: what `inspect_replica` returned.
        stacks: trained parameters, other parameters and buffers, optimizer state. They stay as they are.
        data: training inputs and targets, if a step is to read rows of them; else empty.
        moving: rows (lanes, B), or inputs and targets (lanes, B, ...); numbers of the rule (n_coefficients, lanes);
            dropout keys (lanes,).
        lanes: replicas in the stacks.

    Raises:
        NotVectorizable: when torch.func cannot batch the objective.
    """
    objective, rule = _Objective(task, replica.model), replica.rule
    fixed, structure = tree_flatten(list(stacks))

    def objective_of(trained: Stack, rest: Stack, inputs: Tensor, targets: Tensor, key: Tensor) -> Any:
        state = {f"model.{name}": value for name, value in {**trained, **rest}.items()}
        return functional_call(objective, state, (inputs, targets, key))

    def step(*tensors: Tensor) -> list[Tensor]:
        trained, rest, state = tree_unflatten(list(tensors[: len(fixed)]), structure)
        shared, (*batch, numbers, keys) = (
            tensors[len(fixed) : len(fixed) + len(data)],
            tensors[len(fixed) + len(data) :],
        )
        if shared:
            rows = batch[0]
            batch = [d.index_select(0, rows.reshape(-1)).reshape(*rows.shape, *d.shape[1:]) for d in shared]
        gradients, losses = vmap(grad_and_value(objective_of))(trained, rest, *batch, keys)  # type: ignore[call-arg]
        if task.clip_norm is not None:
            clip_grad_norm_per_replica(gradients, task.clip_norm)
        if not rule.traceable:
            return [losses, *(gradients[name] for name in replica.trained)]
        rule.update(trained, gradients, state, numbers)
        return [losses]

    def copies() -> list[Tensor]:
        return [*(leaf.clone() for leaf in fixed), *data, *moving]

    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*performance drop because we have not yet implemented.*")
            graph = make_fx(step)(*copies())
        with torch.no_grad():  # operations without a batching rule can leave a graph that does not run
            graph(*copies())
    except Exception as error:
        where = user_place(traceback.extract_tb(error.__traceback__)) or _place_of(task.make_model)
        raise NotVectorizable(f"torch.func cannot batch it: {_first_line(error)}", where) from error
    return TracedStep(graph, (*fixed, *data), tuple(moving), lanes, _bytes_of(list(data)))


def user_place(frames: Iterable[traceback.FrameSummary]) -> str:
    """Return ``file:line`` of the innermost frame outside of torch, this package and the standard library, or ''."""
    own = [f for f in frames if f.filename[:1] != "<" and not Path(f.filename).resolve().is_relative_to(_LIBRARIES[0])]
    own = [f for f in own if not any(Path(f.filename).resolve().is_relative_to(folder) for folder in _LIBRARIES)]
    own = [f for f in own if "-packages" not in f.filename] or own
    return f"{own[-1].filename}:{own[-1].lineno}" if own else ""


class _Inspector(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Raises at the first operation that replicas cannot do together, and counts the others."""

    n_operations = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if reason := _obstacle(func, args):
            raise NotVectorizable(reason, self._place())
        self.n_operations += 1
        return func(*args, **(kwargs or {}))

    @staticmethod
    def _place() -> str:
        frames = traceback.extract_stack()
        # The frames above the objective are those of the caller of the sweep, who has nothing to do with it.
        inner = next((i for i, f in enumerate(frames) if f.filename == __file__ and f.name == "forward"), 0)
        return user_place(frames[inner:])


def _obstacle(func: Any, args: tuple[Any, ...]) -> str | None:
    name, tags = str(func), func.tags
    if name.startswith("aten.index.") or name.startswith("aten.index_put"):
        masks = [i for i in args[1] if isinstance(i, Tensor) and i.dtype in (torch.bool, torch.uint8)]
        dynamic = bool(masks) and name.startswith("aten.index.")
    else:
        dynamic = torch.Tag.dynamic_output_shape in tags
    if dynamic:
        return "a shape depends on the data (indexing by a boolean mask, nonzero, unique); torch.where keeps the shape"
    if torch.Tag.data_dependent_output in tags:
        return "it reads the value of a tensor (.item(), float(), `if tensor:`), which differs between replicas"
    if torch.Tag.nondeterministic_seeded in tags:
        return f"it draws random numbers ({name}); only dropout layers and functional.dropout can be packed"
    return None


def _place_of(function: Callable[..., Any]) -> str:
    try:
        function = inspect.unwrap(getattr(function, "func", function))
        return f"{inspect.getsourcefile(function)}:{inspect.getsourcelines(function)[1]}"
    except (OSError, TypeError):
        return ""


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _peak_bytes(graph: GraphModule) -> int:
    """Bytes of the tensors that are alive at once when the graph runs node by node, with its inputs."""
    last_use = {argument: i for i, node in enumerate(graph.graph.nodes) for argument in node.all_input_nodes}
    sizes, alive, peak = dict[Any, int](), 0, 0
    for i, node in enumerate(graph.graph.nodes):
        sizes[node] = 0 if _is_view(node) else _bytes_of(node.meta.get("val"))
        alive += sizes[node]
        peak = max(peak, alive)
        for argument in node.all_input_nodes:
            if last_use[argument] == i and argument.op != "placeholder":
                alive -= sizes[argument]
    return peak


def _is_view(node: torch.fx.Node) -> bool:
    schema = getattr(node.target, "_schema", None)
    return schema is not None and any(r.alias_info is not None for r in schema.returns)


def _bytes_of(value: Any) -> int:
    if isinstance(value, Tensor):
        return value.numel() * value.element_size()
    return sum(map(_bytes_of, value)) if isinstance(value, (list, tuple)) else 0


def _smallest_inexact(graph: GraphModule, lanes: int) -> int | None:
    """Elements a replica of the smallest tensor that a function such as exp gives; None when there is none."""
    sizes = [
        max(1, tensor.numel() // lanes)
        for node in graph.graph.nodes
        if isinstance(node.target, torch._ops.OpOverload)
        and _INEXACT.match(node.target._schema.name.removeprefix("aten::"))
        for tensor in tree_leaves(node.meta.get("val"))
        if isinstance(tensor, Tensor) and tensor.numel()
    ]
    return min(sizes, default=None)
