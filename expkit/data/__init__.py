"""Data: sources of named arrays, and their way to batches."""
