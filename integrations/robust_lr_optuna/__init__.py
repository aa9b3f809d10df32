"""Learning-rate grids in an Optuna study. Reserved: the plug-in is not written yet."""
