"""New checkpoints made from existing ones: renamed, selected, averaged."""
