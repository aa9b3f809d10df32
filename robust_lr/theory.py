"""Convex theory of schedules: how much worse a bound gets if the learning rate is off by a factor.

Everything here is a worst case over convex problems: a bound, not a prediction; on the suboptimality ``f - f*``, not
on the loss itself; and without the stability cliff that limits the learning rates of a real network. So the theory
plans the first grid, and the measured curve decides.

Setting: (projected) SGD ``x_{t+1} = P(x_t - eta h_t g_t)``, ``t = 0 .. T-1``, on a convex f over a set of diameter D,
``E|g_t|**2 <= G**2``; eta is the peak learning rate and h_t the multiplier of the schedule. For every start k the steps
from k on are a run of their own, and its last iterate obeys::

    E f(x_{T-1}) - f* <= B_k(eta) = D**2 / (2 eta S_k) + (eta G**2 / 2) q_k
    S_k = sum_{t>=k} h_t,  V_k = sum_{t>=k} h_t**2,  q_k = V_k / S_k + sum_{j=k}^{T-2} (h_j / S_{j+1}) (V_j / S_j)

The least of them, ``B(eta) = min_k B_k(eta)``, is why annealing is robust: when eta is too large, the steps at the end,
where h has decayed, act as a tuned run. Everything else here follows from B.

Two arguments are the same everywhere. `schedule` is a spec (``"cosine"``), a `Schedule`, or a 1-D array of T
multipliers: finite, >= 0, the largest in [1e-100, 1e100]. `total_steps` is T, a whole number >= 1; it may be left out
for an array and is its length otherwise. Steps at the end that vanish in the rounding of a step before them (zeros,
say) count as not taken: the run ends sooner. A last step that is small but not that small (1e-8 after 1e-3) is taken at
its word and spoils the bound of every suffix, by ``h_j**2 / S_{j+1}``; leave it out of an array. Whatever is out of
range raises `ScheduleError`, a ValueError.

Sources: the last-iterate bound is A. Defazio, A. Cutkosky, H. Mehta, K. Mishchenko, arXiv:2310.07831, Theorem 10, used
for whole schedules by F. Schaipp et al., arXiv:2501.18965, Theorem 1. The minimum over suffixes and the robustness
exponents are A. Attia, T. Koren, "Learning Rate Annealing Improves Tuning Robustness in Stochastic Optimization",
arXiv:2503.09411.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._checks import check_number, check_whole
from .exceptions import ScheduleError
from .schedules.closed_forms import Schedule
from .schedules.specs import parse_schedule

ScheduleLike: TypeAlias = str | Schedule | ArrayLike

# A multiplier this far below the peak is zero here, and a peak this far from 1 is refused: nothing leaves the floats.
_MOST_STEPS = 10**8
_TINY = 1e-100


@dataclass(frozen=True, eq=False)
class SuffixBounds:
    """The two coefficients of every suffix's bound ``B_k(eta) = D**2 / (2 eta S_k) + (eta G**2 / 2) q_k``.

    Attributes:
        step_sum: S_k, the sum of the multipliers from step k on, shape (T,), read-only; 0 where no step is left.
        noise: q_k, the weight of the gradient noise, shape (T,), read-only; +inf where S_k is 0.
    """

    step_sum: NDArray[np.float64]
    noise: NDArray[np.float64]


@dataclass(frozen=True)
class TunedBound:
    """The bound at the best learning rate.

    Attributes:
        start: k* = argmin_k q_k / S_k, the step at which the best suffix starts; mostly 0.
        learning_rate: eta* = (D/G) / sqrt(S_k* q_k*), the peak learning rate that minimizes B.
        bound: B(eta*) = D G sqrt(q_k* / S_k*).
    """

    start: int
    learning_rate: float
    bound: float


@dataclass(frozen=True)
class GridGuarantee:
    """The bound of the better of two neighboring grid points, as a multiple of the bound of the tuned learning rate.

    A ratio of two upper bounds over convex problems: on a single problem, f - f* may grow by a larger factor.

    Attributes:
        ratio: r, the factor between the neighbors.
        worst: W(r), for the worst position of the optimum between them.
        mean: the average over positions of the optimum, uniform in log learning rate.
    """

    ratio: float
    worst: float
    mean: float


def suffix_bounds(schedule: ScheduleLike, *, total_steps: int | None = None) -> SuffixBounds:
    """Return S_k and q_k (both defined at the top of the module) for every start k, in O(T).

    Args:
        schedule: a spec, a `Schedule`, or an array (T,) of multipliers (see the module).
        total_steps: T >= 1; may be left out for an array.

    Raises:
        ScheduleError: when an argument is not what is described here.

    Example:
        >>> suffix_bounds([1.0, 1.0, 0.5])
        SuffixBounds(step_sum=array([2.5, 1.5, 0.5]), noise=array([3.16666667, 2.5       , 0.5       ]))
    """
    h = _multipliers(schedule, total_steps)
    step_sum = np.cumsum(h[::-1])[::-1]  # S_k
    after = np.append(step_sum[1:], 0.0)  # S_{k+1}
    last = int(np.argmax((h > 0) & (h + after == h)))
    step_sum[last + 1 :] = 0.0
    # With V_k = V_{k+1} + h_k**2 and S_k = S_{k+1} + h_k, the q_k of arXiv:2310.07831, Theorem 10, simplifies to
    # q_k = q_{k+1} + h_k**2 / S_{k+1} and q_last = h_last: a sum of positive terms.
    noise = np.full(len(h), np.inf)
    noise[last] = h[last]
    noise[:last] = h[:last] * (h[:last] / after[:last])
    noise[: last + 1] = np.cumsum(noise[last::-1])[::-1]
    for array in (step_sum, noise):
        array.setflags(write=False)
    return SuffixBounds(step_sum, noise)


def tuned_bound(
    schedule: ScheduleLike, *, total_steps: int | None = None, diameter: float = 1.0, gradient_bound: float = 1.0
) -> TunedBound:
    """Return k*, eta* and B(eta*) = min over eta of B(eta).

    Args:
        schedule: a spec, a `Schedule`, or an array (T,) of multipliers (see the module).
        total_steps: T >= 1; may be left out for an array.
        diameter: D > 0, of the set over which f is minimized.
        gradient_bound: G > 0, with E|g|**2 <= G**2.

    Raises:
        ScheduleError: when an argument is not what is described here.

    Example:
        >>> tuned_bound([1.0, 1.0, 1.0, 1.0], diameter=2.0).start
        0
    """
    check_number("diameter", diameter, error=ScheduleError, above=0)
    check_number("gradient_bound", gradient_bound, error=ScheduleError, above=0)
    return _tuned(suffix_bounds(schedule, total_steps=total_steps), diameter, gradient_bound)


def last_iterate_bound(
    schedule: ScheduleLike,
    learning_rate: ArrayLike,
    *,
    total_steps: int | None = None,
    diameter: float = 1.0,
    gradient_bound: float = 1.0,
) -> NDArray[np.float64]:
    """Return ``B(eta) = min_k B_k(eta)``, a bound on E f(x_{T-1}) - f*, shaped like `learning_rate`.

    Args:
        schedule: a spec, a `Schedule`, or an array (T,) of multipliers (see the module).
        learning_rate: eta, finite and > 0, of any shape.
        total_steps: T >= 1; may be left out for an array.
        diameter: D > 0, of the set over which f is minimized.
        gradient_bound: G > 0, with E|g|**2 <= G**2.

    Raises:
        ScheduleError: when an argument is not what is described here.

    Example:
        >>> last_iterate_bound("linear", [0.01, 0.1, 1.0], total_steps=100).round(3)
        array([1.001, 0.204, 0.436])
    """
    check_number("diameter", diameter, error=ScheduleError, above=0)
    check_number("gradient_bound", gradient_bound, error=ScheduleError, above=0)
    eta = _positive("learning_rate", learning_rate)
    suffixes = suffix_bounds(schedule, total_steps=total_steps)
    tuned = _tuned(suffixes, diameter, gradient_bound)
    return np.asarray(tuned.bound * _relative_bound(suffixes, eta / tuned.learning_rate))


def misspecification_curve(
    schedule: ScheduleLike, rho: ArrayLike, *, total_steps: int | None = None
) -> NDArray[np.float64]:
    """Return ``R(rho) = B(rho eta*) / B(eta*) >= 1``, the cost of a learning rate off by the factor rho; free of D, G.

    A learning rate that is too large (rho > 1) costs about rho**(1/(2p+1)) under a schedule that decays to zero with
    degree p, and about rho (up to log factors) under one that does not. One that is too small costs at most
    ``(rho + 1/rho) / 2``: exactly that if the whole run is the best suffix (`TunedBound.start` is 0), less otherwise,
    as under inverse-sqrt. R rises away from 1, but can dip again under a schedule that drops in jumps, or if only the
    last few steps still act.

    Args:
        schedule: a spec, a `Schedule`, or an array (T,) of multipliers (see the module).
        rho: the learning rate over the tuned one, finite and > 0, of any shape; so is the curve.
        total_steps: T >= 1; may be left out for an array.

    Raises:
        ScheduleError: when an argument is not what is described here.

    Example:
        >>> misspecification_curve("cosine", [0.1, 1, 10, 100], total_steps=10_000).round(4)
        array([5.05  , 1.    , 1.7441, 2.8116])
    """
    return _relative_bound(suffix_bounds(schedule, total_steps=total_steps), _positive("rho", rho))


def robustness_exponent(schedule: ScheduleLike, *, total_steps: int | None = None) -> float:
    """Return the least-squares slope of log R(rho) on log rho over 41 log-spaced rho in [10, 100]; smaller is better.

    Without a decay to zero it approaches its limit 1 only logarithmically (constant: 0.79 at T = 10**5), so report
    `asymptotic_exponent` beside it.

    Args:
        schedule: a spec, a `Schedule`, or an array (T,) of multipliers (see the module).
        total_steps: T >= 1; may be left out for an array.

    Raises:
        ScheduleError: when an argument is not what is described here.

    Example:
        >>> round(robustness_exponent("linear", total_steps=100_000), 3)
        0.334
    """
    rho = np.geomspace(10.0, 100.0, 41)
    cost = misspecification_curve(schedule, rho, total_steps=total_steps)
    return float(np.polyfit(np.log(rho), np.log(cost), 1)[0])


def asymptotic_exponent(schedule: str | Schedule) -> float:
    """Return s of R(rho) ~ rho**s as T and rho grow: 1/(2p+1) for a decay to zero of degree p, 1 without one.

    A grid of ratio r then guarantees W(r) ~ r**(s/(1+s)), from arXiv:2503.09411. The degree is `Schedule.degree`; an
    array has none and is refused, so wrap it in ``TableSchedule(values, degree=p)``.

    Args:
        schedule: a spec or a `Schedule`.

    Raises:
        ScheduleError: when an argument is not what is described here.

    Example:
        >>> asymptotic_exponent("cosine"), asymptotic_exponent("cosine(floor=0.1)")
        (0.2, 1.0)
    """
    degree = parse_schedule(schedule).degree
    return 1.0 if degree is None else 1.0 / (2.0 * degree + 1.0)


def grid_guarantee(schedule: ScheduleLike, ratio: float, *, total_steps: int | None = None) -> GridGuarantee:
    """Return the worst and average cost of a geometric grid over the positions of the optimum between its points.

    If the next point lies a log distance d above the optimum, and the previous one log r - d below it,
    ``W(r) = max_{0 <= d <= log r} min(R(e**d), R(e**(d - log r)))``; the mean is over d uniform in [0, log r].

    Args:
        schedule: a spec, a `Schedule`, or an array (T,) of multipliers (see the module).
        ratio: r, finite and >= 1.
        total_steps: T >= 1; may be left out for an array.

    Raises:
        ScheduleError: when an argument is not what is described here.

    Example:
        >>> guarantee = grid_guarantee("linear", 10, total_steps=20_000)
        >>> round(guarantee.worst, 3), round(guarantee.mean, 3)
        (1.484, 1.182)
    """
    check_number("ratio", ratio, error=ScheduleError, at_least=1)
    suffixes, width = suffix_bounds(schedule, total_steps=total_steps), math.log(ratio)
    low, high, worst, means = 0.0, width, 1.0, []
    # No slope of log R exceeds 1, so a mesh of step s in d misses less than s/2 of log W; zoom in on its peak twice.
    for _ in range(3):
        d = np.linspace(low, high, 1025)
        cost = np.minimum(_relative_bound(suffixes, np.exp(d)), _relative_bound(suffixes, np.exp(d - width)))
        means.append(float((cost[:-1] + cost[1:]).mean() / 2))  # the trapezium rule over its width
        peak = int(np.argmax(cost))
        worst = max(worst, float(cost[peak]))
        low, high = float(d[max(peak - 1, 0)]), float(d[min(peak + 1, len(d) - 1)])
    return GridGuarantee(float(ratio), worst, means[0])


def resolution_for_tolerance(
    schedule: ScheduleLike, max_suboptimality_increase: float, *, total_steps: int | None = None
) -> float:
    """Return the largest r such that a grid of any ratio up to r has W <= 1 + c (see `grid_guarantee`).

    It is rho_high / rho_low, the ends of the range around 1 in which R(rho) <= 1 + c.

    Args:
        schedule: a spec, a `Schedule`, or an array (T,) of multipliers (see the module).
        max_suboptimality_increase: c in (0, 1e6], relative and on ``f - f*``: 0.1 allows 10 % more than
            the tuned bound.
        total_steps: T >= 1; may be left out for an array.

    Raises:
        ScheduleError: when an argument is not what is described here.

    Example:
        >>> round(resolution_for_tolerance("cosine", 0.25, total_steps=10_000), 2)
        4.84
    """
    check_number("max_suboptimality_increase", max_suboptimality_increase, error=ScheduleError, above=0, at_most=1e6)
    # B_k(rho eta*) / B(eta*) = best_k cosh(log rho - center_k), so it is within the level on an interval of log rho.
    sum_ratio, noise_ratio = _relative_to_best(suffix_bounds(schedule, total_steps=total_steps))
    best, level = np.sqrt(noise_ratio / sum_ratio), 1.0 + max_suboptimality_increase
    reaches = best <= level
    half = np.arccosh(level / np.maximum(best[reaches], 1.0))
    center = -0.5 * np.log(sum_ratio[reaches] * noise_ratio[reaches])
    order = np.argsort(center - half)
    begin, end = (center - half)[order], np.maximum.accumulate((center + half)[order])
    # R is within the level on the union of the intervals; of its pieces, the one around log rho = 0 is wanted.
    gaps = np.flatnonzero(begin[1:] > end[:-1])
    firsts, lasts = np.append(0, gaps + 1), np.append(gaps, len(begin) - 1)
    piece = np.searchsorted(begin[firsts], 0.0, side="right") - 1
    return math.exp(end[lasts[piece]] - begin[firsts[piece]])


def transfer_ratio(
    from_schedule: ScheduleLike,
    to_schedule: ScheduleLike,
    *,
    total_steps: int | None = None,
    to_total_steps: int | None = None,
) -> float:
    """Return eta*_to / eta*_from, the factor on the tuned learning rate for a change of schedule.

    Both schedules run for T steps, unless `to_total_steps` is given; D and G cancel. Above 1, `to_schedule` needs the
    higher peak.

    Args:
        from_schedule: the schedule with a tuned learning rate: a spec, a `Schedule`, or an array (T,).
        to_schedule: the new schedule, likewise.
        total_steps: T >= 1; may be left out if both are arrays of one length.
        to_total_steps: the steps under `to_schedule`, if not T.

    Raises:
        ScheduleError: when an argument is not what is described here.

    Example:
        >>> round(transfer_ratio("constant", "cosine", total_steps=10_000), 2)
        3.19
    """
    before = suffix_bounds(from_schedule, total_steps=total_steps)
    after = suffix_bounds(to_schedule, total_steps=total_steps if to_total_steps is None else to_total_steps)
    if to_total_steps is None and before.noise.shape != after.noise.shape:
        steps = f"{before.noise.size} and {after.noise.size}"
        raise ScheduleError(f"both schedules must have the same number of steps, got {steps}")
    return _tuned(after, 1.0, 1.0).learning_rate / _tuned(before, 1.0, 1.0).learning_rate


def _tuned(suffixes: SuffixBounds, diameter: float, gradient_bound: float) -> TunedBound:
    start = int(np.argmin(suffixes.noise / suffixes.step_sum))
    root_sum, root_noise = math.sqrt(suffixes.step_sum[start]), math.sqrt(suffixes.noise[start])
    # The minimum over eta of a / eta + c eta is 2 sqrt(a c), at eta = sqrt(a / c).
    learning_rate = diameter / gradient_bound / (root_sum * root_noise)
    return TunedBound(start, learning_rate, diameter * gradient_bound * root_noise / root_sum)


def _relative_to_best(suffixes: SuffixBounds) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """S_k / S_k* and q_k / q_k* of the suffixes that have a step left; these come first, so k keeps its meaning."""
    start, usable = _tuned(suffixes, 1.0, 1.0).start, suffixes.step_sum > 0
    return suffixes.step_sum[usable] / suffixes.step_sum[start], suffixes.noise[usable] / suffixes.noise[start]


def _relative_bound(suffixes: SuffixBounds, rho: NDArray[np.float64]) -> NDArray[np.float64]:
    """R(rho) = min_k ((S_k* / S_k) / rho + (q_k / q_k*) rho) / 2: the least suffix, as in arXiv:2503.09411."""
    sum_ratio, noise_ratio = _relative_to_best(suffixes)
    small, large = 0.5 / sum_ratio, 0.5 * noise_ratio
    flat = rho.ravel()
    order, cost = np.argsort(flat), np.empty(flat.size)
    # q_k falls with k, so the best k can only rise with rho: the one for the middle rho splits the suffixes between
    # the rhos below and above it, and n of them cost O(T log n).
    todo = [(0, flat.size, 0, small.size)]
    with np.errstate(over="ignore"):  # a suffix whose bound overflows is not the least
        while todo:
            low, high, first, stop = todo.pop()
            if low == high:
                continue
            middle = (low + high) // 2
            x = flat[order[middle]]
            candidates = small[first:stop] / x + large[first:stop] * x
            k = int(np.argmin(candidates))
            cost[order[middle]] = candidates[k]
            todo += [(low, middle, first, first + k + 1), (middle + 1, high, first + k, stop)]
    return np.maximum(cost, 1.0).reshape(rho.shape)  # only rounding takes it below 1


def _multipliers(schedule: ScheduleLike, total_steps: int | None) -> NDArray[np.float64]:
    """The multipliers h_t as a new array (T,), checked."""
    if isinstance(schedule, str | Schedule):
        rule = parse_schedule(schedule)
        if total_steps is None:
            raise ScheduleError(f"total_steps is needed with the schedule {rule}; only an array has its own length")
        check_whole("total_steps", total_steps, error=ScheduleError, at_least=1)
        if total_steps > _MOST_STEPS:
            raise ScheduleError(
                f"total_steps must be at most {_MOST_STEPS:.0e}, since each step takes memory; the results hardly "
                "change beyond 1e5 steps"
            )
        h = np.array(rule(np.arange(total_steps), total_steps), dtype=np.float64)
    else:
        try:
            h = np.array(schedule, dtype=np.float64)
        except (TypeError, ValueError):
            what = "a spec, a schedule or a 1-D array of multipliers"
            raise ScheduleError(f"expected {what}, got {schedule!r}") from None
    if h.ndim != 1 or h.size == 0 or total_steps not in (None, h.size):
        wanted = "(T,) with T >= 1" if total_steps is None else f"({total_steps},)"
        raise ScheduleError(f"the multipliers must have the shape {wanted}, got {h.shape}")
    bad = h[~(np.isfinite(h) & (h >= 0))]
    if bad.size:
        raise ScheduleError(f"the multipliers must be finite and >= 0, got {bad[0]}")
    if not _TINY <= h.max() <= 1 / _TINY:
        raise ScheduleError(f"the largest multiplier must be in [{_TINY:g}, {1 / _TINY:g}], got {h.max()}")
    h[h < _TINY * h.max()] = 0.0
    return h


def _positive(name: str, values: ArrayLike) -> NDArray[np.float64]:
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        raise ScheduleError(f"{name} must be a number or an array of numbers, got {values!r}") from None
    bad = array[~(np.isfinite(array) & (array > 0))]
    if bad.size:
        raise ScheduleError(f"{name} must be finite and > 0, got {bad[0]}")
    return array
