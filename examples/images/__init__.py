"""The parts of wrn.py: images and where they come from, networks, and how they are trained."""
