"""A check that trials begin in a pack as they do alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from robust_lr.exceptions import NotVectorizable
from robust_lr.schedules.closed_forms import Schedule
from robust_lr.trials import TrialSpec

from ._not_vectorizable import not_vectorizable
from ._pack import Pack

_STEPS = 5
_ROUNDING = 4  # of the loss, in units of its last place: a loss of bfloat16 by itself is off by 1 or 2


def verify_pack(pack: Pack, schedules: Mapping[str, Schedule], trials: Sequence[TrialSpec]) -> None:
    """Raise unless two of the trials, with two seeds if possible, begin in the pack as each does alone."""
    first, middle = trials[0], trials[len(trials) // 2]
    pair = [first, next((t for t in (middle, *trials) if t.seed != first.seed), middle)][: pack.slots]
    try:
        with not_vectorizable("a first pack fails"):
            for spec in pair:
                pack.load(spec)
            together = pack.steps(min(_STEPS, pack.task.total_steps))
            for slot, spec in enumerate(pair):
                _compare(pack, spec, schedules[spec.schedule], together[:, slot], pack.model(slot))
    finally:
        pack.clear()


def _compare(pack: Pack, spec: TrialSpec, schedule: Schedule, together: NDArray[np.float64], packed: nn.Module) -> None:
    """Raise unless a trial alone has these objectives, and then a model with the same outputs as the packed one."""
    task = pack.task
    model = task.initial_model(spec.seed)
    with task.noise_of(spec.seed):
        steps = task.steps(model, lr=spec.lr, schedule=schedule, seed=spec.seed)
        alone = [float(value) for value in islice(steps, _STEPS)]
    scale = max((abs(v) for v in alone if math.isfinite(v)), default=0.0)
    rounding = _ROUNDING * pack.traced.resolution  # 3 % in bfloat16
    pairs = [*zip(alone, together, [max(1e-4, rounding)] * len(alone), strict=True)]
    if all(map(math.isfinite, alone)):
        inputs, targets = task.examples.batch(next(task.batches(spec.seed)), task.device)
        with torch.no_grad():
            end, packed_end = (float(task.objective(m.eval(), inputs, targets)) for m in (model, packed))
        packed.train()
        pairs.append((end, packed_end, max(1e-2, rounding)))  # that of batch norm after Adam differs more
    for step, (value, other, tolerance) in enumerate(pairs):
        if math.isfinite(value) and not abs(value - other) <= tolerance * scale:
            raise NotVectorizable(
                f"after {step} steps a pack has another objective than a trial alone, {other:.7g} and {value:.7g}; "
                "the model may keep values outside of its parameters and buffers, or count its calls"
            )
