"""Learning-rate sweeps on a Ray cluster: nothing that has finished is lost or run twice."""

from typing import TYPE_CHECKING, Any

try:
    import ray as ray
except ModuleNotFoundError as error:
    if error.name != "ray":  # an installed Ray that is broken must say so itself
        raise
    raise ModuleNotFoundError("robust_lr_ray needs Ray: pip install 'robust-lr[ray]'", name="ray") from error

from .checkpoints import TrialCheckpoint as TrialCheckpoint
from .checkpoints import trial_checkpoint as trial_checkpoint
from .packed_trial import packed_trial as packed_trial
from .runner import RayRunner as RayRunner
from .search_space import param_space as param_space

if TYPE_CHECKING:
    from .searcher import GridSearcher as GridSearcher

_LATER = {"GridSearcher": "searcher"}  # what needs ray.tune, which would cost each worker a second


def __getattr__(name: str) -> Any:
    if name in _LATER:
        from importlib import import_module

        return getattr(import_module(f".{_LATER[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
