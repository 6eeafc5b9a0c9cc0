"""Damaged files of data: always a message, and never other numbers where the format has a checksum."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from expkit import tf1 as tf
from expkit.config.schema import Config
from expkit.data.dataset import load_dataset
from expkit.network.spec import NetworkSpec
from expkit.preflight import check
from support.experiments import config_of
from support.mutations import mutations, survey

X = np.random.default_rng(0).integers(0, 256, (60, 4)).astype(np.uint8)
LABEL = (np.arange(60) % 3).astype(np.uint8)


@dataclass(frozen=True, kw_only=True)
class Case:
    """A kind of file, and how it is tried."""

    write: Callable[[Path], Mapping[str, Any]]
    """Writes ``data`` into a folder, and ``label`` where labels are in another file; returns the source."""
    checksum: bool = False
    """Whether damage is told from the bytes."""
    header: int | None = None
    """Number of bytes of the header, which half of the mutations are in."""


def npy(folder: Path, array: np.ndarray = X) -> Mapping[str, Any]:
    with (folder / "data").open("wb") as file:
        np.save(file, array)
    np.save(folder / "label.npy", LABEL)
    return {"kind": "arrays", "fields": {"x": str(folder / "data"), "label": str(folder / "label.npy")}}


def npz(folder: Path, *, compressed: bool = False) -> Mapping[str, Any]:
    with (folder / "data").open("wb") as file:
        (np.savez_compressed if compressed else np.savez)(file, x=X.astype(np.float32), label=LABEL)
    return {"kind": "npz", "path": str(folder / "data")}


def csv(folder: Path) -> Mapping[str, Any]:
    rows = [",".join(map(str, row)) + f",{label}\n" for row, label in zip(X / 7, LABEL, strict=True)]
    (folder / "data").write_text("a,b,c,d,y\n" + "".join(rows))
    return {"kind": "table", "path": str(folder / "data"), "columns": {"features": "*", "label": "y"}}


def parquet(folder: Path) -> Mapping[str, Any]:
    columns = {name: pa.array(X[:, place] / 7) for place, name in enumerate("abcd")}
    pq.write_table(pa.table({**columns, "y": pa.array(LABEL)}), folder / "data")
    return {"kind": "table", "path": str(folder / "data"), "columns": {"features": "*", "label": "y"}}


def idx(folder: Path, *, zipped: bool = False, labels: bool = False) -> Mapping[str, Any]:
    images = struct.pack(">BBBB3I", 0, 0, 8, 3, 60, 2, 2) + X.tobytes()
    classes = struct.pack(">BBBBI", 0, 0, 8, 1, 60) + LABEL.tobytes()
    damaged, whole = (classes, images) if labels else (images, classes)
    (folder / "data").write_bytes(gzip.compress(damaged, mtime=0) if zipped else damaged)
    (folder / "whole").write_bytes(whole)
    files = (folder / "whole", folder / "data") if labels else (folder / "data", folder / "whole")
    return {"kind": "idx", "images": str(files[0]), "labels": str(files[1])}


def tfrecord(folder: Path) -> Mapping[str, Any]:
    with tf.io.TFRecordWriter(str(folder / "data")) as writer:
        for row, label in zip(X, LABEL, strict=True):
            feature = {
                "x": tf.train.Feature(bytes_list=tf.train.BytesList(value=[row.tobytes()])),
                "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[label])),
            }
            writer.write(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())
    features = {"x": {"shape": [4], "dtype": "uint8"}, "label": {"dtype": "int64"}}
    return {"kind": "tfrecord", "files": str(folder / "data"), "features": features}


CASES = {
    "npy": Case(write=npy, header=128),
    "npy of float64": Case(write=lambda folder: npy(folder, X.astype(np.float64)), header=128),
    "npz": Case(write=npz, checksum=True),
    "npz, compressed": Case(write=lambda folder: npz(folder, compressed=True), checksum=True),
    "csv": Case(write=csv, header=20),
    "parquet": Case(write=parquet),
    "idx of images": Case(write=idx, header=16),
    "idx of labels": Case(write=lambda folder: idx(folder, labels=True), header=8),
    "idx, gzipped": Case(write=lambda folder: idx(folder, zipped=True), checksum=True),
    "tfrecord": Case(write=tfrecord, checksum=True),
}
COUNT = 400
"""Damaged copies of each kind."""


@pytest.mark.parametrize("name", CASES)
def test_a_damaged_file_is_a_message_and_never_other_numbers_in_silence(tmp_path: Path, name: str) -> None:
    case = CASES[name]
    source = case.write(tmp_path)
    features = "features" if source["kind"] == "table" else "image" if source["kind"] == "idx" else "x"
    network = {
        "inputs": {features: {"shape": [4]}},
        "layers": {"logits": {"kind": "dense", "units": 3}},
        "outputs": {"logits": "logits"},
    }
    config = config_of(
        tmp_path / "config",
        network=network,
        data={"source": source, "preprocess": {features: [{"kind": "standardize"}]}},
    )
    spec = check(config).spec
    content = (tmp_path / "data").read_bytes()
    spans = [slice(None)] if case.header is None else [slice(0, case.header), slice(None)]
    damaged = [one for span in spans for one in mutations(content, COUNT // len(spans), seed=1, span=span)]
    found = survey(tmp_path / "data", lambda: values(config, spec), damaged)
    assert found.tracebacks == []
    assert found.read + len(found.refused) == len(damaged) == COUNT
    assert len(found.refused) > COUNT / 4
    if case.checksum:
        assert [one for one in found.silent if name != "tfrecord" or not read_by_tensorflow(tmp_path, one)] == []


def values(config: Config, spec: NetworkSpec) -> Any:
    """Return all that training would read."""
    splits = load_dataset(config, spec).splits
    return {split: {name: np.asarray(array[:]) for name, array in fields.items()} for split, fields in splits.items()}


def read_by_tensorflow(folder: Path, content: bytes) -> bool:
    """Return True if TensorFlow reads a TFRecord file too: one that lost whole records is a whole file."""
    (folder / "tensorflow").write_bytes(content)
    try:
        return len(list(tf.io.tf_record_iterator(str(folder / "tensorflow")))) >= 0
    except tf.errors.DataLossError:
        return False
