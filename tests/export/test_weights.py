"""Variables for other programs: names by rules read backwards, PyTorch's layout, every bit read back."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from scipy.special import erf, softmax

from expkit.checkpoints.formats.open import open_variables
from expkit.checkpoints.restore.inverse import Exported, exported, unused
from expkit.config.load import compose_plain, load
from expkit.config.sections.restore import RenameRule, RestoreConfig, WeightLayout
from expkit.errors import ExportError, Problem
from expkit.export.weights import WeightsFormat, exported_variables, read_weights, weights_that_differ, write_weights
from expkit.network.elaborate import network_spec
from expkit.network.names import ema_name
from expkit.network.spec import NetworkSpec
from expkit.tensor_spec import TensorSpec
from expkit.training.inference import Predictor, infer_graph
from support.command_line import BARE, call
from support.networks import spec_of

LAYERS, HIDDEN, HEADS = 2, 12, 3
BERT = [
    *("network=bert", "network.settings.activation=gelu", f"network.settings.layers={LAYERS}"),
    *(f"network.settings.hidden_size={HIDDEN}", f"network.settings.heads={HEADS}", "network.settings.length=7"),
    *(
        "network.settings.intermediate_size=20",
        "network.settings.vocabulary_size=30",
        "network.settings.max_positions=9",
    ),
]
GOLDEN = Path(__file__).parents[1] / "golden" / "bert_hugging_face.txt"


def random_values(spec: NetworkSpec) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(0)
    return {
        name: np.asarray(draw.normal(0, 0.5, variable.shape) + name.endswith("gamma"), variable.dtype)
        for name, variable in spec.variables.items()
    }


def bert_rules() -> RestoreConfig:
    restore: Any = OmegaConf.to_container(compose_plain(["restore=bert_hf"]).restore)
    return RestoreConfig.model_validate_json(json.dumps(restore))


def written(
    tmp_path: Path, form: WeightsFormat, spec: NetworkSpec, rules: tuple[RenameRule, ...], layout: WeightLayout
) -> dict[str, np.ndarray]:
    """Return the content of a file of random values, which were equal in every bit when they were read back."""
    path, values = tmp_path / f"w.{form}", random_values(spec)
    write_weights(path, form, exported_variables(spec, rules, layout, "rules"), values, {"run": "a"})
    restored = read_weights(path, spec, rules, layout)
    assert sorted(restored) == sorted(spec.variables)
    assert weights_that_differ(restored, values) == []
    source = open_variables(path, "test")
    return {name: source.read(name) for name in source.variables}


def bert_in_numpy(w: dict[str, np.ndarray], ids: np.ndarray, mask: np.ndarray, types: np.ndarray) -> np.ndarray:
    """Return the pooled output of Hugging Face's BERT from its names: ``y = x W.T + b``, kernels [outputs, inputs]."""

    def linear(x: np.ndarray, name: str) -> np.ndarray:
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        centred = x - x.mean(-1, keepdims=True)
        return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-12) * w[f"{name}.weight"] + w[f"{name}.bias"]

    def heads(x: np.ndarray) -> np.ndarray:
        return x.reshape(*x.shape[:2], HEADS, -1).transpose(0, 2, 1, 3)

    at = "bert.embeddings."
    x = w[f"{at}word_embeddings.weight"][ids] + w[f"{at}token_type_embeddings.weight"][types]
    x = norm(x + w[f"{at}position_embeddings.weight"][: ids.shape[1]], f"{at}LayerNorm")
    for layer in range(LAYERS):
        at = f"bert.encoder.layer.{layer}."
        q, k, v = (heads(linear(x, f"{at}attention.self.{name}")) for name in ("query", "key", "value"))
        scores = q @ k.transpose(0, 1, 3, 2) / np.sqrt(HIDDEN / HEADS) + (1 - mask[:, None, None, :]) * -1e9
        joined = (softmax(scores, axis=-1) @ v).transpose(0, 2, 1, 3).reshape(x.shape)
        x = norm(linear(joined, f"{at}attention.output.dense") + x, f"{at}attention.output.LayerNorm")
        inner = linear(x, f"{at}intermediate.dense")
        inner = inner * 0.5 * (1 + erf(inner / np.sqrt(2)))
        x = norm(linear(inner, f"{at}output.dense") + x, f"{at}output.LayerNorm")
    return np.asarray(np.tanh(linear(x[:, 0], "bert.pooler.dense")))


def test_bert_in_pytorchs_layout_has_hugging_faces_names_and_computes_the_same(tmp_path: Path) -> None:
    spec, rules = network_spec(load(["~experiment", *BERT]).network), bert_rules()
    found = written(tmp_path, "safetensors", spec, rules.rename, rules.layout)
    draw = np.random.default_rng(1)
    ids, types = draw.integers(0, 30, (4, 7), np.int32), draw.integers(0, 2, (4, 7), np.int32)
    mask = (np.arange(7) < np.array([[7], [5], [3], [1]])).astype(np.int32)
    with Predictor(infer_graph(spec, {}, 0)) as predictor:
        predictor.load(random_values(spec))
        ours = predictor.predict({"input_ids": ids, "input_mask": mask, "token_type_ids": types})["pooled"]
    reference = bert_in_numpy({name: value.astype(np.float64) for name, value in found.items()}, ids, mask, types)
    np.testing.assert_allclose(ours, reference, atol=1e-5)


def test_the_base_model_has_the_names_and_shapes_of_hugging_faces() -> None:
    spec, rules = network_spec(load(["~experiment", "network=bert"]).network), bert_rules()
    found = exported_variables(spec, rules.rename, rules.layout, "rules").values()
    assert sorted(f"{item.name} {list(item.spec.sizes)}" for item in found) == GOLDEN.read_text().splitlines()


CONVOLUTIONS = {
    "inputs": {"image": {"shape": [6, 5, 4]}},
    "layers": {
        "conv": {"kind": "conv2d", "filters": 3, "kernel_size": [3, 2], "padding": "valid"},
        "depthwise": {"kind": "depthwise_conv2d", "kernel_size": 2, "depth_multiplier": 2, "padding": "valid"},
        "flat": {"kind": "global_average_pool"},
        "logits": {"kind": "dense", "units": 5},
    },
    "outputs": {"logits": "logits"},
}


def in_pytorchs_definition(w: dict[str, np.ndarray], image: np.ndarray) -> np.ndarray:
    """Return the outputs by PyTorch's formulas: kernels [outputs, inputs / groups, height, width], images [C, H, W]."""

    def conv(x: np.ndarray, kernel: np.ndarray, bias: np.ndarray, groups: int) -> np.ndarray:
        windows = np.lib.stride_tricks.sliding_window_view(x, kernel.shape[2:], (2, 3))
        outputs = np.split(kernel, groups)
        inputs = np.split(windows, groups, 1)
        both = zip(inputs, outputs, strict=True)
        joined = np.concatenate([np.einsum("nchwij,ocij->nohw", part, own) for part, own in both], 1)
        return np.asarray(joined + bias[:, None, None])

    x = conv(image.transpose(0, 3, 1, 2), w["conv/kernel"], w["conv/bias"], 1)
    x = conv(x, w["depthwise/depthwise_kernel"], w["depthwise/bias"], 3)
    return np.asarray(x.mean((2, 3)) @ w["logits/kernel"].T + w["logits/bias"])


@pytest.mark.parametrize("form", ["npz", "safetensors"])
def test_convolutions_in_pytorchs_layout_compute_the_same(form: WeightsFormat, tmp_path: Path) -> None:
    spec = spec_of(CONVOLUTIONS)
    found = written(tmp_path, form, spec, (), "pytorch")
    assert found["depthwise/depthwise_kernel"].shape == (6, 1, 2, 2)
    image = np.random.default_rng(2).normal(size=(3, 6, 5, 4)).astype(np.float32)
    with Predictor(infer_graph(spec, {}, 0)) as predictor:
        predictor.load(random_values(spec))
        ours = predictor.predict({"image": image})["logits"]
    np.testing.assert_allclose(ours, in_pytorchs_definition(found, image), rtol=1e-4, atol=1e-5)


def rule(**fields: Any) -> RenameRule:
    return RenameRule.model_validate_json(json.dumps(fields))


def source(name: str, *rules: RenameRule, shape: tuple[int, ...] = (3, 4)) -> str:
    """Return the name that the file has for a variable, or the problem."""
    found = exported(name, TensorSpec.of_variable(shape), (), rules, "rules")
    return str(found) if isinstance(found, Problem) else f"{found.name} {list(found.spec.sizes)}"


def test_rules_are_read_backwards() -> None:
    assert source("a/b") == "a/b [3, 4]"
    assert source("new", rule(name="old", to="new")) == "old [3, 4]"
    assert source("enc/x/w", rule(prefix="tower/", to="enc/")) == "tower/x/w [3, 4]"
    assert (
        source("l_12/w", rule(pattern=r"l\.(\d+)\.w", to=r"l_\1/w", transform=[{"transpose": [1, 0]}]))
        == "l.12.w [4, 3]"
    )
    assert source("7/7/w", rule(pattern=r"(\d)\.w", to=r"\g<1>/\1/w")) == "7.w [3, 4]"
    assert source("7/8/w", rule(pattern=r"(\d)\.w", to=r"\1/\1/w")) == "7/8/w [3, 4]"
    assert source("w", rule(name="v", to="w", transform=[{"pad": [[1, 0], [0, 2]]}])) == "v [2, 2]"
    assert source("w", rule(name="v", to="w"), rule(name="u", to="w")) == "v [3, 4]"


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"pattern": r"l.(\d)\.w", "to": r"w\1"}, r"'.' stands for several texts; write \. for the character"),
        ({"pattern": r"l\d(\d)", "to": r"w\1"}, r"'\d' stands for several texts; put it into a group"),
        ({"pattern": r"(a|b)(\d)", "to": r"w\2"}, r"'to' lacks its group \1"),
        ({"pattern": r"((a)\d)", "to": r"w\1"}, "it has a group inside a group"),
        ({"pattern": r"(?:a)(\d)", "to": r"w\1"}, "'(?:a)' is no plain group"),
        ({"pattern": r"(\d)?a", "to": r"w\1"}, r"'(\d)?' is no plain group"),
        ({"pattern": r"(?P<n>\d)a", "to": r"w\g<n>"}, r"'(?P<n>\d)' is no plain group"),
        ({"pattern": r"(\d)(\1?)", "to": r"w\2\1"}, r"its group '(\1?)' refers to another one"),
        *(
            ({"pattern": r"a(\d)", "to": to}, r"'to' may have groups, as \1, but no other sequence with a backslash")
            for to in (r"w\g<0>", r"w\061", r"w\\1")
        ),
        ({"name": "v", "to": "w1", "concat": ["u"]}, "joins several values, whose sizes it does not say"),
        ({"name": "v", "to": "w1", "transform": [{"slice": [[0, 3], None]}]}, "slice [[0, 3], null] has no inverse"),
        ({"name": "v", "to": "w1", "transform": [{"reshape": [12]}]}, "reshape [12] has no inverse"),
        ({"name": "v", "to": "w1", "transform": [{"scale": 0.3}]}, "scale 0.3 has no inverse"),
        ({"name": "v", "to": "w1", "transform": [{"cast": "float16"}]}, "cast float16 has no inverse"),
    ],
)
def test_a_rule_without_an_inverse_is_named(fields: dict[str, Any], reason: str) -> None:
    own = rule(**fields)
    words = f"'{own.selector}' -> '{own.to}', the rule for variable 'w1', cannot be read backwards: {reason}"
    assert source("w1", own) == f"rules[0]: {words}"
    assert source("other", own) == "other [3, 4]", "a rule of other variables does not matter"


PIECES = st.sampled_from(["a", r"\.", "/", r"(\d+)", "(x|yz)", r"([^/]+)", "_"])


@settings(max_examples=60, derandomize=True, deadline=None)
@given(st.lists(PIECES, min_size=1, max_size=5), st.text("0123456789axyz./_", min_size=1, max_size=12))
def test_a_name_read_backwards_leads_to_the_variable_again(pieces: list[str], variable: str) -> None:
    groups = sum(piece.startswith("(") for piece in pieces)
    own = rule(pattern="".join(pieces), to="v/" + "/".join(rf"\{number + 1}" for number in range(groups)))
    name = f"v/{variable}"
    found = exported(name, TensorSpec.of_variable((2,)), (), [own], "rules")
    assert isinstance(found, Exported)
    if found.name != name:
        matched = re.fullmatch(str(own.pattern), found.name)
        assert matched is not None
        assert matched.expand(str(own.to)) == name


def test_rules_for_another_network_are_refused_and_spare_ones_are_had_by_name() -> None:
    spec = spec_of(
        {"inputs": {"x": {"shape": [3]}}, "outputs": {"y": "a"}, "layers": {"a": {"kind": "dense", "units": 2}}}
    )
    rules = [rule(name="w", to="b/kernel"), rule(pattern=r"(\w+)\.w", to=r"\1/weight")]
    message = "^rules: none of the 2 rules leads to a variable of this network, as 'a/kernel'$"
    with pytest.raises(ExportError, match=message):
        exported_variables(spec, rules, "tensorflow", "rules")
    used = rule(name="w", to="a/kernel")
    found = exported_variables(spec, [*rules, used], "tensorflow", "rules")
    assert found["a/kernel"].name == "w"
    assert unused([*rules, used], found) == rules


def test_two_variables_of_one_name_are_refused() -> None:
    rows = {"inputs": {"x": {"shape": [4, 3]}}, "outputs": {"last": "lstm"}}
    spec = spec_of(rows | {"layers": {"lstm": {"kind": "lstm", "units": 2}}})
    rules = [rule(name="w", to="lstm/kernel"), rule(name="w", to="lstm/bias")]
    with pytest.raises(ExportError, match=r"^rules: 'lstm/kernel' and 'lstm/bias' would both be 'w' in the file$"):
        exported_variables(spec, rules, "tensorflow", "rules")


def test_npz_refuses_dtypes_that_numpy_alone_does_not_have(tmp_path: Path) -> None:
    variables = {"w": Exported("w", TensorSpec.of_variable((2,), "bfloat16"))}
    message = "^'w' is bfloat16, which NumPy alone does not have; write safetensors$"
    with pytest.raises(ValueError, match=message):
        write_weights(tmp_path / "w.npz", "npz", variables, {"w": np.zeros(2)}, {})
    assert not (tmp_path / "w.npz").exists()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a short run with an EMA."""
    folder = tmp_path_factory.mktemp("run")
    words = [*BARE, "tracking.enabled=false", "hydra.run.dir=run", "run.folder=."]
    assert call("train", *words, cwd=folder).code == 0
    return folder / "run"


RULES = """
rename:
  - {pattern: 'fc(\\d)\\.weight', to: 'layer\\1/kernel'}
  - {name: head.weight, to: logits/kernel}
  - {name: pooler.weight, to: pooler/kernel}
"""


def test_a_run_is_exported_by_rules_in_pytorchs_layout(run: Path, tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(RULES)
    words = ["--layout", "pytorch", "--rules", "rules.yaml", "--output", "out"]
    done = call("export", run, "--to", "safetensors,npz", *words, cwd=tmp_path)
    assert done.code == 0, done.err
    for form in ("npz", "safetensors"):
        found = open_variables(tmp_path / "out" / form / f"variables.{form}", "test")
        assert sorted(found.variables) == ["fc1.weight", "head.weight", "layer1/bias", "logits/bias"]
        stored = open_variables(newest(run), "test")
        np.testing.assert_array_equal(found.read("fc1.weight"), stored.read(ema_name("layer1/kernel")).T)
    record = json.loads((tmp_path / "out" / "export.json").read_text())["targets"]["npz"]
    assert (record["verdict"], record["layout"]) == ("proven", "pytorch")
    assert record["names"] == {"fc1.weight": "layer1/kernel", "head.weight": "logits/kernel"}
    read_back, control = record["proofs"]
    assert (read_back["difference"], control["difference"]) == (0, 4)


def newest(run: Path) -> Path:
    return max((run / "checkpoints").glob("step-*")) / "model"


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (
            ["--to", "savedmodel", "--layout", "pytorch"],
            "--layout: is for safetensors, npz, none of which --to names",
        ),
        (["--to", "npz", "--rules", "bert_hg"], "restore: no file 'bert_hg' in this group; did you mean 'bert_hf'?"),
        (["--to", "npz", "--rules", "no.yaml"], "--rules: no.yaml is not a readable file of rename rules: "),
        (["--to", "npz", "--rules", "list.yaml"], "is not a readable file of rename rules: it is not a mapping with"),
        (["--to", "npz", "--rules", "wrong.yaml"], "wrong.yaml: rename[0].too: unknown field; did you mean 'to'?"),
        (
            ["--to", "npz", "--rules", "backwards.yaml"],
            "--rules[0]: 'l.\\d' -> 'layer1/kernel', the rule for variable 'layer1/kernel', cannot be read backwards: ",
        ),
        (["--to", "safetensors", "--quantize", "int8"], "--quantize: is for tflite, which --to does not name"),
        (["--to", "npz", "--batch", "1"], "--batch: is for savedmodel, tflite, onnx, openvino, opencv, none of which"),
    ],
)
def test_wrong_words_are_reported_and_nothing_is_written(
    words: list[str], error: str, run: Path, tmp_path: Path
) -> None:
    (tmp_path / "list.yaml").write_text("[1]")
    (tmp_path / "wrong.yaml").write_text("rename: [{name: a, too: b}]")
    (tmp_path / "backwards.yaml").write_text("rename: [{pattern: 'l.\\d', to: layer1/kernel}]")
    done = call("export", run, *words, "--output", "out", cwd=tmp_path)
    assert done.code == 2
    assert error in done.err
    assert len(done.errors) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("size", ["0", "-1", "1.5", "many", "9" * 5000])
def test_a_batch_that_is_no_number_of_examples_is_refused(size: str, run: Path, tmp_path: Path) -> None:
    done = call("export", run, "--to", "onnx", f"--batch={size}", cwd=tmp_path)
    assert (done.code, done.out) == (2, "")
    assert (
        done.errors[-1]
        == f"expkit export: error: argument --batch: '{size}' is not a positive whole number up to 2,147,483,647"
    )


def test_a_run_without_a_checkpoint_is_reported_as_such(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "bare", ignore=shutil.ignore_patterns("checkpoints"))
    done = call("export", "bare", "--to", "npz", cwd=tmp_path)
    assert (done.code, done.out) == (2, "")
    assert done.errors == ["error: bare: no latest checkpoint in it; the run ended before its first save"]
    assert not (tmp_path / "bare" / "export").exists()


def test_a_frozen_graph_has_no_variables_to_write(run: Path, tmp_path: Path) -> None:
    assert call("freeze", run, cwd=tmp_path).code == 0
    done = call("export", run / "frozen.pb", "--to", "npz", "--output", "out", cwd=tmp_path)
    assert done.code == 2
    reason = "the variables of a frozen graph are constants; give the folder of a run"
    assert done.errors[-1] == f"error: --to npz: {reason}"


VALUES = {
    "layer/half": np.array([1.5, -0.0, np.nan, np.inf], ml_dtypes.bfloat16),
    "whole": np.array([[-(2**63), 2**63 - 1]], np.int64),
    "flag": np.array([True, False]),
    "scalar": np.array(3.25, np.float32),
    "empty": np.zeros((0, 4), np.float32),
    "complex": np.array([1 + 2j], np.complex64),
    "nan": np.array([0x7FC00001], np.uint32).view(np.float32),
}


@pytest.mark.parametrize("form", ["npz", "safetensors"])
def test_values_of_every_dtype_are_had_back_in_every_bit_and_strings_are_refused_by_name(
    form: WeightsFormat, tmp_path: Path
) -> None:
    values = {name: value for name, value in VALUES.items() if form == "safetensors" or name != "layer/half"}
    specs = {name: TensorSpec.of_variable(value.shape, value.dtype.name) for name, value in values.items()}
    variables = {name: Exported(name, spec) for name, spec in specs.items()}
    write_weights(tmp_path / f"w.{form}", form, variables, values, {})
    source = open_variables(tmp_path / f"w.{form}", "test")
    assert source.variables == specs
    assert weights_that_differ({name: source.read(name) for name in specs}, values) == []
    text = {"word": Exported("word", TensorSpec.of_variable((1,), "string"))}
    with pytest.raises(ValueError, match=r"^'word' is string"):
        write_weights(tmp_path / "text", form, text, {"word": np.array([b"a"], object)}, {})
    assert not (tmp_path / "text").exists()
