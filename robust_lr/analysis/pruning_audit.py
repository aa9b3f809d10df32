"""How often the middle of training misleads: learning rates ranked by intermediate losses, against their final ones."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .._checks import check_number
from .._tolerance import read_tolerance
from ..exceptions import InsufficientDataError
from ..loss_curves import LossCurve

SHARES = (0.3, 0.5, 0.7, 0.9)
FEWEST_RATES = 3


@dataclass(frozen=True, kw_only=True)
class EarlyRanking:
    """What choosing the learning rate at a share of the run would have done under one schedule.

    A search is all learning rates of one seed.

    Attributes:
        schedule: its name.
        share: the share of the run, 0 to 1.
        n_searches: the number of searches.
        n_wrong: those whose leader at this share ended worse than the best by more than the tolerance.
        mean_excess: final loss of the leader above that of the best, mean over the searches.
        worst_excess: its largest value; +inf if the leader diverged later.
        n_to_keep: so many learning rates must be kept at this share to keep the best one in every search.
    """

    schedule: str
    share: float
    n_searches: int
    n_wrong: int
    mean_excess: float
    worst_excess: float
    n_to_keep: int


@dataclass(frozen=True)
class RankingAudit:
    """How often ranking by intermediate losses would have been wrong; see `audit_ranking`.

    Attributes:
        figures: one entry for each schedule and share.
        tolerance: how much worse than the best counts as wrong; a share of the best final loss if it is relative.
        notes: what was left out.
    """

    figures: tuple[EarlyRanking, ...]
    tolerance: str
    notes: tuple[str, ...]

    def rows(self) -> tuple[list[str], list[list[str]]]:
        """Return header and rows of the table, for `robust_lr.report.console.print_rows`."""
        header = ["schedule", "of the run", "wrong", "mean excess", "worst excess", "keep for the best"]
        return header, [
            [
                each.schedule or "all runs", f"{each.share:.0%}", f"{each.n_wrong} of {each.n_searches}",
                f"{each.mean_excess:.4g}", f"{each.worst_excess:.4g}", str(each.n_to_keep),
            ]
            for each in self.figures
        ]  # fmt: skip

    def advice(self) -> str:
        """Return what follows, in a sentence or two."""
        worst = max(self.figures, key=lambda each: (each.n_wrong / each.n_searches, -each.share))
        if not worst.n_wrong:
            return (
                f"At {min(each.share for each in self.figures):.0%} of the run and later, the leading learning rate "
                f"always ended within {self.tolerance} of the best."
            )
        under = f" under {worst.schedule}" if worst.schedule else ""
        return (
            f"At {worst.share:.0%} of the run{under}, the leading learning rate ended worse than the best by more than "
            f"{self.tolerance} in {worst.n_wrong} of {worst.n_searches} searches. "
            "Rank whole runs only; shorter ones, if each anneals to its own end (horizons)."
        )


def audit_ranking(
    curves: Iterable[LossCurve], *, tolerance: float | str = "0.1%", shares: Sequence[float] = SHARES
) -> RankingAudit:
    """Return how often the learning rate that leads in the middle of training is not the best at its end.

    Under schedules that anneal, large learning rates look bad until the schedule lowers them.

    Args:
        curves: complete ones, and those that diverged; at least three learning rates of a seed.
        tolerance: how much worse than the best is no mistake: a number in units of the loss, or a share such as "1%" of
            the best final loss.
        shares: the shares of the run at which to rank, between 0 and 1.

    Raises:
        InsufficientDataError: when no seed has complete curves of three learning rates.
        OptionError: when an option is out of range.

    Example:
        >>> from robust_lr.loss_curves import LossCurve
        >>> curves = [
        ...     LossCurve(lr=lr, steps=(50, 100), losses=(1 + lr, 1 - lr), final=1 - lr) for lr in (0.1, 0.2, 0.4)
        ... ]
        >>> audit_ranking(curves, shares=[0.5]).figures[0].n_wrong
        1
    """
    allowed = read_tolerance(tolerance)
    shares = [check_number("a share", share, above=0, below=1) for share in shares]
    searches, notes = searches_of(curves)
    figures = [
        _figure(schedule, share, group, allowed.value, relative=allowed.relative)
        for schedule, group in searches.items()
        for share in shares
    ]
    shown = f"{100 * allowed.value:.2g}%" if allowed.relative else f"{allowed.value:.2g}"
    return RankingAudit(tuple(figures), shown, tuple(notes))


def searches_of(curves: Iterable[LossCurve]) -> tuple[dict[str, list[list[LossCurve]]], list[str]]:
    """Return the searches of each schedule, each with the curves of one seed, and notes on what was left out.

    Raises:
        InsufficientDataError: when no seed has complete curves of three learning rates.
    """
    by_seed: dict[tuple[str, str], list[LossCurve]] = defaultdict(list)
    for curve in curves:
        by_seed[curve.schedule, curve.seed].append(curve)
    usable: dict[str, list[list[LossCurve]]] = defaultdict(list)
    for (schedule, _), of_seed in by_seed.items():
        if len(of_seed) >= FEWEST_RATES and any(curve.ended for curve in of_seed):
            usable[schedule].append(of_seed)
    n_out, notes = len(by_seed) - sum(map(len, usable.values())), []
    if n_out:
        notes.append(f"searches left out because they have fewer than {FEWEST_RATES} curves or all diverged: {n_out}")
    if not usable:
        needed = f"{FEWEST_RATES} learning rates of a seed"
        raise InsufficientDataError(f"no seed has complete curves of {FEWEST_RATES} learning rates", needed=needed)
    ends = [{curve.steps[-1] for curve in of_seed if curve.ended} for each in usable.values() for of_seed in each]
    if any(len(steps) > 1 for steps in ends):
        notes.append("the curves end at different steps: those that stopped early are compared as if complete")
    return usable, notes


def _figure(
    schedule: str, share: float, searches: Sequence[Sequence[LossCurve]], tolerance: float, *, relative: bool
) -> EarlyRanking:
    n_wrong, excesses, ranks = 0, list[float](), list[int]()
    for curves in searches:
        best = min((curve for curve in curves if curve.ended), key=lambda curve: curve.final)
        step = share * max(curve.steps[-1] for curve in curves)
        at = {id(curve): curve.at(step) for curve in curves}
        leader = min(curves, key=lambda curve: (at[id(curve)], curve is not best))
        excess = leader.final - best.final if leader.ended else math.inf
        excesses.append(excess)
        n_wrong += excess > tolerance * (abs(best.final) if relative else 1)
        ranks.append(1 + sum(loss < at[id(best)] for loss in at.values()))
    return EarlyRanking(
        schedule=schedule,
        share=share,
        n_searches=len(searches),
        n_wrong=n_wrong,
        mean_excess=math.fsum(excesses) / len(excesses),
        worst_excess=max(excesses),
        n_to_keep=max(ranks),
    )
