"""TensorFlow's graph-mode interface (``tensorflow.compat.v1``), imported when first used.

This is the only module that imports TensorFlow, and it does so at the first attribute asked of it: naming a network,
listing its variables or explaining a configuration error never pays for it.
"""

import importlib
import os
import sys
import tempfile
from typing import Any

__all__ = ["plain_session", "tensorflow_version"]

_tensorflow: Any = None


def _load() -> Any:
    global _tensorflow
    if _tensorflow is None:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        # Keras is not used; with this set TensorFlow does not import it (nor what it would pull in).
        os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
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


def tensorflow_version() -> str:
    """Return TensorFlow's version."""
    return str(_load().__version__)


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    return getattr(_load(), name)
