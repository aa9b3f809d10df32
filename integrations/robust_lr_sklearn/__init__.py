"""Learning-rate searches for scikit-learn estimators. Reserved: the plug-in is not written yet."""
