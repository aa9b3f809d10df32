"""The cells of a sweep: one for each combination of learning rate, schedule and seed."""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from robust_lr.trials import coarse_to_fine

from ._parameter_values import SAME, as_number


@dataclass(frozen=True, order=True)
class Cell:
    """One cell of a sweep, a training run; schedule or seed is None if the sweep has no such axis."""

    lr: float
    schedule: str | None = None
    seed: int | None = None

    def __str__(self) -> str:
        named = {"lr": f"{self.lr:g}", "schedule": self.schedule, "seed": self.seed}
        return ", ".join(f"{axis}={value}" for axis, value in named.items() if value is not None)


@dataclass(frozen=True)
class Axes:
    """The axes of a sweep, whose cells are all combinations; schedules or seeds are empty if there is no such axis."""

    lrs: tuple[float, ...] = ()
    schedules: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()

    def grown(self, other: Axes) -> Axes:
        lrs = list(self.lrs)
        for lr in other.lrs:
            if find_lr(lrs, lr) is None:
                bisect.insort(lrs, lr)
        return Axes(
            tuple(lrs),
            tuple(dict.fromkeys((*self.schedules, *other.schedules))),
            tuple(dict.fromkeys((*self.seeds, *other.seeds))),
        )

    def cells(self) -> list[Cell]:
        """Return all cells: coarse learning rates before fine ones, each with all its seeds and schedules."""
        return [
            Cell(self.lrs[i], schedule, seed)
            for i in coarse_to_fine(len(self.lrs))
            for seed in self.seeds or (None,)
            for schedule in self.schedules or (None,)
        ]

    def cell_at(self, values: Mapping[str, Any]) -> Cell | None:
        """Return the cell with these values of "lr", "schedule" and "seed", None if the sweep has no such cell."""
        lr = as_number(values.get("lr"))
        known = None if lr is None else find_lr(self.lrs, lr)
        schedule = values.get("schedule") if self.schedules else None
        seed = values.get("seed") if self.seeds else None
        if known is None or schedule not in (self.schedules or (None,)) or seed not in (self.seeds or (None,)):
            return None
        return Cell(known, schedule, seed)

    def names(self, names: Mapping[str, str]) -> dict[str, str]:
        """Return those of the names (axis -> parameter) whose axis the sweep has."""
        has = {"lr": True, "schedule": bool(self.schedules), "seed": bool(self.seeds)}
        return {axis: name for axis, name in names.items() if has[axis]}


def as_axes(lrs: Iterable[float], schedules: Iterable[str], seeds: Iterable[int]) -> Axes:
    return Axes(tuple(sorted(float(lr) for lr in lrs)), tuple(map(str, schedules)), tuple(int(s) for s in seeds))


def find_lr(lrs: Sequence[float], lr: float) -> float | None:
    """Return the one of the ascending learning rates that equals this one up to rounding."""
    i = bisect.bisect_left(lrs, lr)
    return next((known for known in lrs[max(i - 1, 0) : i + 1] if math.isclose(known, lr, rel_tol=SAME)), None)
