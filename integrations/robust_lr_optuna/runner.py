"""A runner that carries out the trials of `run_sweep` as trials of an Optuna study."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, replace
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from robust_lr import RobustLRError, Schedule, TrainFunction, TrialResult, TrialSpec
from robust_lr._checks import check_whole
from robust_lr._labels import has_text, is_vague
from robust_lr.exceptions import DataError
from robust_lr.grids import SIGNIFICANT_DIGITS
from robust_lr.runners import evaluate_trial

from .entries import cell_of
from .outcomes import has_diverged
from .results import metrics_of, seconds_of
from .stale_trials import reap_stale
from .workers import is_gone, this_worker

_RUN = "robust_lr:run"


class OptunaRunner:
    """Runs the trials of a sweep as trials of a study, so that Optuna's dashboard shows the sweep as it runs.

    A trial has the parameters "lr", "schedule" and "seed" and the loss for its value, infinity where it diverged. Its
    user attributes are "status", "metrics", "error" and "spec", the text of its schedule. Where the study maximises,
    the value is the negative of the loss. The study's sampler has no part in this.

    What is finished in the study already, by whomever, is not run again but read from it: a sweep that was stopped goes
    on where it was left, and a larger one runs only what is new. It is for the user to take another study when the
    training function has changed. Processes that run a sweep in one study at the same time share the work: each takes
    from the study what another has finished, and leaves what another is running for the end. They do not wait for each
    other, so that the last trials are run by each that has nothing else left; the first result is the one that counts.
    A trial that two have begun at the same moment is given up by one of them, and stands in the study as failed. To run
    each trial exactly once in many processes is what `GeometricGridSampler` is for.

    Args:
        study: a study with one objective; its storage says who may see it.
        n_jobs: threads, at least 1. With 1 the trials are run in the thread that asks for them.
        retries: how often a failed trial is tried again, at least 0; each try is a trial of the study.

    Raises:
        RobustLRError: when an argument is wrong.

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

    def __init__(self, study: Study, *, n_jobs: int = 1, retries: int = 1) -> None:
        if not isinstance(study, Study):
            raise RobustLRError(f"study must be a study of Optuna, got {study!r}")
        if len(study.directions) != 1:
            raise RobustLRError(f"the study must have one objective, got one with {len(study.directions)}")
        self.study = study
        self.n_jobs = check_whole("n_jobs", n_jobs, at_least=1, error=RobustLRError)
        self.retries = check_whole("retries", retries, at_least=0, error=RobustLRError)
        self._sign = -1.0 if study.direction == StudyDirection.MAXIMIZE else 1.0

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.study.study_name!r}, n_jobs={self.n_jobs}, retries={self.retries})"

    def run(
        self, train: TrainFunction, trials: Sequence[TrialSpec], schedules: Mapping[str, Schedule]
    ) -> Iterator[TrialResult]:
        """Run each trial that the study has no result of, and yield the results as they come; see `Runner.run`.

        Raises:
            DataError: when the study holds a schedule of the same name and another spec, or a parameter "lr" or "seed"
                of another kind.
        """
        waiting = {_key(spec): spec for spec in trials}
        space = _space(trials, list(schedules), self._trials())
        reap_stale(self.study, is_dead=_is_dead)
        finished, read = dict[TrialSpec, TrialResult](), set[int]()
        with _ThisThread() if self.n_jobs == 1 else ThreadPoolExecutor(self.n_jobs) as threads:
            running = set[Future[TrialResult]]()
            while waiting or running:
                begun = self._read(finished, read, schedules)
                for key in [key for key in waiting if key in finished]:
                    yield replace(finished[key], spec=waiting.pop(key))
                while waiting and len(running) < self.n_jobs:
                    key = next((key for key in waiting if key not in begun), next(iter(waiting)))
                    spec, schedule = waiting.pop(key), schedules[key.schedule]
                    trial = self._begin(spec, schedule, space)
                    if key not in begun and self._leaves_to_another(trial, key, read):
                        waiting[key] = spec
                        begun.add(key)
                    else:
                        running.add(threads.submit(self._carry_out, trial, train, spec, schedule, space))
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()

    def _trials(self) -> list[FrozenTrial]:
        return self.study._storage.get_all_trials(self.study._study_id, deepcopy=False)

    def _read(
        self, finished: dict[TrialSpec, TrialResult], read: set[int], schedules: Mapping[str, Schedule]
    ) -> set[TrialSpec]:
        """Enter the trials that have finished and were not read before; return what is running. All go by `_key`."""
        begun = set[TrialSpec]()
        for trial in self._trials():
            if trial.number in read:
                continue
            spec = _spec_of(trial)
            if trial.state.is_finished():
                read.add(trial.number)
                if spec is not None and (trial.state == TrialState.COMPLETE or has_diverged(trial)):
                    if spec.schedule in schedules:
                        _check_spec(trial, spec.schedule, schedules[spec.schedule])
                    finished.setdefault(spec, self._result(trial, spec))
            elif spec is not None and trial.state == TrialState.RUNNING:
                begun.add(spec)
        return begun

    def _result(self, trial: FrozenTrial, spec: TrialSpec) -> TrialResult:
        loss = self._sign * trial.values[0] if trial.state == TrialState.COMPLETE else math.inf
        seconds, metrics, error = seconds_of(trial), metrics_of(trial), trial.user_attrs.get("error")
        if math.isfinite(loss):
            return TrialResult(spec, loss, "ok", seconds, metrics)
        return TrialResult(spec, math.inf, "diverged", seconds, metrics, error)

    def _begin(self, spec: TrialSpec, schedule: Schedule, space: Mapping[str, BaseDistribution]) -> int:
        """Enter a running trial into the study; return its id."""
        return self.study._storage.create_new_trial(self.study._study_id, template_trial=_begun(spec, schedule, space))

    def _leaves_to_another(self, trial: int, key: TrialSpec, read: Collection[int]) -> bool:
        """Give up a trial that another process began at the same moment, if that one was first; return whether so."""
        storage = self.study._storage
        number = storage.get_trial_number_from_id(trial)
        for other in self._trials()[:number]:
            known = other.number in read or other.state not in (TrialState.RUNNING, TrialState.COMPLETE)
            if not known and _spec_of(other) == key:
                storage.set_trial_user_attr(trial, "error", f"left to trial {other.number}, which runs the same")
                storage.set_trial_state_values(trial, TrialState.FAIL)
                return True
        return False

    def _carry_out(
        self,
        trial: int,
        train: TrainFunction,
        spec: TrialSpec,
        schedule: Schedule,
        space: Mapping[str, BaseDistribution],
    ) -> TrialResult:
        storage = self.study._storage
        for attempt in range(self.retries + 1):
            if attempt:
                trial = self._begin(spec, schedule, space)
            try:
                result = evaluate_trial(train, spec, schedule)
            except BaseException:  # an interrupt: nobody runs this trial any more
                storage.set_trial_state_values(trial, TrialState.FAIL)
                raise
            said = {"status": result.status, "metrics": dict(result.metrics), "error": result.error}
            for name, value in said.items():
                if value:
                    storage.set_trial_user_attr(trial, name, value)
            if result.is_final:
                storage.set_trial_state_values(trial, TrialState.COMPLETE, [self._sign * result.loss])
                break
            storage.set_trial_state_values(trial, TrialState.FAIL)
        return result


class _ThisThread(Executor):
    """Does at once, in this thread, what is submitted, so that a debugger and an interrupt work as ever."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


def _key(spec: TrialSpec) -> TrialSpec:
    """The spec up to the rounding of its learning rate."""
    return replace(spec, lr=float(f"{spec.lr:.{SIGNIFICANT_DIGITS}g}"))


def _spec_of(trial: FrozenTrial) -> TrialSpec | None:
    """The `_key` of what a trial runs, None where it has no learning rate, schedule and seed."""
    cell = cell_of(trial)
    held = trial.system_attrs.get(_RUN) or (trial.params if cell is None else asdict(cell))
    lr, schedule, seed = (held.get(name) for name in ("lr", "schedule", "seed"))
    if not isinstance(lr, (int, float)) or not isinstance(schedule, str) or not isinstance(seed, int):
        return None
    return _key(TrialSpec(schedule, lr, seed))


def _begun(spec: TrialSpec, schedule: Schedule, space: Mapping[str, BaseDistribution]) -> FrozenTrial:
    values = asdict(spec)
    return create_trial(
        state=TrialState.RUNNING,
        params={name: values[name] for name in space},
        distributions=dict(space),
        user_attrs={name: values[name] for name in values if name not in space} | _text_of(schedule),
        # "fixed_params" tells a GeometricGridSampler in the same study what this trial runs.
        system_attrs={"fixed_params": values, _RUN: {**values, "worker": this_worker()}},
    )


def _is_dead(trial: FrozenTrial) -> bool:
    return _RUN in trial.system_attrs and is_gone(trial.system_attrs[_RUN]["worker"])


def _text_of(schedule: Schedule) -> dict[str, str]:
    """The spec of a schedule as a user attribute, where it has one that tells it from others."""
    return {"spec": str(schedule)} if has_text(schedule) and not is_vague(str(schedule)) else {}


def _check_spec(trial: FrozenTrial, name: str, schedule: Schedule) -> None:
    known, given = trial.user_attrs.get("spec"), _text_of(schedule).get("spec")
    if None not in (known, given) and known != given:
        raise DataError(
            f"the study holds results of schedule {name!r} as {known}, not {given}: give this one another name, or "
            "take another study"
        )


def _space(
    trials: Sequence[TrialSpec], schedules: Sequence[str], before: Sequence[FrozenTrial]
) -> dict[str, BaseDistribution]:
    """Return the distributions of the parameters, made to agree with those that the study knows, as Optuna demands.

    Choices cannot grow in a study: where a schedule is new to it, the schedules are user attributes from then on.
    """
    if not trials:
        return {}
    known = {name: distribution for trial in before for name, distribution in trial.distributions.items()}
    lrs, seeds = [spec.lr for spec in trials], [spec.seed for spec in trials]
    lr = known.get("lr", FloatDistribution(min(lrs), max(lrs), log=True))
    seed = known.get("seed", IntDistribution(min(seeds), max(seeds)))
    schedule = known.get("schedule", CategoricalDistribution(list(schedules)))
    if not isinstance(lr, FloatDistribution) or not isinstance(seed, IntDistribution):
        raise DataError(f"the study must have 'lr' as a float and 'seed' as a whole number, got {lr} and {seed}")
    space: dict[str, BaseDistribution] = {
        "lr": FloatDistribution(min(lr.low, *lrs), max(lr.high, *lrs), log=lr.log),
        "seed": IntDistribution(min(seed.low, *seeds), max(seed.high, *seeds), log=seed.log),
    }
    if isinstance(schedule, CategoricalDistribution) and set(schedules) <= set(schedule.choices):
        space["schedule"] = schedule
    return space
