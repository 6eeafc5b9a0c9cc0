"""Rename rules suggested by matching the names and shapes of two sets of variables."""
