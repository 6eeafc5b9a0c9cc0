"""New checkpoints made from existing ones by renaming, selecting or averaging variables."""
