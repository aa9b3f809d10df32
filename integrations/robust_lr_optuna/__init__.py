"""Learning-rate grids and searches in an Optuna study, in any number of processes."""

from typing import TYPE_CHECKING

from robust_lr._lazy import lazy_names

if TYPE_CHECKING:
    from ._cells import Cell as Cell
    from ._outcomes import has_diverged as has_diverged
    from ._pruning_audit import PruningAudit as PruningAudit
    from ._pruning_audit import audit_pruning as audit_pruning
    from ._storages import journal_storage as journal_storage
    from ._storages import safe_sqlite_storage as safe_sqlite_storage
    from ._study_search import search_of as search_of
    from ._study_search import search_result as search_result
    from ._trial_attributes import cell_of as cell_of
    from ._trial_attributes import fail_stale_trials as fail_stale_trials
    from ._trial_attributes import is_log_entry as is_log_entry
    from .dashboard import publish as publish
    from .grid_sampler import GeometricGridSampler as GeometricGridSampler
    from .learning_rate_sampler import LearningRateSampler as LearningRateSampler
    from .plots import analyze_study as analyze_study
    from .plots import plot_degradation as plot_degradation
    from .plots import plot_learning_rate as plot_learning_rate
    from .pruning import DivergencePruner as DivergencePruner
    from .results import sweep_from_storage as sweep_from_storage
    from .results import sweep_from_study as sweep_from_study
    from .runner import OptunaRunner as OptunaRunner
    from .search_space import CoarseLearningRate as CoarseLearningRate
    from .search_space import annealed_grid as annealed_grid
else:
    __getattr__, __dir__, __all__ = lazy_names(
        __name__,
        {
            "_cells": "Cell",
            "_trial_attributes": "cell_of fail_stale_trials is_log_entry",
            "_outcomes": "has_diverged",
            "_pruning_audit": "PruningAudit audit_pruning",
            "_storages": "journal_storage safe_sqlite_storage",
            "_study_search": "search_of search_result",
            "dashboard": "publish",
            "grid_sampler": "GeometricGridSampler",
            "learning_rate_sampler": "LearningRateSampler",
            "plots": "analyze_study plot_degradation plot_learning_rate",
            "pruning": "DivergencePruner",
            "results": "sweep_from_storage sweep_from_study",
            "runner": "OptunaRunner",
            "search_space": "CoarseLearningRate annealed_grid",
        },
        extra="optuna",
    )
