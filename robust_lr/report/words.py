"""Sentences that say what the figures mean."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from .._metrics import quantity
from .._text import count_of, listed, loss_text
from ..analysis._entry import Analyzed, ScheduleAnalysis
from ..analysis.comparison import ScheduleComparison
from ..analysis.degradation import ONE_SEED, DegradationCurve
from ..analysis.profile import LearningRateProfile
from ..analysis.recommendation import Recommendation
from ..exceptions import InsufficientDataError
from ..journal._format import OF_A_SEARCH
from ..readers.runs import DEFAULT_SCHEDULE


def how_bands_are_made(analysis: Analyzed) -> str:
    """Return one sentence on what the bands rest on, seeds and degrees of freedom; "" without any."""
    curves = [entry.curve for entry in analysis.schedules if entry.curve is not None and entry.curve.df > 0]
    if not curves:
        return ""
    n_seeds = np.concatenate([curve.block.n_seeds[curve.block.converged] for curve in curves])
    seeds = f"{_range(n_seeds.min(), n_seeds.max())} {'seed' if n_seeds.max() == 1 else 'seeds'} at each learning rate"
    df = [round(curve.df) for curve in curves]
    given = curves[0].block.fit.given_noise
    pooled = "the noise of all learning rates together" if given is None else f"a noise of {given:g}, which was given"
    level = f"{analysis.confidence_level:.1%}".replace(".0%", "%")
    return f"{level} bands from {pooled}: {seeds}, {_range(min(df), max(df))} degrees of freedom."


def _range(low: int, high: int) -> str:
    return f"{low}" if low == high else f"{low} to {high}"


def under(schedule: str) -> str:
    """Return `` under cosine``, or nothing where the schedule is unknown."""
    return "" if schedule == DEFAULT_SCHEDULE else f" under {schedule}"


def excess_text(excess: float) -> str:
    """Return an excess loss; one that rounds to zero is not called zero."""
    return "less than 0.0001" if 0 < excess < 0.00005 else loss_text(excess)


def reason(schedule: str, missing: InsufficientDataError) -> str:
    """Return why there is no recommendation, without the name of the schedule and what is needed."""
    return str(missing).removeprefix(f"{schedule}: ").removesuffix(f"; needed: {missing.needed}")


def keeping(advice: Recommendation) -> str:
    """Return why to keep the grid."""
    return f"a coarser grid may do, but {advice.limit}" if advice.limited_by == "grid" else advice.limit


def what_is_left(analysis: Analyzed) -> str:
    """Return how to finish the sweep, or "" if all its trials have run."""
    if OF_A_SEARCH in analysis.sweep.notes:
        return "the command of the search again: it prints its answer, without training"
    n = analysis.sweep.n_left
    verb = "is" if n == 1 else "are"
    return f"the same run command again (in Python: the same call): {count_of(n, 'trial')} {verb} left" if n else ""


def headline(entry: ScheduleAnalysis, *, is_unfinished: bool = False) -> str:
    """Return the recommendation for one schedule, or why there is none and what to run next."""
    advice, missing = entry.recommendation, entry.missing
    name = "" if entry.schedule == DEFAULT_SCHEDULE else f"{entry.schedule}: "
    if advice is None or entry.curve is None or (is_unfinished and not advice.trials_saved):
        of = f" for {entry.schedule}" if name else ""
        if is_unfinished:
            return f"No recommendation{of} yet: the sweep is unfinished."
        if missing is None:
            return f"No recommendation{of}."
        return f"No recommendation{of}: {reason(entry.schedule, missing)}; needed: {missing.needed}."
    trials = count_of(advice.n_trials, "trial")
    if advice.trials_saved == 0:
        return f"{name}keep the {trials} (ratio {advice.ratio:.4g}): {keeping(advice)}."
    return (
        f"{name}{trials} (ratio {advice.ratio:.4g}) lose at most {loss_text(advice.confidence_interval[1])} "
        f"(measured {loss_text(advice.excess_loss)}; {entry.curve.confidence_level:.0%} confidence)."
    )


def caveats(analysis: Analyzed) -> list[str]:
    """Return the caveats of the whole analysis: notes on the data, and a single seed."""
    found = [f"Note: {note}." for note in analysis.sweep.caveats]
    has_one = any(entry.curve is not None and entry.curve.df == 0 for entry in analysis.schedules)
    if has_one and not analysis.sweep.unused_axes.repeated_seeds:
        found.append(
            "One seed: each learning rate is chosen and scored on the same run, so figures are optimistic, and nothing "
            "bounds their error. Add a second seed."
        )
    return found


def alerts(entry: ScheduleAnalysis) -> list[str]:
    """Return the alerts for one schedule: an edge, a cliff, and the limits of its figures."""
    return [*_dangers(entry), *_notes(entry)]


def details(entry: ScheduleAnalysis, tolerance: float) -> list[str]:
    """Return further findings on one schedule: its optimum, the cost of each side, the limits of its figures."""
    return list(_details(entry, tolerance))


def _details(entry: ScheduleAnalysis, tolerance: float) -> Iterator[str]:
    profile, curve, advice = entry.profile, entry.curve, entry.recommendation
    if profile is None:
        return
    yield _optimum(profile, tolerance)
    yield from _dangers(entry)
    if curve is not None:
        yield from _sides(curve)
    estimate = entry.missing.estimate if entry.missing is not None else None
    if isinstance(estimate, Recommendation) and curve is not None and estimate.n_trials < curve.n_trials[0]:
        yield (
            f"The estimates alone suggest {count_of(estimate.n_trials, 'trial')} (ratio {estimate.ratio:.4g}), which "
            f"would lose {loss_text(estimate.excess_loss)}: treat this as a guess."
        )
    if advice is not None and curve is not None and advice.trials_saved:
        yield f"Why not coarser: {advice.limit}."
        yield from _next_ratio(curve, advice)
        yield f"This saves {advice.trials_saved} of {curve.block.n_seeds.sum()} trials{duration(advice.seconds_saved)}."
    yield from _notes(entry)


def _notes(entry: ScheduleAnalysis) -> Iterator[str]:
    holder = entry.recommendation or entry.curve
    one_seed = entry.curve is not None and entry.curve.df == 0
    for note in holder.warnings if holder is not None else ():
        if not (one_seed and note == ONE_SEED):  # `caveats` says it once for all schedules
            yield f"Note: {note}."


def as_good(profile: LearningRateProfile, tolerance: float) -> list[tuple[float, float]]:
    """Return the runs of neighbors whose mean loss is within the tolerance of the best, each as (first, last)."""
    within = np.flatnonzero(profile.mean <= profile.best_loss + tolerance)
    runs = np.split(profile.learning_rates[within], np.flatnonzero(np.diff(within) > 1) + 1)
    return [(float(run[0]), float(run[-1])) for run in runs]


def spans(profile: LearningRateProfile, tolerance: float) -> str:
    """Return the same in words, such as ``2, 8 to 16``."""
    return ", ".join(f"{low:g} to {high:g}" if high > low else f"{low:g}" for low, high in as_good(profile, tolerance))


def _optimum(profile: LearningRateProfile, tolerance: float) -> str:
    alone = as_good(profile, tolerance) == [(profile.best_lr, profile.best_lr)]
    span = "no other in the sweep" if alone else spans(profile, tolerance)
    value = profile.shown(profile.best_loss, named=True)
    return f"Best learning rate {profile.best_lr:g}, {value}; within {tolerance:.4g} of it: {span}."


def _dangers(entry: ScheduleAnalysis) -> Iterator[str]:
    profile = entry.profile
    if profile is None:
        return
    said_by_headline = entry.curve is not None and entry.recommendation is None
    if profile.edge is not None and not said_by_headline:
        beyond = {"upper": "higher", "lower": "lower", "both": "higher and lower"}[profile.edge]
        try_next = f"try {beyond} learning rates"
        if profile.failed_above and profile.edge == "upper":
            try_next = f"find out why the trials above failed, at {listed(f'{lr:g}' for lr in profile.failed_above)},"
        yield f"The best is at the edge of the sweep: {try_next} before you trust it."
    if profile.cliff is not None and profile.before_cliff is not None:
        at = int(np.flatnonzero(profile.learning_rates == profile.cliff)[0])
        what = (
            "training starts to diverge"
            if math.isinf(profile.mean[at])
            else f"the {quantity(profile.direction)} jumps from {profile.shown(profile.mean[at - 1])} to "
            f"{profile.shown(profile.mean[at])}"
        )
        yield (
            f"Stability cliff: between {profile.before_cliff:g} and {profile.cliff:g} {what}. Annealing does not "
            "forgive this; warm-up or gradient clipping may shift it, a schedule hardly does."
        )
        if profile.before_cliff == profile.best_lr:
            yield "The best learning rate is the last one before the cliff: leave a margin, or look between the two."


def _sides(curve: DegradationCurve) -> Iterator[str]:
    """The cost of one grid step either way, by the actual factors of this grid."""
    lrs, best, mean = curve.block.learning_rates, curve.block.best, curve.block.mean
    parts = []
    for name, i in (("too low", best - 1), ("too high", best + 1)):
        if 0 <= i < len(lrs):
            factor = max(lrs[i] / lrs[best], lrs[best] / lrs[i])
            cost = "diverges" if math.isinf(mean[i]) else f"costs {loss_text(mean[i] - mean[best])}"
            parts.append(f"{factor:.{3 if factor > 1.05 else 6}g} times {name} ({lrs[i]:g}) {cost}")
    if parts:
        yield f"A learning rate {', one '.join(parts)}."


def _next_ratio(curve: DegradationCurve, advice: Recommendation) -> Iterator[str]:
    """The cost of each side at the first ratio that is not recommended."""
    if advice.limited_by in ("too low", "too high"):
        row = int(np.flatnonzero(curve.ratio == advice.ratio)[0]) + 1
        costs = [
            f"{name} {'diverges' if math.isinf(cost) else f'costs {loss_text(cost)}'}"
            for name, cost in (("too low", curve.too_low[row]), ("too high", curve.too_high[row]))
            if not math.isnan(cost)
        ]
        if costs:
            yield f"A learning rate {curve.ratio[row]:.3g} times {', one '.join(costs)}."


def comparison_sentences(analysis: Analyzed) -> list[str]:
    """Return which schedules end lowest at each number of trials; numbers with the same answer share a sentence."""
    comparison = analysis.comparison
    if comparison is None or len(comparison.schedules) < 2:
        return []
    answers: list[tuple[str, list[int]]] = []
    for i in np.flatnonzero(np.isfinite(comparison.final_loss).any(axis=1)):
        if i and not comparison.covered[i, comparison.schedules.index(comparison.lowest[i])]:
            continue
        answer = _who_wins(comparison, int(i), "highest" if analysis.sweep.direction == "maximize" else "lowest")
        if answers and answers[-1][0] == answer:
            answers[-1][1].append(int(i))
        else:
            answers.append((answer, [int(i)]))
    sentences = []
    for answer, rows in answers:
        n = [comparison.n_trials[i] for i in rows]
        sign = -1.0 if analysis.sweep.direction == "maximize" else 1.0
        losses = " / ".join(loss_text(sign * np.nanmin(comparison.final_loss[i])) for i in rows)
        trials = count_of(n[0], "trial") if len(n) == 1 else f"{' / '.join(map(str, n))} trials"
        sentences.append(f"With {trials}: {answer} ({quantity(analysis.sweep.direction)} {losses} on held-out seeds).")
    return sentences


def _who_wins(comparison: ScheduleComparison, row: int, best: str) -> str:
    names, lowest = comparison.schedules, comparison.lowest[row]
    others = [s for s, name in enumerate(names) if name != lowest]
    if np.isnan(comparison.interval[row, others]).all():
        return f"{lowest} ends {best}, but without a second seed this may be noise"
    tied = [names[s] for s in others if comparison.tied[row, s]]
    if not tied:
        return f"{lowest} ends {best}, beyond the noise"
    return f"{'all schedules' if len(tied) == len(others) > 1 else listed([lowest, *tied])} tie"


def duration(seconds: float) -> str:
    """Return ``, 3.0 h of training``, or nothing if the time is unknown."""
    if not math.isfinite(seconds):
        return ""
    if seconds < 120:
        return f", {seconds:.0f} s of training" if seconds >= 10 else f", {seconds:.1f} s of training"
    return f", {seconds / 3600:.1f} h of training" if seconds >= 5400 else f", {seconds / 60:.0f} min of training"
