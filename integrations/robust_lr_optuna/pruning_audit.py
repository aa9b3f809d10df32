"""What pruning would have cost a sweep whose curves are complete: Optuna's own pruners, replayed on them."""

from __future__ import annotations

import contextlib
import logging
import math
import threading
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, SuccessiveHalvingPruner
from optuna.samplers import RandomSampler
from optuna.storages import InMemoryStorage
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from robust_lr._checks import check_number, check_whole
from robust_lr.exceptions import DataError, InsufficientDataError
from robust_lr.readers.runs import mixed_params

from .entries import is_order
from .outcomes import has_diverged
from .places import Place, Places
from .pruning import DivergencePruner

_FEW_LRS = 3
_FEW_SEEDS = 5  # below, an interval for a share says next to nothing
_HARDLY = 0.95  # of the compute: who saves less, saves nothing to speak of

Curve: TypeAlias = Sequence[float] | Mapping[int, float]
CurveKey: TypeAlias = tuple[str, float, int | str]


@dataclass(frozen=True)
class PruningFigures:
    """What one pruner would have done under one schedule.

    One replay is a search: all learning rates of one seed, one after the other in a random order.

    Attributes:
        schedule: name of the schedule.
        pruner: name of the pruner.
        n_learning_rates: in the largest search.
        n_seeds: that could be replayed.
        n_replays: seeds times orders.
        lost: share of the replays in which the learning rate with the lowest final loss of its seed was pruned.
        lost_interval: 95 % Clopper-Pearson interval of it, a seed counting as one observation whatever its orders.
        lost_by_quarter: `lost` by the quarter of the run in which the best was pruned, four shares.
        compute: reports that were made, as a share of those of all runs to their ends.
        excess_loss: final loss of the best that was not pruned above that of the best, mean of the replays.
    """

    schedule: str
    pruner: str
    n_learning_rates: int
    n_seeds: int
    n_replays: int
    lost: float
    lost_interval: tuple[float, float]
    lost_by_quarter: tuple[float, float, float, float]
    compute: float
    excess_loss: float


@dataclass(frozen=True)
class PruningAudit:
    """What pruning would have done to a sweep whose curves are complete.

    Attributes:
        figures: one entry for each schedule and pruner.
        allowed: share of the searches that may lose their best learning rate, for `advice`.
        notes: what was left out, and what weakens the figures.
    """

    figures: tuple[PruningFigures, ...]
    allowed: float
    notes: tuple[str, ...]

    @property
    def schedules(self) -> tuple[str, ...]:
        """Names of the schedules."""
        return tuple(dict.fromkeys(entry.schedule for entry in self.figures))

    def rows(self) -> tuple[list[str], list[list[str]]]:
        """Return header and rows of the table, for `robust_lr.report.console.print_rows`."""
        header = ["schedule", "pruner", "best lost", "at most", "in quarter 1 / 2 / 3 / 4", "compute", "excess loss"]
        return header, [
            [
                entry.schedule, entry.pruner, f"{entry.lost:.0%}", f"{entry.lost_interval[1]:.0%}",
                " / ".join(f"{share:.0%}" for share in entry.lost_by_quarter),
                f"{entry.compute:.0%}", f"{entry.excess_loss:.4g}",
            ]
            for entry in self.figures
        ]  # fmt: skip

    def advice(self) -> str:
        """Return in a few sentences which pruner the figures speak for, by schedule."""
        sentences = [self._advice_for([f for f in self.figures if f.schedule == name]) for name in self.schedules]
        n_seeds = min(entry.n_seeds for entry in self.figures)
        if n_seeds < _FEW_SEEDS:
            sentences.append(f"With {_count(n_seeds, 'seed')} this is a hint, no more.")
        sentences.append("A pruned trial has no final loss: an analysis of the learning rates leaves it out.")
        return " ".join(sentences)

    def _advice_for(self, entries: Sequence[PruningFigures]) -> str:
        safe = [entry for entry in entries if entry.lost <= self.allowed and entry.compute < _HARDLY]
        worst = max(entries, key=lambda entry: entry.lost)
        warning = ""
        if worst.lost > self.allowed:
            warning = f" {worst.pruner} loses it in {worst.lost:.0%}, at an excess loss of {worst.excess_loss:.4g}."
        if not safe:
            return (
                f"Under {entries[0].schedule} none of these saves compute and keeps the best learning rate in "
                f"{1 - self.allowed:.0%} of the searches: prune what diverges and nothing else.{warning}"
            )
        best = min(safe, key=lambda entry: (entry.compute, entry.lost))
        return (
            f"Under {best.schedule} {best.pruner} saves {1 - best.compute:.0%} of the compute and loses the best "
            f"learning rate in {best.lost:.0%} of the searches (at most {best.lost_interval[1]:.0%} by "
            f"{_count(best.n_seeds, 'seed')}), at an excess loss of {best.excess_loss:.4g}.{warning}"
        )


def audit_pruning(
    curves: Study | Mapping[CurveKey, Curve],
    *,
    lr: str = "lr",
    schedule: str | None = None,
    seed: str | None = None,
    pruners: Mapping[str, Callable[[], BasePruner]] | None = None,
    n_orders: int = 5,
    allowed: float = 0.05,
) -> PruningAudit:
    """Return what pruners would have saved and lost on curves that are complete: no training, the curves are replayed.

    Each replay is a search over the learning rates of one schedule and seed, one after the other in a random order,
    with Optuna's own pruner deciding at each report. Workers in parallel would see fewer finished trials. The orders
    are the same for each pruner and in each call.

    Args:
        curves: a study whose trials have reported intermediate values, or ``{(schedule, lr, seed): curve}`` with a
            curve ``[loss, ...]``, after 1, 2, ... steps, or ``{step: loss}``: lower is better, its last value is the
            final loss, and a run that diverged ends in NaN or infinity.
        lr, schedule, seed: names in a study, as in `sweep_from_study`.
        pruners: factories by name, called for each replay. By default Optuna's Median, SuccessiveHalving and Hyperband
            as they come, Median and SuccessiveHalving that begin after a quarter and half of the run, and
            `DivergencePruner`.
        n_orders: random orders of each seed, >= 1.
        allowed: share of the searches that may lose their best learning rate in what `PruningAudit.advice` favours,
            in (0, 1).

    Raises:
        InsufficientDataError: when no seed has complete curves of three learning rates.
        DataError: when an argument is wrong, or a study has no such names or several objectives.

    Example:
        >>> curves = {("cosine", lr, 0): [1 / (1 + lr * t) + 0.01 * lr for t in range(1, 9)] for lr in (1, 2, 4, 8)}
        >>> audit = audit_pruning(curves, pruners={"halving": lambda: SuccessiveHalvingPruner(min_resource=1)})
        >>> audit.figures[0].lost, audit.figures[0].n_replays
        (0.4, 5)
    """
    n_orders = check_whole("n_orders", n_orders, at_least=1, error=DataError)
    check_number("allowed", allowed, above=0, below=1, error=DataError)
    if isinstance(curves, Study):
        searches, notes = _curves_of_study(curves, lr, schedule, seed)
    else:
        searches, notes = _curves_of_mapping(curves), []
    usable: dict[str, list[_Search]] = defaultdict(list)
    for (name, _), runs in searches.items():
        if len(runs) >= _FEW_LRS and any(math.isfinite(run.final) for run in runs):
            usable[name].append(_Search(runs, len(usable[name])))
    if n_out := len(searches) - sum(map(len, usable.values())):
        notes.append(f"{_count(n_out, 'search', 'searches')} left out: fewer than {_FEW_LRS} curves, or all diverged")
    if not usable:
        raise InsufficientDataError(
            f"no seed has complete curves of {_FEW_LRS} learning rates", needed=f"{_FEW_LRS} learning rates of a seed"
        )
    if len({run.steps[-1] for name in usable for search in usable[name] for run in search.runs if run.ended}) > 1:
        notes.append("the curves end at different steps: those that stopped early are compared as if complete")
    figures = []
    for name, group in usable.items():
        horizon = max(run.steps[-1] for search in group for run in search.runs)
        for label, make in (pruners or _default_pruners(horizon)).items():
            figures.append(_figures(name, label, [search.outcomes(make, n_orders) for search in group], group))
    return PruningAudit(tuple(figures), allowed, tuple(notes))


def _default_pruners(horizon: int) -> dict[str, Callable[[], BasePruner]]:
    quarter, half = max(horizon // 4, 1), max(horizon // 2, 1)
    return {
        "Median": MedianPruner,
        "Median from 1/4": lambda: MedianPruner(n_startup_trials=3, n_warmup_steps=quarter),
        "Median from 1/2": lambda: MedianPruner(n_startup_trials=3, n_warmup_steps=half),
        "SuccessiveHalving": SuccessiveHalvingPruner,
        "Halving from 1/4": lambda: SuccessiveHalvingPruner(min_resource=quarter, reduction_factor=2),
        "Halving from 1/2": lambda: SuccessiveHalvingPruner(min_resource=half, reduction_factor=2),
        "Hyperband": lambda: HyperbandPruner(min_resource=1, max_resource=max(horizon, 1), reduction_factor=3),
        "Divergence": DivergencePruner,
    }


@dataclass(frozen=True)
class _Run:
    """One complete curve, lower is better; it has diverged where its final loss is not finite."""

    steps: tuple[int, ...]
    values: tuple[float, ...]
    final: float

    @property
    def ended(self) -> bool:
        return math.isfinite(self.final)


@dataclass(frozen=True)
class _Outcome:
    lost_at: float | None  # share of the best run that was made when it was pruned
    n_reports: int
    excess_loss: float


class _Search:
    """The runs of one schedule and seed."""

    def __init__(self, runs: Sequence[_Run], number: int) -> None:
        self.runs, self._number = runs, number
        self.best = min(run.final for run in runs if run.ended)

    @property
    def n_reports(self) -> int:
        return sum(len(run.values) for run in self.runs)

    def outcomes(self, make: Callable[[], BasePruner], n_orders: int) -> list[_Outcome]:
        random = np.random.default_rng(self._number)
        orders = [random.permutation(len(self.runs)) for _ in range(n_orders)]
        return [self._replay(make(), order, f"{self._number}-{i}") for i, order in enumerate(orders)]

    def _replay(self, pruner: BasePruner, order: NDArray[np.intp], name: str) -> _Outcome:
        storage = InMemoryStorage()
        with _without_log(logging.getLogger("optuna.storages._in_memory")):
            study_id = storage.create_new_study([StudyDirection.MINIMIZE], name)  # Hyperband draws from the name
        study = Study(name, storage, RandomSampler(), pruner)
        n_reports, lost_at, best_kept = 0, 0.0, math.inf
        for i in order:
            run = self.runs[i]
            n_made = _n_made(study, study_id, run)
            n_reports += abs(n_made)
            if n_made > 0 and run.ended:
                best_kept = min(best_kept, run.final)
            elif n_made < 0 and run.final == self.best:
                lost_at = max(lost_at, -n_made / len(run.values))
        # Of several runs that are equally good, one is enough.
        return _Outcome(lost_at if best_kept > self.best else None, n_reports, best_kept - self.best)


def _n_made(study: Study, study_id: int, run: _Run) -> int:
    """Run a trial along a curve; return how many reports it made, negative where it was pruned at the last of them."""
    storage = study._storage
    trial_id = storage.create_new_trial(study_id)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # numpy's, where a pruner compares NaN and infinity
        for n_made, (step, value) in enumerate(zip(run.steps, run.values, strict=True), start=1):
            storage.set_trial_intermediate_value(trial_id, step, value)
            if study.pruner.prune(study, storage.get_trial(trial_id)):
                storage.set_trial_state_values(trial_id, TrialState.PRUNED)
                return -n_made
    if math.isnan(run.final):
        storage.set_trial_state_values(trial_id, TrialState.FAIL)
    else:
        storage.set_trial_state_values(trial_id, TrialState.COMPLETE, [run.final])
    return len(run.values)


def _figures(
    schedule: str, pruner: str, by_seed: Sequence[Sequence[_Outcome]], searches: Sequence[_Search]
) -> PruningFigures:
    outcomes = [outcome for of_seed in by_seed for outcome in of_seed]
    lost_at = [outcome.lost_at for outcome in outcomes if outcome.lost_at is not None]
    quarters = Counter(min(max(math.ceil(4 * share), 1), 4) for share in lost_at)
    lost = len(lost_at) / len(outcomes)
    n_orders = len(outcomes) // len(by_seed)
    return PruningFigures(
        schedule=schedule,
        pruner=pruner,
        n_learning_rates=max(len(search.runs) for search in searches),
        n_seeds=len(by_seed),
        n_replays=len(outcomes),
        lost=lost,
        lost_interval=_interval(lost, len(by_seed)),
        lost_by_quarter=tuple(quarters[i] / len(outcomes) for i in range(1, 5)),  # type: ignore[arg-type]
        compute=sum(outcome.n_reports for outcome in outcomes) / (n_orders * sum(s.n_reports for s in searches)),
        excess_loss=math.fsum(outcome.excess_loss for outcome in outcomes) / len(outcomes),
    )


def _interval(share: float, n: int) -> tuple[float, float]:
    """The 95 % Clopper-Pearson interval of a share of n observations."""
    from scipy.stats import beta

    k = share * n
    low = float(beta.ppf(0.025, k, n - k + 1)) if k > 0 else 0.0
    high = float(beta.ppf(0.975, k + 1, n - k)) if k < n else 1.0
    return low, high


def _curves_of_mapping(curves: Mapping[CurveKey, Curve]) -> dict[tuple[str, str], list[_Run]]:
    searches: dict[tuple[str, str], list[_Run]] = defaultdict(list)
    for key, curve in curves.items():
        if not (isinstance(key, tuple) and len(key) == 3):
            raise DataError(f"the keys of curves must be (schedule, lr, seed), got {key!r}")
        name, lr, seed = key
        check_number("lr", lr, above=0, error=DataError)
        by_step = dict(curve) if isinstance(curve, Mapping) else dict(enumerate(curve, start=1))
        steps = sorted(check_whole("a step", step, at_least=0, error=DataError) for step in by_step)
        if not steps:
            raise DataError(f"the curve of {key!r} is empty")
        values = tuple(float(by_step[step]) for step in steps)
        searches[name, str(seed)].append(_Run(tuple(steps), values, values[-1]))
    return searches


def _curves_of_study(
    study: Study, lr: str, schedule: str | None, seed: str | None
) -> tuple[dict[tuple[str, str], list[_Run]], list[str]]:
    if len(study.directions) > 1:
        raise DataError(f"pruning needs one objective, study {study.study_name!r} has {len(study.directions)}")
    sign = -1.0 if study.direction == StudyDirection.MAXIMIZE else 1.0
    everything = study.get_trials(deepcopy=False)
    places = Places(everything, lr=lr, schedule=schedule, seed=seed)
    searches: dict[tuple[str, str], list[_Run]] = defaultdict(list)
    known, left_out, used = Counter[tuple[str, float, str | None]](), Counter[str](), list[FrozenTrial]()
    for trial in everything:
        if is_order(trial) or not places.has_lr(trial) or not trial.state.is_finished():
            continue
        run, place = _run_of(trial, sign), places.of(trial)
        if not isinstance(run, _Run) or not isinstance(place, Place):
            left_out[run if isinstance(run, str) else str(place)] += 1
            continue
        n_before = known[place.schedule, place.lr, place.seed]
        if place.seed is not None and n_before:
            left_out["another has its learning rate, schedule and seed, and came first"] += 1
            continue
        known[place.schedule, place.lr, place.seed] += 1
        searches[place.schedule, f"replicate {n_before}" if place.seed is None else place.seed].append(run)
        used.append(trial)
    notes = [f"{_count(n, 'trial')} left out: {why}" for why, n in left_out.items()]
    if mixed := mixed_params([places.others(trial) for trial in used]):
        notes.append(f"the trials differ in {', '.join(mixed)} as well: the best may be so for that")
    return searches, notes


def _run_of(trial: FrozenTrial, sign: float) -> _Run | str:
    """The curve of a trial, or in words why it has none."""
    reports = sorted(trial.intermediate_values.items())
    if not reports:
        return "without intermediate values"
    if trial.state == TrialState.COMPLETE and trial.value is not None:
        final = sign * trial.value
    elif has_diverged(trial):
        final = math.nan
    elif trial.state == TrialState.PRUNED:
        return "pruned; whether it would have been the best, nobody knows"
    else:
        return "failed"
    return _Run(tuple(step for step, _ in reports), tuple(sign * value for _, value in reports), final)


@contextlib.contextmanager
def _without_log(logger: logging.Logger) -> Iterator[None]:
    """Keep one logger silent in this thread: each replay needs a study, which Optuna would announce."""
    thread = threading.get_ident()

    def is_of_others(record: logging.LogRecord) -> bool:
        return record.thread != thread

    logger.addFilter(is_of_others)
    try:
        yield
    finally:
        logger.removeFilter(is_of_others)


def _count(n: int, singular: str, plural: str | None = None) -> str:
    return f"1 {singular}" if n == 1 else f"{n} {plural or singular + 's'}"
