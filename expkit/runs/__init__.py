"""The life of a run: its folder, tracker, status, signals and terminal."""
