"""Training under a schedule with Hugging Face: the Trainer of transformers, and Accelerate (``robust-lr[hf]``)."""

from typing import TYPE_CHECKING

from robust_lr._lazy import lazy_names

if TYPE_CHECKING:
    from .accelerate import AcceleratedLR as AcceleratedLR
    from .accelerate import count_steps as count_steps
    from .callback import RobustLRCallback as RobustLRCallback
    from .trainer import annealed as annealed
else:
    __getattr__, __dir__, __all__ = lazy_names(
        __name__,
        {"accelerate": "AcceleratedLR count_steps", "callback": "RobustLRCallback", "trainer": "annealed"},
        extra="hf",
        frameworks=("torch", "transformers"),
    )
