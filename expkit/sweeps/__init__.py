"""Sweeps: many runs of one command, their folder, what is missing of them, how they are launched and shown."""
