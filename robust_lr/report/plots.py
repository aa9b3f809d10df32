"""Plots of an analysis, one panel a schedule with the others in grey behind it, and of a learning-rate search."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..analysis import Analysis, DegradationCurve, LearningRateProfile, Recommendation
from ..exceptions import RobustLRError, ScheduleError
from ..schedules.specs import parse_schedule
from ..search import SearchResult
from ..search.words import search_headline
from ..theory import resolution_for_tolerance

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

Array = NDArray[np.float64]

COLOUR, DIVERGED, CONTEXT, LIMIT = "#1f5fa8", "#c62828", "#c9ccd1", "#7a4fa3"
SMALLEST = 1e-100  # on a logarithmic axis; what is nearer to zero has no decades
TITLE_LENGTH = 34  # characters that fit over a panel
GUIDE_STEPS = 1_000  # the shape of the guide hardly depends on it
GUIDE_LABEL = "theory, scaled: bound, not prediction"


def plot_learning_rate(
    profile: LearningRateProfile, *, others: Sequence[LearningRateProfile] = (), ax: Axes | None = None
) -> Axes:
    """Draw the final loss against the learning rate on logarithmic axes and return the axes.

    Shows every seed (faint), the mean with its confidence band, the best learning rate, diverged runs as red crosses
    at the top, the stability cliff, and the ends of the grid where the best is one of them.

    Args:
        profile: of the schedule to show.
        others: profiles of other schedules, drawn in grey for comparison.
        ax: axes to draw on; new ones by default.
    """
    ax = _axes(ax)
    lrs, finite = profile.learning_rates, np.isfinite(profile.mean)
    for other in others:
        ok = np.isfinite(other.mean)
        ax.plot(other.learning_rates[ok], other.mean[ok], color=CONTEXT, lw=1, zorder=1)
    for losses in profile.loss.T:
        ok = np.isfinite(losses)
        ax.plot(lrs[ok], losses[ok], color=COLOUR, lw=0.6, alpha=0.3, zorder=2)
    low, high = profile.interval[finite].T
    if profile.best_loss > SMALLEST:
        low = np.where(low > 0, low, high)  # what reaches below zero has no place on a logarithmic axis
    ax.fill_between(lrs[finite], low, high, color=COLOUR, alpha=0.2, lw=0, zorder=2)
    ax.plot(lrs[finite], profile.mean[finite], "o-", color=COLOUR, lw=1.6, ms=3, zorder=3)
    ax.plot(profile.best_lr, profile.best_loss, "*", color=COLOUR, ms=11, zorder=4)
    ax.set_xscale("log")
    _label_ticks(ax.xaxis)
    if profile.best_loss > SMALLEST:
        ax.set_yscale("log")
        # Losses span less than a decade as a rule: label 0.3 and 0.6, not powers of ten.
        _plain_ticks(ax.yaxis, (1.0, 1.5, 2.0, 3.0, 5.0, 7.0))
    counts = np.isinf(profile.loss).sum(axis=1)
    for lr, count in zip(lrs, counts, strict=True):
        if count:
            ax.plot(lr, 0.96, "x", color=DIVERGED, ms=6, mew=1.6, transform=ax.get_xaxis_transform(), clip_on=False)
    if profile.cliff is not None and profile.before_cliff is not None:
        ax.axvspan(profile.before_cliff, profile.cliff, color=DIVERGED, alpha=0.10, lw=0)
        _note(ax, math.sqrt(profile.before_cliff * profile.cliff), "cliff", DIVERGED)
    if profile.edge is not None:
        ax.axvline(profile.best_lr, color=LIMIT, lw=1, ls=":")
        _note(ax, profile.best_lr, "edge of the grid", LIMIT)
    _set_title(ax, profile.schedule, f"best {profile.best_loss:.4f} at {profile.best_lr:.4g}")
    ax.set_xlabel("peak learning rate")
    ax.set_ylabel("final loss")
    return ax


def plot_degradation(
    curve: DegradationCurve,
    *,
    tolerance: float | None = None,
    recommendation: Recommendation | None = None,
    spec: str | None = None,
    others: Sequence[DegradationCurve] = (),
    ax: Axes | None = None,
) -> Axes:
    """Draw the excess loss against the ratio of the grid on logarithmic axes and return the axes.

    Shows the worst offset with its confidence band (hollow where the sweep is too narrow to tell), the mean over the
    offsets, the tolerance, the recommended ratio, and as a dashed guide the shape of the theoretical guarantee.

    Args:
        curve: of the schedule to show.
        tolerance: drawn as a line.
        recommendation: its ratio is marked.
        spec: spec of the schedule, for the guide; no guide without it, or when it cannot be parsed.
        others: curves of other schedules, drawn in grey.
        ax: axes to draw on; new ones by default.
    """
    ax = _axes(ax)
    floor = _floor([curve, *others], tolerance)
    for other in others:
        keep = _drawable(other) & (other.stride <= _last_stride([curve, *others]))
        ax.plot(other.ratio[keep], np.maximum(other.worst[keep], floor), color=CONTEXT, lw=1, zorder=1)
    keep = _drawable(curve) & (curve.stride <= _last_stride([curve, *others]))
    ratio, worst = curve.ratio[keep], np.maximum(curve.worst[keep], floor)
    band = np.maximum(curve.worst_interval[keep], floor)
    ax.fill_between(ratio, band[:, 0], band[:, 1], color=COLOUR, alpha=0.2, lw=0, zorder=2)
    ax.plot(ratio, worst, "-", color=COLOUR, lw=1.6, zorder=3, label="worst offset")
    covered = curve.covered[keep]
    ax.plot(ratio[covered], worst[covered], "o", color=COLOUR, ms=4, zorder=4)
    ax.plot(ratio[~covered], worst[~covered], "o", mfc="white", mec=COLOUR, ms=4, zorder=4)
    ax.plot(ratio, np.maximum(curve.mean[keep], floor), color=COLOUR, lw=0.9, alpha=0.7, label="mean over offsets")
    guide = None if spec is None else _guide(spec, ratio, worst, covered)
    if guide is not None:
        ax.plot(ratio, np.maximum(guide, floor), "--", color="black", lw=0.9, alpha=0.6, label=GUIDE_LABEL)
    if tolerance is not None and floor < tolerance < 1 / SMALLEST:
        ax.axhline(tolerance, color=LIMIT, lw=1)
    advice = "no recommendation"
    if recommendation is not None:
        ax.axvline(recommendation.ratio, color=LIMIT, lw=1, ls=":")
        advice = f"ratio {recommendation.ratio:.3g}, {recommendation.n_trials} trials"
    _set_title(ax, curve.schedule, advice)
    ax.set_xscale("log")
    ax.set_yscale("log")
    if not keep.any():
        ax.update_datalim([(2.0, 10 * floor), (16.0, 10 * floor)])
        ax.autoscale_view()
    ax.set_ylim(bottom=floor)
    _label_ticks(ax.xaxis)
    _label_ticks(ax.yaxis)
    ax.set_xlabel("ratio of the grid")
    ax.set_ylabel("excess final loss")
    return ax


def learning_rate_figure(analysis: Analysis) -> Figure:
    """Return a figure with one `plot_learning_rate` panel a schedule, on shared axes."""
    profiles = [s.profile for s in analysis.schedules if s.profile is not None]
    figure, axes = _panels(len(profiles))
    for ax, profile in zip(axes, profiles, strict=True):
        plot_learning_rate(profile, others=[p for p in profiles if p is not profile], ax=ax)
    limits = _loss_limits(profiles)
    if limits is not None:
        axes[0].set_ylim(*limits)
    _finish(
        figure,
        axes,
        "Final loss against peak learning rate: mean, band, every seed (grey: other schedules; red cross: diverged)",
    )
    return figure


def degradation_figure(analysis: Analysis, specs: Mapping[str, str] | None = None) -> Figure:
    """Return a figure with one `plot_degradation` panel a schedule, on shared axes.

    Args:
        analysis: of a sweep.
        specs: spec of each schedule, for the theoretical guide; the sweep's own, or the names, by default.
    """
    entries = [s for s in analysis.schedules if s.curve is not None]
    curves = [s.curve for s in entries if s.curve is not None]
    figure, axes = _panels(len(curves))
    for ax, entry, curve in zip(axes, entries, curves, strict=True):
        plot_degradation(
            curve,
            tolerance=analysis.tolerance,
            recommendation=entry.recommendation,
            spec=(specs or analysis.sweep.specs).get(curve.schedule) or curve.schedule,
            others=[c for c in curves if c is not curve],
            ax=ax,
        )
    if len(axes):
        shown = {label: h for ax in axes for h, label in zip(*ax.get_legend_handles_labels(), strict=True)}
        figure.legend(shown.values(), shown.keys(), loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    _finish(
        figure,
        axes,
        f"Excess loss of a coarser grid (solid line: tolerance {analysis.tolerance:.3g}; dotted: recommended ratio; "
        "hollow: sweep too narrow; grey: others)",
    )
    return figure


def search_figure(result: SearchResult) -> Figure:
    """Return a figure of a search: the loss at every learning rate tried, numbered in their order, and its findings.

    Shows the mean of several trials at a learning rate and each of them, the best as a star, the learning rates within
    the tolerance of it in blue, below it the band that the excess bound leaves, diverged trials as red crosses at the
    top, and the range searched between dotted lines.

    Args:
        result: of a search, finished or not.
    """
    figure, (ax,) = _panels(1)
    first: dict[float, int] = {}
    finite: dict[float, list[float]] = {}
    diverged: set[float] = set()
    for number, tell in enumerate(result.history, 1):
        first.setdefault(tell.lr, number)
        if tell.status == "ok":
            finite.setdefault(tell.lr, []).append(tell.loss)
        elif tell.status == "diverged":
            diverged.add(tell.lr)
    means = {lr: math.fsum(losses) / len(losses) for lr, losses in sorted(finite.items()) if lr not in diverged}
    ax.set_xscale("log")
    for end in result.lr_range:
        ax.axvline(end, color=LIMIT, lw=1, ls=":")
    for lr, losses in finite.items():
        ax.plot([lr] * len(losses), losses, ".", color=CONTEXT, ms=4, zorder=2)
    ax.plot(list(means), list(means.values()), "o-", color=COLOUR, lw=1.2, ms=4, zorder=3)
    for lr, loss in means.items():
        ax.annotate(str(first[lr]), (lr, loss), (0, 4), textcoords="offset points", fontsize=7, ha="center")
    for lr in diverged:
        ax.plot(lr, 0.96, "x", color=DIVERGED, ms=6, mew=1.6, transform=ax.get_xaxis_transform(), clip_on=False)
    if result.good_interval is not None:
        ax.plot(result.lr, result.loss, "*", color=COLOUR, ms=11, zorder=4)
        ax.axvspan(*result.good_interval, color=COLOUR, alpha=0.12, lw=0)
    if result.excess_bound is not None:
        ax.axhspan(result.loss - result.excess_bound, result.loss, color=LIMIT, alpha=0.15, lw=0)
        _note(ax, result.lr_range[0], f"nothing is lower by more than {result.excess_bound:.2g}", LIMIT)
    _label_ticks(ax.xaxis)
    ax.set_xlabel("peak learning rate")
    ax.set_ylabel("final loss")
    _set_title(ax, result.schedule or "", result.reason or "not finished")
    _finish(figure, [ax], search_headline(result))
    return figure


def _set_title(ax: Axes, schedule: str, finding: str) -> None:
    """Name of the schedule, shortened in the middle where a panel is too narrow for it, above what was found."""
    name = schedule if len(schedule) <= TITLE_LENGTH else f"{schedule[: TITLE_LENGTH - 12]} … {schedule[-9:]}"
    ax.set_title(f"{name}\n{finding}", fontsize=9, y=1.0, parse_math=False)


def _axes(ax: Axes | None) -> Axes:
    if ax is not None:
        return ax
    return _panels(1)[1][0]


def _panels(n: int) -> tuple[Figure, list[Axes]]:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        if error.name != "matplotlib":
            raise
        raise RobustLRError("plots need matplotlib: pip install 'robust-lr[report]'") from error
    columns = min(max(n, 1), 4)
    rows = max(-(-n // columns), 1)
    figure = Figure(figsize=(max(3.1 * columns, 5.0), 2.8 * rows + 0.7), layout="constrained")
    FigureCanvasAgg(figure)
    axes = list(figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flat)
    for unused in axes[n:]:
        unused.remove()
    # With shared axes only the outer panels carry labels; a panel above a removed one has become an outer one.
    for i, ax in enumerate(axes[:n]):
        ax.xaxis.set_tick_params(labelbottom=i + columns >= n)
    return figure, axes[:n]


def _finish(figure: Figure, axes: Sequence[Axes], title: str) -> None:
    for ax in axes:
        ax.grid(True, which="major", lw=0.4, alpha=0.5)
        ax.tick_params(labelsize=8)
        ax.xaxis.label.set_fontsize(8)
        ax.yaxis.label.set_fontsize(8)
        spec = ax.get_subplotspec()
        if spec is not None and not spec.is_first_col():
            ax.set_ylabel("")
        if not ax.xaxis.get_tick_params()["labelbottom"]:
            ax.set_xlabel("")
    figure.suptitle(title if len(axes) else "No schedule has enough data to plot", fontsize=10)
    _lay_out(figure, axes)


def _lay_out(figure: Figure, axes: Sequence[Axes]) -> None:
    """Place the panels here, once; left to savefig, most of its time goes into unlabelled ticks that need no room."""
    from matplotlib.ticker import NullLocator

    engine = figure.get_layout_engine()
    if engine is None or not len(axes):
        figure.set_layout_engine("none")
        return
    minor = [(axis, axis.get_minor_locator()) for ax in axes for axis in (ax.xaxis, ax.yaxis)]
    for axis, _ in minor:
        axis.set_minor_locator(NullLocator())
    engine.execute(figure)
    for axis, locator in minor:
        axis.set_minor_locator(locator)
    figure.set_layout_engine("none")


def _label_ticks(axis: Axis) -> None:
    """Label a logarithmic axis by powers of ten, one that is too narrow for them by plain numbers."""
    from matplotlib.ticker import NullFormatter

    low, high = axis.get_view_interval()
    if high < 100 * low:
        _plain_ticks(axis, (1.0, 2.0, 5.0))
    axis.set_minor_formatter(NullFormatter())


def _plain_ticks(axis: Axis, digits: Sequence[float]) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(subs=digits))
    axis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axis.set_minor_formatter(NullFormatter())


def _note(ax: Axes, x: float, text: str, colour: str) -> None:
    ax.annotate(
        text,
        (x, 0.03),
        xycoords=("data", "axes fraction"),
        rotation=90,
        fontsize=7,
        color=colour,
        ha="right",
        va="bottom",
    )


def _loss_limits(profiles: Sequence[LearningRateProfile]) -> tuple[float, float] | None:
    """Limits that show the valley: up to 20 times the best loss, or all of it where that is less."""
    means = np.concatenate([p.mean[np.isfinite(p.mean)] for p in profiles]) if profiles else np.empty(0)
    if not means.size or means.min() <= SMALLEST:
        return None
    low = float(means.min())
    span = min(float(means.max()) / low * 1.1, 20.0)
    return low / span**0.08, low * span


def _drawable(curve: DegradationCurve) -> NDArray[np.bool_]:
    """Coarser grids only, with at least two points in the largest; a ratio beyond that says nothing."""
    return np.asarray((curve.stride > 1) & np.isfinite(curve.worst + curve.ratio) & (curve.n_trials > 1))


def _last_stride(curves: Sequence[DegradationCurve]) -> int:
    """Two strides more than any curve can tell: beyond them there is only the width of the sweep to see."""
    return max((int(curve.stride[curve.covered][-1]) for curve in curves if curve.covered.any()), default=1) + 2


def _floor(curves: Sequence[DegradationCurve], tolerance: float | None) -> float:
    """Lowest excess that the logarithmic axis shows; zeros are drawn there."""
    values = np.concatenate([curve.worst[_drawable(curve)] for curve in curves])
    positive = values[values > 0]
    lowest = float(positive.min()) if positive.size else 1e-6
    return max(0.3 * min(lowest, tolerance or lowest), SMALLEST)


def _guide(spec: str, ratio: Array, worst: Array, covered: NDArray[np.bool_]) -> Array | None:
    """``W(ratio) - 1`` scaled to meet the measured curve at its last trustworthy point: its shape, not its height."""
    if not covered.any():
        return None
    # W is read off its inverse, which is far quicker; no schedule has W(r) > (sqrt(r) + 1/sqrt(r)) / 2.
    root = math.sqrt(float(ratio.max()))
    costs = np.geomspace(1e-9, min(root + 1 / root, 1e6), 200)
    try:
        schedule = parse_schedule(spec)
        widths = [resolution_for_tolerance(schedule, float(cost), total_steps=GUIDE_STEPS) for cost in costs]
    except ScheduleError:
        return None
    guide = np.exp(np.interp(np.log(ratio), np.log(widths), np.log(costs)))
    at = int(np.flatnonzero(covered)[-1])
    return np.asarray(guide * worst[at] / guide[at])
