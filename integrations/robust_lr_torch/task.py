"""Supervised training as a training function: a model, data and a loss, trained for a fixed number of steps."""

from __future__ import annotations

import hashlib
import inspect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Unpack

import torch
from torch.utils.data import DataLoader, Dataset

from robust_lr._checks import check_whole
from robust_lr._labels import is_vague, label_of
from robust_lr.exceptions import DataError
from robust_lr.runners.packed import PackOptions, PackPlan
from robust_lr.schedules.closed_forms import Schedule
from robust_lr.trials import TrialSpec

from ._training import Training
from .packing._plan import Planner

_WITHOUT_EFFECT = ("device", "evaluation_batch_size", "check_every")  # but for rounding
_NAME = "robust_lr.training.task:SupervisedTask"  # unchanged since version 0.1.0, because journals contain it


@dataclass(frozen=True, kw_only=True, eq=False)
class SupervisedTask(Training):
    """A `TrainFunction` that trains a fresh model for `total_steps` steps and returns its final loss.

    Step t = 0..T-1 takes a batch (x, y) and updates the parameters w by the optimizer, with the learning rate
    ``lr * schedule(t, T)``, on the objective ``F(w) = loss(model(x), y) + penalty(model)``. The returned "loss" is
    the loss on the validation data, without the penalty, and "training_loss" is F over the whole training set, without
    a `weight_decay` among the optimizer's options; both in evaluation mode. Without validation data, "loss" is F.

    A seed fixes the initial weights, the batches and the noise of dropout, independently of each other: they are
    the same for every learning rate and schedule. The masks of dropout come from a counter (the seed, the step, the
    call in the forward pass, the position), so they are the same in a pack and on any device. The caller's random state
    stays as it was. A task made of module-level functions and classes can be pickled, and so sent to other processes.

    Args:
        make_model: returns a new module; its random numbers come from the seed.
        train_data: (inputs, targets): two tensors of n rows, or anything with a length that a tensor of B indices
            indexes to such a batch. Inputs may be a tuple, ``model(*inputs)``, or a dict, ``model(**inputs)``; more
            than two entries are several inputs, then the targets. Or one dict, ``loss(model(**batch), batch)``. Or a
            `torch.utils.data.Dataset` or `DataLoader` of such batches. A loader gives its dataset and its
            `collate_fn`, and says whether rows are shuffled; the seed chooses them, and this process reads them.
        loss: ``loss(outputs, targets)``, a scalar tensor: the mean over the batch.
        total_steps: T, the number of optimizer steps, >= 1.
        batch_size: B, in [1, n]; None for that of the `DataLoader`. Batches are drawn without replacement from one
            permutation of the data after another, also across their ends.
        optimizer: makes the optimizer, as ``optimizer(parameters, lr=lr, **optimizer_options)``.
        optimizer_options: such as ``{"momentum": 0.9}``.
        parameter_groups: ``parameter_groups(model, lr=lr)`` returns the parameter groups that `optimizer` is given
            instead of the parameters, such as one without weight decay, or one with ``"lr": 0.1 * lr``.
        validation_data: (inputs, targets) as in `train_data`; the final loss is then theirs.
        metrics: name to ``metric(outputs, targets)``, a mean over the batch; adds "validation_<name>".
        penalty: ``penalty(model)``, a scalar tensor such as an L2 term, part of the objective.
        clip_norm: maximum norm of the gradient over all parameters, > 0; None for no clipping.
        device: "cpu" or "cuda", optionally with an index as in "cuda:0".
        autocast: `torch.bfloat16` computes outputs and losses under `torch.autocast`; None in the types of the model.
        evaluation_batch_size: rows evaluated at once, >= 1.
        check_every: steps between two checks of whether the objective is finite, >= 1; a check waits for the device.
        divergence_factor: a trial has also diverged if its objective stays above this multiple of the first step's,
        divergence_patience: for this many steps in a row.

    Raises:
        DataError: when an argument violates any of the above.

    Example:
        >>> import torch
        >>> x = torch.linspace(-1, 1, 16).unsqueeze(1)
        >>> task = SupervisedTask(make_model=lambda: torch.nn.Linear(1, 1), train_data=(x, 3 * x + 1),
        ...                       loss=torch.nn.functional.mse_loss, total_steps=100, batch_size=4)
        >>> task(lr=0.3, schedule="cosine", seed=0)["loss"] < 1e-3
        True
        >>> task(lr=30.0, schedule="cosine", seed=0)["loss"]
        inf
    """

    def __post_init__(self) -> None:
        if self.batch_size is None and isinstance(self.train_data, DataLoader):
            object.__setattr__(self, "batch_size", self.train_data.batch_size)
        _check_task(self)
        object.__setattr__(self, "optimizer_options", dict(self.optimizer_options))
        object.__setattr__(self, "metrics", dict(self.metrics))

    @property
    def label(self) -> str:
        """Name of the task in a journal; tasks whose results may differ have different names.

        It holds a digest of the names of the functions, the options, and the numbers in the data. It also names each
        part without an identifying name (a lambda, a local function, data other than tensors that print as an address),
        and a journal then asks for a label.
        """
        parts = {name: label_of(part) for name, part in self.__robust_lr_fingerprint__().items()}
        if self.validation_data is not None:
            parts["returns"] = "the validation loss"  # in version 0.1.0, the training objective
        vague = [f"{name}={part}, " for name, part in parts.items() if is_vague(part)]
        digest = hashlib.sha256(repr(parts).encode()).hexdigest()[:12]
        kind = type(self)
        name = _NAME if kind is SupervisedTask else f"{kind.__module__}:{kind.__qualname__}"
        return f"{name}({''.join(vague)}sha={digest})"

    def __robust_lr_fingerprint__(self) -> dict[str, object]:
        """Return what determines the results, so that a journal notices an edit of a model's code."""
        parts = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in _WITHOUT_EFFECT}
        for name in ("parameter_groups", "autocast"):  # which version 0.1.0 did not have
            if parts[name] is None:
                del parts[name]
        for name, examples in (("train_data", self.examples), ("validation_data", self.validation_examples)):
            if examples is not None and isinstance(parts[name], Dataset | DataLoader):
                parts[name] = (examples.columns, examples.is_shuffled)
        return parts

    def plan_packs(
        self, trials: Sequence[TrialSpec], schedules: Mapping[str, Schedule], **options: Unpack[PackOptions]
    ) -> PackPlan:
        """Choose how to train these trials, after a short measurement; see `robust_lr.runners.packed.Packable`."""
        task = self if options["device"] is None else replace(self, device=options["device"])
        return Planner(task, trials, schedules, options).plan()


def _check_task(task: SupervisedTask) -> None:
    for name in ("make_model", "loss", "optimizer", "penalty", "parameter_groups"):
        is_left_out = name in ("penalty", "parameter_groups") and getattr(task, name) is None
        if not is_left_out and not callable(getattr(task, name)):
            raise DataError(f"{name} must be callable, got {getattr(task, name)!r}")
    for name in ("total_steps", "batch_size", "evaluation_batch_size", "check_every"):
        check_whole(name, getattr(task, name), at_least=1, error=DataError)
    n = len(task.examples)  # which checks train_data
    if task.batch_size > n:
        raise DataError(f"batch_size={task.batch_size} is more than the {n} rows of train_data")
    if isinstance(task.train_data, DataLoader) and task.batch_size != task.train_data.batch_size:
        its = task.train_data.batch_size
        raise DataError(f"batch_size={task.batch_size}, but the DataLoader has batch_size={its}; give it once")
    if task.validation_examples is None and task.metrics:
        raise DataError(f"metrics are computed on validation_data, which is missing: {', '.join(task.metrics)}")
    if wrong := [name for name, metric in task.metrics.items() if not callable(metric) or name == "loss"]:
        raise DataError(f"metrics must map names other than 'loss' to callables, got {', '.join(map(repr, wrong))}")
    task.watch()  # which checks its arguments
    if task.clip_norm is not None and not (math.isfinite(task.clip_norm) and task.clip_norm > 0):
        raise DataError(f"clip_norm must be a finite number > 0 or None, got {task.clip_norm!r}")
    if str(task.device).partition(":")[0] not in ("cpu", "cuda"):
        raise DataError(f"device must be 'cpu' or 'cuda', perhaps with an index, got {task.device!r}")
    if task.autocast not in (None, torch.bfloat16):
        why = ", since float16 would need its gradients scaled" if task.autocast is torch.float16 else ""
        raise DataError(f"autocast must be torch.bfloat16 or None{why}, got {task.autocast!r}")
    if "lr" in task.optimizer_options:
        raise DataError("optimizer_options must not hold lr: it comes with each trial")
    try:
        inspect.signature(task.optimizer).bind((), lr=1.0, **task.optimizer_options)
    except TypeError as error:
        raise DataError(f"optimizer does not take optimizer_options={task.optimizer_options!r}: {error}") from None
