"""Learning-rate grids in an Optuna study: every cell exactly once, from any number of processes."""

try:
    import optuna as optuna
except ModuleNotFoundError as error:
    if error.name != "optuna":  # an installed Optuna that is broken must say so itself
        raise
    raise ModuleNotFoundError(
        "robust_lr_optuna needs Optuna: pip install 'robust-lr[optuna]'", name="optuna"
    ) from error

from ._assignments import Cell as Cell
from ._notes import cell_of as cell_of
from ._notes import fail_stale_trials as fail_stale_trials
from ._notes import is_log_entry as is_log_entry
from ._outcomes import has_diverged as has_diverged
from ._pruning_audit import PruningAudit as PruningAudit
from ._pruning_audit import audit_pruning as audit_pruning
from ._storages import journal_storage as journal_storage
from ._storages import safe_sqlite_storage as safe_sqlite_storage
from ._study_search import search_of as search_of
from ._study_search import search_result as search_result
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
