"""Diagram of a network: a layered graph drawing as an SVG file."""
