"""DivergencePruner stops what has diverged and nothing else; audit_pruning says what other pruners would have cost."""

from __future__ import annotations

import io
import logging
import math
import re

import numpy as np
import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.pruners import MedianPruner, NopPruner, SuccessiveHalvingPruner
from optuna.trial import TrialState, create_trial

from robust_lr import GeometricGrid
from robust_lr.divergence import DivergenceWatch
from robust_lr.exceptions import DataError, InsufficientDataError, OptionError, RobustLRError
from robust_lr.report.console import make_console, print_rows
from robust_lr_optuna import DivergencePruner, audit_pruning
from robust_lr_optuna.grid_sampler import GeometricGridSampler
from robust_lr_optuna.results import sweep_from_study

NAN, INF = math.nan, math.inf
LR = FloatDistribution(1e-3, 10.0, log=True)


def pruned_at(values, *, direction="minimize", steps=None, **options):
    """The number of the report at which a run that reports these values is pruned, None if it is not."""
    study = optuna.create_study(direction=direction, pruner=DivergencePruner(**options))
    trial = study.ask()
    for i, (step, value) in enumerate(zip(steps or range(len(values)), values, strict=True)):
        trial.report(value, step)
        if trial.should_prune():
            return i
    return None


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_a_report_that_is_not_finite_prunes_at_once(bad, direction):
    assert pruned_at([1.0, 0.5, bad, 0.5], direction=direction) == 2
    assert pruned_at([bad], direction=direction) == 0


def test_a_loss_far_above_the_first_prunes_only_when_it_stays_there():
    assert pruned_at([1.0, 20.0, 20.0, 0.5, 20.0, 20.0, 20.0], factor=10, patience=3) == 6
    assert pruned_at([1.0, 20.0, 20.0, 0.5, 20.0, 20.0, 0.1], factor=10, patience=3) is None


def test_the_rule_is_mirrored_where_the_study_maximizes():
    assert pruned_at([0.5, -6.0, -6.0], factor=10, patience=2, direction="maximize") == 2
    assert pruned_at([0.5, 600.0, 600.0], factor=10, patience=2, direction="maximize") is None
    assert pruned_at([-0.5, -4.0, -6.0], factor=10, patience=1, direction="maximize") == 2


def test_a_learner_is_never_pruned_however_bad_it_is_beside_the_others():
    study = optuna.create_study(pruner=DivergencePruner())
    for _ in range(20):
        study.add_trial(create_trial(value=0.0, intermediate_values=dict.fromkeys(range(50), 0.0)))
    trial = study.ask()
    for step, loss in enumerate([2.3, 4000.0, 4000.0, 4000.0, *np.geomspace(2.3, 0.3, 40)]):
        trial.report(loss, step)
        assert not trial.should_prune()


def test_nothing_reported_before_the_warmup_counts_but_the_first():
    assert pruned_at([1.0, NAN, 0.9], n_warmup_steps=2) is None
    assert pruned_at([1.0, 20.0, 20.0, 20.0], n_warmup_steps=2, factor=10, patience=2) == 3
    assert pruned_at([1.0, NAN, NAN], n_warmup_steps=2) == 2


def test_it_decides_as_the_watch_of_the_training_does():
    random = np.random.default_rng(0)
    for _ in range(30):
        values = random.choice([1.0, 5.0, 50.0, -50.0, NAN], size=12, p=[0.3, 0.25, 0.3, 0.1, 0.05])
        watch, expected = DivergenceWatch(factor=10, patience=2), None
        for i, value in enumerate(values):
            if expected is None and watch.see([value]) is not None:
                expected = i
        assert pruned_at(values, factor=10, patience=2) == expected


def test_a_sweep_counts_its_pruned_trials_as_diverged_and_the_sampler_does_not_run_them_again():
    def objective(trial):
        lr = trial.suggest_float("lr", 1e-3, 10.0, log=True)
        for step in range(8):
            trial.report(1e3 ** (step if lr > 1 else -step), step)
            if trial.should_prune():
                raise optuna.TrialPruned
        return lr

    grid = GeometricGrid(1e-3, 10.0, 5)
    study = optuna.create_study(sampler=GeometricGridSampler(grid), pruner=DivergencePruner())
    study.optimize(objective)
    sweep = sweep_from_study(study)
    assert sweep.loss[0, :, 0].tolist() == [*grid.values[:4], INF]
    study.optimize(objective)
    assert sorted(trial.params["lr"] for trial in study.trials if trial.params) == grid.values.tolist()


@pytest.mark.parametrize(
    "options", [{"factor": 1}, {"factor": NAN}, {"patience": 0}, {"patience": 1.5}, {"n_warmup_steps": -1}]
)
def test_options_out_of_range_are_refused(options):
    with pytest.raises(RobustLRError, match="must be"):
        DivergencePruner(**options)


def crossing_curves(n_seeds=4, n_steps=16):
    """Large learning rates lead early; under "annealed" the best comes out on top at half, under "late" at the end."""
    curves = {}
    for schedule, power in (("annealed", 1), ("late", 8)):
        for seed in range(n_seeds):
            for k, lr in enumerate((0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28)):
                late = abs(k - 3) + 0.001 * seed
                weight = [(t / n_steps) ** power for t in range(1, n_steps + 1)]
                curves[schedule, lr, seed] = [w * late + (1 - w) * (8 - k) + 1 for w in weight]
    return curves


def study_of(curves, *, sign=1.0, first_step=1):
    """A study with these curves {(schedule, lr, seed): losses}; those that end in NaN were pruned as diverged."""
    study = optuna.create_study(direction="minimize" if sign > 0 else "maximize")
    for (schedule, lr, seed), values in curves.items():
        diverged = math.isnan(values[-1])
        study.add_trial(
            create_trial(
                state=TrialState.PRUNED if diverged else TrialState.COMPLETE,
                params={"lr": lr},
                distributions={"lr": LR},
                user_attrs={"schedule": schedule, "seed": seed},
                system_attrs={"robust_lr:diverged": True} if diverged else {},
                value=None if diverged else sign * values[-1],
                intermediate_values={first_step + i: sign * v for i, v in enumerate(values)},
            )
        )
    return study


def audit_of(curves, *, sign=1.0, **options):
    return audit_pruning(study_of(curves, sign=sign), schedule_name="schedule", seed_name="seed", **options)


def test_replays_agree_with_a_study_that_prunes():
    """The slow twin: optimize itself, with trials that report the recorded curves in the same order."""
    curves = {lr: values for (name, lr, seed), values in crossing_curves(1).items() if name == "late"}
    order = [list(curves)[i] for i in np.random.default_rng(0).permutation(len(curves))]

    def objective(trial):
        curve = curves[order[trial.number]]
        for step, loss in enumerate(curve, start=1):
            trial.report(loss, step)
            if trial.should_prune():
                raise optuna.TrialPruned
        return curve[-1]

    def make():
        return SuccessiveHalvingPruner(min_resource=2, reduction_factor=2)

    study = optuna.create_study(pruner=make())
    study.optimize(objective, n_trials=len(order))
    figures = audit_of(
        {("late", lr, 0): curve for lr, curve in curves.items()}, pruners={"halving": make}, n_orders=1
    ).figures[0]
    n_reports = sum(len(trial.intermediate_values) for trial in study.trials)
    best = min(curve[-1] for curve in curves.values())
    assert figures.compute == n_reports / sum(map(len, curves.values()))
    assert figures.excess_loss == pytest.approx(study.best_value - best)
    assert figures.lost == float(study.best_value > best)


def test_a_pruner_that_never_prunes_loses_nothing_and_saves_nothing():
    for figures in audit_of(crossing_curves(), pruners={"none": NopPruner}).figures:
        assert (figures.lost, figures.compute, figures.excess_loss) == (0.0, 1.0, 0.0)
        assert (figures.n_seeds, figures.n_replays) == (4, 20)


def test_early_cuts_lose_the_best_where_the_curves_cross_late():
    audit = audit_of(crossing_curves(), n_orders=8)
    by_name = {(entry.schedule, entry.pruner): entry for entry in audit.figures}
    assert by_name["late", "Halving from 1/4"].lost > by_name["annealed", "Halving from 1/4"].lost
    assert by_name["late", "Halving from 1/4"].excess_loss > 0
    assert by_name["late", "SuccessiveHalving"].lost_by_quarter[0] == by_name["late", "SuccessiveHalving"].lost > 0
    assert by_name["annealed", "Median from 1/2"].lost == 0 < 1 - by_name["annealed", "Median from 1/2"].compute
    for entry in audit.figures:
        assert sum(entry.lost_by_quarter) == pytest.approx(entry.lost)
        assert 0 < entry.compute <= 1 and entry.lost_interval[0] <= entry.lost <= entry.lost_interval[1]


def test_the_figures_are_the_same_whichever_way_the_study_optimizes():
    curves = crossing_curves(2)
    pruners = {"median": MedianPruner}
    audits = [audit_of(curves, sign=sign, pruners=pruners) for sign in (1.0, -1.0)]
    assert audits[0] == audits[1] and audits[0].notes == ()


def test_the_audit_is_the_same_in_every_call():
    curves = crossing_curves(2)
    assert audit_of(curves).figures == audit_of(curves).figures


def test_trials_without_a_complete_curve_are_left_out_and_counted():
    study = study_of(crossing_curves(2))
    study.add_trial(
        create_trial(
            state=TrialState.PRUNED, params={"lr": 1.0}, distributions={"lr": LR}, value=1.0,
            intermediate_values={1: 1.0}, user_attrs={"schedule": "late", "seed": 0},
        )
    )  # fmt: skip
    study.add_trial(create_trial(params={"lr": 1.0}, distributions={"lr": LR}, value=1.0))
    audit = audit_pruning(study, schedule_name="schedule", seed_name="seed", pruners={"median": MedianPruner})
    assert audit.notes == (
        "1 trial left out: pruned; it might have become the best",
        "1 trial left out: without intermediate values",
    )


def test_replicates_are_seeds_where_a_study_has_none():
    study = optuna.create_study()
    for _ in range(2):
        for lr in (0.1, 0.2, 0.4):
            study.add_trial(
                create_trial(params={"lr": lr}, distributions={"lr": LR}, value=lr, intermediate_values={0: 1.0, 1: lr})
            )
    assert {entry.n_seeds for entry in audit_pruning(study).figures} == {2}


def test_runs_that_diverged_count_as_lost_money_not_as_the_best():
    curves = {("a", lr, 0): [1.0, lr, lr] for lr in (0.1, 0.2, 0.4)}
    curves["a", 3.0, 0] = [1.0, NAN]
    curves["a", 4.0, 0] = [NAN]
    curves["a", 5.0, 0] = [1.0, 2.0, INF]
    audit = audit_of(curves, n_orders=3)
    assert all(math.isfinite(entry.excess_loss) for entry in audit.figures)
    assert next(entry for entry in audit.figures if entry.pruner == "Divergence").lost == 0


def test_few_seeds_make_the_advice_a_hint_and_the_interval_wide():
    audit = audit_of(crossing_curves(1), pruners={"none": NopPruner})
    assert audit.figures[0].lost_interval == pytest.approx((0, 0.975))
    assert "With 1 seed this is only a hint" in audit.advice()
    assert "hint" not in audit_of(crossing_curves(5), pruners={"none": NopPruner}, n_orders=1).advice()


def test_the_advice_names_the_cheapest_pruner_that_keeps_the_best_and_warns_of_the_worst():
    advice = audit_of(crossing_curves()).advice()
    assert re.match(r"Under annealed, \w+ from 1/2 saves \d+% of the compute", advice)
    assert "loses it in" in advice
    none = audit_of(crossing_curves(), pruners={"none": NopPruner}).advice()
    assert "Under late, no pruner saves compute" in none


def test_the_table_is_for_the_console():
    audit = audit_of(crossing_curves(2), n_orders=1)
    console = make_console()
    console.file = io.StringIO()
    print_rows(console, audit.rows(), "Pruning")
    assert "Median from 1/2" in console.file.getvalue()
    header, rows = audit.rows()
    assert len(rows) == len(audit.figures) and {len(row) for row in rows} == {len(header)}


def test_replays_say_nothing_in_the_log_and_leave_it_as_it_was(caplog):
    logger, study = logging.getLogger("optuna.storages._in_memory"), study_of(crossing_curves(1))
    was_disabled = logger.disabled
    optuna.logging.set_verbosity(optuna.logging.INFO)
    optuna.logging.enable_propagation()
    try:
        audit_pruning(study, schedule_name="schedule", seed_name="seed", n_orders=1)
    finally:
        optuna.logging.disable_propagation()
    assert not caplog.records and logger.disabled == was_disabled


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_orders": 0}, "n_orders must be a whole number of at least 1"),
        ({"allowed": 1.0}, "allowed must be"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(OptionError, match=message):
        audit_of(crossing_curves(1), **options)


def test_two_learning_rates_are_too_few_and_several_objectives_too_many():
    with pytest.raises(InsufficientDataError, match="3 learning rates"):
        audit_of({("a", lr, 0): [1.0] for lr in (0.1, 0.2)})
    with pytest.raises(DataError, match="one objective"):
        audit_pruning(optuna.create_study(directions=["minimize", "minimize"]))
