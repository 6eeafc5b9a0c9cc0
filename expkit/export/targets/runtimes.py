"""Runtimes of exported files: a program of its own, without expkit, that answers requests on its standard input.

A line of JSON is a request, and a line of JSON the answer: ``{"describe": true}``, or ``{"inputs": FILE,
"outputs": FILE, "repeat": N}`` with arrays in ``.npz`` files; ``{"open": true}`` only opens the file, which the first
request does in any case. Started as
``python -P runtimes.py RUNTIME FILE SIGNATURE``.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys
import time
import traceback
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np

Arrays = Mapping[str, np.ndarray]
LENGTHS = "@lengths"
"""End of the name of the lengths of byte strings, whose bytes are joined in an array."""


class SavedModel:
    """A SavedModel as ``tf.saved_model.load`` reads it."""

    def __init__(self, path: str, signature: str) -> None:
        self._tf = importlib.import_module("tensorflow")
        self._kept = self._tf.saved_model.load(path)
        self._call = self._kept.signatures[signature or "serving_default"]

    def describe(self) -> Any:
        """Return inputs and outputs by name."""
        inputs = self._call.structured_input_signature[1]
        return tuple(
            {name: {"dtype": spec.dtype.name, "shape": _plain(spec.shape)} for name, spec in specs.items()}
            for specs in (inputs, self._call.structured_outputs)
        )

    def run(self, inputs: Arrays) -> dict[str, Any]:
        """Return the outputs of a batch."""
        specs = self._call.structured_input_signature[1]
        outputs = self._call(**{name: self._tf.cast(array, specs[name].dtype) for name, array in inputs.items()})
        return {name: tensor.numpy() for name, tensor in outputs.items()}


class Onnx:
    """An ONNX file in ONNX Runtime."""

    def __init__(self, path: str, signature: str) -> None:
        runtime = importlib.import_module("onnxruntime")
        options = runtime.SessionOptions()
        options.log_severity_level = 3
        self._session = runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def describe(self) -> Any:
        """Return inputs and outputs by name, and what the file says of itself."""
        both = [
            {item.name: _of_onnx(item) for item in items} for items in (self._inputs(), self._session.get_outputs())
        ]
        return *both, dict(self._session.get_modelmeta().custom_metadata_map)

    def _inputs(self) -> Any:
        return self._session.get_inputs()

    def run(self, inputs: Arrays) -> dict[str, Any]:
        """Return the outputs of a batch."""
        names = [item.name for item in self._session.get_outputs()]
        return dict(zip(names, self._session.run(names, dict(inputs)), strict=True))


def _of_onnx(item: Any) -> dict[str, Any]:
    word = item.type.removeprefix("tensor(").removesuffix(")")
    dtype = {"float": "float32", "double": "float64"}.get(word, word)
    return {"dtype": dtype, "shape": [size if isinstance(size, int) else None for size in item.shape]}


class Tflite:
    """A TFLite file in the interpreter of ai-edge-litert, or of TensorFlow where that is not installed."""

    def __init__(self, path: str, signature: str) -> None:
        try:
            interpreter = importlib.import_module("ai_edge_litert.interpreter").Interpreter
        except ImportError:
            interpreter = importlib.import_module("tensorflow").lite.Interpreter
        self._interpreter = interpreter(model_path=path, num_threads=os.cpu_count())
        others = {item["op_name"] for item in self._interpreter._get_ops_details()}
        if refused := sorted(name for name in others if name.startswith("Flex") or name == "CUSTOM"):
            raise ValueError(f"refused: {', '.join(refused)}: operations that are not TFLite's own")
        signatures = self._interpreter.get_signature_list()
        self._name = signature if signature in signatures else next(iter(signatures), None)
        if self._name is not None:
            self._runner = self._interpreter.get_signature_runner(self._name)

    def describe(self) -> Any:
        """Return inputs and outputs by name."""
        if self._name is None:
            both = (self._interpreter.get_input_details(), self._interpreter.get_output_details())
            return tuple({item["name"]: _of_tflite(item) for item in items} for items in both)
        both = (self._runner.get_input_details(), self._runner.get_output_details())
        return tuple({name: _of_tflite(item) for name, item in items.items()} for items in both)

    def run(self, inputs: Arrays) -> dict[str, Any]:
        """Return the outputs of a batch."""
        if self._name is not None:
            return {name: np.array(array) for name, array in self._runner(**inputs).items()}
        for item in self._interpreter.get_input_details():
            self._interpreter.resize_tensor_input(item["index"], inputs[item["name"]].shape)
        self._interpreter.allocate_tensors()
        for item in self._interpreter.get_input_details():
            self._interpreter.set_tensor(item["index"], inputs[item["name"]])
        self._interpreter.invoke()
        outputs = self._interpreter.get_output_details()
        return {item["name"]: self._interpreter.get_tensor(item["index"]) for item in outputs}


def _of_tflite(item: Mapping[str, Any]) -> dict[str, Any]:
    signature = item.get("shape_signature")
    shape = signature if signature is not None and len(signature) else item["shape"]
    dtype = {"bytes_": "string", "object_": "string", "str_": "string"}.get(
        item["dtype"].__name__, item["dtype"].__name__
    )
    return {
        "dtype": "bool" if dtype == "bool_" else dtype,
        "shape": [None if size < 0 else int(size) for size in shape],
    }


class Openvino:
    """An OpenVINO model in float32; by itself OpenVINO computes in bfloat16 where the processor has it."""

    def __init__(self, path: str, signature: str) -> None:
        openvino = importlib.import_module("openvino")
        self._model = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def describe(self) -> Any:
        """Return inputs and outputs by name."""
        return tuple(
            {item.any_name: _of_openvino(item) for item in items} for items in (self._model.inputs, self._outputs())
        )

    def _outputs(self) -> Any:
        return self._model.outputs

    def run(self, inputs: Arrays) -> dict[str, Any]:
        """Return the outputs of a batch."""
        found = self._model(dict(inputs))
        return {item.any_name: np.array(found[item]) for item in self._outputs()}


def _of_openvino(item: Any) -> dict[str, Any]:
    dtype = item.element_type.to_dtype().name if item.element_type.get_type_name() != "string" else "string"
    return {"dtype": dtype, "shape": [None if size.is_dynamic else size.get_length() for size in item.partial_shape]}


class Opencv:
    """A graph in OpenCV's reader of TensorFlow's files, which computes with channels first."""

    def __init__(self, path: str, signature: str) -> None:
        self._cv = importlib.import_module("cv2")
        self._products: dict[str, str | None] = json.loads(signature)
        self._net = self._cv.dnn.readNetFromTensorflow(path)

    def describe(self) -> Any:
        """Return nothing: OpenCV knows no shapes before it computes."""
        return {}, {}

    def run(self, inputs: Arrays) -> dict[str, Any]:
        """Return the outputs of a batch."""
        for name, array in inputs.items():
            blob = np.moveaxis(array, -1, 1) if array.ndim > 3 else array
            self._net.setInput(np.ascontiguousarray(blob), name)
        known = set(self._net.getLayerNames())  # A layer with the bias that it adds has the name of the product.
        names = [name if name in known else product for name, product in self._products.items()]
        if lacking := [name for name, other in zip(self._products, names, strict=True) if other not in known]:
            raise ValueError(f"it has no layer for output {', '.join(lacking)}")
        found = dict(zip(self._products, self._net.forward(names), strict=True))
        return {name: np.moveaxis(array, 1, -1) if array.ndim > 3 else array for name, array in found.items()}


LIBRARIES = {
    "savedmodel": "tensorflow",
    "onnx": "onnxruntime",
    "tflite": "ai_edge_litert.interpreter",
    "openvino": "openvino",
    "opencv": "cv2",
}
"""Modules that take long to load, by runtime."""
RUNTIMES = {"savedmodel": SavedModel, "onnx": Onnx, "tflite": Tflite, "openvino": Openvino, "opencv": Opencv}


def _plain(shape: Any) -> list[int | None] | None:
    return None if shape.rank is None else shape.as_list()


def pack(arrays: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Return arrays that a ``.npz`` file holds: byte strings as their bytes, with lengths; bfloat16 as float32."""
    packed: dict[str, Any] = {}
    for name, value in arrays.items():
        array = np.asarray(value)
        if array.dtype.kind in "OSU":
            flat = [item if isinstance(item, bytes) else str(item).encode() for item in array.reshape(-1).tolist()]
            packed[name] = np.frombuffer(b"".join(flat), np.uint8)
            packed[name + LENGTHS] = np.array([len(item) for item in flat], np.int64).reshape(array.shape)
        else:
            packed[name] = array.astype(np.float32) if array.dtype.name == "bfloat16" else array
    return packed


def save(file: str | os.PathLike[str], arrays: Mapping[str, np.ndarray]) -> None:
    """Write a ``.npz`` file of arrays of any name; ``numpy.savez`` takes none that is called ``file``."""
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)


def unpack(file: str) -> dict[str, np.ndarray]:
    """Return the arrays of a file that ``pack`` filled."""
    with np.load(file, allow_pickle=False) as archive:
        arrays: dict[str, Any] = {name: archive[name] for name in archive.files}
    return {
        name: _strings(array, arrays[name + LENGTHS]) if name + LENGTHS in arrays else array
        for name, array in arrays.items()
        if not name.endswith(LENGTHS)
    }


def _strings(content: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    joined, end = content.tobytes(), 0
    found = np.empty(lengths.size, object)
    for index, size in enumerate(lengths.reshape(-1).tolist()):
        found[index] = joined[end : end + size]
        end += size
    return found.reshape(lengths.shape)


def answer(runtime: Any, request: Mapping[str, Any]) -> dict[str, Any]:
    """Return the answer to a request."""
    if "open" in request:
        return {}
    if "describe" in request:
        inputs, outputs, *metadata = runtime.describe()
        return {"inputs": inputs, "outputs": outputs, "metadata": metadata[0] if metadata else {}}
    inputs = unpack(request["inputs"])
    outputs = runtime.run(inputs)
    save(request["outputs"], pack(outputs))
    seconds: list[float] = []
    while len(seconds) < request.get("repeat", 0) and sum(seconds) < 0.5:
        begun = time.perf_counter()
        runtime.run(inputs)
        seconds.append(time.perf_counter() - begun)
    return {"seconds": float(np.median(seconds)) if seconds else None}


def main(kind: str, path: str, signature: str) -> None:
    """Answer requests until the input ends; the first opens the file, and the libraries are loaded before it."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # Libraries print; the answers go alone.
    # OpenVINO's import reports its user to Google, by a fork that never ends while this program waits for its input.
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # The documented way to forbid an import.
    try:
        with contextlib.suppress(ImportError):
            importlib.import_module(LIBRARIES[kind])
        runtime = None
        for line in sys.stdin:
            request = json.loads(line)
            if runtime is None:
                runtime = RUNTIMES[kind](path, signature)
            print(json.dumps(answer(runtime, request)), file=answers, flush=True)
    except Exception as error:
        traceback.print_exc()
        print(json.dumps({"error": f"{type(error).__name__}: {error}"}), file=answers, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
