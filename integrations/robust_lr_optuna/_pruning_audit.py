"""An audit of pruning: Optuna's pruners, replayed on a sweep with complete curves."""

from __future__ import annotations

import logging
import math
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, SuccessiveHalvingPruner
from optuna.samplers import RandomSampler
from optuna.storages import InMemoryStorage
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from robust_lr._checks import check_number, check_whole
from robust_lr._text import count_of, listed
from robust_lr.analysis.pruning_audit import searches_of
from robust_lr.exceptions import DataError
from robust_lr.loss_curves import LossCurve
from robust_lr.readers.runs import mixed_params

from ._outcomes import has_diverged
from ._trial_attributes import is_log_entry
from ._trial_axes import TrialAxes
from .pruning import DivergencePruner

_FEW_SEEDS = 5  # below this, the interval of a share is almost meaningless
_LOGGER = logging.getLogger("optuna.storages._in_memory")
_HARDLY = 0.95  # a pruner that needs more of the compute saves too little to mention


@dataclass(frozen=True)
class PruningFigures:
    """The effect of one pruner under one schedule.

    One replay is a search: all learning rates of one seed, one after the other in random order.

    Attributes:
        schedule, pruner: their names.
        n_seeds: seeds that could be replayed.
        n_replays: seeds times orders.
        lost: share of the replays in which the learning rate with the lowest final loss of its seed was pruned.
        lost_interval: its 95 % Clopper-Pearson interval; a seed is one observation, however many orders it has.
        lost_by_quarter: `lost` by the quarter of the run in which the best was pruned, four shares.
        compute: reports made, as a share of the reports of all complete runs.
        excess_loss: final loss of the best unpruned run minus that of the best run, mean over the replays.
    """

    schedule: str
    pruner: str
    n_seeds: int
    n_replays: int
    lost: float
    lost_interval: tuple[float, float]
    lost_by_quarter: tuple[float, ...]
    compute: float
    excess_loss: float


@dataclass(frozen=True)
class PruningAudit:
    """The effect of pruners on a sweep with complete curves; see `audit_pruning`.

    Attributes:
        figures: one entry for each schedule and pruner.
        allowed: share of the searches that may lose their best learning rate, for `advice`.
        notes: what was left out, and the limits of the figures.
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
        """Return advice, in a few sentences, on which pruner to use under each schedule."""
        sentences = [self._advice_for([f for f in self.figures if f.schedule == name]) for name in self.schedules]
        n_seeds = min(entry.n_seeds for entry in self.figures)
        if n_seeds < _FEW_SEEDS:
            sentences.append(f"With {count_of(n_seeds, 'seed')} this is only a hint.")
        sentences.append("A pruned trial has no final loss, so an analysis of the learning rates leaves it out.")
        return " ".join(sentences)

    def _advice_for(self, entries: Sequence[PruningFigures]) -> str:
        safe = [entry for entry in entries if entry.lost <= self.allowed and entry.compute < _HARDLY]
        worst = max(entries, key=lambda entry: entry.lost)
        warning = ""
        if worst.lost > self.allowed:
            warning = f" {worst.pruner} loses it in {worst.lost:.0%}, at an excess loss of {worst.excess_loss:.4g}."
        if not safe:
            return (
                f"Under {entries[0].schedule}, no pruner saves compute and keeps the best learning rate in "
                f"{1 - self.allowed:.0%} of the searches: prune only what diverges.{warning}"
            )
        best = min(safe, key=lambda entry: (entry.compute, entry.lost))
        return (
            f"Under {best.schedule}, {best.pruner} saves {1 - best.compute:.0%} of the compute and loses the best "
            f"learning rate in {best.lost:.0%} of the searches (at most {best.lost_interval[1]:.0%}, given "
            f"{count_of(best.n_seeds, 'seed')}), at an excess loss of {best.excess_loss:.4g}.{warning}"
        )


def audit_pruning(
    study: Study,
    *,
    lr_name: str = "lr",
    schedule_name: str | None = None,
    seed_name: str | None = None,
    pruners: Mapping[str, Callable[[], BasePruner]] | None = None,
    n_orders: int = 5,
    allowed: float = 0.05,
) -> PruningAudit:
    """Replay pruners on a study with complete curves, to see what they would have saved and lost.

    Each replay is a search over the learning rates of one schedule and seed, one after the other in random order, with
    Optuna's own pruner deciding at each report. Parallel workers would see fewer finished trials. The orders are the
    same for each pruner and in each call.

    Args:
        study: one whose trials reported intermediate values.
        lr_name, schedule_name, seed_name: names in a study, as in `sweep_from_study`.
        pruners: factories by name, called for each replay. By default Optuna's Median, SuccessiveHalving and Hyperband
            with their defaults, Median and SuccessiveHalving that start after a quarter and half of the run, and
            `DivergencePruner`.
        n_orders: random orders of each seed, at least 1.
        allowed: share of the searches, in (0, 1), that may lose their best learning rate with a pruner that
            `PruningAudit.advice` recommends.

    Raises:
        InsufficientDataError: if no seed has complete curves of three learning rates.
        DataError: if the study lacks one of the names or has several objectives.
        OptionError: if `n_orders` or `allowed` is out of range.

    Example:
        >>> import optuna
        >>> study = optuna.create_study(sampler=RandomSampler(seed=0))
        >>> def objective(trial):
        ...     lr = trial.suggest_float("lr", 1, 10, log=True)
        ...     for t in range(1, 9):
        ...         trial.report(1 / (1 + lr * t) + 0.01 * lr, t)
        ...     return 1 / (1 + lr * 8) + 0.01 * lr
        >>> study.optimize(objective, n_trials=8)
        >>> audit = audit_pruning(study, pruners={"halving": lambda: SuccessiveHalvingPruner(min_resource=1)})
        >>> audit.figures[0].lost, audit.figures[0].n_replays
        (0.8, 5)
    """
    n_orders = check_whole("n_orders", n_orders, at_least=1)
    check_number("allowed", allowed, above=0, below=1)
    runs, notes = curves_of_study(study, lr_name=lr_name, schedule_name=schedule_name, seed_name=seed_name)
    usable, on_searches = searches_of(runs)
    notes += on_searches
    figures = [
        _figures(name, label, make, group, n_orders)
        for name, group in usable.items()
        for label, make in (pruners or _default_pruners(group)).items()
    ]
    return PruningAudit(tuple(figures), allowed, tuple(notes))


def _default_pruners(group: Sequence[Sequence[LossCurve]]) -> dict[str, Callable[[], BasePruner]]:
    horizon = int(max(run.steps[-1] for of_seed in group for run in of_seed))
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


class _Replay:
    """One search with a pruner.

    Attributes:
        n_reports: reports that were made.
        excess_loss: final loss of the best run that was kept above that of the best run.
        lost_at: share of the best run that was made when it was pruned, None if it was kept.
    """

    def __init__(self, pruner: BasePruner, runs: Iterable[LossCurve], best: float, name: str) -> None:
        storage, was_silent = InMemoryStorage(), _LOGGER.disabled
        _LOGGER.disabled = True  # Optuna would announce the study of each replay
        try:
            study_id = storage.create_new_study([StudyDirection.MINIMIZE], name)  # Hyperband draws from the name
        finally:
            _LOGGER.disabled = was_silent
        study = Study(name, storage, RandomSampler(), pruner)
        self.n_reports, lost_at, best_kept = 0, 0.0, math.inf
        for run in runs:
            n_made = _n_made(study, study_id, run)
            self.n_reports += abs(n_made)
            if n_made > 0 and run.ended:
                best_kept = min(best_kept, run.final)
            elif n_made < 0 and run.final == best:
                lost_at = max(lost_at, -n_made / len(run.losses))
        self.excess_loss = best_kept - best
        self.lost_at = lost_at if self.excess_loss > 0 else None  # if several runs are equally good, one is enough


def _n_made(study: Study, study_id: int, run: LossCurve) -> int:
    """Run a trial along a curve; return how many reports it made, negative if it was pruned at the last of them."""
    storage = study._storage
    trial_id = storage.create_new_trial(study_id)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # numpy's, if a pruner compares NaN and infinity
        for n_made, (step, value) in enumerate(zip(run.steps, run.losses, strict=True), start=1):
            storage.set_trial_intermediate_value(trial_id, int(step), value)
            if study.pruner.prune(study, storage.get_trial(trial_id)):
                storage.set_trial_state_values(trial_id, TrialState.PRUNED)
                return -n_made
    if math.isnan(run.final):
        storage.set_trial_state_values(trial_id, TrialState.FAIL)
    else:
        storage.set_trial_state_values(trial_id, TrialState.COMPLETE, [run.final])
    return len(run.losses)


def _figures(
    schedule: str, pruner: str, make: Callable[[], BasePruner], group: Sequence[Sequence[LossCurve]], n_orders: int
) -> PruningFigures:
    replays = list[_Replay]()
    for number, runs in enumerate(group):
        random, best = np.random.default_rng(number), min(run.final for run in runs if run.ended)
        orders = [random.permutation(len(runs)) for _ in range(n_orders)]
        replays += [_Replay(make(), [runs[j] for j in order], best, f"{number}-{i}") for i, order in enumerate(orders)]
    n, quarters = len(replays), Counter(max(math.ceil(4 * r.lost_at), 1) for r in replays if r.lost_at is not None)
    n_reports = sum(len(run.losses) for runs in group for run in runs) * n_orders
    return PruningFigures(
        schedule=schedule,
        pruner=pruner,
        n_seeds=len(group),
        n_replays=n,
        lost=quarters.total() / n,
        lost_interval=_interval(quarters.total() / n, len(group)),
        lost_by_quarter=tuple(quarters[i] / n for i in range(1, 5)),
        compute=sum(replay.n_reports for replay in replays) / n_reports,
        excess_loss=math.fsum(replay.excess_loss for replay in replays) / n,
    )


def _interval(share: float, n: int) -> tuple[float, float]:
    """The 95 % Clopper-Pearson interval of a share of n observations."""
    from scipy.stats import beta

    k = share * n
    low = beta.ppf(0.025, k, n - k + 1) if k > 0 else 0.0
    high = beta.ppf(0.975, k + 1, n - k) if k < n else 1.0
    return float(low), float(high)


def curves_of_study(study: Study, **names: Any) -> tuple[list[LossCurve], list[str]]:
    """Return the loss curves of the complete and the diverged trials of a study, and notes on what was left out."""
    if len(study.directions) > 1:
        raise DataError(f"pruning needs one objective, study {study.study_name!r} has {len(study.directions)}")
    sign = -1.0 if study.direction == StudyDirection.MAXIMIZE else 1.0
    trials = study.get_trials(deepcopy=False)
    axes, runs, known = TrialAxes(trials, **names), list[LossCurve](), Counter[tuple[Any, ...]]()
    left_out, others = Counter[str](), list[Mapping[str, Any]]()
    for trial in trials:
        if is_log_entry(trial) or not axes.has_lr(trial) or not trial.state.is_finished():
            continue
        final, values = _final_loss(trial, sign), axes.values_of(trial)
        if isinstance(final, str) or isinstance(values, str):
            left_out[final if isinstance(final, str) else str(values)] += 1
            continue
        lr = check_number(f"trial {trial.number}: {names['lr_name']}", values["lr"], above=0, error=DataError)
        known[key := (str(values["schedule"]), lr, values["seed"])] += 1
        if values["seed"] is not None and known[key] > 1:
            left_out["an earlier trial has the same learning rate, schedule and seed"] += 1
            continue
        seed = f"replicate {known[key]}" if values["seed"] is None else str(values["seed"])
        steps = tuple(sorted(trial.intermediate_values))
        curve = tuple(sign * trial.intermediate_values[step] for step in steps)
        runs.append(LossCurve(lr=lr, steps=steps, losses=curve, final=final, schedule=key[0], seed=seed))
        others.append(axes.others(trial))
    notes = [f"{count_of(n, 'trial')} left out: {why}" for why, n in left_out.items()]
    if mixed := mixed_params(others):
        notes.append(f"the trials also differ in {listed(mixed)}, which may be why the best is best")
    return runs, notes


def _final_loss(trial: FrozenTrial, sign: float) -> float | str:
    """The final loss of a trial, NaN if it diverged; or why its curve is not complete."""
    if not trial.intermediate_values:
        return "without intermediate values"
    if trial.state == TrialState.COMPLETE and trial.value is not None:
        return sign * trial.value
    if has_diverged(trial):
        return math.nan
    return "pruned; it might have become the best" if trial.state == TrialState.PRUNED else "failed"
