"""The answer of an analysis in one box: the best learning rate, what is as good, the next grid, what it saves."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from .._page import Box
from .._text import count_of, listed
from ..analysis._entry import Analyzed, ScheduleAnalysis
from ..analysis.profile import LearningRateProfile
from ..analysis.recommendation import Recommendation
from ..journal._format import OF_A_SEARCH
from .words import as_good, duration, excess_text, keeping, reason, spans, under, what_is_left

SHORT = 12  # learning rates that a guess lists one by one


@dataclass(frozen=True)
class Answer:
    """The schedule that an analysis recommends, and those that end as low.

    The schedules that tie are those that the comparison cannot tell from the lowest. Of these, the answer is the one
    with the fewest trials in its next grid, if that grid ends within the tolerance of the lowest loss; then the one
    with the lowest loss.

    Attributes:
        entry: its analysis.
        profile: the profile of that.
        tied: the other schedules that end as low within the noise, in the order of their losses.
        beyond: those among them whose best learning rate is on the edge of the sweep, so that they may end
            lower beyond it; without the answer itself.
    """

    entry: ScheduleAnalysis
    profile: LearningRateProfile
    tied: tuple[ScheduleAnalysis, ...]
    beyond: tuple[ScheduleAnalysis, ...]


def answer_of(analysis: Analyzed) -> Answer | None:
    """Return the answer of an analysis, or None if no schedule has a finite loss."""
    known = sorted(
        ((entry, entry.profile) for entry in analysis.schedules if entry.profile is not None),
        key=lambda pair: pair[1].best_loss,
    )
    if not known:
        return None
    comparison, names = analysis.comparison, {known[0][0].schedule}
    if comparison is not None and not np.isnan(comparison.interval[0]).any():
        names |= {name for name, tied in zip(comparison.schedules, comparison.tied[0], strict=True) if tied}
    limit = min((e.curve.final_loss[0] for e, _ in known if e.curve is not None), default=math.inf) + analysis.tolerance

    def preference(pair: tuple[ScheduleAnalysis, LearningRateProfile]) -> tuple[bool, int]:
        advice = pair[0].recommendation
        if advice is None or not advice.final_loss <= limit:
            return True, 0
        return False, advice.n_trials

    equals = [pair for pair in known if pair[0].schedule in names]
    entry, profile = min(equals, key=preference)
    tied = [(other, its) for other, its in equals if other is not entry]
    return Answer(
        entry, profile, tuple(other for other, _ in tied), tuple(other for other, its in tied if its.edge is not None)
    )


def answer_box(analysis: Analyzed) -> Box:
    """Return the box that begins every report: what is best, and what to run next."""
    return Box("Answer", list(_rows(analysis)))


def overview_box(analyses: Mapping[str, Analyzed]) -> Box:
    """Return one box over several sweeps, with the answer for each in one line."""
    rows = [(name, _in_short(analysis)) for name, analysis in analyses.items()]
    return Box("Answer for each group", rows, lead=False)


def conclusion(analysis: Analyzed) -> str:
    """Return the answer in a few sentences, one for each row of its box."""
    return " ".join(f"{name}: {text.removesuffix('.')}." for name, text in answer_box(analysis).rows)


def picture_title(analysis: Analyzed) -> tuple[str, str]:
    """Return two lines for a picture that stands alone: the best learning rate, and what to run next."""
    rows, answer = dict(answer_box(analysis).rows), answer_of(analysis)
    if answer is None:
        return f"Best learning rate: {rows['Best learning rate']}", f"Run next: {rows['Run next']}"
    advice = answer.entry.recommendation
    best = f"Best learning rate: {_best_and_as_good(answer, analysis)}"
    if advice is not None and advice.trials_saved:
        return best, f"Enough for new seeds of this task: {rates_text(advice)}"
    return best, next(f"{name}: {rows[name]}" for name in ("Next grid", "Run next") if name in rows)


def rates_text(advice: Recommendation) -> str:
    """Return the learning rates of a grid as numbers to paste."""
    return ", ".join(f"{lr:g}" for lr in advice.learning_rates)


def _rows(analysis: Analyzed) -> Iterator[tuple[str, str]]:
    answer = answer_of(analysis)
    if answer is None:
        yield from _rows_without_a_best(analysis)
        return
    entry, profile, seeds = answer.entry, answer.profile, answer.profile.loss.shape[1]
    equal = "equal for every seed" if analysis.sweep.unused_axes.repeated_seeds else "one seed"
    n_here = int(profile.n_seeds[np.flatnonzero(profile.learning_rates == profile.best_lr)[0]])
    lost = "the missing one" if seeds - n_here == 1 else "the missing ones"
    adjusted = f"mean of {n_here} of {seeds} seeds, corrected for {lost}"
    mean = equal if seeds == 1 else f"mean of {seeds} seeds" if n_here == seeds else adjusted
    value = profile.shown(profile.best_loss, named=True)
    yield "Best learning rate", f"{profile.best_lr:g}{_under(answer, analysis)}, {value} ({mean})"
    yield "As good", _as_good_text(profile, analysis.tolerance)
    if answer.tied:
        names = listed(e.schedule for e in answer.tied)
        yield "Tied schedules", f"{names}: no difference beyond the noise"
    elif seeds == 1 and _schedule_matters(analysis) and sum(e.profile is not None for e in analysis.schedules) > 1:
        yield "Schedules", "one seed cannot tell which one is lowest"
    if left := what_is_left(analysis):
        yield "Run next", left
    if OF_A_SEARCH in analysis.sweep.notes:
        return
    advice = entry.recommendation
    if advice is not None and (advice.trials_saved or not left):
        yield from _grid_rows(entry, advice)
    elif not left:
        yield from _missing_rows(entry)
    for other in () if left else answer.beyond:
        more = other.missing.needed if other.missing is not None else "a wider range"
        yield "Run too", f"{more}{under(other.schedule)}: its best is at the edge of the sweep"


def _as_good_text(profile: LearningRateProfile, tolerance: float) -> str:
    allowed = f"within {tolerance:.3g} of it"
    if as_good(profile, tolerance) == [(profile.best_lr, profile.best_lr)]:
        return f"no other learning rate of the sweep is {allowed}"
    return f"{spans(profile, tolerance)} ({allowed})"


def _grid_rows(entry: ScheduleAnalysis, advice: Recommendation) -> Iterator[tuple[str, str]]:
    if advice.trials_saved == 0 or entry.curve is None:
        yield "Next grid", f"keep this one: {_size(advice)} (ratio {advice.ratio:.4g})"
        yield "Why not coarser", keeping(advice)
        return
    yield "Next grid", f"{rates_text(advice)} (ratio {advice.ratio:.4g})"
    all_trials = int(entry.curve.block.n_seeds.sum())
    cost = f"costs at most {excess_text(advice.confidence_interval[1])} ({entry.curve.confidence_level:.0%} confidence)"
    yield "Saves", f"{advice.trials_saved} of {all_trials} trials{duration(advice.seconds_saved)}; {cost}"
    yield "Holds for", "new seeds of this task; other data, sizes or lengths need several sweeps"


def _size(advice: Recommendation) -> str:
    lrs = advice.learning_rates
    return f"{count_of(len(lrs), 'learning rate')} from {lrs[0]:g} to {lrs[-1]:g}"


def _missing_rows(entry: ScheduleAnalysis) -> Iterator[tuple[str, str]]:
    missing = entry.missing
    if missing is None:
        return
    yield "Run next", f"{missing.needed}{_such_as(missing.needed, entry)}"
    yield "Why", reason(entry.schedule, missing)
    guess = missing.estimate
    if isinstance(guess, Recommendation) and guess.trials_saved:
        grid = rates_text(guess) if len(guess.learning_rates) <= SHORT else _size(guess)
        yield "Until then", f"a guess from the means alone: {grid} (ratio {guess.ratio:.4g})"


def _such_as(needed: str, entry: ScheduleAnalysis) -> str:
    """The next learning rates beyond an edge as numbers, at the ratio of the grid there."""
    profile = entry.profile
    wanted = re.match(r"(\d+) learning rates? (above|below) ", needed)
    if wanted is None or profile is None or len(profile.learning_rates) < 2:
        return ""
    lrs, up = profile.learning_rates, wanted[2] == "above"
    edge, step = (lrs[-1], lrs[-1] / lrs[-2]) if up else (lrs[0], lrs[0] / lrs[1])
    return f": {', '.join(f'{edge * step**i:.4g}' for i in range(1, int(wanted[1]) + 1))}"


def _in_short(analysis: Analyzed) -> str:
    """The box of one group in one line."""
    answer = answer_of(analysis)
    if answer is None:
        (_, best), (_, more) = _rows_without_a_best(analysis)
        return f"{best}; run next: {more}"
    entry, advice = answer.entry, answer.entry.recommendation
    best = _best_and_as_good(answer, analysis)
    if advice is None or (analysis.sweep.n_left and not advice.trials_saved):
        needed = what_is_left(analysis) or (entry.missing.needed if entry.missing else "more")
        return f"{best}; run next: {needed}"
    grid = "keep the grid" if advice.trials_saved == 0 else f"next grid: {rates_text(advice)}"
    return f"{best}; {grid} (ratio {advice.ratio:.4g})"


def _best_and_as_good(answer: Answer, analysis: Analyzed) -> str:
    lr, profile = answer.profile.best_lr, answer.profile
    return f"{lr:g}{_under(answer, analysis)}; as good: {spans(profile, analysis.tolerance)}"


def _under(answer: Answer, analysis: Analyzed) -> str:
    return under(answer.entry.schedule) if _schedule_matters(analysis) else ""


def _schedule_matters(analysis: Analyzed) -> bool:
    """Whether some schedules differ in their losses, or there is only one."""
    sweep = analysis.sweep
    return len(sweep.schedules) == 1 or len(sweep.unused_axes.repeated_schedules) + 1 < len(sweep.schedules)


def _rows_without_a_best(analysis: Analyzed) -> tuple[tuple[str, str], tuple[str, str]]:
    entry = analysis.schedules[0]
    missing = entry.missing
    why, needed = (reason(entry.schedule, missing), missing.needed) if missing is not None else ("no result", "trials")
    return ("Best learning rate", f"none: {why}"), ("Run next", what_is_left(analysis) or needed)
