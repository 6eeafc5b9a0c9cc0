"""Tracking: the only package that imports MLflow."""
