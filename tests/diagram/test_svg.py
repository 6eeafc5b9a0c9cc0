"""The drawn network: nothing is missing or overlaps, graph repeats is drawn once, graph is shared is joined."""

from __future__ import annotations

import subprocess
import sys
from itertools import combinations, pairwise
from xml.etree import ElementTree

import pytest
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath

from expkit.config.load import load
from expkit.config.search import builtin_conf
from expkit.diagram.drawing import Box, Drawing, drawing
from expkit.diagram.layout import Layout, Rect, layout
from expkit.diagram.repetitions import find_repetitions
from expkit.diagram.shared_lines import shared_lines
from expkit.diagram.svg import COLORS, _size, _title_width, svg, text_width
from expkit.network.elaborate import network_spec
from expkit.network.spec import NetworkSpec
from expkit.registry import kinds
from support.command_line import ENVIRONMENT
from support.networks import spec_of
from support.random_networks import random_networks

NETWORKS = sorted(file.stem for file in (builtin_conf() / "network").glob("*.yaml"))
pytestmark = pytest.mark.usefixtures("empty_folder")


def block(before: str, **fields: object) -> dict[str, object]:
    """Return a scope with a residual around it: two layers, and graph came before added."""
    dense = {"kind": "dense", "units": 4}
    inner = {
        "up": dense,
        "down": dense,
        "sum": {"kind": "add", "input": ["down", before]},
        "norm": {"kind": "batch_norm"},
    }
    return {"kind": "scope", "input": before, "layers": inner, **fields}


def stack(count: int, **fields: object) -> dict[str, dict[str, object]]:
    names = ["x", *(f"block{i}" for i in range(count))]
    return {name: block(before, **fields) for before, name in pairwise(names)}


def laid(spec: NetworkSpec) -> tuple[Drawing, Layout]:
    graph = drawing(spec)
    return graph, layout(graph, _size, _title_width)


def texts(drawn: str) -> list[str]:
    root = ElementTree.fromstring(drawn)
    return [element.text or "" for element in root.iter("{http://www.w3.org/2000/svg}text")]


NOTHING = 0.01
"""Less than anyone sees, and more than rounding."""


def overlap(a: Rect, b: Rect) -> bool:
    return min(a.right, b.right) - max(a.x, b.x) > NOTHING and min(a.bottom, b.bottom) - max(a.y, b.y) > NOTHING


def within(inner: Rect, outer: Rect) -> bool:
    wide = outer.x - NOTHING <= inner.x and inner.right <= outer.right + NOTHING
    return wide and outer.y - NOTHING <= inner.y and inner.bottom <= outer.bottom + NOTHING


def assert_tidy(spec: NetworkSpec) -> None:
    """Nothing overlaps, and graph is in a scope is within its box and everything else outside of it."""
    _, page = laid(spec)
    whole = Rect(x=0, y=0, width=page.width, height=page.height)
    for (_, a), (_, b) in combinations(page.items, 2):
        assert not overlap(a, b)
    for box, rect in page.boxes:
        assert within(rect, whole)
        for item, place in [*page.items, *((other, r) for other, r in page.boxes if other is not box)]:
            if item.path.startswith(f"{box.path}/"):
                assert within(place, rect)
            elif not box.path.startswith(f"{item.path}/"):
                assert not overlap(place, rect)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_layer_of_a_built_in_network_is_drawn_and_nothing_overlaps(name: str) -> None:
    spec = network_spec(load([f"network={name}", "~experiment"]).network)
    drawn = texts(svg(spec, name))
    names = [layer.path.rpartition("/")[2] for layer in spec.every_layer]
    names += [f"{layer.path} · {layer.layer.kind}" for layer in spec.layers if layer.cell is not None]
    assert [part for part in (name, *names, *spec.inputs, *spec.outputs) if part not in drawn] == []
    assert_tidy(spec)


def runs_of(spec: NetworkSpec) -> list[tuple[str, ...]]:
    """Return the runs of scopes of which only the first is drawn."""
    readers: dict[str, list[str]] = {}
    for layer in spec.layers:
        for source in (*layer.inputs, *layer.named.values()):
            owner = source if source in {other.path for other in spec.layers} else source.rpartition("/")[0]
            readers.setdefault(owner or source, []).append(layer.path)
    for name, path in spec.outputs.items():
        readers.setdefault(path, []).append(f"outputs:{name}")
    return [repetition.paths for repetition in find_repetitions(spec, readers)]


def test_random_networks_are_drawn_without_overlaps() -> None:
    for seed, raw in random_networks(100):
        spec = spec_of(raw)
        assert_tidy(spec)
        drawn = ElementTree.fromstring(svg(spec, f"random {seed}"))
        titles = {element.text for element in drawn.iter("{http://www.w3.org/2000/svg}title")}
        told = {title.partition("\n")[0].partition(":")[0] for title in titles if title}
        hidden = tuple(f"{scope}/" for _, *others in runs_of(spec) for scope in others)
        assert {layer.path for layer in spec.layers if not layer.path.startswith(hidden)} <= told
        assert not any(title.startswith(hidden) for title in told)


def test_a_layer_shows_kind_settings_shape_and_variables() -> None:
    spec = spec_of("layers: {one: {kind: dense, units: 7, activation: relu, use_bias: false, trainable: false}}")
    drawn = svg(spec, "tiny")
    assert texts(drawn)[1:] == [
        "x", "4", "one", "7", "dense · units 7 · relu · no bias", "kernel", "4 × 7", "out", "7",
    ]  # fmt: skip
    assert "<title>one: dense\none:0 [batch, 7] float32\none/kernel [4, 7] float32, 28, not trained</title>" in drawn
    assert "1 variable, 28 parameters" in drawn


def test_the_networks_edges_are_lines_from_top_to_bottom() -> None:
    _, page = laid(spec_of({"layers": stack(1)}))
    places = {item.path: rect for item, rect in page.items}
    arrows = [(line.to, line.end) for line in page.lines if line.arrow]
    assert len(arrows) == 6  # to up, down, norm and the output one, to the sum two
    for path, rect in places.items():
        count = sum(rect.x <= x <= rect.right and y == rect.y for x, y in arrows)
        assert count == {"x": 0, "block0/sum": 2}.get(path, 1)
    assert all(line.top <= line.bend <= line.reach <= line.end for line in page.lines)


def test_a_chain_is_drawn_in_a_straight_line() -> None:
    _, page = laid(spec_of({"layers": {f"l{i}": {"kind": "dense", "units": i + 1} for i in range(6)}}))
    assert len({line.x for line in page.lines} | {line.to for line in page.lines}) == 1


def test_towers_that_share_are_joined_straight_across() -> None:
    graph, page = laid(network_spec(load(["experiment=siamese"]).network))
    assert graph.shares == (("left_tower/conv", "right_tower/conv"), ("left_tower/code", "right_tower/code"))
    places = {item.path: rect for item, rect in page.items}
    for (left, right), points in zip(graph.shares, shared_lines(graph, page), strict=True):
        assert [x for x, _ in points] == [places[left].right, places[right].x]
        assert len({y for _, y in points}) == 1
    drawn = svg(network_spec(load(["experiment=siamese"]).network), "siamese")
    assert "share variables" in texts(drawn)
    assert "share variables" not in texts(svg(spec_of({"layers": stack(1)}), "alone"))


def test_layers_that_share_far_apart_are_joined_around_what_is_between() -> None:
    layers = {f"l{i}": {"kind": "dense", "units": 4, "scope": "same", "reuse": "auto"} for i in range(4)}
    graph, page = laid(spec_of({"layers": layers}))
    assert graph.shares == (("l0", "l1"), ("l1", "l2"), ("l2", "l3"))
    lines = shared_lines(graph, page)
    assert all(a[1][0] != b[1][0] for a, b in pairwise(lines)), "lines side by side, not one over the other"
    for points in lines:
        x, (_, top), (_, bottom) = points[1][0], points[1], points[2]
        assert not any(rect.x < x < rect.right and rect.y < bottom and top < rect.bottom for _, rect in page.items)


def test_a_stack_of_one_make_is_drawn_once_with_its_count() -> None:
    spec = spec_of({"layers": {**stack(12), "end": {"kind": "dense", "units": 2}}})
    drawn = texts(svg(spec, "stack"))
    assert drawn.count("sum") == 1
    assert "block0 … block11" in drawn
    assert "× 12" in drawn
    assert "48" not in drawn
    assert_tidy(spec)


def test_a_stack_that_uses_one_set_of_variables_says_so() -> None:
    spec = spec_of({"layers": stack(5, scope="same", reuse="auto")})
    assert "× 5, one set of variables" in texts(svg(spec, "stack"))
    assert drawing(spec).shares == ()


def runs(layers: dict[str, object], **more: object) -> list[tuple[str, ...]]:
    return runs_of(spec_of({"layers": layers, **more}))


def test_only_what_repeats_as_it_is_is_drawn_once() -> None:
    assert runs(dict(stack(2))) == []
    assert runs(dict(stack(3))) == [("block0", "block1", "block2")]
    other = stack(5)
    other["block2"]["trainable"] = False
    assert runs(dict(other)) == []
    wider: dict[str, dict[str, object]] = stack(7)
    wider["block3"]["layers"]["up"] = {"kind": "dense", "units": 5}
    assert runs(dict(wider)) == [("block0", "block1", "block2"), ("block4", "block5", "block6")]


def test_a_scope_that_something_else_reads_is_not_hidden_in_a_stack() -> None:
    layers: dict[str, object] = {**stack(4), "tap": {"kind": "dense", "input": "block1", "units": 3}}
    assert runs(layers) == []
    assert runs(dict(stack(4)), outputs={"out": "block3", "middle": "block1/down"}) == []
    last: dict[str, object] = {**stack(4), "tap": {"kind": "dense", "input": "block3", "units": 3}}
    assert runs(last) == [("block0", "block1", "block2", "block3")]


def test_scopes_that_read_the_same_and_not_each_other_are_drawn_each() -> None:
    heads = {f"head{i}": block("x") for i in range(4)}
    assert runs({**heads, "all": {"kind": "concat", "input": list(heads)}}) == []


def test_stacks_within_stacks_are_drawn_once() -> None:
    layers = {}
    before = "x"
    for i in range(3):
        inner = {}
        for j in range(3):
            inner[f"inner{j}"] = block(before if j == 0 else f"inner{j - 1}")
        layers[f"outer{i}"] = {"kind": "scope", "input": before, "layers": inner}
        before = f"outer{i}"
    assert runs(dict(layers)) == [
        ("outer0", "outer1", "outer2"),
        ("outer0/inner0", "outer0/inner1", "outer0/inner2"),
    ]
    root = drawing(spec_of({"layers": layers})).root
    boxes = [child for child in root.children if isinstance(child, Box)]
    assert [(box.title, box.times) for box in boxes] == [("outer0 … outer2", 3)]
    assert_tidy(spec_of({"layers": layers}))


def test_boxes_that_read_each_other_in_a_circle_are_drawn_too() -> None:
    spec = spec_of(
        """
        layers:
          a: {kind: scope, layers: {one: {kind: dense, units: 4}, two: {kind: dense, input: between, units: 4}}}
          between: {kind: dense, input: a/one, units: 4}
          end: {kind: dense, input: a, units: 4}
        """
    )
    assert_tidy(spec)
    _, page = laid(spec)
    assert sum(line.arrow for line in page.lines) == 5


def test_the_drawing_is_the_same_every_time() -> None:
    program = (
        "from support.networks import spec_of; from expkit.diagram.svg import svg;"
        "layers = {f'l{i}': {'kind': 'dense', 'units': 4, 'input': 'x'} for i in range(9)};"
        "layers['all'] = {'kind': 'add', 'input': list(layers)};"
        "print(svg(spec_of({'layers': layers}), 'x'))"
    )
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, 'tests'); {program}"]
    root = builtin_conf().parent
    drawn = {
        subprocess.run(
            command, cwd=root, env={**ENVIRONMENT, "PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in "12"
    }
    assert len(drawn) == 1


def test_twelve_blocks_with_a_mask_are_drawn_once_with_all_they_read() -> None:
    folder = builtin_conf().parent / "benchmarks" / "conf"
    spec = network_spec(load(["~experiment", "network=bench_names"], [str(folder)]).network)
    assert len(spec.variables) == 199
    graph = drawing(spec)
    assert ("mask", "layer_0/attention") in graph.edges
    assert [edge for edge in graph.edges if edge[0] == "mask"] == [("mask", "layer_0/attention")]
    assert "× 12" in texts(svg(spec, "names"))
    assert_tidy(spec)


def long_network(blocks: int) -> NetworkSpec:
    layers: dict[str, dict[str, object]] = {}
    for i in range(blocks):
        layers[f"a{i}"] = {"kind": "dense", "units": 4 + i % 2}
        layers[f"b{i}"] = {"kind": "dense", "units": 4}
        layers[f"c{i}"] = {"kind": "add", "input": [f"b{i}", f"c{i - 1}" if i else "x"]}
    return spec_of({"layers": layers})


def calls_to_draw(spec: NetworkSpec) -> int:
    """Return how many functions are called to draw a network: a measure of the work that no machine's speed changes."""
    count = 0

    def profile(frame: object, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        svg(spec, "long")
    finally:
        sys.setprofile(before)
    return count


def test_the_work_of_drawing_thousands_of_layers_grows_with_their_number_and_no_faster() -> None:
    calls_to_draw(long_network(10))  # what is prepared once is not counted
    assert calls_to_draw(long_network(500)) < 5.5 * calls_to_draw(long_network(100))


@pytest.mark.parametrize("text", ["kernel", "8 × 8 × 32", "moving_variance", "conv2d · filters 32", "WWW…"])
def test_a_texts_width_is_rather_too_much(text: str) -> None:
    arial = FontProperties(family=["Liberation Sans", "Arial", "Helvetica", "DejaVu Sans"], size=11)
    wide = TextPath((0, 0), text, prop=arial).get_extents().width
    assert wide * 0.85 <= text_width(text, 11) <= wide * 1.6


def test_every_color_belongs_to_a_module_of_layers() -> None:
    modules = {cls.__module__.rpartition(".")[2] for cls in kinds("layer").values()}
    assert set(COLORS) - {"input", "output"} <= modules
