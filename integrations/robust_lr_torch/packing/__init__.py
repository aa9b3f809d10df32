"""Packs: many replicas of one model, trained together with the results of training one after the other."""
