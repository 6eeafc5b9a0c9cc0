"""Checkpoints: kept whole, restored by name."""
