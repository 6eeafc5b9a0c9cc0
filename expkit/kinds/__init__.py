"""Kinds: the frozen models that YAML chooses by ``kind:``, schema with behavior, below the configuration."""
