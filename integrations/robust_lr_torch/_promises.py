"""What torch's schedulers declare, as a `Promise`, and which schedulers an optimizer has."""

from __future__ import annotations

import functools
import gc
import math
import types
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

from torch.optim import Optimizer
from torch.optim import lr_scheduler as torchs
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.swa_utils import SWALR

from robust_lr.doctor import Promise
from robust_lr.doctor.functions import promise_of_function
from robust_lr.exceptions import OptionError
from robust_lr.schedules.closed_forms import Constant, InverseSqrt, Warmup

from .lr_scheduler import AnnealedLR

_HORIZONS = ("total_steps", "max_steps", "num_training_steps", "max_iters", "T_max")  # names in schedulers of others


def unwrapped(value: Any, name: str, kind: type) -> Any:
    """Return torch's own object inside the wrappers of Accelerate and Lightning.

    Raises:
        OptionError: when there is none.
    """
    found = value
    for _ in range(4):
        inner = getattr(found, name, None)
        if isinstance(found, kind) and (kind is not Optimizer or hasattr(found, "_optimizer_step_pre_hooks")):
            return found
        if inner is None:
            break
        found = inner
    raise OptionError(f"{name} must be a torch {kind.__name__}, got {value!r}")


def schedulers_of(optimizer: Optimizer) -> list[LRScheduler]:
    """Return the schedulers that set the rates of an optimizer, without those that another one of them steps."""
    kinds = {LRScheduler, *_subclasses(LRScheduler)}
    everything: list[Any] = gc.get_objects()
    found: list[LRScheduler] = [s for s in everything if type(s) in kinds]
    own = [s for s in found if _groups_of(s) is optimizer.param_groups]
    inner = {id(part) for s in own for part in _schedulers_inside(s)}
    return [s for s in own if id(s) not in inner]


def _groups_of(scheduler: LRScheduler) -> Any:
    return getattr(vars(scheduler).get("optimizer"), "param_groups", None)


def _subclasses(kind: type) -> Iterator[type]:
    children: list[type] = kind.__subclasses__()
    for each in children:
        yield each
        yield from _subclasses(each)


def _schedulers_inside(scheduler: LRScheduler) -> Iterator[LRScheduler]:
    for value in vars(scheduler).values():
        parts: Iterable[Any] = value if isinstance(value, (list, tuple)) else [value]
        yield from (part for part in parts if isinstance(part, LRScheduler) and part is not scheduler)


def position_of(scheduler: LRScheduler) -> int:
    """Return the number of a scheduler's steps; a ChainedScheduler has that of its parts."""
    while isinstance(scheduler, torchs.ChainedScheduler):
        scheduler = scheduler._schedulers[0]
    return int(scheduler.last_epoch)


def promise_of(scheduler: LRScheduler, *, n_steps: int) -> Promise:
    """Return what a scheduler declares; a function is evaluated, as far as a run of `n_steps` needs it."""
    name = type(scheduler).__name__
    for kind, read in _READERS:
        if isinstance(scheduler, kind):
            return read(name, scheduler, n_steps)
    declared = next((h for n in _HORIZONS if _is_count(h := getattr(scheduler, n, None))), None)
    return Promise(name=name, horizon=declared, is_exact=False, may_stay=True)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _annealed(name: str, s: AnnealedLR, n_steps: int) -> Promise:
    multipliers = [float(s.schedule(min(k, s.total_steps), s.total_steps)) for k in _grid(s.total_steps)]
    peak = max(multipliers) or 1.0
    warmup = s.schedule if isinstance(s.schedule, Warmup) else None
    base = s.schedule if warmup is None else warmup.schedule
    steps = None if warmup is None else _warmup_steps(warmup, s.total_steps)
    return Promise(
        name=f"{name} ({s.schedule})",
        horizon=None if isinstance(base, (Constant, InverseSqrt)) else s.total_steps,
        argument="total_steps",
        peak_at=steps or _grid(s.total_steps)[multipliers.index(peak)],
        warmup=steps,
        wanted_warmup=None if warmup is None else warmup.fraction,
        end=multipliers[-1] / peak,
        is_closed_form=True,
        checks_state=True,
    )


def _warmup_steps(warmup: Warmup, total_steps: int) -> int:
    return warmup.steps if warmup.steps is not None else round((warmup.fraction or 0.0) * total_steps)


def _grid(total_steps: int) -> list[int]:
    n = min(total_steps, 512)
    return [i * total_steps // n for i in range(n + 1)]


def _cosine(name: str, s: Any, n_steps: int) -> Promise:
    peak = _largest(s.base_lrs)
    end = s.eta_min / peak if peak > 0 else 0.0
    return Promise(
        name=name, horizon=int(s.T_max), argument="T_max", peak_at=0, end=end, floor=float(s.eta_min),
        rises_after_end=True,
    )  # fmt: skip


def _one_cycle(name: str, s: Any, n_steps: int) -> Promise:
    peak_at = s._schedule_phases[0]["end_step"]
    warmup = max(0, math.ceil(peak_at))
    return Promise(
        name=name, horizon=int(s.total_steps), argument="total_steps", peak_at=warmup, warmup=warmup,
        wanted_warmup=(peak_at + 1) / s.total_steps, is_closed_form=True,
    )  # fmt: skip


def _linear(name: str, s: Any, n_steps: int) -> Promise:
    if s.end_factor >= s.start_factor:
        return Promise(name=name, peak_at=int(s.total_iters), warmup=int(s.total_iters), end=1.0)
    return Promise(
        name=name, horizon=int(s.total_iters), argument="total_iters", peak_at=0,
        end=s.end_factor / s.start_factor, may_stay=True,
    )  # fmt: skip


def _constant(name: str, s: Any, n_steps: int) -> Promise:
    return Promise(name=name, peak_at=int(s.total_iters) if s.factor < 1 else 0, end=1.0)


def _polynomial(name: str, s: Any, n_steps: int) -> Promise:
    return Promise(name=name, horizon=int(s.total_iters), argument="total_iters", peak_at=0)


def _restarting(name: str, s: Any, n_steps: int) -> Promise:
    return Promise(name=name, restarts=True, floor=float(getattr(s, "eta_min", 0.0)), is_closed_form=True)


def _of_functions(name: str, s: Any, n_steps: int) -> Promise:
    functions = [f for f in s.lr_lambdas if isinstance(f, (functools.partial, types.FunctionType, types.MethodType))]
    if len(functions) < len(s.lr_lambdas) or not functions:  # an object may count its calls
        return Promise(name=name, is_closed_form=True)
    try:
        is_pure = math.isclose(float(s.base_lrs[0]) * functions[0](s.last_epoch), float(s._last_lr[0]), rel_tol=1e-5)
    except Exception:  # the user's function
        is_pure = False
    if not is_pure:  # it depends on more than the step
        return Promise(name=name, is_closed_form=True)
    promise = promise_of_function(name, functions[0], n_steps=max(n_steps, s.last_epoch))
    return replace(promise, base=float(s.base_lrs[0]))


def _sequential(name: str, s: Any, n_steps: int) -> Promise:
    parts = [promise_of(each, n_steps=n_steps) for each in s._schedulers]
    starts = [0, *s._milestones]
    first, last = parts[0], parts[-1]
    peaks = [start + p.peak_at for start, p in zip(starts, parts, strict=True) if p.peak_at is not None]
    is_warmup = len(parts) > 1 and first.warmup is not None
    return Promise(
        name=f"{name} of {', '.join(p.name for p in parts)}",
        horizon=None if last.horizon is None else starts[-1] + last.horizon,
        argument=last.argument,
        begins_at=starts[-1] + last.begins_at,
        peak_at=starts[1] if is_warmup else max(peaks[:1], default=None),
        warmup=starts[1] if is_warmup else None,
        end=last.end,
        floor=last.floor,
        restarts=any(p.restarts for p in parts) or sum(p.horizon is not None for p in parts) > 1,
        rises_after_end=last.rises_after_end,
        is_closed_form=any(p.is_closed_form for p in parts),
        is_exact=last.is_exact,
    )


def _chained(name: str, s: Any, n_steps: int) -> Promise:
    parts = [promise_of(each, n_steps=n_steps) for each in s._schedulers]
    ending = next((p for p in parts if p.horizon is not None), Promise(name=name))
    peaks = [p.warmup for p in parts if p.warmup is not None]
    return Promise(
        name=f"{name} of {', '.join(p.name for p in parts)}",
        horizon=ending.horizon,
        peak_at=max(peaks, default=None),
        warmup=max(peaks, default=None),
        end=ending.end,
        floor=ending.floor,
        restarts=any(p.restarts for p in parts),
        rises_after_end=ending.rises_after_end,
        is_closed_form=any(p.is_closed_form for p in parts),
    )


def _endless(name: str, s: Any, n_steps: int) -> Promise:
    return Promise(name=name, is_lazy=isinstance(s, (torchs.ReduceLROnPlateau, SWALR)))


def _largest(rates: Iterable[Any]) -> float:
    return max((float(rate) for rate in rates), default=0.0)


_READERS: tuple[tuple[type, Callable[[str, Any, int], Promise]], ...] = (
    (AnnealedLR, _annealed),
    (torchs.CosineAnnealingLR, _cosine),
    (torchs.OneCycleLR, _one_cycle),
    (torchs.LinearLR, _linear),
    (torchs.ConstantLR, _constant),
    (torchs.PolynomialLR, _polynomial),
    (torchs.CosineAnnealingWarmRestarts, _restarting),
    (torchs.CyclicLR, _restarting),
    (torchs.LambdaLR, _of_functions),
    (torchs.SequentialLR, _sequential),
    (torchs.ChainedScheduler, _chained),
    (torchs.StepLR, _endless),
    (torchs.MultiStepLR, _endless),
    (torchs.ExponentialLR, _endless),
    (torchs.MultiplicativeLR, _endless),
    (torchs.ReduceLROnPlateau, _endless),
    (SWALR, _endless),
)
