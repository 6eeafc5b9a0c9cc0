"""Digests of all graphs that expkit builds and of what it prints: a step that is to change neither shows it by them.

    python tests/support/digests.py --compare                        every entry; exit code 1 where one differs
    python tests/support/digests.py --compare --only names/ cnn      those whose name contains one of the words
    python tests/support/digests.py --compare --dump /tmp/after      keep what is digested as text, to be diffed
    python tests/support/digests.py --write                          make golden/digests.json anew

Run it where the golden was made with ``--dump``, and again after the change, and ``diff -r`` the two folders.

Entries: ``graph/EXPERIMENT/infer``, ``.../evaluate`` and ``.../train/WAY``; ``network/NETWORK/...`` the same for
networks that no experiment trains; ``names/...``, ``schema/...``, ``plan/...`` and ``checkpoint/...`` what verbs print.

A graph is digested as it is, nodes in their order, but for three things. TensorFlow puts into the names of functions
and of their own gradients a number that it counts up in the whole process; here it counts in the graph. Means and
deviations of the data are ones, and MNIST is black, so that no value of the data is in a graph. There are always four
cores.
"""

from __future__ import annotations

import argparse
import atexit
import contextlib
import gzip
import hashlib
import io
import json
import math
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the checkout of this file, whatever is installed

import numpy as np

# All that this needs of expkit.
from expkit import tf1 as tf
from expkit.cli.main import main as expkit_main
from expkit.config.load import load
from expkit.data.dataset import Dataset, load_dataset
from expkit.data.preprocess import Step
from expkit.network.elaborate import network_spec
from expkit.preflight import CheckedConfig, check
from expkit.training.execution import Execution
from expkit.training.graphs import evaluate_graph, train_graph
from expkit.training.inference import infer_graph

__all__ = ["differences", "digests", "entries", "golden"]

REPOSITORY = Path(__file__).resolve().parents[2]
TESTS = REPOSITORY / "tests"
GOLDEN = TESTS / "golden/digests.json"
Digested = Callable[[], str]
"""Makes the text of an entry."""

_PLAIN = Execution(steps_per_execution=100)
WAYS = {
    "plain": _PLAIN,
    "update": replace(_PLAIN, jit_compile="update"),
    "xla": replace(_PLAIN, jit_compile=True),
    "inter_op": replace(_PLAIN, parallelism="inter_op"),
    "bfloat16": replace(_PLAIN, precision="bfloat16"),
    "update_bfloat16": replace(_PLAIN, jit_compile="update", precision="bfloat16"),
    "inter_op_bfloat16": replace(_PLAIN, parallelism="inter_op", precision="bfloat16"),
}
"""How steps are run. The first five are those between which a run chooses."""

FEATURES = {
    "accumulation": ["train.gradient_accumulation_steps=2"],
    "streamed": ["data.placement=streamed"],
    "roll_back": ["train.on_nan.action=roll_back"],
    "clipped": ["optimizer=adamw", "optimizer.global_clipnorm=1", "optimizer.warmup_steps=10"],
    "no_averages": ["ema.enabled=false", "optimizer=momentum"],
}
"""What changes the graph that trains; each with one experiment."""
FEATURED = "digits_cnn"

NETWORKS = {
    "alexnet_v2": [],
    "bert_mlm": ["layers=2", "hidden_size=32", "heads=4", "intermediate_size=48", "vocabulary_size=50",
                 "max_positions=16", "length=12"],
    "dcgan_discriminator": [],
    "dcgan_generator": [],
    "lenet5": [],
    "mobilenet_v1": [],
    "ptb_lstm": [],
    "unet": [],
}  # fmt: skip
"""Networks without an experiment, and settings that make them smaller; among them they have most kinds of layers."""
EXAMPLES, BATCH = 130, 64
UNKNOWN_SIZE = 12
"""How long what a network takes at any length is in its data."""


def entries() -> dict[str, Digested]:
    """Return what makes the text of every entry, by name."""
    made: dict[str, Digested] = {}
    experiments = sorted(file.stem for file in (REPOSITORY / "conf/experiment").glob("*.yaml"))
    for name in experiments:
        made |= _graphs(f"graph/{name}", partial(_experiment, name))
    for feature, words in FEATURES.items():
        made[f"graph/{FEATURED}/train/{feature}"] = partial(_train, partial(_experiment, FEATURED, *words), _PLAIN)
    for name, settings in NETWORKS.items():
        made |= _graphs(f"network/{name}", partial(_network, name, *settings))
    for name in sorted(file.stem for file in (TESTS / "golden/variables").glob("*.txt")):
        chosen = f"experiment={name}" if name in experiments else f"network={name}"
        made[f"names/{name}"] = partial(_printed, "names", "--json", chosen)
        made[f"plan/{name}"] = partial(_printed, *PLAN, chosen, "restore.from=checkpoint", "restore.keep_initial=[.*]")
    for name, words in PLANS.items():
        made[f"plan/{name}"] = partial(_printed, *PLAN, *words, "restore.from=checkpoint")
    made |= {
        "schema/text": partial(_printed, "schema"),
        "schema/structure": _schema_structure,
        "checkpoint/table": partial(_printed, "checkpoint", "show", "checkpoint"),
        "checkpoint/json": partial(_printed, "checkpoint", "show", "--json", "checkpoint"),
        "checkpoint/some": partial(_printed, "checkpoint", "show", "checkpoint/model.ckpt-7", "layer1/.*"),
    }
    return made


# Graphs


Built = tuple[CheckedConfig, Dataset]
"""Checked configuration and data of an experiment."""


def _graphs(name: str, of: Callable[[], Built]) -> dict[str, Digested]:
    return {
        f"{name}/infer": partial(_infer, of),
        f"{name}/evaluate": partial(_evaluate, of),
        **{f"{name}/train/{way}": partial(_train, of, execution) for way, execution in WAYS.items()},
    }


def _train(of: Callable[[], Built], execution: Execution) -> str:
    return _graph_text(train_graph(*of(), execution).graph.as_graph_def())


def _evaluate(of: Callable[[], Built]) -> str:
    return _graph_text(evaluate_graph(*of()).graph.as_graph_def())


def _infer(of: Callable[[], Built]) -> str:
    checked, data = of()
    built = infer_graph(checked.spec, data.preprocessing)
    meta = tf.MetaGraphDef.FromString(built.meta_graph)
    return _graph_text(built.graph.as_graph_def()) + f"{meta.saver_def}{_graph_text(meta.graph_def)}"


@cache
def _experiment(name: str, *words: str) -> Built:
    """Return an experiment of conf/experiment with its data, whose values no longer matter."""
    config = load([f"experiment={name}", *words])
    checked = check(config)
    data = load_dataset(config, checked.spec)
    ones = {
        field: replace(item, in_step=[_with_ones(step) for step in item.in_step])
        for field, item in data.preprocessing.items()
    }
    return checked, replace(data, preprocessing=ones)


def _with_ones(step: Step) -> Step:
    return Step(step.kind, {name: np.ones_like(value) for name, value in step.fitted.items()})


@cache
def _network(name: str, *settings: str) -> Built:
    """Return an experiment that trains all outputs of a network, on data that is nothing but shapes."""
    words = [f"network={name}", *(f"network.settings.{setting}" for setting in settings)]
    words += ["data=npz", "data.source.path=none.npz", "train=regression", f"train.batch_size={BATCH}"]
    spec = network_spec(load(words).network)
    words += ["~train.losses.main", "~train.metrics.mae"]
    words += [
        f"+train.losses.{output}={{kind: mean_squared_error, output: {output}, labels: label_{output}}}"
        for output in spec.outputs
    ]
    fields = dict(spec.inputs) | {f"label_{output}": spec.output_spec(output) for output in spec.outputs}
    arrays = {field: _shaped(item.shape, item.dtype) for field, item in fields.items()}
    return check(load(words)), Dataset(splits={"train": arrays}, digest="", kind="npz")


def _shaped(shape: tuple[int | None, ...], dtype: str) -> np.ndarray:
    sizes = (EXAMPLES, *(UNKNOWN_SIZE if size is None else size for size in shape))
    return np.broadcast_to(np.zeros((), dtype), sizes)


def _graph_text(graph: Any) -> str:
    """Return a graph as text, in which no name of a function depends on the graphs that were made before."""
    counted: dict[str, list[tuple[list[int], str]]] = {}
    for function in graph.library.function:
        name = function.signature.name
        numbers = [int(number) for number in re.findall(r"(?<=_)\d+(?=_|$)", name)]
        counted.setdefault(re.sub(r"(?<=_)\d+(?=_|$)", "#", name), []).append((numbers, name))
    names = {
        name: f"{base}{place}"
        for base, functions in counted.items()
        for place, (numbers, name) in enumerate(sorted(functions))
        if numbers
    }
    functions = sorted(graph.library.function, key=lambda function: names.get(function.signature.name, ""))
    del graph.library.function[:]
    graph.library.function.extend(functions)
    gradients: dict[str, str] = {}
    text = re.sub(
        r"CustomGradient-\d+",
        lambda found: gradients.setdefault(found[0], f"CustomGradient-{len(gradients)}"),
        str(graph),
    )
    if not names:
        return text
    # Arguments of functions have names of functions in theirs, in small letters.
    names |= {old.lower(): new.lower() for old, new in names.items()}
    any_of_them = "|".join(map(re.escape, sorted(names, key=len, reverse=True)))
    return re.sub(rf"({any_of_them})(?!\d)", lambda found: names[found[1]], text)


# What verbs print


SQUARE = """\
inputs: {x: {shape: [3]}}
variables: {kernel: weights, bias: biases}
layers:
  layer1: {kind: dense, units: 3, activation: relu}
  layer2: {kind: dense, units: 3}
outputs: {logits: layer2}
"""
"""The network of the golden checkpoint."""
PLAN = ("restore-plan", "--json", "--config-dir=mine")
RENAMED = ["~network.layers.layer2", "network.outputs.logits=layer1", "+network.layers.layer1.scope=body"]
PLANS = {
    "golden": ["network=square"],
    "golden/raw": ["network=square", "restore.weights=raw"],
    "golden/ema": ["network=square", "restore.weights=ema"],
    "golden/missing": ["network=square", *RENAMED],
    "golden/renamed": ["network=square", *RENAMED, "restore.rename=[{prefix: layer2/, to: body/}]"],
    "golden/transformed": ["network=square", "restore.rename=[{name: layer1/weights, transform: [{scale: 2.0}]}]"],
    "golden/shape": ["network=square", "network.layers.layer2.units=4"],
    "golden/skipped": ["network=square", "network.layers.layer2.units=4",
                       "restore.rename=[{prefix: layer2/, on_shape_mismatch: skip}]"],
    "golden/suggested": ["--suggest", "network=square", *RENAMED],
}  # fmt: skip


@cache
def _workplace() -> Path:
    """Return a folder with the golden checkpoint, its network and a black MNIST, kept as long as the process."""
    made = tempfile.TemporaryDirectory()
    atexit.register(made.cleanup)
    folder = Path(made.name)
    shutil.copytree(TESTS / "golden/checkpoint", folder / "checkpoint")
    (folder / "mine/network").mkdir(parents=True)
    (folder / "mine/network/square.yaml").write_text(SQUARE)
    (folder / "mnist").mkdir()
    for file, shape in (("images-idx3", (10_000, 28, 28)), ("labels-idx1", (10_000,))):
        head = bytes([0, 0, 8, len(shape)]) + b"".join(size.to_bytes(4, "big") for size in shape)
        (folder / f"mnist/t10k-{file}-ubyte.gz").write_bytes(gzip.compress(head + bytes(math.prod(shape))))
    return folder


def _printed(*words: str) -> str:
    """Return what the program prints, and how it ends."""
    out, code = io.StringIO(), None
    with contextlib.chdir(_workplace()), contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        try:
            expkit_main(list(words))
        except SystemExit as stopped:
            code = stopped.code
    return f"{out.getvalue()}\nexit code {code}\n"


def _schema_structure() -> str:
    """Return the JSON Schema without descriptions, without the names of its definitions and without their order."""
    schema = json.loads(_printed("schema").rpartition("\nexit code")[0])
    definitions = schema.pop("$defs")

    def plain(item: Any, above: tuple[str, ...]) -> Any:
        if isinstance(item, list):
            return sorted((plain(one, above) for one in item), key=lambda one: json.dumps(one, sort_keys=True))
        if not isinstance(item, dict):
            return item
        if "$ref" in item:
            name = item["$ref"].rpartition("/")[2]
            return (
                {"again": len(above) - above.index(name)} if name in above else plain(definitions[name], (*above, name))
            )
        words = {key for key in ("description", "title") if isinstance(item.get(key), str)}
        return {key: plain(value, above) for key, value in item.items() if key not in words}

    return json.dumps(plain(schema, ()), indent=1, sort_keys=True)


# The golden


def golden() -> dict[str, Any]:
    """Return the golden: TensorFlow's version, and digests by entry."""
    return dict(json.loads(GOLDEN.read_text()))


def digests(wanted: Iterable[str], dump: Path | None = None) -> dict[str, str]:
    """Return the digests of entries; write their texts into a folder where one is given."""
    made, known = {}, entries()
    with _same_everywhere():
        for name in wanted:
            text = known[name]()
            made[name] = hashlib.sha256(text.encode()).hexdigest()
            if dump is not None:
                file = dump / f"{name}.txt"
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text)
    return made


@contextlib.contextmanager
def _same_everywhere() -> Iterator[None]:
    """Take from what is digested what depends on the machine: how many cores there are, and how wide the terminal."""
    with patch.object(os, "sched_getaffinity", lambda _: set(range(4)), create=True):
        with patch.dict(os.environ, {"COLUMNS": "120", "EXPKIT_DATA": str(_workplace())}):
            yield


def differences(found: Mapping[str, str], promised: Mapping[str, str]) -> list[str]:
    """Return the names of entries whose digest is another than promised, or is promised for none."""
    return [name for name, digest in found.items() if promised.get(name) != digest]


def main() -> int:
    """Write or compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    act = parser.add_mutually_exclusive_group(required=True)
    act.add_argument("--write", action="store_true", help="write digests into the golden")
    act.add_argument("--compare", action="store_true", help="compare digests with the golden")
    parser.add_argument("--only", nargs="+", default=[""], metavar="WORD", help="entries whose name contains a word")
    parser.add_argument("--dump", type=Path, metavar="FOLDER", help="write what is digested here, as text")
    given = parser.parse_args()
    wanted = [name for name in entries() if any(word in name for word in given.only)]
    version, promised = tf.tensorflow_version(), golden() if GOLDEN.exists() else {"tensorflow": None, "digests": {}}
    if given.compare and promised["tensorflow"] != version:
        parser.error(f"the golden was made with TensorFlow {promised['tensorflow']}, this is {version}")
    found = digests(wanted, given.dump)
    if given.write:
        kept = promised["digests"] if promised["tensorflow"] == version and given.only != [""] else {}
        text = json.dumps({"tensorflow": version, "digests": {**kept, **found}}, indent=1, sort_keys=True)
        GOLDEN.write_text(f"{text}\n")
        print(f"{len(found)} entries written")
        return 0
    differing = differences(found, promised["digests"])
    for name in differing:
        print(f"{name}: {'differs' if name in promised['digests'] else 'is not in the golden'}")
    gone = [name for name in promised["digests"] if name not in entries() and any(word in name for word in given.only)]
    for name in gone:
        print(f"{name}: is only in the golden")
    print(f"{len(found) - len(differing)} of {len(found)} entries equal")
    return int(bool(differing or gone))


if __name__ == "__main__":
    raise SystemExit(main())
