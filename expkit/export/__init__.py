"""Export: the frozen graph, and the proof that it computes the same numbers."""
