"""Readers turn existing results, from tables or other tools, into sweeps."""
