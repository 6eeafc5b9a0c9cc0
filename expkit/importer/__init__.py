"""Drafting a network's YAML from what a checkpoint or a graph of another program holds; TensorFlow stays out."""
