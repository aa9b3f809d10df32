"""A sweep over horizons and cooldowns that shares its trunks: what all trainings begin with is trained once."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, fields, is_dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Unpack, cast

from .._checks import check_whole
from .._fingerprint import fingerprint_of
from .._labels import label_of
from .._text import count_of, listed
from ..exceptions import DataError, NotVectorizable, OptionError
from ..grids import GeometricGrid
from ..runners import PackedRunner
from ..runners.packed import PackOptions, PackPlan
from ..runners.serial import SequentialEvaluator
from ..runners.trial_sources import TrialList
from ..schedules import Horizon, Schedule, Warmup
from ..trials import TrialResult, TrialSpec
from ._trunks import TrunkFiles
from .branched_result import BranchedResult, schedule_of
from .branches import plan_branches
from .branching import Branchable, BranchEvaluator, train_from_scratch
from .run import run_sweep


@dataclass(frozen=True)
class BranchedSweep:
    """A sweep over horizons and cooldowns; trainings that begin alike share these steps.

    A training of T steps with a cooldown c stays at the peak learning rate, after its warm-up, for the first
    ``(1 - c) T`` steps. So the trainings of one learning rate and seed have a trunk in common, and each is a cooldown
    that branches off: the trunk is trained once, saved at each branch, and taken up again from there. With the longest
    horizon T, the smallest cooldown c and all trainings i, that takes about ``(1 - c) T + sum_i c_i T_i`` steps
    instead of ``sum_i T_i``; `steps` and `steps_from_scratch` have the exact numbers. On a CPU the losses are equal to
    those from scratch, to the last bit.

    Args:
        task: a `robust_lr_torch.SupervisedTask`, or another `Branchable`.
        horizons: numbers of steps T, distinct whole numbers >= 1.
        cooldowns: fractions of the steps after the warm-up, each in (0, 1], which means ``wsd(fraction)``; or
            schedules or their specs, such as ``"wsd(0.2, shape=1-sqrt)"`` or
            ``"inverse-sqrt(timescale=100)+cooldown(0.2)"``.
        warmup_steps: length of the linear warm-up before each schedule, >= 0. It is a number of steps, since a share
            of the horizon would differ from horizon to horizon.
        trunk_dir: folder that keeps the last state of each trunk. A killed sweep then continues its trunks, and not
            only its finished trials, and so does one with longer horizons. Only you should be able to write there.

    Raises:
        OptionError: when the task cannot be branched, or an argument is out of range.
        ScheduleError: when a schedule cannot be read, or a horizon is too short for the warm-up.

    Example:
        >>> class Descent:  # on w**2 / 2
        ...     def __init__(self, lr):
        ...         self.lr, self.w = lr, 1.0
        ...
        ...     def advance(self, multipliers):
        ...         for multiplier in multipliers:
        ...             self.w -= self.lr * multiplier * self.w
        ...
        ...     def save(self):
        ...         return self.w
        ...
        ...     def load(self, state):
        ...         self.w = state
        ...
        ...     def evaluate(self):
        ...         return self.w**2 / 2
        >>> class Task:
        ...     def start(self, *, lr, seed):
        ...         return Descent(lr)
        >>> sweep = BranchedSweep(Task(), horizons=[80, 90, 100], cooldowns=[0.1, 0.2])
        >>> sweep.steps, sweep.steps_from_scratch
        (166, 540)
        >>> result = sweep.run([0.01, 0.1], seeds=1)
        >>> result.at(100, 0.2)
        SweepResult(wsd(cooldown=0.2); 2 learning rates 0.01..0.1; 1 seed; 2 results, 0 diverged)
    """

    task: Branchable
    horizons: Sequence[int]
    cooldowns: Sequence[float | Schedule | str]
    _: KW_ONLY
    warmup_steps: int = 0
    trunk_dir: str | os.PathLike[str] | None = None

    def __post_init__(self) -> None:
        if isinstance(self.task, type) or not isinstance(self.task, Branchable):
            raise OptionError(
                f"task must have start(lr=, seed=), as a SupervisedTask has, got {self.task!r}; "
                "docs/how-to/branching.md shows how to give it to a training loop"
            )
        horizons = [check_whole("a horizon", each, at_least=1) for each in _listed("horizons", self.horizons)]
        check_whole("warmup_steps", self.warmup_steps, at_least=0)
        cooldowns = [self._schedule(each) for each in _listed("cooldowns", self.cooldowns)]
        for name, values in (("horizons", horizons), ("cooldowns", cooldowns)):
            if not values or len(set(values)) < len(values):
                raise OptionError(
                    f"{name} must be distinct, and at least one, got {listed(map(str, values)) or 'none'}"
                )
        object.__setattr__(self, "horizons", tuple(sorted(horizons)))
        object.__setattr__(self, "cooldowns", tuple(cooldowns))
        _ = self.steps  # which computes every schedule at every horizon

    def _schedule(self, cooldown: Any) -> Schedule:
        schedule = schedule_of(cooldown)
        if isinstance(schedule, Warmup) and (schedule.fraction or self.warmup_steps):
            raise OptionError(f"give the warm-up of {schedule} as warmup_steps=, a number of steps")
        return Warmup(schedule, steps=self.warmup_steps) if self.warmup_steps else schedule

    @cached_property
    def branches(self) -> Mapping[str, Horizon]:
        """The trainings of one learning rate and seed, by name: "wsd(cooldown=0.2) for 1000 steps"."""
        schedules = cast("Sequence[Schedule]", self.cooldowns)
        return {str(each): each for n in self.horizons for each in (Horizon(each, n) for each in schedules)}

    @cached_property
    def steps(self) -> int:
        """The steps of one learning rate and seed: those of its trunk and its branches."""
        plan = plan_branches({name: branch.multipliers for name, branch in self.branches.items()})
        return sum(branch.n_steps for branch in plan)

    @property
    def steps_from_scratch(self) -> int:
        """The steps that the same trainings take without a common trunk."""
        return sum(branch.total_steps for branch in self.branches.values())

    @property
    def training(self) -> BranchedTraining:
        """The sweep as a training function; its schedules are `branches`."""
        trunk_dir = None if self.trunk_dir is None else os.fspath(self.trunk_dir)
        return BranchedTraining(self.task, trunk_dir)

    def run(self, grid: GeometricGrid | Iterable[float], seeds: Any = 2, **options: Any) -> BranchedResult:
        """Train all branches at each learning rate and seed.

        Args:
            grid, seeds: as in `run_sweep`.
            options: those of `run_sweep`, such as `journal`: each finished branch is a trial in it. The runner, by
                default a `PackedRunner`, trains the branches of a learning rate and seed as one pack. So
                ``PackedRunner(n_jobs=2)`` trains two trunks at a time, and ``RayRunner(slots="auto")`` one on each
                device of a cluster. Other runners train each branch from scratch.

        Raises:
            The errors of `run_sweep`.
        """
        options["runner"] = options.get("runner") or PackedRunner()
        sweep = run_sweep(self.training, grid, self.branches, seeds, **options)
        return BranchedResult(sweep, self.branches, self.steps, self.steps_from_scratch)

    def check(self, *, lr: float, seed: int = 0) -> None:
        """Train the two shortest branches both ways, and raise if one does not end as it does from scratch.

        Worth its time before a long sweep with a training loop of your own: a state that lacks something shows here.

        Raises:
            DataError: when a figure differs in any bit.
        """
        short = dict(list(self.branches.items())[:2])
        trials = [TrialSpec(name, lr, seed) for name in short]
        together = BranchEvaluator(self.task, short, len(short)).results(TrialList(trials))
        alone = {r.spec: r for r in SequentialEvaluator(self.training, short).results(TrialList(trials))}
        for result in together:
            other = alone[result.spec]
            if repr((result.status, result.loss, result.metrics)) != repr((other.status, other.loss, other.metrics)):
                raise DataError(
                    f"{result.spec.schedule}, lr {lr:g}, seed {seed} ends with {_figures(result)} in a branch and "
                    f"{_figures(other)} from scratch: save() leaves out something that the training depends on, or it "
                    "is not reproducible itself"
                )


@dataclass(frozen=True)
class BranchedTraining:
    """The `TrainFunction` of a `BranchedSweep`: trains a `Horizon` from scratch, or many in packs, as branches."""

    task: Branchable
    trunk_dir: str | None = None

    def __call__(self, *, lr: float, schedule: Schedule, seed: int) -> float | Mapping[str, float]:
        """Train from scratch."""
        return train_from_scratch(self.task, lr=lr, schedule=cast("Horizon", schedule), seed=seed)

    @property
    def label(self) -> str:
        """That of the task."""
        return label_of(self.task)

    def __robust_lr_fingerprint__(self) -> dict[str, object]:
        return {"task": self.task}

    def plan_packs(
        self, trials: Sequence[TrialSpec], schedules: Mapping[str, Schedule], **options: Unpack[PackOptions]
    ) -> PackPlan:
        """Plan the branches of each learning rate and seed as one pack; see `robust_lr.runners.packed.Packable`."""
        task, branches = _on_device(self.task, options["device"]), cast("Mapping[str, Horizon]", schedules)
        if options["engine"] == "sequential":
            alone = SequentialEvaluator(replace(self, task=task), branches)
            return PackPlan("sequential", 1, 1.0, lambda slots: alone, "")
        if options["engine"] not in ("auto", "packed"):
            raise NotVectorizable(f"branches are trained one after the other, without an engine {options['engine']!r}")
        identity = json.dumps([self.label, fingerprint_of(self)])
        trunks = None if self.trunk_dir is None else TrunkFiles(Path(self.trunk_dir), identity)
        n = len({trial.schedule for trial in trials}) if options["slots"] == "auto" else options["slots"]
        note = f"branches: at most {count_of(n, 'training')} from one trunk"
        return PackPlan("packed", n, float("nan"), lambda slots: BranchEvaluator(task, branches, slots, trunks), note)


def _listed(name: str, values: object) -> list[Any]:
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise OptionError(f"{name} must be a sequence, got {values!r}")
    return list(values)


def _on_device(task: Any, device: str | None) -> Any:
    if device is None:
        return task
    if is_dataclass(task) and any(field.name == "device" for field in fields(task)):
        return replace(cast("Any", task), device=device)
    raise OptionError(f"device={device!r} is for a task with a field device; this one chooses its own")


def _figures(result: TrialResult) -> str:
    return f"{result.status} { ({'loss': result.loss, **result.metrics})!r}"
