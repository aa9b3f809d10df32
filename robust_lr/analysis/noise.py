"""The noise floor: how much the loss of one run differs from that of another one with the same settings."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .._checks import check_confidence_level
from ..exceptions import InsufficientDataError
from ..readers.runs import called
from ..sweep.results import SweepResult
from ._selection import LossBlock, loss_block

Array = NDArray[np.float64]

WINDOW, DEGREE = 5, 3  # a cubic through the five learning rates around the best leaves one residual
MEDIAN_OF_CHI2 = 0.45494  # with one degree of freedom
DF_OF_A_MEDIAN = 0.37  # degrees of freedom of a chi-square estimate that is as uncertain as the median of one residual
FEWEST_CURVES = 8


@dataclass(frozen=True)
class NoiseFloor:
    """The noise of one run under one schedule, at the best learning rates.

    Attributes:
        schedule: name of the schedule.
        sd: standard deviation of the loss of one run, in units of the loss.
        interval: its confidence interval.
        df: degrees of freedom of the estimate.
        shared: the part that a seed adds at all learning rates alike, which cancels when they are compared; NaN if
            unknown.
        n_sweeps: how many sweeps show the noise.
        source: "seeds" if repeated runs show it; "curves" if it is what one-seed sweeps deviate from smooth curves.
            That misses what neighboring learning rates share, and a rough curve counts as noise.
        confidence_level: of the interval.
    """

    schedule: str
    sd: float
    interval: tuple[float, float]
    df: float
    shared: float
    n_sweeps: int
    source: Literal["seeds", "curves"]
    confidence_level: float

    def __str__(self) -> str:
        low, high = self.interval
        sweeps = "" if self.n_sweeps == 1 else f" in {self.n_sweeps} sweeps"
        basis = f"one-seed runs around smooth curves{sweeps}" if self.source == "curves" else f"repeated runs{sweeps}"
        return (
            f"{called(self.schedule)}: runs differ by {_digits(self.sd)} [{_digits(low)}, {_digits(high)}] (standard "
            f"deviation, {self.df:.0f} degrees of freedom, from {basis})"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the attributes as JSON-able values; an unknown number is None."""
        return {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in asdict(self).items()}


def noise_floor(
    sweeps: SweepResult | Mapping[str, SweepResult], *, confidence_level: float = 0.95
) -> tuple[NoiseFloor, ...]:
    """Return the noise of one run for each schedule, at the best learning rates of one sweep or of several.

    Repeated runs show it: the noise is pooled over the learning rates near the best, and over the sweeps. If no sweep
    has any, the residuals of at least 8 one-seed sweeps show part of it: each is what the five losses around the best
    deviate from a cubic in the logarithm of the learning rate, and their median counts.

    Raises:
        InsufficientDataError: when no schedule has repeated runs, or enough sweeps.
        OptionError: when the confidence level is out of range.

    Example:
        >>> losses = [[[1.2, 1.1, 1.15], [1.0, 0.95, 0.9], [1.1, 1.0, 1.1]]]
        >>> sweep = SweepResult(("cosine",), [0.1, 0.2, 0.4], (0, 1, 2), losses)
        >>> print(*noise_floor(sweep))
        cosine: runs differ by 0.06 [0.034, 0.22] (standard deviation, 3 degrees of freedom, from repeated runs)
    """
    check_confidence_level(confidence_level)
    given = [sweeps] if isinstance(sweeps, SweepResult) else list(sweeps.values())
    found = [
        floor
        for name in dict.fromkeys(name for sweep in given for name in sweep.schedules)
        if (floor := floor_of(name, blocks_of(given, name), confidence_level)) is not None
    ]
    if not found:
        raise InsufficientDataError(
            "nothing shows the noise of a run: no learning rate was run twice",
            needed=f"a second seed at the best learning rates, or at least {FEWEST_CURVES} one-seed sweeps of "
            f"{WINDOW} learning rates (--group-by)",
        )
    return tuple(found)


def blocks_of(sweeps: Iterable[SweepResult], schedule: str) -> list[LossBlock]:
    """Return the losses of a schedule, of those sweeps that have some and in which a run converged."""
    return list(_blocks(sweeps, schedule))


def _blocks(sweeps: Iterable[SweepResult], schedule: str) -> Iterator[LossBlock]:
    for sweep in sweeps:
        if schedule in sweep.schedules:
            try:
                yield loss_block(sweep.without_repeated_seeds(), schedule)
            except InsufficientDataError:
                continue


def floor_of(schedule: str, blocks: Sequence[LossBlock], level: float) -> NoiseFloor | None:
    """Return the noise of these losses, None if nothing shows it."""
    parts = np.array([variance_of_run(block) for block in blocks if block.fit.df > 0]).reshape(-1, 3)
    if len(parts):
        variances, shared, dfs = parts.T
        weight = dfs / dfs.sum()
        return _floor(schedule, float(weight @ variances), float(dfs.sum()), float(weight @ shared), len(dfs), level)
    squares = [square for block in blocks if not math.isnan(square := _deviation(block))]
    if len(squares) < FEWEST_CURVES:
        return None
    variance = float(np.median(squares)) / MEDIAN_OF_CHI2
    return _floor(schedule, variance, DF_OF_A_MEDIAN * len(squares), math.nan, len(squares), level, "curves")


def _floor(
    schedule: str, variance: float, df: float, shared: float, n: int, level: float,
    source: Literal["seeds", "curves"] = "seeds",
) -> NoiseFloor:  # fmt: skip
    from scipy.special import gammaincinv

    low, high = (math.sqrt(variance * df / (2 * gammaincinv(df / 2, 0.5 + s * level / 2))) for s in (1, -1))
    return NoiseFloor(schedule, math.sqrt(variance), (low, high), df, math.sqrt(shared), n, source, level)


def variance_of_run(block: LossBlock) -> tuple[float, float, float]:
    """Return the variance of one run at the best learning rate, the part that a seed shares, and degrees of freedom."""
    fit, place = block.fit, int(np.cumsum(block.converged)[block.best]) - 1
    own, n_seeds = float(fit.variance[place]), len(block.seeds)
    if len(fit.mean) == 1:
        return own, math.nan, fit.df
    if fit.given_noise is not None:
        return fit.given_noise**2, math.nan, fit.df
    shared = float(np.var(fit.effect, ddof=1)) if n_seeds > 1 else 0.0
    # Satterthwaite: own noise is pooled over learning rates, what a seed shares is known from the seeds alone.
    # The trend of the noise is a local line: its slope costs the variance at one place a degree of freedom.
    own_df = max(fit.df - 1, fit.df / 2)
    spread = own**2 / own_df + shared**2 / max(n_seeds - 1, 1)
    return own + shared, shared, (own + shared) ** 2 / spread if spread else own_df


def _deviation(block: LossBlock) -> float:
    # Squared residual of a cubic, with one degree of freedom, in the window with the lowest mean: the residual does not
    # depend on that mean, but it would on a window around the lowest loss, which is lucky. NaN if there is no window.
    lrs, mean = block.learning_rates[block.converged], block.fit.mean
    if len(lrs) < WINDOW:
        return math.nan
    first = int(np.convolve(mean, np.ones(WINDOW), "valid").argmin())
    x, y = np.log(lrs[first : first + WINDOW]), mean[first : first + WINDOW]
    powers = np.vander((x - x.mean()) / (x[-1] - x[0]), DEGREE + 1)
    return float(np.sum((y - powers @ np.linalg.lstsq(powers, y, rcond=None)[0]) ** 2))


def _digits(value: float) -> str:
    return f"{value:.2g}"
