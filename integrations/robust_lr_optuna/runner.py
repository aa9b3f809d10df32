"""A runner that records its trials in an Optuna study."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, replace
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from robust_lr import Schedule, TrainFunction, TrialResult, TrialSpec
from robust_lr._checks import check_whole
from robust_lr._labels import has_text, is_vague
from robust_lr._metrics import Direction
from robust_lr._text import listed
from robust_lr.exceptions import DataError, OptionError
from robust_lr.grids import SIGNIFICANT_DIGITS
from robust_lr.runners import TrialSource, evaluate_trial
from robust_lr.runners.time_limit import check_trial_timeout, time_limited

from ._outcomes import final_value, has_diverged, metrics_of, seconds_of
from ._trial_attributes import RUN, cell_of, fail_stale_trials
from ._workers import this_worker


class OptunaRunner:
    """Runs trials as trials of a study, so that Optuna's dashboard shows a sweep or a search as it runs.

    A trial has the parameters "lr", "schedule" and "seed"; its value is the loss, infinity if it diverged. Its user
    attributes are "status", "metrics", "error" and "spec", the text of its schedule. If the study maximizes, the value
    is the negative of the loss; in a sweep or search with ``direction="maximize"`` that is the score itself, and the
    attribute "returned" has what the training function returned. The study's sampler is not used.

    Results that the study already holds, from any source, do not run again: an interrupted sweep continues, and a
    larger one runs only the new trials. Use another study when the training function has changed.

    Processes that run a sweep in one study at the same time share the work: each uses the results of the others, and
    leaves the trials that others are running for the end. They do not wait for each other, so at the end some trials
    may run twice; the first result counts. With `GeometricGridSampler`, many processes run each trial exactly once.

    Args:
        study: a study with one objective; its storage decides who can see it.
        n_jobs: threads, at least 1. With 1 the trials run in the calling thread.
        trial_timeout: seconds after which a trial has failed, for n_jobs = 1; see `robust_lr.SerialRunner`.

    Raises:
        OptionError: if an argument is wrong.

    Example:
        >>> import optuna
        >>> from robust_lr import GeometricGrid, run_sweep
        >>> study = optuna.create_study()
        >>> def train(*, lr, schedule, seed):
        ...     return (lr - 0.1) ** 2
        >>> run_sweep(train, GeometricGrid(0.01, 1.0, 3), ["cosine"], 2, runner=OptunaRunner(study)).n_trials
        6
        >>> len(study.trials), study.best_params["lr"]
        (6, 0.1)
    """

    def __init__(self, study: Study, *, n_jobs: int = 1, trial_timeout: float | None = None) -> None:
        if not isinstance(study, Study):
            raise OptionError(f"study must be a study of Optuna, got {study!r}")
        if len(study.directions) != 1:
            raise OptionError(f"the study must have one objective, got one with {len(study.directions)}")
        self.study, self.n_jobs = study, check_whole("n_jobs", n_jobs, at_least=1)
        self.trial_timeout = check_trial_timeout(trial_timeout)
        if self.trial_timeout is not None and self.n_jobs > 1:
            raise OptionError(
                "trial_timeout is for n_jobs=1: a thread cannot be ended; start several processes instead"
            )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.study.study_name!r}, n_jobs={self.n_jobs})"

    def run(
        self, train: TrainFunction, source: TrialSource, schedules: Mapping[str, Schedule]
    ) -> Iterator[TrialResult]:
        """Run each trial without a result in the study, and yield one result for each trial; see `Runner.run`.

        Raises:
            DataError: if the study holds a schedule of the same name with another spec, or a parameter "lr" or "seed"
                of another type.
        """
        train = time_limited(train, self.trial_timeout)
        fail_stale_trials(self.study)
        # A source of plain trials has no direction: its losses are losses.
        held = _Held(self.study, schedules, getattr(source, "direction", "minimize"))
        for spec in source.waiting:
            held.space_of(spec)  # one range from the first trial to the last, as far as known
        later, running = dict[TrialSpec, TrialSpec](), set[Future[TrialResult]]()
        with ThreadPoolExecutor(self.n_jobs) as threads:
            submit: Callable[..., Future[TrialResult]] = _run_now if self.n_jobs == 1 else threads.submit
            while True:
                held.refresh()
                for key in [key for key in later if key in held.results]:
                    yield replace(held.results[key], spec=later.pop(key))
                while len(running) < self.n_jobs and (taken := source.take() or list(later.values())[:1]):
                    spec, key = taken[0], _key(taken[0])
                    is_last_resort = later.pop(key, None) is not None
                    if key in held.results:
                        yield replace(held.results[key], spec=spec)
                    elif (key in held.running and not is_last_resort) or (trial := held.begin(spec)) is None:
                        later[key] = spec
                    else:
                        running.add(submit(held.carry_out, trial, train, spec))
                if not running:
                    return
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()


class _Held:
    """The contents of a study: results, running trials, and the distributions of its parameters, by `_key`."""

    def __init__(self, study: Study, schedules: Mapping[str, Schedule], direction: Direction) -> None:
        self.results = dict[TrialSpec, TrialResult]()
        self.running = set[TrialSpec]()
        self._id, self._storage, self._schedules = study._study_id, study._storage, schedules
        self._sign = -1.0 if study.direction == StudyDirection.MAXIMIZE else 1.0
        self._is_score = direction == "maximize"
        self._read = set[int]()
        before = self._storage.get_all_trials(self._id, deepcopy=False)
        self._distributions = {name: kind for trial in before for name, kind in trial.distributions.items()}

    def refresh(self) -> None:
        self.running.clear()
        for trial in self._storage.get_all_trials(self._id, deepcopy=False):
            spec = None if trial.number in self._read else _spec_of(trial)
            if trial.state.is_finished() and trial.number not in self._read:
                self._read.add(trial.number)
                if spec is not None and (trial.state == TrialState.COMPLETE or has_diverged(trial)):
                    self._check_schedule(trial, spec.schedule)
                    self.results.setdefault(spec, self._result(trial, spec))
            elif spec is not None and trial.state == TrialState.RUNNING:
                self.running.add(spec)

    def begin(self, spec: TrialSpec) -> int | None:
        """Enter a running trial into the study and return its id; None if another process has begun the same trial."""
        values, space, key = asdict(spec), self.space_of(spec), _key(spec)
        trial = create_trial(
            state=TrialState.RUNNING,
            params={name: values[name] for name in space},
            distributions=space,
            user_attrs={name: values[name] for name in values if name not in space}
            | _text_of(self._schedules[spec.schedule]),
            # "fixed_params" tells a GeometricGridSampler in the same study what this trial runs.
            system_attrs={"fixed_params": values, RUN: {**values, "worker": this_worker()}},
        )
        new = self._storage.create_new_trial(self._id, template_trial=trial)
        if key not in self.running:  # as far as was known
            for other in self._storage.get_all_trials(self._id, deepcopy=False):
                if other._trial_id == new:
                    break
                is_new = other.number not in self._read and other.state in (TrialState.RUNNING, TrialState.COMPLETE)
                if is_new and _spec_of(other) == key:
                    self._storage.set_trial_user_attr(
                        new, "error", f"left to trial {other.number}, which runs the same"
                    )
                    self._storage.set_trial_state_values(new, TrialState.FAIL)
                    self.running.add(key)
                    return None
        return new

    def carry_out(self, trial: int, train: TrainFunction, spec: TrialSpec) -> TrialResult:
        try:
            result = evaluate_trial(train, spec, self._schedules[spec.schedule])
        except BaseException:  # an interrupt: this trial no longer runs
            self._storage.set_trial_state_values(trial, TrialState.FAIL)
            raise
        if result.is_final and math.isnan(result.loss):
            needs = (
                f"a study keeps one value of each trial: let train return 'loss' too, not only {listed(result.metrics)}"
            )
            result = replace(result, status="failed", error=needs, is_worth_retrying=False)
        for name, value in (("status", result.status), ("metrics", dict(result.metrics)), ("error", result.error)):
            if value:
                self._storage.set_trial_user_attr(trial, name, value)
        if result.is_final:
            loss = result.loss
            if self._is_score and result.status == "ok":
                self._storage.set_trial_user_attr(trial, "returned", loss)
                loss = -loss
            self._storage.set_trial_state_values(trial, TrialState.COMPLETE, [self._sign * loss])
        else:
            self._storage.set_trial_state_values(trial, TrialState.FAIL)
        return result

    def _result(self, trial: FrozenTrial, spec: TrialSpec) -> TrialResult:
        value, seconds, metrics = final_value(trial), seconds_of(trial), metrics_of(trial)
        if value is None or not math.isfinite(value):
            return TrialResult(spec, math.inf, "diverged", seconds, metrics, trial.user_attrs.get("error"))
        return TrialResult(spec, trial.user_attrs.get("returned", self._sign * value), "ok", seconds, metrics)

    def _check_schedule(self, trial: FrozenTrial, name: str) -> None:
        if name in self._schedules:
            known, given = trial.user_attrs.get("spec"), _text_of(self._schedules[name]).get("spec")
            if None not in (known, given) and known != given:
                raise DataError(
                    f"the study holds results of schedule {name!r} as {known}, not {given}: give this one another "
                    "name, or use another study"
                )

    def space_of(self, spec: TrialSpec) -> dict[str, BaseDistribution]:
        """Return the distributions of a trial's parameters, compatible with those in the study, as Optuna demands.

        A study cannot get new choices, so from a new schedule on, schedules are user attributes.
        """
        lr = self._distributions.get("lr", FloatDistribution(spec.lr, spec.lr, log=True))
        seed = self._distributions.get("seed", IntDistribution(spec.seed, spec.seed))
        schedule = self._distributions.get("schedule", CategoricalDistribution(list(self._schedules)))
        if not isinstance(lr, FloatDistribution) or not isinstance(seed, IntDistribution):
            raise DataError(f"the study must have 'lr' as a float and 'seed' as a whole number, got {lr} and {seed}")
        space: dict[str, BaseDistribution] = {
            "lr": FloatDistribution(min(lr.low, spec.lr), max(lr.high, spec.lr), log=lr.log),
            "seed": IntDistribution(min(seed.low, spec.seed), max(seed.high, spec.seed), log=seed.log),
        }
        if isinstance(schedule, CategoricalDistribution) and set(self._schedules) <= set(schedule.choices):
            space["schedule"] = schedule
        self._distributions |= space
        return space


def _run_now(function: Callable[..., TrialResult], /, *args: Any) -> Future[TrialResult]:
    future: Future[TrialResult] = Future()
    future.set_result(function(*args))
    return future


def _key(spec: TrialSpec) -> TrialSpec:
    """The spec with a rounded learning rate."""
    return replace(spec, lr=float(f"{spec.lr:.{SIGNIFICANT_DIGITS}g}"))


def _spec_of(trial: FrozenTrial) -> TrialSpec | None:
    """The `_key` of a trial, None if it lacks a learning rate, schedule or seed."""
    cell = cell_of(trial)
    held = trial.system_attrs.get(RUN) or (trial.params if cell is None else asdict(cell))
    lr, schedule, seed = (held.get(name) for name in ("lr", "schedule", "seed"))
    if not isinstance(lr, (int, float)) or not isinstance(schedule, str) or not isinstance(seed, int):
        return None
    return _key(TrialSpec(schedule, lr, seed))


def _text_of(schedule: Schedule) -> dict[str, str]:
    """The spec of a schedule as a user attribute, if it has one that identifies it."""
    return {"spec": str(schedule)} if has_text(schedule) and not is_vague(str(schedule)) else {}
