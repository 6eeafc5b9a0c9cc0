"""Pictures of runs and sweeps, drawn by matplotlib from plain data."""
