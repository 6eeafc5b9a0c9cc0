"""Run the command line as ``python -m expkit``."""

from expkit.cli.main import main

if __name__ == "__main__":
    main()
