"""Learning-rate searches for scikit-learn estimators."""

try:
    import sklearn as sklearn
except ModuleNotFoundError as error:
    if error.name != "sklearn":  # an installed scikit-learn that is broken must say so itself
        raise
    raise ModuleNotFoundError(
        "robust_lr_sklearn needs scikit-learn: pip install 'robust-lr[sklearn]'", name="sklearn"
    ) from error

from .search_cv import LearningRateSearchCV as LearningRateSearchCV
