"""Learning-rate sweeps on a Ray cluster: nothing that has finished is lost or run twice.

What is not used is not imported: neither torch nor ray.tune by a worker that does without, nor Ray by who only reads
the folder of an experiment.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .checkpoints import TrialCheckpoint as TrialCheckpoint
    from .checkpoints import trial_checkpoint as trial_checkpoint
    from .distributed_trial import distributed_trial as distributed_trial
    from .learning_rate_searcher import LearningRateSearcher as LearningRateSearcher
    from .packed_trial import packed_trial as packed_trial
    from .ranks import any_rank as any_rank
    from .ranks import device as device
    from .ranks import mean_over_ranks as mean_over_ranks
    from .ranks import raise_if_diverged as raise_if_diverged
    from .ranks import rank as rank
    from .ranks import shard as shard
    from .ranks import shard_weight as shard_weight
    from .ranks import world_size as world_size
    from .results import sweep_from_experiment as sweep_from_experiment
    from .results import sweep_from_result_grid as sweep_from_result_grid
    from .runner import RayRunner as RayRunner
    from .search_space import param_space as param_space
    from .searcher import GridSearcher as GridSearcher

_NAMES = {
    "checkpoints": "TrialCheckpoint trial_checkpoint",
    "distributed_trial": "distributed_trial",
    "learning_rate_searcher": "LearningRateSearcher",
    "packed_trial": "packed_trial",
    "ranks": "any_rank device mean_over_ranks raise_if_diverged rank shard shard_weight world_size",
    "results": "sweep_from_experiment sweep_from_result_grid",
    "runner": "RayRunner",
    "search_space": "param_space",
    "searcher": "GridSearcher",
}
_MODULES = {name: module for module, names in _NAMES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        value = getattr(import_module(f".{_MODULES[name]}", __name__), name)
    except ModuleNotFoundError as error:
        if error.name != "ray":  # an installed Ray that is broken must say so itself
            raise
        raise ModuleNotFoundError("robust_lr_ray needs Ray: pip install 'robust-lr[ray]'", name="ray") from error
    # A module of the same name would be found here from now on, in place of its function.
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
