"""Reports of sweeps, comparison of runs, both from the folders of runs."""
