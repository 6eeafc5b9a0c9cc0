"""TensorFlow's graph-mode interface (``tensorflow.compat.v1``), imported when first used.

This is the only module that imports TensorFlow, when one of its attributes is first used: to name a network, list its
variables or explain a configuration error never costs the import.
"""

import importlib
import os
import sys
import tempfile
from collections.abc import Callable
from functools import cache
from typing import Any

from expkit.garbage import uncollected

__all__ = [
    "compiled_by_xla",
    "has_bfloat16",
    "lite_module",
    "object_graph_proto",
    "plain_session",
    "saved_model_proto",
    "tensorflow_version",
    "training_session",
]

_tensorflow: Any = None


def _load() -> Any:
    global _tensorflow
    if _tensorflow is None:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        # Keras is not used; with this set TensorFlow does not import it (nor what it would pull in).
        os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
        # Every session has its own threads; otherwise the first one would set their number per operation for all.
        os.environ.setdefault("TF_OVERRIDE_GLOBAL_THREADPOOL", "1")
        _tensorflow = _import_quietly("tensorflow.compat.v1")
        _tensorflow.logging.set_verbosity(_tensorflow.logging.ERROR)
    return _tensorflow


def _import_quietly(name: str) -> Any:
    """Import a module with file descriptor 2 redirected: native start-up notes ignore every log level."""
    sys.stderr.flush()
    with tempfile.TemporaryFile() as aside:
        kept = os.dup(2)
        os.dup2(aside.fileno(), 2)
        try:
            with uncollected():
                return importlib.import_module(name)
        except BaseException:
            aside.seek(0)
            os.write(kept, aside.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def plain_session(graph: Any) -> Any:
    """Return a session that runs a graph without rewriting it.

    An ordinary session lets TensorFlow fold constants and fuse operations first, which changes the rounding: two
    equivalent graphs then no longer give bit-equal results.
    """
    tensorflow = _load()
    config = tensorflow.ConfigProto()
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    return tensorflow.Session(graph=graph, config=config)


def training_session(graph: Any, *, bfloat16: bool = False, threads: int = 0) -> Any:
    """Return a session with a number of threads per operation, or one per core if it is 0.

    With ``bfloat16`` oneDNN computes float32 products and convolutions in that type. Casts are transparent to that
    rewrite, so that a product cast to bfloat16 is not computed in float32 first.
    """
    tensorflow = _load()
    config = tensorflow.ConfigProto(intra_op_parallelism_threads=threads)
    if bfloat16:
        transparent = "TF_AUTO_MIXED_PRECISION_GRAPH_REWRITE_CLEARLIST_ADD"
        names = os.environ.get(transparent, "").split(",")
        os.environ[transparent] = ",".join(dict.fromkeys(filter(None, [*names, "Cast"])))
        config.graph_options.rewrite_options.auto_mixed_precision_onednn_bfloat16 = 1  # RewriterConfig.ON
    return tensorflow.Session(graph=graph, config=config)


def compiled_by_xla(function: Callable[..., Any]) -> Any:
    """Return a function compiled by XLA."""
    return _load().function(function, jit_compile=True, autograph=False)


@cache
def has_bfloat16() -> bool:
    """Return whether ``bfloat16`` sessions compute in bfloat16; where they cannot, TensorFlow silently uses float32."""
    tensorflow = _load()
    options = tensorflow.RunOptions(output_partition_graphs=True)
    metadata = tensorflow.RunMetadata()
    with tensorflow.Graph().as_default() as graph:
        rows = tensorflow.placeholder(tensorflow.float32, (64, 64))
        product = rows
        for _ in range(4):  # Smaller graphs are not rewritten.
            product = tensorflow.matmul(product, rows)
    with training_session(graph, bfloat16=True) as session:
        session.run(product, {rows: [[0.0] * 64] * 64}, options=options, run_metadata=metadata)
    bfloat16 = tensorflow.bfloat16.as_datatype_enum
    return any(node.attr["T"].type == bfloat16 for graph in metadata.partition_graphs for node in graph.node)


def lite_module() -> Any:
    """Return the module of TensorFlow Lite's converters; those of graph mode lack signatures."""
    _load()
    return importlib.import_module("tensorflow.lite.python.lite")


def saved_model_proto() -> Any:
    """Return the message class of a ``saved_model.pb`` file."""
    _load()
    return importlib.import_module("tensorflow.core.protobuf.saved_model_pb2").SavedModel


def object_graph_proto() -> Any:
    """Return the message class of the object graph in a checkpoint of ``tf.train.Checkpoint``."""
    _load()
    return importlib.import_module("tensorflow.core.protobuf.trackable_object_graph_pb2").TrackableObjectGraph


def unconverted(function: Callable[..., Any]) -> Any:
    """Return a function that TensorFlow calls as it is; to rewrite its loops and conditions takes a second."""
    return _load().autograph.experimental.do_not_convert(function)


def tensorflow_version() -> str:
    """Return TensorFlow's version."""
    return str(_load().__version__)


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    return getattr(_load(), name)
