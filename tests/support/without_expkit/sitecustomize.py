"""Python imports this as it starts if its folder is in PYTHONPATH: the process then refuses to import expkit."""

import sys


class Refused:
    """Goes before every other finder, so that neither an installed expkit nor a folder of that name is found."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == "expkit":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


sys.meta_path.insert(0, Refused)
