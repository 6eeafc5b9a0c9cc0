"""Time and peak memory of exporting a network of 100 MB, beside the bare converters and bare runtimes."""

from __future__ import annotations

import importlib
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from expkit.config.sections.network import NetworkConfig
from expkit.export.converters.job import Conversion
from expkit.export.doors import open_door
from expkit.export.freeze import freeze, read_frozen
from expkit.export.targets.converting import write_job
from expkit.network.elaborate import network_spec
from expkit.training.inference import Predictor, infer_graph

psutil: Any = importlib.import_module("psutil")
UNITS = 5000
"""Rows and columns of the one kernel: 100 MB."""
_READ = """
import sys
import tensorflow.compat.v1 as tf
graph_def = tf.GraphDef.FromString(open(sys.argv[1], "rb").read())
"""
BARE: Mapping[str, str] = {
    "savedmodel": _READ
    + """
with tf.Graph().as_default() as graph, tf.Session(graph=graph) as session:
    tf.import_graph_def(graph_def, name="")
    tf.saved_model.simple_save(session, sys.argv[2], {"x": graph.get_tensor_by_name("x:0")},
                               {"y": graph.get_tensor_by_name("y:0")})
""",
    "tflite": """
import sys
import tensorflow.compat.v1 as tf
converter = tf.lite.TFLiteConverter.from_frozen_graph(sys.argv[1], ["x"], ["y"])
open(sys.argv[2], "wb").write(converter.convert())
""",
    "onnx": """
import sys
from tf2onnx import convert
named = ["--inputs", "x:0", "--outputs", "y:0", "--opset", "18"]
sys.argv[1:] = ["--graphdef", sys.argv[1], *named, "--output", sys.argv[2]]
convert.main()
""",
    "openvino": """
import sys
sys.modules["openvino_telemetry"] = None
import openvino
openvino.save_model(openvino.convert_model(sys.argv[1]), sys.argv[2] + ".xml", compress_to_fp16=False)
""",
    "opencv": _READ
    + """
from tensorflow.python.tools.optimize_for_inference_lib import optimize_for_inference
made = optimize_for_inference(graph_def, ["x"], ["y"], tf.float32.as_datatype_enum)
open(sys.argv[2], "wb").write(made.SerializeToString())
""",
}
"""Programs that convert a file as their makers document it, by format."""
_COMPUTE = (
    _READ
    + """
import numpy as np
rows = np.random.default_rng(0).standard_normal((8, graph_def.node[0].attr["shape"].shape.dim[1].size), np.float32)
with tf.Graph().as_default() as graph, tf.Session(graph=graph) as session:
    tf.import_graph_def(graph_def, name="")
    expected = session.run("y:0", {"x:0": rows})
"""
)
_COMPARE = """
assert np.allclose(expected, got, atol=1e-3 * np.abs(expected).max())
"""
PROOFS: Mapping[str, str] = {
    "savedmodel": """
import tensorflow
kept = tensorflow.saved_model.load(sys.argv[2])
got = kept.signatures["serving_default"](tensorflow.constant(rows))["y"].numpy()
""",
    "tflite": """
from ai_edge_litert.interpreter import Interpreter
interpreter = Interpreter(sys.argv[2])
place = interpreter.get_input_details()[0]["index"]
interpreter.resize_tensor_input(place, rows.shape)
interpreter.allocate_tensors()
interpreter.set_tensor(place, rows)
interpreter.invoke()
got = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
""",
    "onnx": """
import onnxruntime
got = onnxruntime.InferenceSession(sys.argv[2]).run(None, {"x:0": rows})[0]
""",
    "openvino": """
sys.modules["openvino_telemetry"] = None
import openvino
got = openvino.Core().compile_model(sys.argv[2] + ".xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(rows)[0]
""",
    "opencv": """
import cv2
net = cv2.dnn.readNetFromTensorflow(sys.argv[2])
net.setInput(rows)
got = net.forward()
""",
}
"""Programs that compare a converted file with the frozen graph on the examples that expkit takes, once."""
RUNS = 3


def frozen_file(folder: Path) -> Path:
    """Write the frozen graph of a network with one dense layer."""
    layers = {"y": {"kind": "dense", "units": UNITS, "use_bias": False}}
    described = {"inputs": {"x": {"shape": [UNITS]}}, "layers": layers, "outputs": {"y": "y"}}
    built = infer_graph(network_spec(NetworkConfig.model_validate_json(json.dumps(described))), {})
    draw = np.random.default_rng(0)
    with Predictor(built) as predictor:
        predictor.load({name: draw.standard_normal((UNITS, UNITS), np.float32) for name in built.variables})
        (folder / "frozen.pb").write_bytes(freeze(built, predictor, {"name": "large"}))
    return folder / "frozen.pb"


def measured(command: Sequence[str], folder: Path) -> tuple[float, float]:
    """Return the seconds of a command, and the peak of the memory of its processes, in MB.

    Memory that processes share, as libraries are, counts once (the proportional set size).
    """
    with (folder / "log").open("wb") as log:
        begun = time.perf_counter()
        process = psutil.Popen([sys.executable, *command], stdout=log, stderr=log, cwd=folder)
        peak = 0
        while process.poll() is None:
            peak = max(peak, sum(map(_memory, [process, *_children(process)])))
            time.sleep(0.1)
    assert process.returncode == 0, (folder / "log").read_text()
    return time.perf_counter() - begun, peak / 1e6


def _children(process: Any) -> list[Any]:
    try:
        return list(process.children(recursive=True))
    except psutil.Error:
        return []


def _memory(process: Any) -> int:
    try:
        return int(process.memory_full_info().pss)
    except psutil.Error:
        return 0


def converting_job(file: Path, form: str, folder: Path) -> list[str]:
    """Write what expkit converts, and return the command of its converter."""
    door = open_door(read_frozen(file), "raw", batch=1 if form == "opencv" else None)
    (folder / "job").mkdir()
    job = Conversion(
        target=form,
        graph=str(folder / "job" / "graph.pb"),
        inputs=door.inputs,
        outputs=door.outputs,
        into=str(folder / "job" / "made.xml"),
        name="large",
    )
    write_job(job, door, folder / "job")
    return ["-m", "expkit.export.converters", str(folder / "job")]


def both(first: tuple[float, float], second: tuple[float, float]) -> tuple[float, float]:
    """Return the seconds and the peak of two commands, one after the other."""
    return first[0] + second[0], max(first[1], second[1])


def cost_table(formats: Sequence[str]) -> Iterator[str]:
    """Yield the lines of the table: the best of some runs, the bare programs and expkit in turn."""
    yield "| target | part | bare s | expkit s | ratio | bare MB | expkit MB | ratio |"
    yield "|---|---|---|---|---|---|---|---|"
    for form in formats:
        rows: dict[str, list[tuple[tuple[float, float], tuple[float, float]]]] = {}
        for run in range(RUNS):
            with tempfile.TemporaryDirectory() as temporary:
                folder = Path(temporary)
                file = frozen_file(folder)
                bare = measured(["-c", BARE[form], str(file), f"bare{run}"], folder)
                own = measured(converting_job(file, form, folder), folder)
                proof = measured(["-c", _COMPUTE + PROOFS[form] + _COMPARE, str(file), f"bare{run}"], folder)
                words = ["-m", "expkit", "export", str(file), "--to", form, "--output", f"out{run}"]
                rows.setdefault("conversion", []).append((bare, own))
                rows.setdefault("with proof", []).append((both(bare, proof), measured(words, folder)))
        for part, pairs in rows.items():
            cells = []
            for index, places in ((0, 1), (1, 0)):
                least = [min(pair[kind][index] for pair in pairs) for kind in (0, 1)]
                cells += [f"{value:.{places}f}" for value in least] + [f"{least[1] / least[0]:.2f}"]
            yield f"| {form} | {part} | {' | '.join(cells)} |"
