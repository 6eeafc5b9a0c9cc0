"""The kinds of sources, one file each; importing this package registers them all."""

from expkit.kinds.sources import arrays, digits, grammar, idx, image_folder, sequences, table, text, tfrecord

__all__ = ["arrays", "digits", "grammar", "idx", "image_folder", "sequences", "table", "text", "tfrecord"]
