"""Networks and files far beyond the ordinary, in processes of their own: done or refused, in little memory.

How soon is measured by benchmarks/startup.py.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from support.command_line import ENVIRONMENT, Done

MEGABYTES = 500
MEASURE = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:]).returncode
with open("megabytes", "w") as file:
    print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024, file=file)
sys.exit(code)
"""
"""Runs a command from a small process: one that is split off a large one is charged that one's memory."""

HEAD = "inputs: {image: {shape: [64], dtype: float32}}\nlayers:\n"
TAIL = "  logits: {kind: dense, units: 10}\noutputs: {logits: logits}\n"


def names(folder: Path, layers: str) -> Done:
    """Run ``expkit names`` on a network of layers, and hold it to the limits."""
    path = folder / "conf" / "network" / "mine.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(f"{HEAD}{layers}{TAIL}", encoding="utf-8")
    words = [sys.executable, "-c", MEASURE, sys.executable, "-m", "expkit", "names", "network=mine"]
    done = subprocess.run(words, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert float((folder / "megabytes").read_text()) < MEGABYTES
    return Done(done.returncode, done.stdout, done.stderr)


def nested(depth: int) -> str:
    lines = []
    for level in range(depth):
        indent = "  " * (2 * level + 1)
        lines += [f"{indent}s{level}:", f"{indent}  kind: scope", f"{indent}  layers:"]
    return "\n".join([*lines, f"{'  ' * (2 * depth + 1)}inner: {{kind: dense, units: 8}}", ""])


def test_a_network_of_five_thousand_layers(tmp_path: Path) -> None:
    done = names(tmp_path, "".join(f"  l{i}: {{kind: dense, units: 8}}\n" for i in range(5000)))
    assert (done.code, done.err) == (0, "")
    assert "10002 variables, 360,538 parameters, 360,538 trained" in done.out


@pytest.mark.parametrize(
    ("layer", "first", "more"),
    [
        (
            "  l{i}: {{kind: dense, units: 8, reuse: true}}\n",
            "network.layers.l0.reuse: reuse is true, but no earlier layer creates variable 'l0/kernel'; nearest "
            "existing",
            "9,900",
        ),
        (
            "  l{i}: {{kind: dense, unitz: 8}}\n",
            "network.layers.l0.units: missing: kind 'dense' needs it",
            "9,900",
        ),
        (
            "  l{i}: {{kind: dense, units: 8, input: none{i}}}\n",
            "network.layers.l0.input: no layer or input 'none0'; allowed: image, l0, l1, ",
            "4,900",
        ),
        (
            "  l{i}: {{kind: dense, units: 8, share: {{kernel: none{i}}}}}\n",
            "network.layers.l0.share.kernel: no earlier layer creates variable 'none0'; variables: none",
            "4,900",
        ),
    ],
)
def test_as_many_mistakes_as_layers(tmp_path: Path, layer: str, first: str, more: str) -> None:
    done = names(tmp_path, "".join(layer.format(i=i) for i in range(5000)))
    assert (done.code, len(done.errors)) == (2, 101)
    assert first in done.errors[0]
    assert done.errors[-1] == f"error: and {more} more; fix these first"


def test_a_cycle_of_five_thousand_layers_is_reported_in_short(tmp_path: Path) -> None:
    layers = "".join(f"  l{i}: {{kind: flatten}}\n" for i in range(1, 5000))
    done = names(tmp_path, f"  l0: {{kind: flatten, input: l4999}}\n{layers}")
    assert done.code == 2
    assert "these layers read each other in a cycle: l0 <- l4999 <- l4998 <- " in done.err
    assert done.err.endswith(" <- l4991 <- (4989 more) <- l1 <- l0\n")


def test_scopes_nested_fifty_deep(tmp_path: Path) -> None:
    done = names(tmp_path, nested(50))
    assert (done.code, done.err) == (0, "")
    assert f"{'/'.join(f's{level}' for level in range(50))}/inner/kernel" in done.out


def test_scopes_nested_deeper_than_files_may_be(tmp_path: Path) -> None:
    done = names(tmp_path, nested(400))
    assert done.code == 2
    assert "conf/network/mine.yaml:226: more than 150 nested mappings and lists; nest less" in done.err


def test_repetitions_of_repetitions(tmp_path: Path) -> None:
    inner = "{kind: scope, repeat: 1000, layers: {d: {kind: dense, units: 8}}}"
    done = names(tmp_path, f"  s: {{kind: scope, repeat: 1000, layers: {{t: {inner}}}}}\n")
    assert done.code == 2
    assert "network.layers: there would be more than 20,000 layers, counted up to " in done.err


def test_anchors_that_explode(tmp_path: Path) -> None:
    anchors = "  a: &a {kind: flatten, variables: {a: b}}\n" + "".join(
        f"  {new}: &{new} {{kind: scope, layers: {{{', '.join(f'k{i}: *{old}' for i in range(10))}}}}}\n"
        for old, new in zip("abcdefgh", "bcdefghi", strict=True)
    )
    done = names(tmp_path, anchors)
    assert done.code == 2
    assert "conf/network/mine.yaml: more than 200,000 keys and values, contents of aliases" in done.err


def test_a_file_of_a_hundred_megabytes(tmp_path: Path) -> None:
    done = names(tmp_path, f"# {'x' * 100_000_000}\n")
    assert done.code == 2
    assert "conf/network/mine.yaml: 100.0 MB; a configuration file may have 2 MB" in done.err


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("'two words'", "two words"),
        ("größe", "größe"),
        ("'..'", ".."),
        ("'a/../b'", "a/../b"),
        ("日本", "日本"),
        ("'${oc.env:HOME}'", "${oc.env:HOME}"),
    ],
)
def test_names_that_no_graph_can_have(tmp_path: Path, name: str, shown: str) -> None:
    done = names(tmp_path, f"  {name}: {{kind: flatten}}\n")
    assert done.code == 2
    assert (
        f"'{shown}' is not a valid name; allowed: letters, digits, '_', '-' and '.', starting with a letter" in done.err
    )
