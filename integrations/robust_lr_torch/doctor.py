"""The schedule doctor for torch: watches the learning rates that an optimizer applies, and says what is wrong."""

from __future__ import annotations

import logging
import math
import os
import sys
import weakref
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from robust_lr._checks import check_whole
from robust_lr._text import count_of
from robust_lr.doctor import Evidence, Finding, Promise, Record, Records, diagnose, findings_text
from robust_lr.doctor.loops import EarlyEnd, early_end
from robust_lr.doctor.source import Source

from ._parameter_moves import ParameterMoves, gradients_elsewhere
from ._promises import position_of, promise_of, schedulers_of, unwrapped
from ._surroundings import Surroundings, n_processes, surroundings

_LOG = logging.getLogger("robust_lr")
_FIRST_LOOK = 16  # steps; then after twice as many
_JOINT_STEPS = 3


def _log(finding: Finding) -> None:  # a warning may be turned into an error, and would stop the training
    _LOG.warning("schedule doctor: %s", finding)


class ScheduleDoctor:
    """Watches the learning rates that an optimizer really applies, and finds faults of the schedule.

    It sees each step of the optimizer by hooks; the training code stays as it is. What is certain is said at once (see
    `on_finding`), everything at the end by `report`. It compares the applied rates with what the scheduler declares,
    so it needs no log. docs/how-to/doctor.md lists the findings with causes and cures.

    Args:
        optimizer: a torch optimizer, or Accelerate's or Lightning's wrapper of one.
        scheduler: its scheduler, if it has one. Without it the doctor looks for schedulers of the optimizer itself.
        total_steps: optimizer steps that the whole run is meant to take, >= 1, if you know. Else the steps taken count,
            unless the training loop can end early (a `break` in it, say).
        on_finding: called at once with each finding that is certain; by default they are logged, on stderr if there is
            no handler.

    Raises:
        OptionError: when the optimizer or the scheduler is none, or `total_steps` is no number.

    Example:
        >>> weight = torch.nn.Parameter(torch.zeros(1))
        >>> optimizer = torch.optim.SGD([weight], lr=0.5)
        >>> scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=100)
        >>> with ScheduleDoctor(optimizer, scheduler, total_steps=10) as doctor:
        ...     for _ in range(10):
        ...         optimizer.step()
        ...         scheduler.step()
        >>> [finding.code for finding in doctor.findings()]
        ['horizon-longer']
    """

    def __init__(
        self,
        optimizer: Optimizer,
        scheduler: LRScheduler | None = None,
        *,
        total_steps: int | None = None,
        on_finding: Callable[[Finding], object] | None = None,
    ) -> None:
        self.optimizer = unwrapped(optimizer, "optimizer", Optimizer)
        self._scheduler = None if scheduler is None else unwrapped(scheduler, "scheduler", LRScheduler)
        self.total_steps = None if total_steps is None else check_whole("total_steps", total_steps, at_least=1)
        self._on_finding = _log if on_finding is None else on_finding
        self._said: set[str] = set()
        self._records, self._moves, self._others = Records(), ParameterMoves(), list[_Other]()
        self._surroundings, self._built_at = Surroundings(()), surroundings().places
        self._loaded: _Loaded | None = None
        self._elsewhere: dict[int, tuple[int, int]] | None = None
        self._is_saved = self._is_interrupted = False
        self._n_processes, self._steps_before = 1, 0
        self._written_at_start: tuple[float, ...] = ()
        self._position_at_start = 0
        self._horizon_at_start = self._promise().horizon if self._scheduler is not None else None
        self._final: Evidence | None = None
        self._handles = self._watch()

    def findings(self) -> tuple[Finding, ...]:
        """Return what is wrong so far, certain findings first; after the run, what is wrong with it."""
        return diagnose(self._final or self._evidence(is_over=True))

    def report(self) -> str:
        """Return the findings as text, one line each below a heading."""
        return findings_text(self.findings(), watched=self.watched)

    @property
    def n_steps(self) -> int:
        """Steps of the optimizer that were seen."""
        return self._records.n_steps

    @property
    def watched(self) -> str:
        """What was watched, in words."""
        scheduler = "" if self._scheduler is None else f" under {type(self._scheduler).__name__}"
        return f"{count_of(self.n_steps, 'step')} of {type(self.optimizer).__name__}{scheduler}"

    def close(self, *, interrupted: bool = False) -> None:
        """Stop watching; the findings remain. A run that was interrupted is not blamed for its missing steps."""
        self._is_interrupted |= interrupted
        if self._final is None:
            self._final = self._evidence(is_over=True)
        for handle in self._handles:
            handle.remove()
        self._moves.close()
        self._handles = []

    def __enter__(self) -> ScheduleDoctor:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.close(interrupted=kind is not None)

    def _watch(self) -> list[Any]:
        doctor = weakref.ref(self)  # a hook must not keep the doctor alive

        def forward(method: str) -> Callable[..., None]:
            def hook(optimizer: Optimizer, *args: Any) -> None:
                if not torch.compiler.is_compiling() and (d := doctor()) is not None:
                    try:
                        getattr(d, method)(*args[:1])
                    except Exception as error:  # the doctor must not stop the training
                        d._give_up(error)

            return hook

        optimizer = self.optimizer
        return [
            optimizer.register_step_pre_hook(forward("_before_step")),
            optimizer.register_step_post_hook(forward("_after_step")),
            optimizer.register_load_state_dict_pre_hook(forward("_before_load")),
            optimizer.register_state_dict_post_hook(forward("_after_save")),
        ]

    def _before_step(self, *_: object) -> None:
        if self._records.n_steps == 0:
            self._begin()
        self._is_saved = False
        is_capturing = torch.cuda.is_available() and torch.cuda.is_current_stream_capturing()
        given = [group.get("lr") for group in self.optimizer.param_groups]
        if not self._records.wants_next() or is_capturing or None in given:  # a graph records no reading of values
            return
        rates = _floats(given)
        position, written = None, rates
        if self._scheduler is not None:
            position, written = position_of(self._scheduler), _written_by(self._scheduler)
        step = self._records.n_steps - 1
        self._records.keep(Record(step, rates, position, not _agree(rates, written), self._moves.take_n_backward()))
        for other in self._others:
            other.see(position)
        self._moves.before_step(self.optimizer, step, rates)
        if step >= _FIRST_LOOK and step & (step - 1) == 0:
            self._look()

    def _after_step(self, *_: object) -> None:
        self._moves.after_step()

    def _before_load(self, state: dict[str, Any]) -> None:
        if self._records.n_steps == 0:
            loaded = _Loaded.read(state, self.optimizer)
            is_its_own = loaded.n_steps == 0 and loaded.rates == _floats(g["lr"] for g in self.optimizer.param_groups)
            self._loaded = None if is_its_own else loaded  # Accelerate moves a new optimizer by its state
            if self._scheduler is None:
                self._find_schedulers()
                self._horizon_at_start = self._promise().horizon

    def _after_save(self, *_: object) -> None:
        self._is_saved = True

    def _give_up(self, error: Exception) -> None:
        _LOG.warning("schedule doctor: it failed, and watches no more: %s: %s", type(error).__name__, error)
        self._final = Evidence(records=(), n_steps=self.n_steps)
        self.close()

    def _begin(self) -> None:
        self._surroundings, self._n_processes = surroundings(), n_processes()
        self._steps_before = _steps_in(self.optimizer.state)
        self._moves.count_backward(self.optimizer)
        if self._scheduler is None:
            self._find_schedulers()
        if self._scheduler is not None:
            self._position_at_start = position_of(self._scheduler)
            self._written_at_start = _written_by(self._scheduler)

    def _find_schedulers(self) -> None:
        found = schedulers_of(self.optimizer)
        if self._scheduler is None and found:
            self._scheduler = min(found, key=lambda each: isinstance(each, ReduceLROnPlateau))
        known = [self._scheduler, *(other.scheduler for other in self._others)]
        self._others += [_Other(each) for each in found if not any(each is one for one in known)]

    def _look(self) -> None:
        if self._records.n_steps <= 2 * _FIRST_LOOK:  # finding them takes as long as many steps
            self._find_schedulers()
        if self._moves.has_no_gradients:
            self._moves.look_for_gradients(self.optimizer)
            self._elsewhere = self._elsewhere or gradients_elsewhere(self.optimizer)
        for finding in diagnose(self._evidence(is_over=False)):
            if finding.certain and finding.code not in self._said:
                self._said.add(finding.code)
                self._on_finding(finding)

    def _trains_another(self) -> bool:
        if self._elsewhere is None or not self._moves.has_no_gradients:
            return False
        now = gradients_elsewhere(self.optimizer)
        return any(now.get(key) not in (None, then) for key, then in self._elsewhere.items())

    @cached_property
    def _source(self) -> Source:
        return Source((*self._built_at, *self._surroundings.places))

    def _promise(self) -> Promise:
        scheduler = self._scheduler
        return Promise(name="") if scheduler is None else promise_of(scheduler, n_steps=self._records.n_steps)

    def _evidence(self, *, is_over: bool) -> Evidence:
        scheduler, around, loaded = self._scheduler, self._surroundings, self._loaded
        groups = getattr(getattr(scheduler, "optimizer", None), "param_groups", None)
        promise = None if scheduler is None else self._promise()
        if promise is not None and around.floor:
            promise = replace(promise, floor=around.floor)
        if promise is not None and around.wanted_warmup:
            promise = replace(promise, wanted_warmup=around.wanted_warmup, warmup=promise.warmup or 0)
        return Evidence(
            records=self._records.kept,
            n_steps=self._records.n_steps,
            promise=promise,
            position=None if scheduler is None else position_of(scheduler),
            position_at_start=self._position_at_start,
            planned_steps=self.total_steps or around.planned_steps,
            early_end=early_end(around.places) if is_over else EarlyEnd.NO,
            is_to_be_continued=self._is_saved or self._is_interrupted,
            horizon_at_start=self._horizon_at_start,
            has_plateau=any(isinstance(other.scheduler, ReduceLROnPlateau) for other in self._others),
            others=[promise_of(o.scheduler, n_steps=0) for o in self._others if o.is_interleaved],
            is_attached=scheduler is None or groups is self.optimizer.param_groups,
            is_per_group=len({id(f) for f in getattr(scheduler, "lr_lambdas", ())}) > 1,
            n_processes=self._n_processes,
            saved_rates=loaded.rates if loaded else None,
            saved_peaks=loaded.peaks if loaded else (),
            saved_steps=loaded.n_steps if loaded else self._steps_before,
            built_peaks=loaded.built_peaks if loaded else (),
            written_at_start=self._written_at_start,
            moves=self._moves.taken(),
            has_untrained=is_over and self._trains_another(),
            has_lost_gradients=is_over and self._moves.has_lost_gradients,
            swept_rate=_swept_rate(),
            is_floor_relative=promise is not None and promise.floor > 0 and self._source.has_relative_floor,
            literal_floors=self._source.literal_floors if is_over else (),
            wants_warmup=is_over and self._source.wants_warmup,
            is_stepped_unseen="torch._dynamo" in sys.modules,
            is_over=is_over,
        )


class _Other:
    """A further scheduler of the optimizer, and how often it was stepped together with the first one."""

    def __init__(self, scheduler: LRScheduler) -> None:
        self.scheduler = scheduler
        self._last: tuple[int | None, int] | None = None
        self._n_joint = 0

    def see(self, position: int | None) -> None:
        now = (position, position_of(self.scheduler))
        if self._last is not None:
            self._n_joint += now[0] != self._last[0] and now[1] != self._last[1]
        self._last = now

    @property
    def is_interleaved(self) -> bool:
        return self._n_joint >= _JOINT_STEPS and not isinstance(self.scheduler, ReduceLROnPlateau)


@dataclass(frozen=True)
class _Loaded:
    """The rates, their peaks and the number of steps in a state of the optimizer."""

    rates: tuple[float, ...]
    peaks: tuple[float, ...]
    n_steps: int
    built_peaks: tuple[float, ...]

    @classmethod
    def read(cls, state: dict[str, Any], optimizer: Optimizer) -> _Loaded:
        groups = state["param_groups"]
        rates = _floats(group["lr"] for group in groups)
        return cls(rates, _peaks(groups), _steps_in(state["state"]), _peaks(optimizer.param_groups))


def _floats(values: Iterable[Any]) -> tuple[float, ...]:
    return tuple(float(value) for value in values)


def _steps_in(state: Mapping[Any, Any]) -> int:
    steps = [values["step"] for values in state.values() if isinstance(values, dict) and "step" in values]
    return max(map(int, steps), default=0)


def _peaks(groups: Iterable[dict[str, Any]]) -> tuple[float, ...]:
    return _floats(group.get("initial_lr", group["lr"]) for group in groups)


def _written_by(scheduler: LRScheduler) -> tuple[float, ...]:
    return _floats(getattr(scheduler, "_last_lr", None) or ())


def _agree(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return len(a) != len(b) or all(math.isclose(x, y, rel_tol=1e-5, abs_tol=1e-30) for x, y in zip(a, b, strict=True))


def _swept_rate() -> float | None:
    try:
        return float(os.environ["ROBUST_LR_LR"])
    except (KeyError, ValueError):
        return None
