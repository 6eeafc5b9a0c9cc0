"""Export: the frozen graph with the proof that it computes the same numbers."""
