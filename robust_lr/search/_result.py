"""The result of a learning-rate search, and its description in words."""

from __future__ import annotations

import html
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from itertools import pairwise
from typing import Any, Literal

from .._metrics import Direction, quantity
from .._text import count_of, listed
from ._observations import Observation

SCHEMA_VERSION = 1
# The estimate of further trials against noise ends here.
MOST_TRIALS_NEEDED = 1000
# A stretch of a decade without a trial can hold a valley of its own.
_WIDE = 10 * (1 - 1e-9)

Stop = Literal[
    "tolerance",
    "steps",
    "noise-limited",
    "max_trials",
    "assumption-violation",
    "diverged",
    "edge",
    "resolution",
    "failures",
    "horizons",
]


@dataclass(frozen=True, kw_only=True, repr=False)
class SearchResult:
    """The result of a learning-rate search, final or so far; ``print(result)`` describes it.

    Attributes:
        lr: the best learning rate tried; NaN while none has a finite loss.
        loss: its mean loss; +inf while there is none.
        excess_bound: `loss` exceeds the loss of any learning rate in the range by at most this much, under the
            assumption in `bound_note`; None when there is no bound.
        bound_note: the conditions of the bound, or why there is none.
        n_trials: the number of results, "ok" and "diverged".
        stop: why the search stopped; None while it continues.

            - "tolerance": nothing in the range is better by more than the tolerance;
            - "steps": the metric moves in steps, as accuracy does, so there is no bound;
            - "noise-limited": the noise hides any remaining gain;
            - "max_trials": all trials are used;
            - "assumption-violation": the data contradict one valley; the search tried the full coarse grid, and
              searched the valley of the best;
            - "diverged": every learning rate diverged;
            - "edge": the loss still falls at an end of the range, and nothing bounds it there;
            - "resolution": any better learning rate is too close to one already tried;
            - "failures": trials at three learning rates failed, or the failures leave nothing to try;
            - "horizons": shorter trainings and this length together tell enough; see `reason`.
        reason: the same in words; empty while the search continues.
        good_interval: (lowest, highest) learning rate around `lr` whose loss exceeds `loss` by at most the tolerance.
            Conservative: between two measured learning rates it ends where their chord reaches that loss, and a convex
            curve lies below its chords. None without an `lr`.
        best_interval: (lowest, highest) learning rate between which the best one lies, under the assumption in
            `bound_note`: all others are worse than `lr`. None when there is no bound.
        noise: the standard deviation of the loss over seeds, given or measured by repeats; None while unknown, 0 if
            every repeat gave the same loss to the last bit.
        cliff: the smallest learning rate above `lr` that diverged, or whose loss exploded; else None.
        assumption_violation: why the losses do not form one valley, in words; None if they may.
        failed: the learning rates that were given up, ascending.
        history: every observation, in the order in which they came. A result replaces a failure at its learning rate.
        tolerance: the tolerance as a loss; a share refers to the best loss so far.
        lr_range: (smallest, largest) learning rate that the bound covers, extensions included.
        edge: "lower" or "upper" if the best lies on that end of the range and one coarse step beyond it could gain
            more than the tolerance; else None.
        schedule: the spec of the schedule of the trials, if given.
        direction: "maximize" if each loss is the negative of a score; texts and plots then show the score.
        seeds: the seeds of the trials, ascending; empty if the search did not choose them.
        notes: caveats on what was optimized, and on the prior.
        claim: what carries the bound: "convexity" (the secants, under the assumption in `bound_note`), or "prior" (what
            earlier sweeps show of such searches); None without a bound.
        probability: of a claim by the prior: the share of sweeps like the earlier ones in which it is true.
        total_steps: the steps of each training, if given.
        shorter: the results at the shorter horizons of this search, ascending in their steps.
        trials_needed: of a search that stopped as "noise-limited": about how many further trials would bring the bound
            to the tolerance, at most 1000; else None.
    """

    lr: float
    loss: float
    excess_bound: float | None
    bound_note: str
    n_trials: int
    stop: Stop | None
    reason: str
    good_interval: tuple[float, float] | None
    best_interval: tuple[float, float] | None
    noise: float | None
    cliff: float | None
    assumption_violation: str | None
    failed: tuple[float, ...]
    history: tuple[Observation, ...]
    tolerance: float
    lr_range: tuple[float, float]
    edge: Literal["lower", "upper"] | None
    schedule: str | None
    direction: Direction = "minimize"
    seeds: tuple[int, ...] = field(default=(), compare=False)
    notes: tuple[str, ...] = ()
    claim: Literal["convexity", "prior"] | None = None
    probability: float | None = None
    total_steps: int | None = None
    shorter: tuple[SearchResult, ...] = ()
    trials_needed: int | None = None

    @property
    def cost(self) -> float:
        """The cost of all trials, in trainings of full length."""
        steps = self.total_steps or 1
        return self.n_trials + math.fsum(each.n_trials * (each.total_steps or steps) / steps for each in self.shorter)

    @property
    def untried(self) -> tuple[float, float] | None:
        """The widest stretch of the range without a trial, if it is a decade or wider and `excess_bound` covers it.

        A second valley there would go unseen. Above a learning rate that diverged there is none.
        """
        if self.excess_bound is None:
            return None
        tried = [each.lr for each in self.history if each.status != "failed"]
        low, high = max(pairwise(sorted({*self.lr_range, *tried})), key=lambda pair: pair[1] / pair[0])
        is_dead = any(each.status == "diverged" and each.lr <= low for each in self.history)
        return (low, high) if high / low >= _WIDE and not is_dead else None

    def shown(self, loss: float) -> float:
        """Return a loss as people read it: a score, if a larger value is better."""
        return -loss if self.direction == "maximize" else loss

    def to_dict(self) -> dict[str, Any]:
        """Return the attributes as JSON-able values; a number that is not finite is None."""
        shorter = [each.to_dict() for each in self.shorter]
        plain = {each.name: _plain(getattr(self, each.name)) for each in fields(self) if each.name != "shorter"}
        derived = {
            "notes": [*self.notes, *_unused_axes(self)],
            "shorter": shorter,
            "cost": self.cost,
            "untried": _plain(self.untried),
        }
        return {"schema": SCHEMA_VERSION} | plain | derived

    def __str__(self) -> str:
        return "\n".join(result_lines(self))

    def __repr__(self) -> str:
        fields = ("lr", "loss", "n_trials", "excess_bound", "stop")
        return f"SearchResult({', '.join(f'{name}={getattr(self, name)!r}' for name in fields)})"

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"


def _plain(value: Any) -> Any:
    if isinstance(value, Observation):
        return {name: _plain(each) for name, each in asdict(value).items()}
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def result_lines(result: SearchResult, option: Callable[[str], str] = str) -> list[str]:
    """Return the description of a result: the headline, the findings, and a table of what was tried."""
    rows = [("learning rate", quantity(result.direction), "")]
    rows += [(f"{lr:.4g}", loss, mark) for lr, loss, mark in tried_rows(result)]
    width = max(len(loss) for _, loss, _ in rows)
    table = ["", *(f"{lr:>13}  {loss:<{width}}  {mark}".rstrip() for lr, loss, mark in rows)]
    return [search_headline(result), *search_sentences(result, option), *(table if result.history else [])]


def search_headline(result: SearchResult) -> str:
    """Return the finding in one line.

    Example:
        >>> from robust_lr.search import LearningRateSearch
        >>> search_headline(LearningRateSearch(1e-3, 0.1, tolerance=0.005).result)
        'No learning rate has a finite loss yet (0 trials)'
    """
    trials, what = count_of(result.n_trials, "trial"), quantity(result.direction)
    if result.shorter:
        n_shorter = sum(each.n_trials for each in result.shorter)
        trials += f" of full length and {n_shorter} shorter, at the cost of {result.cost:.2g} full-length trainings"
    if math.isnan(result.lr):
        return f"No learning rate has a finite {what}{' yet' if result.stop is None else ''} ({trials})"
    return f"Best learning rate: {result.lr:.4g} ({what} {result.shown(result.loss):.6g}, {trials})"


def search_sentences(result: SearchResult, option: Callable[[str], str] = str) -> list[str]:
    """Return the other findings of a search, final or so far, one sentence per item; for `option` see `what_next`."""
    sentences = [*(f"Note: {note}." for note in (*result.notes, *_unused_axes(result))), _bound(result)]
    if result.stop is not None and (unseen := result.untried) is not None:
        sentences.append(
            f"Between {unseen[0]:.4g} and {unseen[1]:.4g} nothing was tried: a second valley there would go unseen."
        )
    sentences += [
        f"At {each.total_steps} steps the best was {each.lr:.4g}, of {count_of(each.n_trials, 'trial')}."
        for each in result.shorter
    ]
    sentences += [*_where_the_best_is(result), *_where_it_is_good(result)]
    if result.noise:
        sentences.append(f"Seeds differ by about {result.noise:.2g} (standard deviation).")
    if setting := search_setting(result):
        sentences.append(f"{setting[0].upper()}{setting[1:]}.")
    if result.cliff is not None:
        sentences.append(f"Training breaks at {result.cliff:.4g}, {result.cliff / result.lr:.2g} times the best.")
    if result.edge is not None:
        sentences.append(f"The best lies on the {result.edge} end of the range: look beyond it.")
    if result.failed and result.stop != "failures":
        them = "it" if len(result.failed) == 1 else "them"
        failed = listed(f"{lr:.4g}" for lr in result.failed)
        sentences.append(f"Trials at lr = {failed} failed; the search left {them} out.")
    if result.stop is not None:
        # The bound's sentence has already said why there is none.
        reason = result.reason.removeprefix(f"{result.assumption_violation}; ")
        if _is_claimed_by_horizons(result):
            reason = "the shorter trainings leave nothing more to try at full length"
        sentences.append(f"Stopped: {reason}.")
        sentences.append(f"For more: {what_next(result, option)}.")
    return sentences


def search_setting(result: SearchResult) -> str:
    """Return the schedule, the seeds and the direction of a search, as far as they are known."""
    schedule = "" if result.schedule is None else f"schedule {result.schedule}, "
    if result.total_steps is not None:
        schedule += f"{result.total_steps} steps, "
    if not result.seeds:
        return schedule.removesuffix(", ")
    first, last = result.seeds[0], result.seeds[-1]
    seeds = f"seed {first}" if first == last else f"seeds {first} to {last}"
    return f"{schedule}{seeds}, {result.direction} the {quantity(result.direction)}"


def what_next(result: SearchResult, option: Callable[[str], str] = str) -> str:
    """Return what to run for more, in words.

    Args:
        result: the result of a search that is over.
        option: writes the name of an option, as in Python by default.
    """
    tolerance, metric = option("tolerance"), quantity(result.direction)
    met = "" if result.excess_bound is None else f", or accept a {tolerance} of {rounded_up(result.excess_bound)}"
    return {
        "tolerance": f"a smaller {tolerance} continues from these trials",
        "steps": f"search by a smooth {metric}, such as cross-entropy, or compare learning rates near the best on more "
        f"data and seeds",
        "noise-limited": f"{_more_trials(result, option)}return the mean over several seeds from each training{met}",
        "max_trials": f"a larger {option('max_trials')}{met}",
        "assumption-violation": f"plot the {metric} against the learning rate, and search each valley on its own",
        "diverged": f"a smaller {option('lr_min')}",
        "edge": f"a range beyond {result.lr_range[result.edge == 'upper']:.4g}",
        "resolution": f"a larger {tolerance}: this one takes learning rates closer than half a percent",
        "horizons": f"keep {option('total_steps')} and leave out {option('horizons')}: an ordinary search proves a "
        f"bound, from these trials of full length and some more",
        "failures": "mend what fails, then search again: the trials that ended are kept in the journal; if a learning "
        "rate was too large, return NaN or raise TrialDiverged there",
    }[result.stop or "max_trials"]


def _more_trials(result: SearchResult, option: Callable[[str], str]) -> str:
    n = result.trials_needed or MOST_TRIALS_NEEDED
    return f"allow about {n} more trials with {option('noise_trials')} {n}, " if n < MOST_TRIALS_NEEDED else ""


def tried_rows(result: SearchResult) -> list[tuple[float, str, str]]:
    """Return (learning rate, its losses or its status, "best" or "bracket"), ascending."""
    told: dict[float, list[str]] = {}
    for each in sorted(result.history, key=lambda each: each.lr):
        told.setdefault(each.lr, []).append(f"{result.shown(each.loss):.6g}" if each.status == "ok" else each.status)
    lrs = list(told)
    at = lrs.index(result.lr) if result.lr in told else -2
    marks = {lr: "best" if i == at else "bracket" for i, lr in enumerate(lrs) if abs(i - at) <= 1}
    return [(lr, " ".join(losses), marks.get(lr, "")) for lr, losses in told.items()]


def _unused_axes(result: SearchResult) -> list[str]:
    """Axes without effect: equal losses, to the last bit, at all learning rates or for all seeds."""
    by_lr: dict[float, list[float]] = {}
    for each in result.history:
        if each.status != "failed":
            by_lr.setdefault(each.lr, []).append(each.loss)
    losses = [losses[0] for losses in by_lr.values()]
    notes = []
    if len(losses) > 2 and len(set(losses)) == 1 and math.isfinite(losses[0]):
        notes.append(
            f"all {len(losses)} learning rates have the same loss to the last bit: the training seems to ignore its "
            "learning rate, so nothing follows from this search"
        )
    repeated = [losses for losses in by_lr.values() if len(losses) > 1 and math.isfinite(losses[0])]
    if repeated and all(len(set(losses)) == 1 for losses in repeated):
        notes.append(
            "repeats have the same loss to the last bit: the training seems to ignore its seed, so nothing is known "
            "about the noise between seeds"
        )
    return notes


def gain_so_far(result: SearchResult) -> str:
    """Return what any other learning rate can still gain, as half a sentence; "" without a bound."""
    if result.excess_bound is None:
        return ""
    condition = "" if _knows_noise(result) else "if there is no noise, "
    return f"{condition}nothing is better by more than {rounded_up(result.excess_bound)}"


def _knows_noise(result: SearchResult) -> bool:
    return result.noise is not None or result.claim == "prior"


def _is_claimed_by_horizons(result: SearchResult) -> bool:
    return result.stop == "horizons" and result.excess_bound is None


def _where_the_best_is(result: SearchResult) -> list[str]:
    if result.best_interval is None:
        return []
    low, high = (f"{lr:.4g}" for lr in result.best_interval)
    where = f"between {low} and {high}" if low != high else f"at {low}"
    optimum = "The true optimum" if _knows_noise(result) else "If there is no noise, the true optimum"
    return [f"{optimum} lies {where}; the best one tried is {result.lr:.4g}."]


def _where_it_is_good(result: SearchResult) -> list[str]:
    """The interval around the best in which the loss is as good; others may be, so the sentence says "surely"."""
    if result.good_interval is None:
        return []
    low, high = (f"{lr:.4g}" for lr in result.good_interval)
    what, tolerance = quantity(result.direction), f"within {rounded_up(result.tolerance)} of the best tried"
    if low == high:  # the best itself, which needs no words
        return [f"The noise hides which others are {tolerance}."] if result.noise else []
    conditions = ["there is no noise"] * (not _knows_noise(result))
    conditions += [f"the {what} is smooth there"] * (result.claim != "convexity")
    where = f"if {listed(conditions)}, from {low} to {high}" if conditions else f"from {low} to {high}"
    beyond = "the noise hides how far this goes" if result.noise else "others may be, too"
    return [f"{where[0].upper()}{where[1:]} the {what} is surely {tolerance}; {beyond}."]


def _bound(result: SearchResult) -> str:
    if _is_claimed_by_horizons(result):
        return f"{result.reason[0].upper()}{result.reason[1:]}."
    if result.excess_bound is None:
        return f"How much another learning rate could gain is unknown: {result.bound_note}."
    low, high = result.lr_range
    return (
        f"No learning rate from {low:.4g} to {high:.4g} is better by more than {rounded_up(result.excess_bound)}, "
        f"{result.bound_note}."
    )


def rounded_up(loss: float) -> str:
    """A loss with two digits, rounded up, so that a bound stays a bound."""
    if not 0 < loss < math.inf:
        return f"{loss:g}"
    unit = 10.0 ** (math.floor(math.log10(loss)) - 1)
    if not unit:
        return f"{loss:.2g}"
    return f"{math.ceil(loss / unit * (1 - 1e-9)) * unit:.2g}"
