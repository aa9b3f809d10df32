"""Learning-rate sweeps on a Ray cluster. Reserved: the plug-in is not written yet."""
