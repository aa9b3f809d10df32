"""Readers: results that exist already, in tables and in the formats of other tools, become sweeps."""
