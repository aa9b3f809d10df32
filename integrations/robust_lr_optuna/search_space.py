"""Search spaces whose learning rate lies on a geometric grid, so that the trials go to the other parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.pruners import _filter_study
from optuna.samplers import BaseSampler, TPESampler
from optuna.study import Study
from optuna.trial import BaseTrial, FrozenTrial, TrialState

from robust_lr import GeometricGrid, Schedule
from robust_lr.exceptions import GridError
from robust_lr.theory import resolution_for_tolerance

from .entries import cell_of


def annealed_grid(
    lr_min: float, lr_max: float, *, schedule: str | Schedule, tolerance: float, total_steps: int = 10_000
) -> GeometricGrid:
    """Return the coarsest grid over a range that the theory of a schedule allows within a tolerance.

    Its ratio is at most ``resolution_for_tolerance(schedule, tolerance)``. Under a schedule that anneals, less is lost
    by a learning rate that is far off, so its grid has fewer points; at tolerances below a tenth all are much alike.

    Args:
        lr_min, lr_max: the range, both on the grid.
        schedule: a spec such as "cosine", or a `Schedule`.
        tolerance: relative, of the suboptimality: 0.25 allows a quarter more than the tuned learning rate would leave.
        total_steps: length of the training, >= 1.

    Raises:
        GridError: when the range is none.
        ScheduleError: when the schedule, the tolerance or the number of steps is wrong.

    Example:
        >>> len(annealed_grid(1e-4, 1.0, schedule="cosine", tolerance=0.25))
        7
        >>> len(annealed_grid(1e-4, 1.0, schedule="constant", tolerance=0.25))
        8
    """
    ratio = resolution_for_tolerance(schedule, tolerance, total_steps=total_steps)
    return GeometricGrid.from_ratio(lr_min, lr_max, ratio)


def grid_distribution(grid: GeometricGrid) -> FloatDistribution:
    """Return the range of a grid as Optuna's distribution: a float on a logarithmic axis.

    Optuna knows no geometric steps. A range of floats is what keeps a study open: categories could never be added to,
    and would lose their order. So the distribution says where the learning rates lie, and `suggest_lr`,
    `CoarseLearningRate` or `GeometricGridSampler` see to it that they are those of the grid.

    Example:
        >>> grid_distribution(GeometricGrid(1e-4, 1.0, 5))
        FloatDistribution(high=1.0, log=True, low=0.0001, step=None)
    """
    return FloatDistribution(grid.lr_min, grid.lr_max, log=True)


def suggest_lr(trial: BaseTrial, grid: GeometricGrid, name: str = "lr") -> float:
    """Suggest a learning rate of a grid, under any sampler.

    With a `GeometricGridSampler` or a `CoarseLearningRate` it is theirs. What another sampler proposes is moved to the
    nearest point of the grid, by ratio, before it is recorded: the study holds the learning rate that was trained with,
    to the bit, as a float on a logarithmic axis. That is what plots show and what TPE and others learn from. A sampler
    that draws at random reaches the two ends half as often as the other points. A learning rate that the user has
    enqueued, or fixed by a `FixedTrial`, stays as it is.

    Args:
        trial: the objective's.
        grid: the learning rates.
        name: of the parameter.

    Example:
        >>> grid = GeometricGrid(1e-3, 1.0, 4)
        >>> study = optuna.create_study(sampler=TPESampler(seed=0))
        >>> study.optimize(lambda trial: (suggest_lr(trial, grid) - 0.1) ** 2, n_trials=20)
        >>> {trial.params["lr"] for trial in study.trials} <= set(grid.values)
        True
        >>> study.best_params
        {'lr': 0.1}
    """
    distribution = grid_distribution(grid)
    if isinstance(trial, optuna.Trial) and not distribution.single():
        frozen = trial._get_latest_trial()
        is_settled = name in frozen.params or name in frozen.system_attrs.get("fixed_params", {})
        if not is_settled and cell_of(frozen) is None:
            proposal = trial.relative_params.get(name)
            if proposal is None:
                study = _filter_study(trial.study, frozen)
                proposal = trial.study.sampler.sample_independent(study, frozen, name, distribution)
            # Optuna takes what is here, and records it, when the parameter is suggested.
            trial.relative_search_space = {**(trial.relative_search_space or {}), name: distribution}
            trial.relative_params[name] = _nearest(grid.values, proposal)
    return float(trial.suggest_float(name, grid.lr_min, grid.lr_max, log=True))


class CoarseLearningRate(BaseSampler):
    """Keeps the learning rate of any sampler on a grid, and leaves all other parameters to the sampler.

    The learning rate that the sampler proposes is moved to the nearest point of the grid, by ratio, among those that
    the objective allows. It is recorded so, and the sampler learns from what was run: few learning rates, each with
    many values of the other parameters. The objective stays as it is: ``trial.suggest_float("lr", 1e-4, 1.0,
    log=True)``. What is lost is what the grid costs, so take a tolerance below what the other parameters are worth: in
    60 trials of TPE on a bowl of five parameters, 7 learning rates (cosine, 0.25) ended as low as the whole range, 5
    (0.5) ended higher.

    Args:
        grid: the learning rates.
        base_sampler: proposes all parameters; `TPESampler` by default.
        name: name of the learning rate in the objective.

    Raises:
        GridError: when `grid` is no `GeometricGrid`; in a trial, when the objective asks for the learning rate as
            anything but a float, or from a range without a point of the grid.

    Example:
        >>> grid = annealed_grid(1e-4, 1.0, schedule="cosine", tolerance=0.5)
        >>> study = optuna.create_study(sampler=CoarseLearningRate(grid, TPESampler(seed=0)))
        >>> def objective(trial):
        ...     lr = trial.suggest_float("lr", 1e-4, 1.0, log=True)
        ...     return (np.log10(lr) + 2) ** 2 + (trial.suggest_float("dropout", 0, 1) - 0.3) ** 2
        >>> study.optimize(objective, n_trials=30)
        >>> {trial.params["lr"] for trial in study.trials} <= set(grid.values)
        True
    """

    def __init__(self, grid: GeometricGrid, base_sampler: BaseSampler | None = None, *, name: str = "lr") -> None:
        if not isinstance(grid, GeometricGrid):
            raise GridError(f"CoarseLearningRate needs a GeometricGrid, got {grid!r}")
        self._grid, self._name = grid, name
        self._base = TPESampler() if base_sampler is None else base_sampler

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return the space of the base sampler."""
        return self._base.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return what the base sampler proposes, its learning rate on the grid."""
        params = self._base.sample_relative(study, trial, search_space)
        if self._name not in params:
            return params
        return params | {self._name: self._on_grid(params[self._name], search_space[self._name])}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Return what the base sampler proposes, a learning rate on the grid."""
        value = self._base.sample_independent(study, trial, param_name, param_distribution)
        return self._on_grid(value, param_distribution) if param_name == self._name else value

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Leave it to the base sampler."""
        self._base.before_trial(study, trial)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        """Leave it to the base sampler."""
        self._base.after_trial(study, trial, state, values)

    def reseed_rng(self) -> None:
        """Leave it to the base sampler."""
        self._base.reseed_rng()

    def _on_grid(self, value: Any, distribution: BaseDistribution) -> float:
        if not isinstance(distribution, FloatDistribution) or distribution.step is not None:
            raise GridError(f"{self._name} must be suggested as a float without a step, got {distribution}")
        lrs = self._grid.values
        allowed = lrs[(distribution.low <= lrs) & (lrs <= distribution.high)]
        if not allowed.size:
            raise GridError(
                f"the objective allows {self._name} from {distribution.low:g} to {distribution.high:g}, where the grid "
                f"{self._grid.lr_min:g} to {self._grid.lr_max:g} has no point"
            )
        return _nearest(allowed, value)


def _nearest(lrs: NDArray[np.float64], value: float) -> float:
    return float(lrs[np.argmin(np.abs(np.log(lrs) - np.log(value)))])
