"""The kinds of augmentation, by the changes that they make; importing this package registers them all."""

from expkit.kinds.augment import colors, covering, geometry, mixing, tokens

__all__ = ["colors", "covering", "geometry", "mixing", "tokens"]
