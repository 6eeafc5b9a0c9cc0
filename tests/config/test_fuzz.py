"""Random configurations, right and wrong: each wrong one is explained, none is a traceback.

``EXPKIT_FUZZ=100000 pytest tests/config/test_fuzz.py`` makes a longer run.
"""

from __future__ import annotations

import copy
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from expkit.config.load import load, plain, validate
from expkit.config.search import builtin_conf
from expkit.errors import ConfigError
from expkit.preflight import check
from support.command_line import call

pytestmark = pytest.mark.untraced

COUNT = int(os.environ.get("EXPKIT_FUZZ", "3000"))
CALLS = COUNT // 20
"""Those that go through the whole command line, which takes longer."""
CONF = builtin_conf()
EXPERIMENTS = sorted(file.stem for file in (CONF / "experiment").glob("*.yaml"))
FILES = [file for file in sorted(CONF.glob("*/*.yaml")) if file.parent.name in ("network", "optimizer", "train", "ema")]
VALUES: list[Any] = [
    *(None, True, False, 0, -1, 1, 3, 10**12, -(10**400), 2**63, 0.5, -0.0, 1e308, float("inf"), float("nan")),
    *("", " ", "a", "relu", "${x}", "${run.seed}", "${oc.env:HOME}", "???", "same", "\u0000", "\ud800", "größe"),
    *([], [1], [[]], [None], {}, {"kind": "dense"}, {"a": {"b": [1, {"c": 2}]}}, {"": 1}, {"kind": None}, [1, "a", {}]),
    *(
        "dense",
        "conv2d",
        "adam",
        "constant",
        "image",
        "logits",
        "float32",
        "int64",
        "{}",
        "(a|b",
        "[",
        "*",
        ".",
        "../x",
    ),
    "x" * 3000,
]
KEYS = ("run.seed", "train.steps", "optimizer", "network.layers", "ema.decay", "+a", "~train", "x")
WORDS = (
    *("kind", "units", "input", "layers", "shape", "dtype", "scope", "reuse", "share", "kernel", "filters", ""),
    *("a.b", "0"),
)


def nodes(value: Any) -> Iterator[Any]:
    """Yield the mappings and lists inside a value that have something in them."""
    if isinstance(value, dict | list) and value:
        yield value
        for inside in value.values() if isinstance(value, dict) else value:
            yield from nodes(inside)


def mutate(draw: random.Random, raw: Any) -> None:
    """Change one thing of a configuration in place."""
    every = list(nodes(raw))
    node = draw.choice(every)
    key = draw.choice(list(node) if isinstance(node, dict) else range(len(node)))
    act = draw.randrange(6)
    if act == 0:
        del node[key]
    elif act == 1:
        node[key] = copy.deepcopy(draw.choice(VALUES))
    elif act == 2:
        node[key] = copy.deepcopy(draw.choice(every))
    elif isinstance(node, list):
        node.insert(key, copy.deepcopy(draw.choice(VALUES)))
    elif act == 3:
        node[draw.choice(WORDS)] = copy.deepcopy(draw.choice(VALUES))
    elif act == 4:
        at = draw.randrange(len(str(key)) + 1)
        node[f"{str(key)[:at]}{draw.choice('aeiou_./ ')}{str(key)[at:]}"] = node.pop(key)
    else:
        node[draw.choice(WORDS)] = node.pop(key)


def spoil(draw: random.Random, text: str) -> str:
    """Change one thing of a file's text."""
    lines = text.splitlines()
    at = draw.randrange(len(lines))
    act = draw.randrange(5)
    if act == 0:
        del lines[at]
    elif act == 1:
        lines.insert(at, lines[draw.randrange(len(lines))])
    elif act == 2:
        lines[at] = " " * draw.randrange(5) + lines[at].strip()
    elif act == 3:
        where = draw.randrange(len(lines[at]) + 1)
        lines[at] = lines[at][:where] + draw.choice("{}[]:,#&*!|>'\"%@`$\t 0aé") + lines[at][where:]
    else:
        head, colon, _ = lines[at].partition(": ")
        lines[at] = f"{head}{colon}{draw.choice(VALUES)!s:.80}"
    return "\n".join(lines) + "\n"


def explained(error: ConfigError) -> bool:
    return all(problem.message.strip() and "Traceback" not in str(problem) for problem in error.problems)


@pytest.fixture(scope="module")
def raws() -> list[Any]:
    return [plain(load([f"experiment={name}"])) for name in EXPERIMENTS]


def test_a_mutated_configuration_is_right_or_explained(raws: list[Any]) -> None:
    wrong = 0
    failed: dict[str, Any] = {}
    for seed in range(COUNT - CALLS):
        draw = random.Random(seed)
        raw = copy.deepcopy(draw.choice(raws))
        for _ in range(draw.choice((1, 1, 2, 4))):
            mutate(draw, raw)
        raw.pop("plugins", None)
        try:
            check(validate(raw))
        except ConfigError as error:
            wrong += 1
            if not explained(error):
                failed.setdefault(str(error), seed)
        except Exception as error:
            failed.setdefault(f"{type(error).__name__}: {str(error)[:200]}", seed)
    assert failed == {}
    assert 0.5 * COUNT < wrong < COUNT - CALLS, "both right and wrong ones are tried"


def test_mutated_files_and_overrides_end_with_0_or_2_and_messages(tmp_path: Path) -> None:
    codes = set()
    failed: dict[str, Any] = {}
    for seed in range(CALLS):
        draw = random.Random(f"file {seed}")
        source = draw.choice(FILES)
        file = tmp_path / "conf" / source.parent.name / "mine.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(spoil(draw, source.read_text()), encoding="utf-8", errors="replace")
        words = [f"{source.parent.name}=mine"] if draw.random() < 0.7 else []
        for _ in range(draw.randrange(3)):
            key = draw.choice(
                ("run.seed", "train.steps", "optimizer", "network.layers", "ema.decay", "+a", "~train", "x")
            )
            words.append(spoil(draw, f"{key}={draw.choice(VALUES)!s:.80}").strip("\n"))
        words = [word for word in words if word and word[0] != "-" and "\0" not in word]
        try:
            done = call("names", *words, cwd=tmp_path)
        except Exception as error:
            failed.setdefault(f"{type(error).__name__}: {str(error)[:200]}", (seed, words))
            continue
        codes.add(done.code)
        told = [line for line in done.errors if line.startswith("error: ")]
        if done.code not in (0, 2) or told != done.errors or bool(told) != (done.code == 2):
            failed.setdefault(done.err[:200], (seed, words))
    assert failed == {}
    assert codes == {0, 2}
