"""Variables of every format: the same names, shapes, dtypes and values; damage is reported in one line."""

from __future__ import annotations

import json
import random
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from expkit import tf1 as tf
from expkit.checkpoints.formats.open import open_variables
from expkit.checkpoints.formats.source import VariableSource
from expkit.checkpoints.restore.restore import restore_from
from expkit.errors import CheckpointError
from expkit.preflight import check
from support.experiments import assert_same, config_of, write_checkpoint

VALUES: dict[str, Any] = {
    "a/b": np.linspace(-1, 1, 3, dtype=np.float64),
    "a/w": np.arange(6, dtype=np.float32).reshape(2, 3),
    "global_step": np.int64(7),
    "on": np.array([True, False]),
}
SAFETENSORS = {"float64": "F64", "float32": "F32", "int64": "I64", "bool": "BOOL"}


def write_v1(path: Path, values: Mapping[str, Any], sharded: bool = False) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.Graph().as_default(), tf.Session() as session:
        for name, value in values.items():
            tf.get_variable(name, initializer=tf.constant(value))
        session.run(tf.global_variables_initializer())
        saver = tf.train.Saver(write_version=tf.train.SaverDef.V1, sharded=sharded)
        saver.save(session, str(path), write_meta_graph=False, write_state=False)
    return path


def write_npz(path: Path, values: Mapping[str, Any]) -> Path:
    np.savez(path, **values)
    return path


def write_safetensors(path: Path, values: Mapping[str, Any]) -> Path:
    header: dict[str, Any] = {"__metadata__": {"format": "tf"}}
    parts, end = [], 0
    for name, value in values.items():
        array = np.asarray(value)
        parts.append(array.tobytes())
        header[name] = {
            "dtype": SAFETENSORS[array.dtype.name],
            "shape": array.shape,
            "data_offsets": [end, end + array.nbytes],
        }
        end += array.nbytes
    return write_parts(path, json.dumps(header).encode(), *parts)


def write_parts(path: Path, header: bytes, *parts: bytes) -> Path:
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"".join(parts))
    return path


def write_saved_model(path: Path, values: Mapping[str, Any]) -> Path:
    with tf.Graph().as_default(), tf.Session() as session:
        for name, value in values.items():
            tf.get_variable(name, initializer=tf.constant(value))
        session.run(tf.global_variables_initializer())
        builder = tf.saved_model.Builder(str(path))
        builder.add_meta_graph_and_variables(session, ["serve"])
        builder.save()
    return path


def shapes(source: VariableSource) -> dict[str, tuple[int, ...]]:
    return {name: spec.sizes for name, spec in source.variables.items()}


def dtypes(source: VariableSource) -> dict[str, str]:
    return {name: spec.dtype for name, spec in source.variables.items()}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return a source of every format, each of the same values."""
    folder = tmp_path_factory.mktemp("written")
    return {
        "V2": write_checkpoint(folder / "v2/model", VALUES),
        "V1": write_v1(folder / "v1/model.ckpt-7", VALUES),
        "sharded V1": write_v1(folder / "shards/model.ckpt", VALUES, sharded=True),
        "SavedModel": write_saved_model(folder / "saved", VALUES),
        "npz": write_npz(folder / "values.npz", VALUES),
        "safetensors": write_safetensors(folder / "values.safetensors", VALUES),
    }


FORMATS = ["V2", "V1", "sharded V1", "SavedModel", "npz", "safetensors"]


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_gives_names_shapes_dtypes_and_values(written: dict[str, Path], format: str) -> None:
    source = open_variables(written[format], "here")
    assert source.format == {"sharded V1": "V1", "SavedModel": "V2"}.get(format, format)
    assert list(source.variables) == list(VALUES)
    assert shapes(source) == {name: np.shape(value) for name, value in VALUES.items()}
    assert dtypes(source) == {"a/b": "float64", "a/w": "float32", "global_step": "int64", "on": "bool"}
    for name, value in VALUES.items():
        read = source.read(name)
        assert (read.dtype, read.shape) == (np.asarray(value).dtype, np.shape(value))
        assert read.tobytes() == np.asarray(value).tobytes()


def test_half_precision_and_strings_are_read_where_a_format_has_them(tmp_path: Path) -> None:
    half = np.array([0.5, -2.0], tf.bfloat16.as_numpy_dtype)
    write_checkpoint(tmp_path / "model", {"half": half, "text": np.array([b"a\0", b"bc\0"], object)})
    plain = open_variables(tmp_path / "model", "here")
    assert dtypes(plain) == {"half": "bfloat16", "text": "string"}
    assert list(plain.read("text")) == [b"a\0", b"bc\0"]
    assert plain.read("half").dtype == half.dtype
    header = {
        "half": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]},
        "small": {"dtype": "F8_E4M3", "shape": [1, 1], "data_offsets": [4, 5]},
    }
    small = np.array([[1.5]], tf.as_dtype("float8_e4m3fn").as_numpy_dtype)
    parts = write_parts(tmp_path / "x.safetensors", json.dumps(header).encode(), half.tobytes(), small.tobytes())
    source = open_variables(parts, "here")
    assert dtypes(source) == {"half": "bfloat16", "small": "float8_e4m3fn"}
    assert (list(source.read("half")), source.read("small").tolist()) == ([0.5, -2.0], [[1.5]])
    np.savez(tmp_path / "text.npz", text=np.array(["é", "b"]), big=np.arange(3, dtype=">f4"))
    arrays = open_variables(tmp_path / "text.npz", "here")
    assert dtypes(arrays) == {"big": "float32", "text": "string"}
    assert list(arrays.read("text")) == ["é".encode(), b"b"]
    assert (arrays.read("big").dtype, list(arrays.read("big"))) == (np.dtype(np.float32), [0, 1, 2])


class Tower(tf.Module):
    def __init__(self, *, same: bool = False) -> None:
        super().__init__(name="tower")
        with self.name_scope:
            self.kernel = tf.Variable([[1.0, 2.0]], name="kernel", use_resource=True)
            self.rest = [tf.Variable(float(same or place), use_resource=True) for place in range(2)]


def objects(folder: Path, root: Any) -> VariableSource:
    with tf.init_scope():
        tf.train.Checkpoint(root=root).write(str(folder / "objects"))
    return open_variables(folder / "objects", "here")


def test_objects_have_their_full_names_and_those_that_share_one_their_paths(tmp_path: Path) -> None:
    source = objects(tmp_path, Tower())
    assert source.format == "object-based"
    assert shapes(source) == {"root/rest/0": (), "root/rest/1": (), "tower/kernel": (1, 2)}
    assert [source.read(name).tolist() for name in source.variables] == [0.0, 1.0, [[1.0, 2.0]]]
    assert set(dtypes(source).values()) == {"float32"}


def test_copies_of_one_variable_are_listed_once(tmp_path: Path) -> None:
    source = objects(tmp_path, Tower(same=True))
    assert shapes(source) == {"tower/Variable": (), "tower/kernel": (1, 2)}
    assert source.read("tower/Variable") == 1.0


def test_where_a_full_name_is_the_path_of_another_all_have_their_paths(tmp_path: Path) -> None:
    root = tf.Module(name="other")
    root.a = tf.Variable(1.0, name="root/b/0", use_resource=True)
    root.b = [tf.Variable(float(value), name="same", use_resource=True) for value in (2, 3)]
    source = objects(tmp_path, root)
    assert {name: float(source.read(name)) for name in source.variables} == {"root/a": 1, "root/b/0": 2, "root/b/1": 3}


def test_a_saved_model_of_objects_has_the_same_names(tmp_path: Path) -> None:
    with tf.init_scope():
        tf.saved_model.save(Tower(), str(tmp_path))
    source = open_variables(tmp_path, "here")
    assert (source.path, source.format) == (tmp_path / "variables/variables", "object-based")
    assert shapes(source) == {"rest/0": (), "rest/1": (), "tower/kernel": (1, 2)}


@pytest.mark.parametrize("format", FORMATS)
def test_a_network_is_restored_from_every_format(written: dict[str, Path], tmp_path: Path, format: str) -> None:
    network = {
        "inputs": {"x": {"shape": [2]}},
        "layers": {"a": {"kind": "dense", "units": 3, "use_bias": False}},
        "outputs": {"logits": "a"},
    }
    asked = {"from": str(written[format]), "rename": [{"name": "a/w", "to": "a/kernel"}]}
    config = config_of(tmp_path, network=network, restore=asked, ema={"enabled": False})
    assert_same(dict(restore_from(check(config)).values), {"a/kernel": VALUES["a/w"]})


def damaged(files: list[Path], into: Path, kind: str, draw: random.Random) -> None:
    """Copy files; one is cut or has a bit flipped."""
    chosen = draw.choice(files)
    for file in files:
        content = bytearray(file.read_bytes())
        if file == chosen and kind == "flipped":
            content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        elif file == chosen:
            del content[draw.randrange(len(content)) :]
        (into / file.name).write_bytes(content)


def read_all(path: Path) -> dict[str, np.ndarray]:
    source = open_variables(path, "here")
    return {name: source.read(name) for name in source.variables}


@pytest.mark.parametrize("kind", ["flipped", "truncated"])
@pytest.mark.parametrize("format", ["V2", "V1", "npz", "safetensors"])
def test_damage_is_reported_in_one_line_or_changes_nothing(
    written: dict[str, Path], tmp_path: Path, format: str, kind: str
) -> None:
    path, draw, told = written[format], random.Random(f"{format} {kind}"), 0
    files = sorted(path.parent.glob(f"{path.name}.*")) if format == "V2" else [path]
    for place in range(60):
        folder = tmp_path / str(place)
        folder.mkdir()
        damaged(files, folder, kind, draw)
        values, error = read_or_error(folder / path.name)
        told += bool(error)
        assert "\n" not in error
        if values is not None and format != "safetensors":  # It has no checksums.
            same = {name: np.asarray(value).tobytes() for name, value in VALUES.items()}
            assert {name: value.tobytes() for name, value in values.items()} == same
    assert told > (0 if kind == "flipped" else 50)


def read_or_error(path: Path) -> tuple[dict[str, np.ndarray] | None, str]:
    try:
        return read_all(path), ""
    except CheckpointError as error:
        return None, str(error)


def said(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        read_all(path)
    return str(caught.value).replace(f"{path}", "FILE")


def test_pickles_and_arrays_of_other_types_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", w=np.array([{}], object), allow_pickle=True)
    assert said(tmp_path / "a.npz") == ("here: FILE: array 'w' holds pickled Python objects, which are never read")
    np.savez(tmp_path / "b.npz", w=np.zeros(2, "datetime64[s]"))
    assert said(tmp_path / "b.npz").startswith("here: FILE: array 'w' is datetime64[s]; allowed: bool, int8")
    with zipfile.ZipFile(tmp_path / "c.npz", "w") as archive:
        archive.writestr("readme.txt", "hello")
    assert said(tmp_path / "c.npz") == (
        "here: FILE is damaged or incomplete: 'readme.txt' is not an array, or occurs twice; use another checkpoint"
    )


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (b"[]", "FILE is damaged or incomplete: no safetensors header; use another checkpoint"),
        (
            b'{"w": 1}',
            "FILE is damaged or incomplete: the header's entry of tensor 'w' is not valid; use another checkpoint",
        ),
        (b'{"w": {}, "w": {}}', "FILE is damaged or incomplete: a name occurs twice; use another checkpoint"),
        (
            b'{"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}',
            "FILE is damaged or incomplete: the offsets of tensor 'w' do not fit its shape; use another checkpoint",
        ),
        (
            b'{"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}',
            "FILE is damaged or incomplete: 77 bytes are expected, the file has 73; use another checkpoint",
        ),
        (b'{"w": {"dtype": "F4", "shape": [2], "data_offsets": [0, 1]}}', "FILE: tensor 'w' is F4; allowed: BOOL, I8"),
    ],
)
def test_a_wrong_header_of_safetensors_is_reported(tmp_path: Path, header: bytes, message: str) -> None:
    assert said(write_parts(tmp_path / "x.safetensors", header, bytes(4))).startswith(f"here: {message}")


def test_an_array_that_the_list_of_an_archive_lacks_is_noticed(tmp_path: Path) -> None:
    np.savez(tmp_path / "whole.npz", a=np.zeros(2), b=np.ones(1))
    content = (tmp_path / "whole.npz").read_bytes()
    end = content.rindex(b"PK\x05\x06")
    size = int.from_bytes(content[end + 12 : end + 16], "little")
    for kept in (0, size // 2):
        count = (kept > 0).to_bytes(2, "little")
        cut = content[: end - size + kept] + content[end : end + 8] + count * 2 + kept.to_bytes(4, "little")
        (tmp_path / "cut.npz").write_bytes(cut + content[end + 16 :])
        with pytest.raises(CheckpointError, match="its list of files is damaged: it lacks one"):
            open_variables(tmp_path / "cut.npz", "SOURCE")
