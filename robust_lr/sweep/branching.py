"""Trains the branches of one learning rate and seed: each shared step once, from saved states."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol, runtime_checkable

from .._text import first_line
from ..exceptions import RobustLRError, TrialDiverged, TrialError
from ..runners.base import TrialSource, evaluate_trial
from ..schedules import Horizon
from ..trials import TrialResult, TrialSpec
from ._trunks import TrunkFiles
from .branches import Branch, plan_branches


class BranchableRun(Protocol):
    """One training under way, which can be saved and taken up again."""

    def advance(self, multipliers: Sequence[float]) -> None:
        """Take one step for each multiplier of the peak learning rate. Raise `TrialDiverged` to report divergence."""

    def save(self) -> Any:
        """Return a copy of all that the next steps depend on: weights, optimizer, generators, position in the data.

        It must pickle if trunks are kept in files.
        """

    def load(self, state: Any) -> None:
        """Go on from a state that `save` returned, perhaps more than once from the same one."""

    def evaluate(self) -> float | Mapping[str, float]:
        """Return the loss as it is now, or a mapping with the key "loss", like a `TrainFunction`."""


@runtime_checkable
class Branchable(Protocol):
    """A training that a `BranchedSweep` can branch, such as a `robust_lr_torch.SupervisedTask`.

    For a run of your own, what a step does must not depend on how many steps follow.
    """

    def start(self, *, lr: float, seed: int) -> BranchableRun:
        """Return a run about to begin, with this peak learning rate and seed."""


def train_from_scratch(task: Branchable, *, lr: float, schedule: Horizon, seed: int) -> float | Mapping[str, float]:
    """Train once under a schedule and its steps, without branches."""
    run = task.start(lr=lr, seed=seed)
    run.advance(schedule.multipliers)
    return run.evaluate()


@dataclass(frozen=True)
class BranchEvaluator:
    """The `Evaluator` that trains all branches of one learning rate and seed together.

    Args:
        task: the training.
        schedules: the branches by name.
        slots: trials to take at a time, at best all branches.
        trunks: files of the trunks, or None.
    """

    task: Branchable
    schedules: Mapping[str, Horizon]
    slots: int
    trunks: TrunkFiles | None = None

    def results(self, source: TrialSource) -> Iterator[TrialResult]:
        """Take trials and yield the result of each at the end of its branch; see `Evaluator.results`."""
        held = list[TrialSpec]()
        while held := held + source.take(self.slots - len(held), wait=not held):
            lr, seed = held[0].lr, held[0].seed
            together = [spec for spec in held if (spec.lr, spec.seed) == (lr, seed)]
            held = [spec for spec in held if spec not in together]
            tree = _Tree(self.task, lr, seed, self.trunks)
            for branch in plan_branches({spec: self.schedules[spec.schedule].multipliers for spec in together}):
                yield evaluate_trial(partial(tree.train, branch), branch.key, self.schedules[branch.key.schedule])


@dataclass
class _Tree:
    task: Branchable
    lr: float
    seed: int
    trunks: TrunkFiles | None
    states: dict[int, Any] = field(default_factory=dict)
    error: RobustLRError | None = None

    def train(self, branch: Branch[TrialSpec], **trial: Any) -> float | Mapping[str, float]:
        if branch.start and branch.start not in self.states:  # an earlier branch ended before it came so far
            raise self.error or TrialError("the branch before it was interrupted")
        run, at = self.task.start(lr=self.lr, seed=self.seed), self._begin(branch)
        if at:
            run.load(self.states[at])
        self.states = {fork: state for fork, state in self.states.items() if fork in branch.forks}
        multipliers = branch.multipliers
        try:
            for fork in branch.forks:
                if fork > at:
                    run.advance(multipliers[at:fork])
                    self._keep(run.save(), multipliers[:fork])
                    at = fork
            run.advance(multipliers[at:])
        except TrialDiverged as error:
            self.error = TrialDiverged(*error.args)
            raise
        except Exception as error:  # kept as text: the traceback would keep the run and its memory
            self.error = TrialError(f"the steps that it shares with {branch.key.schedule} failed: {first_line(error)}")
            raise
        return run.evaluate()

    def _begin(self, branch: Branch[TrialSpec]) -> int:
        """The step to begin from, whose state is in `states` unless it is 0."""
        if branch.start or self.trunks is None:
            return branch.start
        first_fork = min(branch.forks, default=len(branch.multipliers))
        at, state = self.trunks.find(self.lr, self.seed, branch.multipliers[:first_fork])
        self.states[at] = state
        return at

    def _keep(self, state: Any, multipliers: Sequence[float]) -> None:
        self.states[len(multipliers)] = state
        if self.trunks is not None:
            self.trunks.write(self.lr, self.seed, multipliers, state)
