"""Kinds of the user's own: found, loaded once, explained, kept with the run."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from expkit import plugins, registry
from expkit.config.load import load
from expkit.config.search import builtin_conf
from expkit.errors import ConfigError
from expkit.network.elaborate import network_spec
from support.command_line import Done, call
from support.command_line import run as started

EXAMPLE = Path(__file__).parents[1] / "docs" / "examples" / "my_layers.py"
GATED = [
    "plugins=[my_layers.py]",
    "+network.layers.gate={kind: gate, input: layer1}",
    "+network.layers.dropout.input=gate",
]
GATE_FIELDS = (
    "kind, input, scope, reuse, variables, initializer, regularizer, share, trainable, learning_rate_multiplier, "
    "openness"
)


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    """Leave no kinds, modules and files of a test behind."""
    modules, loaded = set(sys.modules), dict(plugins._LOADED)
    before = {family: dict(members) for family, members in registry._FAMILIES.items()}
    yield
    registry._FAMILIES.clear()
    registry._FAMILIES.update(before)
    registry.rebuild_sections()
    plugins._LOADED.clear()
    plugins._LOADED.update(loaded)
    for name in set(sys.modules) - modules:
        if name.startswith(("my_", "own_")):
            del sys.modules[name]


@pytest.fixture
def folder(empty_folder: Path) -> Path:
    """A working folder that holds the example of the documentation."""
    shutil.copy(EXAMPLE, empty_folder)
    return empty_folder


def problems_of(*overrides: str, config_dirs: tuple[str, ...] = ()) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(overrides, config_dirs)
    return [str(problem) for problem in caught.value.problems]


def kind_in_file(path: Path, body: str = "", kind: str = "mine") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        "from typing import Literal\n"
        "from expkit.kinds.layers.reshaping import Flatten\n"
        "from expkit.registry import register\n"
        "@register\n"
        "class Mine(Flatten):\n"
        f"    kind: Literal['{kind}'] = '{kind}'\n{body}"
    )
    return path


@pytest.mark.usefixtures("folder")
def test_a_kind_of_a_plugin_is_a_kind_like_any_other() -> None:
    load([])  # The sections have been used before the plugin is loaded.
    spec = network_spec(load(GATED).network)
    assert list(spec.variables)[2:4] == ["gate/kernel", "gate/bias"]
    assert problems_of(*GATED, "+network.layers.gate.opennes=2") == [
        f"network.layers.gate.opennes: unknown field for kind 'gate'; did you mean 'openness'? allowed: {GATE_FIELDS}"
    ]
    assert problems_of(*GATED, "+network.layers.gate.openness=20") == [
        "network.layers.gate.openness: must be less than or equal to 10 (allowed: >= -10 and <= 10), got 20"
    ]
    (unknown,) = problems_of("plugins=[my_layers.py]", "+network.layers.g={kind: gat}")
    assert "network.layers.g.kind: unknown kind 'gat'; did you mean 'gate'? allowed: " in unknown


@pytest.mark.usefixtures("folder")
def test_without_the_plugin_the_kind_is_unknown() -> None:
    (problem,) = problems_of(*GATED[1:])
    assert problem.startswith("network.layers.gate.kind: unknown kind 'gate'; ")


def test_names_of_a_plugins_variables_need_no_tensorflow(folder: Path) -> None:
    (folder / "sitecustomize.py").write_text(
        "import atexit, sys\natexit.register(lambda: print('tensorflow' in sys.modules))\n"
    )
    done = started("names", *GATED, cwd=folder, PYTHONPATH=f"{folder}:{EXAMPLE.parents[2]}")
    assert (done.code, done.err) == (0, "")
    assert "gate/kernel    [256, 256]" in done.out
    assert done.out.splitlines()[-1] == "False"


def test_a_run_keeps_its_plugins_and_is_evaluated_without_the_original(folder: Path) -> None:
    own = folder / "conf" / "train" / "autoencoder.yaml"
    own.parent.mkdir(parents=True)
    own.write_text(
        (builtin_conf() / "train" / "regression.yaml").read_text().partition("losses:")[0]
        + "losses: {main: {kind: log_cosh, labels: image, delta: 0.5}}\nmetrics: {}\n"
    )
    shutil.copy(builtin_conf() / "config.yaml", folder / "conf")
    reconstruct = [*GATED, "train=autoencoder", "network.layers.logits.units=64"]
    done = call("train", *reconstruct, "train.steps=20", "tracking=none", cwd=folder)
    assert done.code == 0, done.err
    (run,) = (folder / "runs").glob("*/*/")
    assert (run / "plugins" / "0_my_layers.py").read_bytes() == EXAMPLE.read_bytes()
    (folder / "my_layers.py").unlink()
    again: Done = started("evaluate", run.resolve(), cwd=folder.parent)
    assert (again.code, again.err) == (0, "")
    assert "test/loss" in again.out


def test_a_run_is_not_gone_on_with_by_another_plugin(folder: Path) -> None:
    words = ["train", *GATED, "train.steps=20", "tracking=none", "export=none"]
    assert started(*words, cwd=folder).code == 0
    (run,) = (folder / "runs").glob("*/*/")
    changed = folder / "my_layers.py"
    changed.write_text(changed.read_text() + "\nCHANGED = True\n")
    done = started(*words, f"run.resume={run}", cwd=folder)
    assert (done.code, done.errors) == (
        2,
        [
            f"error: plugins[0]: {(run / 'plugins' / '0_my_layers.py').resolve()} differs from {changed.resolve()}, "
            "which is loaded already; one program loads only one of them: make them equal, or start a new process"
        ],
    )


def test_a_file_is_looked_for_in_config_dirs_then_here_then_in_conf(empty_folder: Path) -> None:
    for place, kind in (("more", "first"), (".", "second"), ("conf", "third")):
        kind_in_file(empty_folder / place / "own_kind.py", kind=kind)
    load(["plugins=[own_kind.py]"], ["more"])
    assert "first" in registry.kinds("layer")
    assert not {"second", "third"} & set(registry.kinds("layer"))
    load([f"plugins=[{empty_folder / 'conf' / 'own_kind.py'}]"])
    assert "third" in registry.kinds("layer")
    assert problems_of("plugins=[own_other.py]", config_dirs=("more",)) == [
        f"plugins[0]: no file 'own_other.py'; looked for more/own_other.py, {empty_folder}/own_other.py, "
        f"{empty_folder}/conf/own_other.py"
    ]


def test_a_module_is_imported_by_its_name(empty_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(empty_folder))
    kind_in_file(empty_folder / "own_package" / "kinds.py")
    (empty_folder / "own_package" / "__init__.py").write_text("from own_package import kinds\n")
    config = load(["plugins=[own_package]", "+network.layers.m={kind: mine}"])
    assert list(network_spec(config.network).tensors)[-1] == "m"


def test_every_plugin_that_cannot_be_loaded_is_reported(empty_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(empty_folder))
    (empty_folder / "own_syntax.py").write_text("x = 1\ny = = 2\n")
    kind_in_file(empty_folder / "own_twice.py", kind="dense")
    kind_in_file(empty_folder / "own_half.py", "    size: int\nraise RuntimeError('not today')\n", kind="half")
    (empty_folder / "own_needs.py").write_text("import own_absent\n")
    (empty_folder / "own_bare.py").write_text(
        "from expkit.kinds.layers.base import Layer\nfrom typing import Literal\nfrom expkit.registry import register\n"
        "@register\nclass Bare(Layer):\n    kind: Literal['bare'] = 'bare'\n"
    )
    files = ["own_syntax.py", "own_twice.py", "own_half.py", "own_needs", "own_nowhere.sub", "own_bare.py"]
    found = problems_of(f"plugins=[{','.join(files)}]")
    assert [problem.split(": ", 2)[0] for problem in found] == [f"plugins[{place}]" for place in range(6)]
    here = empty_folder
    assert found[0] == (
        f"plugins[0]: {here}/own_syntax.py cannot be loaded: SyntaxError: invalid syntax ({here}/own_syntax.py, line 2)"
    )
    assert "own_twice.py cannot be loaded: ValueError: layer 'dense' is registered twice: Dense (" in found[1]
    assert "and Mine (own_twice_" in found[1]
    assert found[2] == (
        f"plugins[2]: {here}/own_half.py cannot be loaded: RuntimeError: not today ({here}/own_half.py, line 8)"
    )
    assert found[3] == (
        "plugins[3]: module 'own_needs' cannot be loaded: ModuleNotFoundError: No module named 'own_absent' "
        f"({here}/own_needs.py, line 1)"
    )
    assert found[4] == "plugins[4]: no module 'own_nowhere'; install it, or give a file that ends in .py"
    assert "ValueError: layer 'bare' lacks apply and output_spec; give Bare these methods (" in found[5]
    assert not {"half", "bare"} & set(registry.kinds("layer")), "what failed has left nothing"


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ("plugins=my_layers.py", "plugins: needs a list, got 'my_layers.py' (text)"),
        ("plugins=[3]", "plugins[0]: needs text, got 3"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_what_is_no_list_of_plugins_is_refused(given: str, problem: str) -> None:
    assert problems_of(given) == [problem]


def test_a_plugins_failure_and_a_broken_promise_name_the_kind_and_the_layer(empty_folder: Path) -> None:
    path = kind_in_file(
        empty_folder / "own_wrong.py",
        "    fails: bool = False\n"
        "    def output_spec(self, inputs):\n"
        "        if self.fails:\n"
        "            return inputs[7]\n"
        "        return super().output_spec(inputs)\n"
        "    def apply(self, variables, inputs, call):\n"
        "        return inputs[0][:, :3]\n",
        kind="wrong",
    )
    words = ["plugins=[own_wrong.py]", "+network.layers.m={kind: wrong, input: image}"]
    done = call("names", *words, "+network.layers.m.fails=true", cwd=empty_folder)
    assert (done.code, done.errors) == (
        2,
        [f"error: network.layers.m: kind 'wrong' fails: IndexError: tuple index out of range ({path}, line 10)"],
    )
    done = call("train", *words, "train.steps=1", "tracking=none", cwd=empty_folder)
    assert (done.code, done.errors) == (
        2,
        [
            "error: layer 'm': kind 'wrong' declares m as [batch, 64] float32, but returns (None, 3) float32; "
            "output_spec and apply must agree"
        ],
    )


def test_the_examples_numbers_are_what_it_says(folder: Path) -> None:
    load(GATED)
    loss = registry.kinds("loss")["log_cosh"](delta=2.0)
    from expkit import tf1 as tf

    with tf.Graph().as_default(), tf.Session() as session:
        values = loss.values(tf.constant([[0.5, 3.0]]), np.zeros((1, 2)))
        assert session.run(values)[0].tolist() == pytest.approx((4 * np.log(np.cosh([0.25, 1.5]))).tolist())
