"""Training under a schedule with Lightning (``robust-lr[lightning]``)."""

from typing import TYPE_CHECKING

from robust_lr._lazy import lazy_names

if TYPE_CHECKING:
    from .callback import RobustLRCallback as RobustLRCallback
    from .optimizers import annealed as annealed
else:
    __getattr__, __dir__, __all__ = lazy_names(
        __name__,
        {"callback": "RobustLRCallback", "optimizers": "annealed"},
        extra="lightning",
        frameworks=("torch", "pytorch_lightning"),
    )
