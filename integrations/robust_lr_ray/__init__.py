"""Learning-rate sweeps and searches on a Ray cluster: no finished trial is lost or runs twice.

Modules are imported lazily: a worker that does not use torch or Tune does not load them, and an experiment's folder can
be read without Ray.
"""

from typing import TYPE_CHECKING

from robust_lr._lazy import lazy_names

if TYPE_CHECKING:
    from ._checkpoints import TrialCheckpoint as TrialCheckpoint
    from ._checkpoints import trial_checkpoint as trial_checkpoint
    from ._distributed_trial import distributed_trial as distributed_trial
    from ._grid_searcher import GridSearcher as GridSearcher
    from ._learning_rate_searcher import LearningRateSearcher as LearningRateSearcher
    from ._packed_trial import packed_trial as packed_trial
    from ._ranks import any_rank as any_rank
    from ._ranks import device as device
    from ._ranks import mean_over_ranks as mean_over_ranks
    from ._ranks import raise_if_diverged as raise_if_diverged
    from ._ranks import rank as rank
    from ._ranks import shard as shard
    from ._ranks import shard_weight as shard_weight
    from ._ranks import world_size as world_size
    from .results import sweep_from_experiment as sweep_from_experiment
    from .results import sweep_from_result_grid as sweep_from_result_grid
    from .runner import RayRunner as RayRunner
    from .search_space import param_space as param_space
else:
    __getattr__, __dir__, __all__ = lazy_names(
        __name__,
        {
            "_checkpoints": "TrialCheckpoint trial_checkpoint",
            "_distributed_trial": "distributed_trial",
            "_grid_searcher": "GridSearcher",
            "_learning_rate_searcher": "LearningRateSearcher",
            "_packed_trial": "packed_trial",
            "_ranks": "any_rank device mean_over_ranks raise_if_diverged rank shard shard_weight world_size",
            "results": "sweep_from_experiment sweep_from_result_grid",
            "runner": "RayRunner",
            "search_space": "param_space",
        },
        extra="ray",
    )
