"""Learning-rate sweeps on a Ray cluster: nothing that has finished is lost or run twice."""

try:
    import ray as ray
except ModuleNotFoundError as error:
    if error.name != "ray":  # an installed Ray that is broken must say so itself
        raise
    raise ModuleNotFoundError("robust_lr_ray needs Ray: pip install 'robust-lr[ray]'", name="ray") from error

from .checkpoints import trial_checkpoint as trial_checkpoint
from .runner import RayRunner as RayRunner
