"""Checkpoints: stored safely, restored by name."""
