"""Damaged copies of a file, to try what reads it: drawn from a fixed seed, as many as are requested."""

from __future__ import annotations

import re
import resource
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from expkit.errors import ExpkitError

BYTES = (0x00, 0x01, 0x0A, 0x20, 0x22, 0x27, 0x28, 0x2D, 0x30, 0x39, 0x3A, 0x5C, 0x7B, 0x7F, 0x80, 0xC0, 0xED, 0xFF)
NUMBERS = (0, 1, 2**7, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**62, 2**63 - 1, 2**63, 2**64 - 1)
WORDS = (
    *(b"-1", b"0", b"00", b"1.5", b"1e999", b"nan", b"0x10", b"99999999", b"9999999999999", b"9223372036854775808"),
    *(b"9" * 5000, b"(" * 300, b"[" * 3000, b"{", b"}", b"null", b"True", b'"', b"'", b","),
    *(b"\\ud800", b"\xed\xa0\x80", b"\n", b"\r", b"\0", b"#", b"\xff\xfe", b"\xef\xbb\xbf"),
)
"""What stands in place of a number, or is put in, in the hope that a reader believes it."""
HEADROOM_BYTES = 2 << 30
"""Memory that a reader may take of a small file: a header that claims terabytes is believed beyond it."""


def mutations(content: bytes, count: int, seed: int = 0, span: slice = slice(None)) -> Iterator[bytes]:
    """Yield damaged copies of a file's bytes, each with one to three mutations, each unlike the original.

    Args:
        content: the bytes of a file that can be read.
        count: number of copies.
        seed: seed of the draw.
        span: part of the bytes to mutate, such as a header; all of them if not given.
    """
    rng = Random(seed)
    first, after, _ = span.indices(len(content))
    before, inside, behind = content[:first], content[first:after], content[after:]
    given = 0
    while given < count:
        mutated = inside
        for _ in range(rng.choice((1, 1, 1, 2, 3))):
            mutated = rng.choice(MUTATIONS)(bytearray(mutated), rng)
        if mutated != inside:
            given += 1
            yield before + mutated + behind


def _flip(data: bytearray, rng: Random) -> bytes:
    if data:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(data)


def _set_byte(data: bytearray, rng: Random) -> bytes:
    if data:
        data[rng.randrange(len(data))] = rng.choice((*BYTES, rng.randrange(256)))
    return bytes(data)


def _set_number(data: bytearray, rng: Random) -> bytes:
    size, order = rng.choice((1, 2, 4, 8)), rng.choice(("little", "big"))
    at = rng.randrange(len(data) + 1)
    data[at : at + size] = (rng.choice((*NUMBERS, rng.getrandbits(64))) % 2 ** (8 * size)).to_bytes(size, order)
    return bytes(data)


def _set_digits(data: bytearray, rng: Random) -> bytes:
    found = [match.span() for match in re.finditer(rb"\d+", data)]
    if found:
        start, end = rng.choice(found)
        data[start:end] = rng.choice((*WORDS, str(rng.getrandbits(rng.randrange(1, 70))).encode()))
    return bytes(data)


def _cut(data: bytearray, rng: Random) -> bytes:
    return bytes(data[: rng.randrange(len(data) + 1)])


def _span(data: bytearray, rng: Random) -> slice:
    start = rng.randrange(len(data) + 1)
    return slice(start, start + rng.choice((1, 2, 4, 8, 64, len(data))))


def _drop(data: bytearray, rng: Random) -> bytes:
    del data[_span(data, rng)]
    return bytes(data)


def _zero(data: bytearray, rng: Random) -> bytes:
    chosen = _span(data, rng)
    data[chosen] = bytes(len(data[chosen]))
    return bytes(data)


def _repeat(data: bytearray, rng: Random) -> bytes:
    chosen, at = _span(data, rng), rng.randrange(len(data) + 1)
    data[at:at] = data[chosen]
    return bytes(data)


def _insert(data: bytearray, rng: Random) -> bytes:
    at = rng.choice((rng.randrange(len(data) + 1), len(data)))
    data[at:at] = rng.choice((rng.choice(WORDS), rng.randbytes(rng.choice((1, 3, 16)))))
    return bytes(data)


MUTATIONS: tuple[Callable[[bytearray, Random], bytes], ...] = (
    *(_flip, _flip, _set_byte, _set_number, _set_number, _set_digits, _set_digits, _cut, _drop, _zero, _repeat),
    _insert,
)


@dataclass(kw_only=True)
class Survey:
    """What a reader did with damaged files."""

    read: int = 0
    """Number of damaged files that were read all the same."""
    refused: list[str] = field(default_factory=list)
    """Messages of those that were refused."""
    tracebacks: list[str] = field(default_factory=list)
    """Exceptions that no user should see, with the line of expkit's that let them through."""
    silent: list[bytes] = field(default_factory=list)
    """Files that were read as something other than the original; a fault where the format has a checksum."""


def survey(path: Path, read: Callable[[], Any], damaged: Iterable[bytes]) -> Survey:
    """Return what a reader does with damaged copies of a file; the file is whole again afterwards.

    Args:
        path: the file, which can be read.
        read: reads it, and returns what it holds: arrays, or what ``repr`` shows, in mappings and sequences.
        damaged: the bytes of the damaged copies, such as ``mutations`` yields.
    """
    original, expected = path.read_bytes(), fingerprint(read())
    found = Survey()
    try:
        for content in damaged:
            path.write_bytes(content)
            try:
                with _bounded_memory():
                    got = fingerprint(read())
            except ExpkitError as error:
                found.refused.append(str(error))
            except Exception as error:
                frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "/expkit/" in frame.filename]
                at = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "outside expkit"
                found.tracebacks.append(f"{type(error).__name__}: {str(error)[:200]} ({at})")
            else:
                found.read += 1
                if got != expected:
                    found.silent.append(content)
    finally:
        path.write_bytes(original)
    return found


def fingerprint(value: Any) -> Any:
    """Return a value that is equal for equal contents: of arrays dtype, shape and bytes, of all else the text."""
    if isinstance(value, Mapping):
        return {str(key): fingerprint(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [fingerprint(item) for item in value]
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    return repr(value)


@contextmanager
def _bounded_memory() -> Iterator[None]:
    """Bound the memory of this process for a while, where the system counts it."""
    sizes = Path("/proc/self/statm")
    if not sizes.exists():
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    now = int(sizes.read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + HEADROOM_BYTES, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
