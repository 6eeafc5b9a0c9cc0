"""The MLflow model of a file in ONNX: MLflow's own flavor, which computes what the file does without TensorFlow."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from expkit.export.exporter import ExportFolder
from expkit.export.targets.base import Exported
from expkit.tracking.exported import models_of
from expkit.tracking.model import ModelRecord, _save


def test_a_file_in_onnx_is_a_model_of_mlflows_own_flavor_with_the_inputs_of_its_door(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx", reason="expkit[onnx] is not installed")
    pytest.importorskip("onnxruntime", reason="expkit[onnx] is not installed")
    import mlflow.onnx
    import mlflow.pyfunc

    kernel = np.random.default_rng(0).normal(size=(3, 2)).astype(np.float32)
    make, FLOAT = onnx.helper, onnx.TensorProto.FLOAT
    graph = make.make_graph(
        [make.make_node("MatMul", ["x", "kernel"], ["y"])],
        "graph",
        [make.make_tensor_value_info("x", FLOAT, [None, 3])],
        [make.make_tensor_value_info("y", FLOAT, [None, 2])],
        [onnx.numpy_helper.from_array(kernel, "kernel")],
    )
    onnx.save(make.make_model(graph, opset_imports=[make.make_opsetid("", 18)], ir_version=10), tmp_path / "model.onnx")
    np.savez(tmp_path / "example.npz", x=np.ones((1, 3), np.float32))
    sizes = {"x": 3, "y": 2}
    tensors = [{name: {"tensor": f"{name}:0", "dtype": "float32", "shape": [None, sizes[name]]}} for name in sizes]
    item = Exported(
        target="onnx",
        files=[tmp_path / "model.onnx"],
        proofs=[],
        versions={"onnx": "1", "onnxruntime": "2"},
        settings={"door": ["raw"], "inputs": tensors[0], "outputs": tensors[1]},
    )
    frozen: Any = SimpleNamespace(
        example=tmp_path / "example.npz",
        metadata={"name": "net", "weights": "raw", "step": 1, "versions": {"numpy": "3"}, "inputs": {}, "outputs": {}},
    )
    folder: Any = ExportFolder(path=tmp_path, targets=[item], record={})
    (values,) = models_of(folder, frozen, lambda path: path.name)
    assert (values["graph"], values["example"]) == ("model.onnx", "example.npz")
    record = ModelRecord(**values)
    _save(tmp_path, SimpleNamespace(artifact_location="", model_id="m-0"), "run", record, tmp_path)
    loaded = mlflow.pyfunc.load_model(str(tmp_path / "model"))
    assert set(loaded.metadata.flavors) == {"onnx", "python_function"}
    assert loaded.metadata.signature.inputs.to_dict()[0]["tensor-spec"] == {"dtype": "float32", "shape": (-1, 3)}
    needed = (tmp_path / "model" / "requirements.txt").read_text().split()
    assert needed[1:] == ["onnx==1", "onnxruntime==2", "numpy==3"]
    np.testing.assert_array_equal(loaded.input_example["x"], np.ones((1, 3), np.float32))
    x = np.random.default_rng(1).normal(size=(5, 3)).astype(np.float32)
    np.testing.assert_allclose(loaded.predict({"x": x})["y"], x @ kernel, rtol=1e-5)
    assert [value.name for value in mlflow.onnx.load_model(str(tmp_path / "model")).graph.input] == ["x"]
