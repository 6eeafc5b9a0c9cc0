"""TensorFlow's graph-mode interface (``tensorflow.compat.v1``), imported when first used.

This is the only module that imports TensorFlow, and it does so at the first attribute asked of it: naming a network,
listing its variables or explaining a configuration error never pays for it.
"""

import importlib
import os
import sys
import tempfile
from collections.abc import Callable
from functools import cache
from typing import Any

__all__ = [
    "compiled_by_xla",
    "has_bfloat16",
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
        # Every session has threads of its own; the first one would otherwise say for all how many an operation has.
        os.environ.setdefault("TF_OVERRIDE_GLOBAL_THREADPOOL", "1")
        _tensorflow = _import_quietly("tensorflow.compat.v1")
        _tensorflow.logging.set_verbosity(_tensorflow.logging.ERROR)
    return _tensorflow


def _import_quietly(name: str) -> Any:
    """Import a module while file descriptor 2 is set aside: native start-up notes ignore every log level."""
    sys.stderr.flush()
    with tempfile.TemporaryFile() as aside:
        kept = os.dup(2)
        os.dup2(aside.fileno(), 2)
        try:
            return importlib.import_module(name)
        except BaseException:
            aside.seek(0)
            os.write(kept, aside.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def plain_session(graph: Any) -> Any:
    """Return a session that runs a graph as it is written.

    An ordinary session lets TensorFlow fold constants and fuse operations first, which changes the rounding: two graphs
    that say the same are then no longer equal to the last bit.
    """
    tensorflow = _load()
    config = tensorflow.ConfigProto()
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    return tensorflow.Session(graph=graph, config=config)


def training_session(graph: Any, *, bfloat16: bool = False, threads: int = 0) -> Any:
    """Return a session in which an operation has so many threads, of all cores with 0.

    With ``bfloat16`` oneDNN computes float32 products and convolutions in it. Casts are passed over where that is
    decided, so that a product cast to bfloat16 is not first made float32.
    """
    tensorflow = _load()
    config = tensorflow.ConfigProto(intra_op_parallelism_threads=threads)
    if bfloat16:
        passed_over = "TF_AUTO_MIXED_PRECISION_GRAPH_REWRITE_CLEARLIST_ADD"
        names = os.environ.get(passed_over, "").split(",")
        os.environ[passed_over] = ",".join(dict.fromkeys(filter(None, [*names, "Cast"])))
        config.graph_options.rewrite_options.auto_mixed_precision_onednn_bfloat16 = 1  # RewriterConfig.ON
    return tensorflow.Session(graph=graph, config=config)


def compiled_by_xla(function: Callable[..., Any]) -> Any:
    """Return a function that XLA compiles where it is called."""
    return _load().function(function, jit_compile=True, autograph=False)


@cache
def has_bfloat16() -> bool:
    """Return whether ``bfloat16`` sessions compute in it: where they cannot, TensorFlow leaves float32 in silence."""
    tensorflow = _load()
    options = tensorflow.RunOptions(output_partition_graphs=True)
    told = tensorflow.RunMetadata()
    with tensorflow.Graph().as_default() as graph:
        rows = tensorflow.placeholder(tensorflow.float32, (64, 64))
        product = rows
        for _ in range(4):  # Smaller graphs are not rewritten at all.
            product = tensorflow.matmul(product, rows)
    with training_session(graph, bfloat16=True) as session:
        session.run(product, {rows: [[0.0] * 64] * 64}, options=options, run_metadata=told)
    bfloat16 = tensorflow.bfloat16.as_datatype_enum
    return any(node.attr["T"].type == bfloat16 for part in told.partition_graphs for node in part.node)


def saved_model_proto() -> Any:
    """Return the message class of a ``saved_model.pb`` file."""
    _load()
    return importlib.import_module("tensorflow.core.protobuf.saved_model_pb2").SavedModel


def object_graph_proto() -> Any:
    """Return the message class of the graph of objects in a checkpoint of ``tf.train.Checkpoint``."""
    _load()
    return importlib.import_module("tensorflow.core.protobuf.trackable_object_graph_pb2").TrackableObjectGraph


def tensorflow_version() -> str:
    """Return TensorFlow's version."""
    return str(_load().__version__)


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    return getattr(_load(), name)
