"""Packs: many replicas of one model, trained together with the results of sequential training."""
