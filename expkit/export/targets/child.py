"""Start of a program in a process that ends with the one that started it, however that ended.

Started as ``python -P child.py PARENT PROGRAM ...``, with the parent's process id and a file or ``-m MODULE``.
"""

from __future__ import annotations

import ctypes
import os
import runpy
import signal
import sys
import threading
import time

_DEATH_SIGNAL = 1
"""PR_SET_PDEATHSIG of Linux, which has the kernel do it: also while a library computes and no thread of Python runs."""


def end_with(parent: int) -> None:
    """End this process when its parent, of this id, ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_DEATH_SIGNAL, signal.SIGKILL)
        if os.getppid() != parent:  # It had ended before.
            os._exit(1)
    else:
        threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def main(parent: int, *program: str) -> None:
    """Run a program in this process."""
    end_with(parent)
    module = program[0] == "-m"
    sys.argv[:] = program[1:] if module else program
    if module:
        runpy.run_module(program[1], run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(program[0], run_name="__main__")


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
