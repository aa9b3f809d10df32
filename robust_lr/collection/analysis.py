"""The complete analysis of a collection as one value, which the command line prints and the report shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from .._checks import check_number
from .._page import to_html, to_markdown, to_text
from .._text import count_of
from .._tolerance import read_tolerance
from ..analysis._as_dict import plain_values
from ..exceptions import InsufficientDataError
from ._excess import COARSER, NOT_TRIED, SweepExcess, sweep_excess
from .paired import PairedSchedules, pair_schedules
from .pooled import PooledRecommendation, pool_sweeps
from .sweeps import SweepCollection

DEFAULT_TOLERANCE = "1%"
FEWEST_SWEEPS = 2


@dataclass(frozen=True, eq=False, repr=False)
class CollectionAnalysis:
    """What many sweeps say about the next one of their kind; ``print`` shows it as tables and sentences.

    Attributes:
        collection: the sweeps.
        pooled: the recommendation under each schedule, in the order of the collection; a schedule that fewer than two
            sweeps can judge has none.
        pairs: which schedule ends lower, for each two of them that some sweep has both.
    """

    collection: SweepCollection
    pooled: tuple[PooledRecommendation, ...]
    pairs: tuple[PairedSchedules, ...]

    @property
    def answer(self) -> PooledRecommendation:
        """The recommendation to follow: of the schedules that none ends below beyond the noise, the one with the fewest
        trials. One that was tried on coarser grids only does not win by that."""
        beaten = {pair.higher for pair in self.pairs if not pair.tied}
        left = [each for each in self.pooled if each.schedule not in beaten]
        finest = min(each.ratios[0].ratio for each in left)
        return min((each for each in left if each.ratios[0].ratio < COARSER * finest), key=lambda each: each.n_trials)

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as JSON-able values (docs/reference/analysis-json.md). Non-finite numbers are None."""
        content: dict[str, Any] = plain_values({
            **_pooled_dict(self.answer),
            "schedules": [_pooled_dict(each) for each in self.pooled],
            "comparison": [vars(pair) | {"tied": pair.tied} for pair in self.pairs],
        })  # fmt: skip
        return content

    def __repr__(self) -> str:
        return f"CollectionAnalysis({self.collection.describe()}; {self.answer})"

    def __str__(self) -> str:
        """The tables and sentences that ``robust-lr analyze --group-by`` prints."""
        from ..report.pooled_text import collection_blocks

        return to_text(collection_blocks(self))

    def _repr_html_(self) -> str:
        from ..report.pooled_text import collection_blocks

        return to_html(collection_blocks(self))

    def to_markdown(self) -> str:
        """Return the answer and the tables as Markdown."""
        from ..report.pooled_text import collection_blocks

        return to_markdown(collection_blocks(self))


def analyze_collection(
    collection: SweepCollection,
    *,
    tolerance: float | str = DEFAULT_TOLERANCE,
    confidence_level: float = 0.95,
    cluster_by: Sequence[str] | None = None,
) -> CollectionAnalysis:
    """Recommend a grid for the next sweep of the same kind, by what coarser grids cost in each sweep.

    The sweeps are the replicates, so one seed in each is enough; with several, the excess of a sweep is scored on
    held-out seeds. Sweeps may be alike, so that the bounds count clusters of them; see docs/how-to/many-sweeps.md.

    Args:
        collection: at least two sweeps with three learning rates each under the same schedule.
        tolerance: how much worse a sweep may end on a coarser grid than on its full one: a positive number in units of
            the loss, or a text such as "1%" of the lowest loss of each sweep.
        confidence_level: share of further sweeps that stay within the bounds, and level of the intervals; at least 0.5.
        cluster_by: covariates within whose values sweeps may be alike; () if each sweep is independent. By default
            those that explain best how the excess varies from sweep to sweep.

    Raises:
        InsufficientDataError: when no schedule has two such sweeps.
        DataError: when there is no such covariate.
        OptionError: when the tolerance or the confidence level is out of range.

    Example:
        >>> import numpy as np
        >>> from robust_lr import SweepCollection, SweepResult
        >>> lrs, at = 1e-3 * 2.0 ** np.arange(-5, 6), np.linspace(-1, 1, 24)
        >>> curves = [2 + 0.01 * (np.log2(lrs / 1e-3) - shift) ** 2 for shift in at]
        >>> sweeps = [SweepResult(("cosine",), lrs, (0,), curve[None, :, None]) for curve in curves]
        >>> collection = SweepCollection.from_sweeps([({"run": i}, sweep) for i, sweep in enumerate(sweeps)])
        >>> print(analyze_collection(collection, tolerance=0.05).answer)
        cosine: ratio 16, 3 trials, excess loss at most 0.0432 in 95% of sweeps
    """
    check_number("confidence_level", confidence_level, above=0.5, below=1)
    allowed = read_tolerance(tolerance)
    if cluster_by is not None:
        collection.clusters(cluster_by)
    by_schedule = list(_by_schedule(collection))
    pooled = tuple(
        pool_sweeps(
            found, name, tolerance=allowed, share=confidence_level, cluster_by=cluster_by, left_out=left_out
        )
        for name, found, left_out in by_schedule
        if len(found) >= FEWEST_SWEEPS
    )  # fmt: skip
    if not pooled:
        n_out = Counter[str]()
        for *_, left_out in by_schedule:
            n_out |= Counter(left_out)
        why = "".join(f"; {count_of(n, 'sweep')} left out: {reason}" for reason, n in n_out.items())
        raise InsufficientDataError(
            f"no schedule has two sweeps of three learning rates with a result{why}",
            needed="more sweeps, or more learning rates in each",
        )
    return CollectionAnalysis(collection, pooled, pair_schedules(pooled, confidence_level))


def _by_schedule(collection: SweepCollection) -> Iterator[tuple[str, list[SweepExcess], dict[str, int]]]:
    for name in collection.schedules:
        each = [sweep_excess(member, name) for member in collection]
        reasons = Counter(why for why in each if isinstance(why, str) and why != NOT_TRIED)
        yield name, [found for found in each if isinstance(found, SweepExcess)], dict(reasons)


def _pooled_dict(found: PooledRecommendation) -> dict[str, Any]:
    names = (
        "schedule", "tolerance", "relative", "share", "ratio", "n_trials", "n_trials_full", "bound", "n_sweeps",
        "n_clusters", "cluster_by", "why", "warnings",
    )  # fmt: skip
    return {name: getattr(found, name) for name in names} | {
        "learning_rates": found.learning_rates.tolist(),
        "lr_range": list(found.lr_range),
        "left_out": dict(found.left_out),
        "quantiles": [vars(row) for row in found.ratios],
        "sweeps": [
            {
                "label": each.sweep.label,
                "covariates": dict(each.sweep.covariates),
                "best_lr": each.best_lr,
                "best_loss": each.best_loss,
                "edge": each.edge or None,
                "excess": [found.excess_of(each, row.ratio) for row in found.ratios],
            }
            for each in found.sweeps
        ],
    }
