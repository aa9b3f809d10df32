"""Base class of the samplers: each samples some parameters and leaves the others to another sampler."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Sequence
from itertools import takewhile
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from robust_lr.exceptions import GridError

from ._never_asked import MOST_IN_VAIN, may_be_conditional, never_asked


class PartialSampler(BaseSampler):
    def __init__(self, others: BaseSampler | None) -> None:
        self._others = RandomSampler() if others is None else others

    def _owns(self, trial: FrozenTrial, name: str) -> bool:
        """Whether the subclass samples this parameter by itself, outside the relative space of the other sampler."""
        return False

    def _check_study(self, study: Study) -> None:
        """Raise if the subclass cannot work on this study."""

    def _check_asked(
        self,
        axis: str,
        name: str,
        study: Study,
        trial: FrozenTrial,
        own: Collection[str],
        *,
        in_vain: int | None = None,
    ) -> bool:
        """Whether other trials asked for a parameter that this one did not; raise if none ever will."""
        trials = study._storage.get_all_trials(study._study_id, deepcopy=False)
        has_asked = any(name in other.params for other in trials)
        n = sum(1 for _ in takewhile(lambda other: name not in other.params, reversed(trials)))
        n = n if in_vain is None else in_vain
        if not has_asked and (n > MOST_IN_VAIN or not may_be_conditional(axis, trial, own)):
            raise GridError(never_asked(axis, name, trial, own))
        if n > MOST_IN_VAIN:
            raise GridError(f"the last {n} trials did not ask for {name!r}: let the objective ask for it more often")
        return has_asked

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        self._check_study(study)
        space = self._others.infer_relative_search_space(study, trial)
        return {name: distribution for name, distribution in space.items() if not self._owns(trial, name)}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        self._check_study(study)
        return self._others.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._others.sample_independent(study, trial, param_name, param_distribution)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        self._others.before_trial(study, trial)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        self._others.after_trial(study, trial, state, values)

    def reseed_rng(self) -> None:
        self._others.reseed_rng()


def stop_study(study: Study) -> bool:
    """Stop the study if `study.optimize` runs it; return False with ask and tell, where there is nothing to stop."""
    with contextlib.suppress(RuntimeError):
        study.stop()
        return True
    return False


def is_in_optimize(study: Study) -> bool:
    """Whether this thread runs `study.optimize`, and did not call `study.ask` by hand."""
    return bool(study._thread_local.in_optimize_loop)
