"""The data set of a run, from its source to batches."""
