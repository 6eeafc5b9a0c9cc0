"""TFRecord files written by TensorFlow: random access without it, damage reported with its position."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from expkit import tf1 as tf
from expkit.config.load import validate
from expkit.config.sections.data import SplitConfig
from expkit.data.split import split_fields
from expkit.data.split_by import split_notes
from expkit.errors import DataError
from expkit.kinds.sources import mapped, tfrecord_files
from expkit.kinds.sources import tfrecord_index as records
from expkit.kinds.sources.on_disk import DiskArray
from expkit.kinds.sources.tfrecord import TFRecord
from expkit.kinds.sources.tfrecord_example import parse_example
from expkit.kinds.sources.tfrecord_feature import Feature

IMAGES = np.random.default_rng(0).integers(0, 256, (9, 4, 3)).astype(np.uint8)
WEIGHTS = np.random.default_rng(1).normal(size=(9, 5)).astype(np.float32)
NUMBERS = np.array([[0, -1], [127, 128], [2**62, -(2**62)], [300, 5], [1, 2], [3, 4], [5, 6], [7, 8], [9, 10]])
FEATURES = {
    "image": Feature(shape=(4, 3), dtype="uint8"),
    "weights": Feature(shape=(5,)),
    "numbers": Feature(shape=(2,), dtype="int64"),
    "label": Feature(dtype="int32"),
}


def example(**features: Any) -> bytes:
    """Return a serialized example; bytes, floats and integers become lists of their kind."""
    messages = {}
    for name, value in features.items():
        if isinstance(value, bytes):
            messages[name] = tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
        elif np.asarray(value).dtype.kind == "f":
            messages[name] = tf.train.Feature(float_list=tf.train.FloatList(value=np.ravel(value)))
        else:
            messages[name] = tf.train.Feature(int64_list=tf.train.Int64List(value=np.ravel(value)))
    return bytes(tf.train.Example(features=tf.train.Features(feature=messages)).SerializeToString())


def write(path: Path, serialized: Iterable[bytes]) -> Path:
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in serialized:
            writer.write(record)
    return path


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Return a folder of nine examples in two files."""
    serialized = [
        example(image=IMAGES[i].tobytes(), weights=WEIGHTS[i], numbers=NUMBERS[i], label=i, spare=b"x" * (i * 100))
        for i in range(9)
    ]
    write(tmp_path / "part-0.tfrecord", serialized[:4])
    write(tmp_path / "part-1.tfrecord", serialized[4:])
    return tmp_path


def source(files: Any, **features: Feature) -> TFRecord:
    return TFRecord(files=files, features=features or FEATURES)


def problem_of(act: Callable[[], Any]) -> str:
    with pytest.raises(DataError) as caught:
        act()
    return str(caught.value)


def test_every_feature_is_read_by_index_across_files(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapped, "PIECE_EXAMPLES", 3)
    monkeypatch.setattr(mapped, "PIECE_BYTES", 100)
    monkeypatch.setattr(tfrecord_files, "SCANNED_BYTES", 100)
    fields = source(str(files / "part-*.tfrecord")).load()
    order = np.array([8, 0, 3, 4, 4, 7, 1])
    expected = {"image": IMAGES, "weights": WEIGHTS, "numbers": NUMBERS, "label": np.arange(9, dtype=np.int32)}
    for name, values in expected.items():
        assert isinstance(fields[name], DiskArray)
        assert (fields[name].shape, fields[name].dtype) == (values.shape, values.dtype)
        np.testing.assert_array_equal(fields[name][order], values[order])
        np.testing.assert_array_equal(fields[name][2:6], values[2:6])


def test_fields_share_one_reading_of_records_unless_they_are_large(
    files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[bytes] = []
    monkeypatch.setattr(records, "parse_example", lambda record: (read.append(record), parse_example(record))[1])
    fields = source(str(files / "part-*")).load()
    for remembered, times in ((1 << 20, 1), (0, 2)):
        monkeypatch.setattr(records, "CACHED_BYTES", remembered)
        read.clear()
        order = np.array([5, 2, 7]) - (remembered == 0)
        np.testing.assert_array_equal(fields["image"][order], IMAGES[order])
        np.testing.assert_array_equal(fields["label"][order], order)
        assert len(read) == 3 * times


def test_files_are_one_or_a_list_of_names_and_patterns(files: Path) -> None:
    one, other = str(files / "part-1.tfrecord"), str(files / "part-0*")
    np.testing.assert_array_equal(source(one).load()["label"][:], np.arange(4, 9))
    np.testing.assert_array_equal(source((one, other)).load()["label"][:], [4, 5, 6, 7, 8, 0, 1, 2, 3])


def test_some_files_may_hold_no_record(files: Path) -> None:
    empty, zipped = files / "empty", files / "zipped"
    empty.touch()
    zipped.write_bytes(gzip.compress(b""))
    parts = str(empty), str(files / "part-0.tfrecord"), str(zipped), str(files / "part-1.tfrecord")
    np.testing.assert_array_equal(source(parts).load()["label"][:], np.arange(9))
    said = f"data.source.files: {empty}, {zipped}: no record; give files that hold examples"
    assert problem_of(source((str(empty), str(zipped))).load) == said


def test_the_parser_agrees_with_tensorflow_and_takes_values_that_are_not_packed() -> None:
    record = example(a=b"bytes", b=WEIGHTS[0], c=NUMBERS.ravel())
    parsed = parse_example(record)
    assert parsed["a"] == [b"bytes"]
    np.testing.assert_array_equal(parsed["b"], WEIGHTS[0])
    np.testing.assert_array_equal(parsed["c"], NUMBERS.ravel())
    unpacked = b"\x0a\x12\x0a\x10\x0a\x01n\x12\x0b\x1a\x09\x08\x07\x08\x80\x01\x08\x01\x08\x02"
    np.testing.assert_array_equal(parse_example(unpacked)["n"], [7, 128, 1, 2])
    assert parse_example(tf.train.Example().SerializeToString()) == {}
    empty = tf.train.Example(features=tf.train.Features(feature={"e": tf.train.Feature()}))
    assert parse_example(empty.SerializeToString()) == {"e": []}


@pytest.mark.parametrize(
    ("record", "problem"),
    [
        (b"\x0a\xff", "a number does not end"),
        (b"\x0b", "unknown wire type 3"),
        (b"\x0a\x05abc", "a field is longer than its message"),
        (b"\x08\x01", "a number stands where a message should"),
        (b"\x0a\x0a\x0a\x08\x12\x06\x12\x04\x0a\x02ab", "a list of floats ends within one"),
        (b"\x0a\x0a\x0a\x08\x12\x06\x1a\x04\x0a\x02\x01\x80", "a list of integers ends within one"),
    ],
)
def test_bytes_that_are_no_example_are_an_error(tmp_path: Path, record: bytes, problem: str) -> None:
    file = write(tmp_path / "x.tfrecord", [record])
    message = problem_of(source(str(file), label=Feature()).load)
    assert message == f"data.source.files: record 0 of {file} is not a tf.train.Example: {problem}"


def test_fields_of_a_message_that_are_unknown_are_passed_over() -> None:
    inner = b"\x0a\x01n\x12\x05\x1a\x03\x0a\x01\x07" + b"\x1d\0\0\0\0" + b"\x21" + b"\0" * 8
    entry = b"\x0a" + bytes([len(inner)]) + inner
    np.testing.assert_array_equal(parse_example(b"\x0a" + bytes([len(entry)]) + entry)["n"], [7])


def test_damage_is_reported_with_its_position(files: Path) -> None:
    file = files / "part-0.tfrecord"
    content = file.read_bytes()
    first = int.from_bytes(content[:8], "little")
    cases = {
        content[
            :-1
        ]: f"is truncated: {len(content) - 1} bytes end within record 3, after 3 complete ones; fetch it again",
        content[
            : first + 20
        ]: f"is truncated: {first + 20} bytes end within record 1, after 1 complete ones; fetch it again",
        b"what is this, then?"
        + content: "is not a TFRecord file: the checksum of the length at byte 0 (record 0) is wrong",
        content[: first + 16] + b"\xff" + content[first + 17 :]: "is damaged: the checksum of the length at byte "
        f"{first + 16} (record 1) is wrong",
        b"\x1f\x8b" + content: "is compressed and damaged: Unknown compression method; fetch it again",
    }
    for damaged, problem in cases.items():
        file.write_bytes(damaged)
        assert problem_of(source(str(file)).load) == f"data.source.files: {file} {problem}"


def test_every_flipped_bit_is_found_as_tensorflow_finds_it(tmp_path: Path) -> None:
    file = write(tmp_path / "x.tfrecord", [example(label=i, weights=WEIGHTS[i]) for i in range(3)])
    content = file.read_bytes()
    features = {"label": Feature(dtype="int64"), "weights": Feature(shape=(5,))}
    for bit in range(8 * len(content)):
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        file.write_bytes(damaged)
        with pytest.raises(DataError):
            source(str(file), **features).load()["label"][:]
    for bit in range(0, 8 * len(content), 97):
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        file.write_bytes(damaged)
        with pytest.raises(tf.errors.DataLossError):
            list(tf.io.tf_record_iterator(str(file)))


def test_a_damaged_record_is_named_wherever_it_is_read(files: Path) -> None:
    file = files / "part-1.tfrecord"
    content = bytearray(file.read_bytes())
    content[-10] ^= 1  # Within the bytes of the last record.
    file.write_bytes(content)
    fields = source(str(files / "part-*.tfrecord")).load()
    np.testing.assert_array_equal(fields["label"][:8], np.arange(8))
    problem = "is damaged: the checksum of its bytes is wrong; fetch the file again"
    message = f"data.source.files: record 4 of {file} {problem}"
    assert problem_of(lambda: fields["label"][8:]) == message
    assert problem_of(lambda: fields["image"][:]) == message


def test_features_that_do_not_fit_are_reported_before_anything_is_built(files: Path) -> None:
    file = files / "part-0.tfrecord"
    start = f"record 0 of {file}"
    assert problem_of(source(str(file), imag=Feature()).load) == (
        f"data.source.features.imag: {start} has no such feature; did you mean 'image'? it has: image, label, numbers, "
        "spare, weights"
    )
    end = (
        "give the shape and dtype that were written, a length if the number varies, and dtype string for encoded images"
    )
    assert problem_of(source(str(file), image=Feature(shape=(4, 3))).load) == (
        f"data.source.features.image: {start} has 12 bytes, but shape [4, 3] of float32 needs 48; {end}"
    )
    assert problem_of(source(str(file), weights=Feature()).load) == (
        f"data.source.features.weights: {start} has 5 values, but shape [] of float32 needs 1; {end}"
    )


@pytest.mark.parametrize(
    ("value", "dtype", "other"),
    [
        (300, "uint8", "int64"),
        (-1, "uint8", "int64"),
        (2**31, "int32", "int64"),
        (2**24 + 1, "float32", "int64"),
        (2**53 + 1, "float64", "int64"),
        (70_000, "float16", "int64"),
        (0.5, "int64", "float64"),
        (2.0**63, "int64", "float64"),
        (np.nan, "int32", "float64"),
    ],
)
def test_values_that_a_dtype_does_not_hold_are_an_error(tmp_path: Path, value: Any, dtype: Any, other: str) -> None:
    file = write(tmp_path / "x.tfrecord", [example(label=1), example(label=value)])
    number = np.float32(value) if isinstance(value, float) else value
    with np.errstate(invalid="ignore"):
        message = problem_of(lambda: source(str(file), label=Feature(dtype=dtype)).load()["label"][:])
    assert message == (
        f"data.source.features.label: record 1 of {file} has the value {number}, which {dtype} does not hold; give "
        f"another dtype, such as {other}"
    )


def test_a_later_record_that_does_not_fit_is_named_by_file_and_number(files: Path) -> None:
    odd = write(files / "part-2.tfrecord", [example(label=1), example(label=[1, 2])])
    field = source((str(files / "part-1.tfrecord"), str(odd)), label=Feature(dtype="int64")).load()["label"]
    assert problem_of(lambda: field[:]).startswith(f"data.source.features.label: record 1 of {odd} has 2 values, but")


def test_missing_files_and_patterns_without_match_are_errors(files: Path) -> None:
    assert problem_of(source(str(files / "partt-0.tfrecord")).load).startswith(
        f"data.source.files: no file {files}/partt-0.tfrecord; did you mean 'part-0.tfrecord'?"
    )
    assert problem_of(source(str(files / "none-*")).load) == (
        f"data.source.files: no file matches {files}/none-*; give the path or pattern of existing files"
    )


def test_yaml_gives_files_as_text_or_list(files: Path) -> None:
    from support.experiments import config_of

    kept = config_of(files).model_dump(by_alias=True, mode="json")
    for files in ("a*", ["a", "b"]):
        features = {"x": {"shape": [4]}, "label": {"dtype": "int64"}}
        kept["data"]["source"] = {"kind": "tfrecord", "files": files, "features": features}
        assert validate(kept).data.source.files == (files if isinstance(files, str) else tuple(files))


def sequence(context: dict[str, Any], **lists: list[Any]) -> bytes:
    """Return a serialized sequence example."""
    whole = tf.train.SequenceExample()
    whole.context.MergeFromString(tf.train.Example.FromString(example(**context)).features.SerializeToString())
    for name, steps in lists.items():
        items = whole.feature_lists.feature_list[name].feature
        items.extend(tf.train.Example.FromString(example(x=step)).features.feature["x"] for step in steps)
    return bytes(whole.SerializeToString())


def test_strings_are_read_as_they_were_written(tmp_path: Path) -> None:
    images = [b"\x89PNG", b"", b"\xff\xd8\0\0"]
    records = [example(image=image, label=i) for i, image in enumerate(images)]
    fields = source(str(write(tmp_path / "x", records)), image=Feature(dtype="string")).load()
    image = fields["image"]
    assert isinstance(image, DiskArray)
    assert (image.shape, image.dtype) == ((3,), object)
    assert image[np.array([2, 0, 2])].tolist() == [images[2], images[0], images[2]]
    assert image.nbytes >= sum(map(len, images))
    assert (image.sizes(np.arange(3)) >= [len(content) for content in images]).all()
    message = problem_of(source(str(tmp_path / "x"), label=Feature(dtype="string")).load)
    assert message.endswith("has numbers; give another dtype than string")


def test_features_of_varying_length_are_padded(tmp_path: Path) -> None:
    tokens: list[list[int]] = [[1, 2, 3], [], [4]]
    records = [example(tokens=np.array(found, np.int64), boxes=np.ones(4 * len(found))) for found in tokens]
    records.append(example(other=1))
    file = str(write(tmp_path / "x", records))
    tokens_of = {"dtype": "int64", "length": 4, "padding": -1}
    fields = source(file, tokens=Feature(**tokens_of), boxes=Feature(shape=(4,), length=3)).load()
    assert fields["tokens"][:].tolist() == [[1, 2, 3, -1], [-1] * 4, [4, -1, -1, -1], [-1] * 4]
    assert fields["tokens_length"][:].tolist() == [3, 0, 1, 0]
    assert fields["boxes"].shape == (4, 3, 4)
    assert fields["boxes"][:].sum(axis=(1, 2)).tolist() == [12, 0, 4, 0]
    assert fields["boxes_length"][np.array([2, 0])].tolist() == [1, 3]
    cut = source(file, tokens=Feature(dtype="int64", length=2, on_longer="cut")).load()
    assert cut["tokens"][:1].tolist() == [[1, 2]]
    assert cut["tokens_length"][:].tolist() == [2, 0, 1, 0]
    assert problem_of(source(file, tokens=Feature(dtype="int64", length=2)).load) == (
        f"data.source.features.tokens: record 0 of {file} has 3 items, more than length 2; increase it, or drop the "
        "rest with on_longer: cut"
    )
    assert problem_of(source(file, tokens=Feature(shape=(2,), dtype="int64", length=2)).load) == (
        f"data.source.features.tokens: record 0 of {file} has 3 values, which is not a multiple of the 2 of shape [2] "
        "of int64"
    )
    assert problem_of(source(file, token=Feature(length=2)).load) == (
        f"data.source.features.token: record 0 of {file} has no such feature; did you mean 'tokens'? it has: "
        "boxes, tokens"
    )


def test_sequence_examples_agree_with_tensorflow(tmp_path: Path) -> None:
    steps = [WEIGHTS[:3], WEIGHTS[3:4], WEIGHTS[:0]]
    records = [
        sequence({"label": i, "name": b"n"}, weights=list(found), words=[b"w"] * len(found))
        for i, found in enumerate(steps)
    ]
    features = {
        "weights": Feature(shape=(5,), length=3),
        "words": Feature(dtype="string", length=3),
        "label": Feature(dtype="int64"),
        "name": Feature(dtype="string"),
    }
    fields = source(str(write(tmp_path / "x", records)), **features).load()
    for index, record in enumerate(records):
        with tf.Graph().as_default(), tf.Session() as session:
            parsed = tf.io.parse_single_sequence_example(
                record,
                {"label": tf.io.FixedLenFeature((), tf.int64), "name": tf.io.FixedLenFeature((), tf.string)},
                {"weights": tf.io.FixedLenSequenceFeature((5,), tf.float32)},
            )
            expected, listed = session.run(parsed)
        count = fields["weights_length"][index : index + 1].tolist()[0]
        np.testing.assert_array_equal(fields["weights"][index : index + 1][0, :count], listed["weights"])
        assert not fields["weights"][index : index + 1][0, count:].any()
        assert fields["words"][index : index + 1].tolist() == [[b"w"] * count + [b""] * (3 - count)]
        assert fields["label"][index : index + 1].tolist() == [expected["label"]]
        assert fields["name"][index : index + 1].tolist() == [expected["name"]]


def test_ragged_steps_and_a_name_used_twice_are_errors(tmp_path: Path) -> None:
    ragged = write(tmp_path / "x", [sequence({}, a=[[1, 2, 3], [4]])])
    message = problem_of(source(str(ragged), a=Feature(shape=(2,), dtype="int64", length=3)).load)
    assert message.endswith(f"record 0 of {ragged} has steps of different numbers of values")
    twice = write(tmp_path / "y", [sequence({"a": 1}, a=[[1]])])
    message = problem_of(source(str(twice), a=Feature(dtype="int64")).load)
    assert message.endswith("is not a tf.train.Example: 'a' is in its context and in its feature lists")


@pytest.mark.parametrize("compression", ["GZIP", "ZLIB"])
def test_compressed_files_are_read_as_plain_ones(tmp_path: Path, compression: str) -> None:
    file = tmp_path / "x.tfrecord"
    with tf.io.TFRecordWriter(str(file), compression) as writer:
        for i in range(5):
            writer.write(example(label=i, weights=WEIGHTS[i]))
    features = {"label": Feature(dtype="int64"), "weights": Feature(shape=(5,))}
    fields = source(str(file), **features).load()
    np.testing.assert_array_equal(fields["weights"][np.array([4, 1])], WEIGHTS[[4, 1]])
    content = file.read_bytes()
    for damaged in (content[:-5], content[: len(content) // 2], content + b"more", content[:40] + b"xx" + content[42:]):
        file.write_bytes(damaged)
        assert problem_of(source(str(file), **features).load).startswith(
            f"data.source.files: {file} is compressed and damaged: "
        )


@pytest.mark.parametrize("compression", ["", "GZIP", "ZLIB"])
def test_records_are_split_by_class_and_by_group(tmp_path: Path, compression: str) -> None:
    labels, groups = np.arange(40) % 4, np.arange(40) // 4
    for shard in range(2):
        with tf.io.TFRecordWriter(str(tmp_path / f"s{shard}.tfrecord"), compression) as writer:
            for i in range(20 * shard, 20 * shard + 20):
                writer.write(example(x=i, label=b"abcd"[labels[i] :][:1], patient=int(groups[i])))
    features = {"x": Feature(dtype="int64"), "label": Feature(dtype="string"), "patient": Feature(dtype="int64")}
    fields = TFRecord(files=str(tmp_path / "s*.tfrecord"), features=features).load()
    sizes = {"train": 0.5, "valid": 0.2, "test": 0.3}
    for given in ({}, {"stratify": "label"}, {"group": "patient"}, {"stratify": "label", "group": "patient"}):
        config = SplitConfig(**sizes, **given)
        parts = split_fields(fields, config)
        places = {name: part["x"][:] for name, part in parts.items()}
        assert sorted(np.concatenate(list(places.values())).tolist()) == list(range(40))
        for name, found in places.items():
            assert [b"abcd"[label : label + 1] for label in labels[found]] == parts[name]["label"][:].tolist()
        assert {name: len(found) for name, found in places.items()} == {"train": 20, "valid": 8, "test": 12}
        if "stratify" in given:
            assert [np.bincount(labels[found]).tolist() for found in places.values()] == [[5] * 4, [2] * 4, [3] * 4]
        if "group" in given:
            assert sum(len(set(groups[found].tolist())) for found in places.values()) == 10
        assert len(list(split_notes(config, parts))) == bool(given)


def test_a_plain_file_whose_first_length_looks_compressed_is_plain(tmp_path: Path) -> None:
    for start in (b"\x1f\x8b", b"\x78\x9c"):
        size = int.from_bytes(start, "little")
        record = example(a=b"x" * (size - 23))
        assert len(record) == size
        fields = source(str(write(tmp_path / "x", [record])), a=Feature(dtype="string")).load()
        assert len(fields["a"][:1][0]) == size - 23


def test_a_feature_that_contradicts_itself_is_refused() -> None:
    with pytest.raises(ValueError, match=r"padding 0\.5 is no int64"):
        Feature(dtype="int64", length=2, padding=0.5)
    with pytest.raises(ValueError, match="the field 'a_length' is that of the lengths of 'a', and a feature"):
        source("x", a=Feature(length=2), a_length=Feature())
