"""Learning-rate grids in an Optuna study: every cell exactly once, from any number of processes."""

from typing import TYPE_CHECKING

from robust_lr._lazy import lazy_names

if TYPE_CHECKING:
    from .dashboard import publish as publish
    from .entries import cell_of as cell_of
    from .entries import is_order as is_order
    from .learning_rate_sampler import LearningRateSampler as LearningRateSampler
    from .outcomes import has_diverged as has_diverged
    from .plots import analyze_study as analyze_study
    from .plots import plot_degradation as plot_degradation
    from .plots import plot_learning_rate as plot_learning_rate
    from .pruning import DivergencePruner as DivergencePruner
    from .pruning_audit import PruningAudit as PruningAudit
    from .pruning_audit import audit_pruning as audit_pruning
    from .results import sweep_from_storage as sweep_from_storage
    from .results import sweep_from_study as sweep_from_study
    from .runner import OptunaRunner as OptunaRunner
    from .sampler import GeometricGridSampler as GeometricGridSampler
    from .search_space import CoarseLearningRate as CoarseLearningRate
    from .search_space import annealed_grid as annealed_grid
    from .search_space import grid_distribution as grid_distribution
    from .search_space import suggest_lr as suggest_lr
    from .stale_trials import reap_stale as reap_stale
    from .storages import journal_storage as journal_storage
    from .storages import safe_sqlite_storage as safe_sqlite_storage
    from .study_search import search_of as search_of
    from .work_log import Cell as Cell
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "dashboard": "publish",
            "entries": "cell_of is_order",
            "learning_rate_sampler": "LearningRateSampler",
            "outcomes": "has_diverged",
            "plots": "analyze_study plot_degradation plot_learning_rate",
            "pruning": "DivergencePruner",
            "pruning_audit": "PruningAudit audit_pruning",
            "results": "sweep_from_storage sweep_from_study",
            "runner": "OptunaRunner",
            "sampler": "GeometricGridSampler",
            "search_space": "CoarseLearningRate annealed_grid grid_distribution suggest_lr",
            "stale_trials": "reap_stale",
            "storages": "journal_storage safe_sqlite_storage",
            "study_search": "search_of",
            "work_log": "Cell",
        },
        extra="optuna",
    )
