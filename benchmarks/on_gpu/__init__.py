"""The stages of gpu.py: engines against the plain loop, packs against processes, Wide ResNets on real images."""
