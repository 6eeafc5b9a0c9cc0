"""The kinds of preprocessing, by the values that they are for; importing this package registers them all."""

from expkit.kinds.preprocess import categories, images, numbers, text, wordpiece

__all__ = ["categories", "images", "numbers", "text", "wordpiece"]
