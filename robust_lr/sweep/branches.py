"""Branches: trainings whose learning rates begin alike, planned so that each shared step is taken once."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Branch(Generic[Key]):
    """One training, as a branch of those planned before it.

    Attributes:
        key: the training.
        multipliers: of the peak learning rate, one a step.
        start: steps that an earlier branch has taken for it; it begins from the state saved there, or at step 0.
        forks: steps whose states later branches begin from, ascending. Those above `start` are on this branch, and
            saved while it trains; of the states saved before, the others can be forgotten.
    """

    key: Key
    multipliers: Sequence[float]
    start: int
    forks: tuple[int, ...]

    @property
    def n_steps(self) -> int:
        """The steps that this branch takes itself."""
        return len(self.multipliers) - self.start


def plan_branches(trainings: Mapping[Key, Sequence[float]]) -> list[Branch[Key]]:
    """Return the trainings as branches, in the order in which to train them.

    Two trainings share their first n steps if their first n multipliers are equal. All branches together take as many
    steps as there are distinct beginnings. Where trainings part, the lower learning rate goes first: a cooldown runs to
    its end, and then the trunk goes on. So a trunk with cooldowns needs one saved state at a time.

    Args:
        trainings: multipliers of the peak learning rate by training, at least one step each.

    Example:
        >>> plan = plan_branches({"short": [1, 0.5, 0.25], "long": [1, 1, 0.5, 0.25]})
        >>> [(branch.key, branch.start, branch.forks, branch.n_steps) for branch in plan]
        [('short', 0, (1,), 3), ('long', 1, (), 3)]
    """
    keys = sorted(trainings, key=lambda key: tuple(trainings[key]))
    starts = [0, *(_n_equal(trainings[one], trainings[next_one]) for one, next_one in pairwise(keys))]
    return [
        Branch(key, trainings[key], starts[i], tuple(sorted({*accumulate(starts[i + 1 :], min)} - {0})))
        for i, key in enumerate(keys)
    ]


def _n_equal(one: Sequence[float], other: Sequence[float]) -> int:
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
