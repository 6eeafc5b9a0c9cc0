"""The memory and the cores of the machine."""

from __future__ import annotations

import os

__all__ = ["cores", "machine_memory", "size_text"]


def machine_memory() -> int:
    """Return the size of the machine's memory in bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def size_text(size: int) -> str:
    """Return a number of bytes in the largest unit that leaves it above 1."""
    power = min(max(size.bit_length() - 1, 0) // 10, 6)
    return f"{size / 2 ** (10 * power):.3g} {('bytes', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB', 'EiB')[power]}"


def cores() -> int:
    """Return the number of cores this process may use; of all where the system does not report it, as on macOS."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
