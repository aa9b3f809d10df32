"""Learning-rate grids in an Optuna study: every cell exactly once, from any number of processes."""

try:
    import optuna as optuna
except ModuleNotFoundError as error:
    if error.name != "optuna":  # an installed Optuna that is broken must say so itself
        raise
    raise ModuleNotFoundError(
        "robust_lr_optuna needs Optuna: pip install 'robust-lr[optuna]'", name="optuna"
    ) from error

from .sampler import GeometricGridSampler as GeometricGridSampler
from .sampler import cell_of as cell_of
from .sampler import has_diverged as has_diverged
from .sampler import is_order as is_order
from .sampler import reap_stale as reap_stale
from .storages import journal_storage as journal_storage
from .storages import safe_sqlite_storage as safe_sqlite_storage
from .work_log import Cell as Cell
