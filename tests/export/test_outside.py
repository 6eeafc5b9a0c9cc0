"""Files that exported files of others name: those outside of their folder are refused before a runtime opens them."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from expkit.errors import ExportError
from expkit.export.freeze import read_frozen
from expkit.export.outside import check_named_files
from expkit.export.targets.processes import Runtime
from expkit.export.targets.runtimes import pack, save, unpack
from support.command_line import call

SECRET = np.arange(4, dtype=np.float32)


def onnx_file(path: Path, location: str, *, inside_a_branch: bool = False) -> Path:
    """Write a product of `x` and a kernel whose numbers are in another file."""
    onnx: Any = pytest.importorskip("onnx", reason="expkit[onnx] is not installed")
    helper = importlib.import_module("onnx.helper")
    kernel = onnx.TensorProto(name="w", data_type=1, dims=[2, 2], data_location=1)
    for key, value in {"location": location, "offset": "0", "length": "16"}.items():
        kernel.external_data.add(key=key, value=value)
    x, y, condition = (helper.make_tensor_value_info(name, code, None) for name, code in (("x", 1), ("y", 1), ("c", 9)))
    product = helper.make_node("MatMul", ["x", "w"], ["y"])
    if inside_a_branch:
        nodes = [helper.make_node("Constant", [], ["w"], value=kernel), product]
        branch = helper.make_graph(nodes, "branch", [], [y])
        choice = helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)
        graph = helper.make_graph([choice], "graph", [x, condition], [y])
    else:
        graph = helper.make_graph([product], "graph", [x], [y], [kernel])
    path.write_bytes(
        helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 18)]).SerializeToString()
    )
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with numbers inside, outside, and behind links."""
    made = tmp_path / "in"
    made.mkdir()
    (tmp_path / "secret.bin").write_bytes(SECRET.tobytes())
    (made / "good.bin").write_bytes(SECRET.tobytes())
    (made / "link.bin").symlink_to("../secret.bin")
    (made / "same.bin").symlink_to("good.bin")
    return made


@pytest.mark.parametrize(
    ("location", "problem"),
    [
        ("../secret.bin", "is not in its folder"),
        ("../../../../../../etc/passwd", "is not in its folder"),
        ("/etc/passwd", "is not in its folder"),
        ("{folder}/good.bin", "is not in its folder"),
        ("link.bin", "is not in its folder"),
        (".", "is not a regular file"),
    ],
)
@pytest.mark.parametrize("inside_a_branch", [False, True])
def test_data_of_onnx_outside_of_its_folder_is_refused(
    location: str, problem: str, inside_a_branch: bool, folder: Path
) -> None:
    location = location.format(folder=folder)
    file = onnx_file(folder / "m.onnx", location, inside_a_branch=inside_a_branch)
    with pytest.raises(ExportError) as caught:
        check_named_files("onnx", file)
    fix = "put the data into the folder of the file"
    assert str(caught.value) == f"{file}: refused: it reads data from '{location}', which {problem}; {fix}"


@pytest.mark.parametrize("location", ["a\0b", "x" * 5000])
def test_names_that_no_file_can_have_are_refused(location: str, folder: Path) -> None:
    with pytest.raises(ExportError, match=r"refused: it reads data from '.*', which cannot be a file's name; "):
        check_named_files("onnx", onnx_file(folder / "m.onnx", location))


@pytest.mark.parametrize("location", ["good.bin", "same.bin"])
def test_data_of_onnx_beside_it_is_read(location: str, folder: Path) -> None:
    pytest.importorskip("onnxruntime", reason="expkit[onnx] is not installed")
    with Runtime("onnx", onnx_file(folder / "m.onnx", location)) as runtime:
        outputs, _ = runtime.run({"x": np.eye(2, dtype=np.float32)})
    np.testing.assert_array_equal(outputs["y"], SECRET.reshape(2, 2))


@pytest.mark.parametrize("verb", ["predict", "info"])
def test_verbs_refuse_it_before_the_runtime_opens_it(verb: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Mapping[str, Any]] = []
    monkeypatch.setattr(Runtime, "_request", lambda self, content: asked.append(content))
    done = call(verb, onnx_file(folder / "m.onnx", "link.bin"), cwd=folder)
    assert (done.code, asked) == (2, [])
    assert "reads data from 'link.bin', which is not in its folder" in done.err


def test_weights_of_openvino_behind_a_link_are_refused(folder: Path) -> None:
    (folder / "m.xml").write_text("<net/>")
    check_named_files("openvino", folder / "m.xml")
    (folder / "m.bin").symlink_to("../secret.bin")
    with pytest.raises(ExportError, match=r"reads data from 'm.bin', which is not in its folder"):
        check_named_files("openvino", folder / "m.xml")


def test_variables_of_a_saved_model_behind_a_link_are_refused(folder: Path) -> None:
    (folder / "saved_model.pb").write_bytes(b"")
    (folder / "variables").mkdir()
    (folder / "variables" / "variables.index").symlink_to(folder.parent / "secret.bin")
    with pytest.raises(ExportError, match=r"reads data from 'variables/variables.index', which is not in its folder"):
        read_frozen(folder)


def test_what_is_no_onnx_says_so(tmp_path: Path) -> None:
    pytest.importorskip("onnx", reason="expkit[onnx] is not installed")
    (tmp_path / "m.onnx").write_bytes(b"\x0a\xff")
    with pytest.raises(ExportError, match=r"not a file in ONNX: .*; it is cut off or of another kind"):
        check_named_files("onnx", tmp_path / "m.onnx")


def test_arrays_of_any_name_reach_the_runtime(tmp_path: Path) -> None:
    arrays = {name: np.full((2, 3), index) for index, name in enumerate(("file", "allow_pickle", "a/b", "ä"))}
    save(tmp_path / "arrays.npz", pack({**arrays, "text": np.array([b"a", b"bc"], object)}))
    read = unpack(str(tmp_path / "arrays.npz"))
    assert {name: array.tolist() for name, array in read.items()} == {
        **{name: array.tolist() for name, array in arrays.items()},
        "text": [b"a", b"bc"],
    }
