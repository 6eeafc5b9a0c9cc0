"""Targets of ``expkit export``: one file a format."""
