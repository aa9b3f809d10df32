"""What the figures mean, in sentences for the person who trained the models."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from ..analysis.degradation import ONE_SEED, DegradationCurve
from ..analysis.profile import LearningRateProfile
from ..analysis.recommendation import Recommendation
from ..analysis.summary import Analysis, ScheduleAnalysis


def headline(entry: ScheduleAnalysis) -> str:
    """Return the recommendation for one schedule in one sentence, or that the evidence does not carry one."""
    advice = entry.recommendation
    if advice is not None and advice.trials_saved == 0:
        return f"Under {advice.schedule} keep the ratio {advice.ratio:.4g}, {_trials(advice.n_trials)}: {advice.limit}."
    if advice is not None and entry.curve is not None:
        return (
            f"Under {advice.schedule} a ratio of {advice.ratio:.4g}, {_trials(advice.n_trials)}, costs you at most "
            f"{_loss(advice.confidence_interval[1])} ({_loss(advice.excess_loss)} measured, "
            f"{entry.curve.confidence_level:.0%} band)."
        )
    if entry.missing is None:
        return f"{entry.schedule}: nothing to say."
    if entry.curve is not None and entry.curve.n_seeds == 1 and entry.curve.covered[0]:
        return f"No recommendation for {entry.schedule} from one seed."
    return f"No recommendation for {entry.missing}."


def conclusion(analysis: Analysis) -> str:
    """Return what to do next in a few sentences: what to use now, and one schedule and grid for the next search.

    Of the schedules whose recommended grid ends, on held-out seeds and on average over its offsets, within the
    tolerance of the lowest loss of the sweep, the one with the fewest trials, and of those the lowest.
    """
    recommended = list(analysis.recommendations.values())
    if not recommended:
        return "The evidence carries no recommendation yet; what is missing stands beside each schedule."
    lowest = min(float(e.curve.final_loss[0]) for e in analysis.schedules if e.curve is not None)

    def _preference(advice: Recommendation) -> tuple[bool, int, float]:
        within = advice.final_loss <= lowest + analysis.tolerance
        return not within, advice.n_trials if within else 0, advice.final_loss

    advice = min(recommended, key=_preference)
    best = min((e.profile for e in analysis.schedules if e.profile is not None), key=lambda p: p.best_loss)
    now = f"Lowest of this sweep: {best.schedule} at learning rate {best.best_lr:.4g}."
    if advice.trials_saved == 0:
        return f"{now} For the next search of this kind keep the grid: {advice.limit}."
    rates = ", ".join(f"{lr:.4g}" for lr in advice.learning_rates)
    return (
        f"{now} For the next search of this kind (other data, size or length, the same range): {advice.schedule} with "
        f"{_trials(advice.n_trials)}, {rates} (ratio {advice.ratio:.4g}): the fewest that end within "
        f"{analysis.tolerance:.3g} of the lowest. Such grids ended here at {_loss(advice.final_loss)} on held-out "
        f"seeds, the full ones at {_loss(lowest)} or above."
    )


def alerts(entry: ScheduleAnalysis) -> list[str]:
    """Return what must not be missed of one schedule: an edge, a cliff, and what weakens its figures."""
    return [*_dangers(entry), *_notes(entry)]


def caveats(analysis: Analysis) -> list[str]:
    """Return what weakens the whole analysis: notes of the data, and a single seed."""
    found = [f"Note: {note}." for note in analysis.sweep.notes]
    if any(entry.curve is not None and entry.curve.n_seeds == 1 for entry in analysis.schedules):
        found.append(
            "One seed: each learning rate is chosen and scored on the same run, so every figure is optimistic, and "
            "nothing bounds its error; 2 more seeds would, better 4."
        )
    return found


def details(entry: ScheduleAnalysis, tolerance: float) -> list[str]:
    """Return what else is worth knowing of one schedule: where its optimum lies, what each side costs, what is weak."""
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
            f"By the point estimates alone: ratio {estimate.ratio:.4g}, {_trials(estimate.n_trials)}, "
            f"excess loss {_loss(estimate.excess_loss)}; read it as a guess."
        )
    if advice is not None and advice.trials_saved:
        yield f"Not coarser because {advice.limit}."
        yield f"It saves {advice.trials_saved} of the {_n_runs(curve)} runs{_time(advice.seconds_saved)}."
    yield from _notes(entry)


def _notes(entry: ScheduleAnalysis) -> Iterator[str]:
    holder = entry.recommendation or entry.curve
    one_seed = entry.curve is not None and entry.curve.n_seeds == 1
    for note in holder.warnings if holder is not None else ():
        if not (one_seed and note == ONE_SEED):  # `caveats` says it once for all schedules
            yield f"Note: {note}."


def _optimum(profile: LearningRateProfile, tolerance: float) -> str:
    within = np.flatnonzero(profile.mean <= profile.best_loss + tolerance)
    runs = np.split(profile.learning_rates[within], np.flatnonzero(np.diff(within) > 1) + 1)
    span = ", ".join(f"{run[0]:g} to {run[-1]:g}" if len(run) > 1 else f"{run[0]:g}" for run in runs)
    span = span if len(within) > 1 else "no other of the sweep"
    return (
        f"Best learning rate {profile.best_lr:g}, loss {_loss(profile.best_loss)}; within {tolerance:g} of it: {span}."
    )


def _dangers(entry: ScheduleAnalysis) -> Iterator[str]:
    profile = entry.profile
    if profile is None:
        return
    said_by_headline = entry.curve is not None and entry.recommendation is None
    if profile.edge is not None and not said_by_headline:
        beyond = {"high": "higher", "low": "lower", "both": "higher and lower"}[profile.edge]
        yield f"The best is on the edge of the sweep: try {beyond} learning rates before you trust it."
    if profile.cliff is not None and profile.before_cliff is not None:
        at = int(np.flatnonzero(profile.learning_rates == profile.cliff)[0])
        what = (
            "runs diverge"
            if math.isinf(profile.mean[at])
            else f"the loss jumps from {_loss(profile.mean[at - 1])} to {_loss(profile.mean[at])}"
        )
        yield (
            f"Stability cliff: between {profile.before_cliff:g} and {profile.cliff:g} {what}. That is not the noise "
            "that annealing forgives; warm-up or clipping moves it, a schedule hardly does."
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
            cost = "diverges" if math.isinf(mean[i]) else f"costs {_loss(mean[i] - mean[best])}"
            parts.append(f"{factor:.3g} times {name} ({lrs[i]:g}) {cost}")
    if parts:
        yield f"A learning rate {', one '.join(parts)}."


def comparison_sentences(analysis: Analysis) -> list[str]:
    """Return which schedule ends lowest at each number of trials, and which cannot be told apart from it.

    Neighbouring numbers of trials with the same answer share a sentence.
    """
    comparison = analysis.comparison
    if comparison is None or len(comparison.schedules) < 2:
        return []
    runs: list[tuple[str, str, list[int]]] = []
    for i in np.flatnonzero(np.isfinite(comparison.final_loss).any(axis=1)):
        lowest = comparison.lowest[i]
        if i and not comparison.covered[i, comparison.schedules.index(lowest)]:
            continue
        others = [s for s, name in enumerate(comparison.schedules) if name != lowest]
        if np.isnan(comparison.interval[i, others]).all():
            rest = "without a second seed no difference is certain"
        else:
            tied = [comparison.schedules[s] for s in others if comparison.tied[i, s]]
            rest = f"not told apart from it: {', '.join(tied)}" if tied else "all others are higher beyond the noise"
        if runs and runs[-1][:2] == (lowest, rest):
            runs[-1][2].append(int(i))
        else:
            runs.append((lowest, rest, [int(i)]))
    sentences = []
    for lowest, rest, rows in runs:
        s = comparison.schedules.index(lowest)
        n = [comparison.n_trials[i] for i in rows]
        loss = " / ".join(_loss(comparison.final_loss[i, s]) for i in rows)
        trials = _trials(n[0]) if len(n) == 1 else f"{' / '.join(map(str, n))} trials"
        sentences.append(f"With {trials} {lowest} ends lowest ({loss} on held-out seeds); {rest}.")
    return sentences


def _trials(n: int) -> str:
    return "1 trial" if n == 1 else f"{n} trials"


def _loss(value: float) -> str:
    return f"{value:.4f}" if abs(value) < 100 else f"{value:.4g}"


def _n_runs(curve: DegradationCurve | None) -> int:
    return 0 if curve is None else curve.block.loss.size


def _time(seconds: float) -> str:
    if not math.isfinite(seconds):
        return ""
    if seconds < 120:
        return f", {seconds:.0f} s of training"
    return f", {seconds / 3600:.1f} h of training" if seconds >= 5400 else f", {seconds / 60:.0f} min of training"
