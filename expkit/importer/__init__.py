"""Drafts of a network's YAML from checkpoints or graphs of other programs."""
