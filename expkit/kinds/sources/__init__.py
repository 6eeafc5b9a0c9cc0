"""The kinds of sources, one file each; importing this package registers them all."""

from expkit.kinds.sources import arrays, csv, digits, grammar, idx, tfrecord

__all__ = ["arrays", "csv", "digits", "grammar", "idx", "tfrecord"]
