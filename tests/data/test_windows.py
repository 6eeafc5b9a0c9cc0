"""Windows of one long sequence, and the source whose entropy is known."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from expkit.config.sections.data import WindowsConfig
from expkit.data.dataset import Dataset, load_dataset
from expkit.data.windows import windowed
from expkit.errors import ConfigError, DataError
from expkit.kinds.sources.grammar import FOLLOWERS, Grammar
from expkit.kinds.sources.on_disk import DiskArray
from expkit.preflight import check
from support.experiments import config_of, write_arrays

TOKENS = np.arange(100, 205).astype(np.int32)
NETWORK = {
    "inputs": {"token": {"shape": [None], "dtype": "int32"}},
    "layers": {
        "lookup": {"kind": "embedding", "input_dim": 300, "output_dim": 2},
        "lstm": {"kind": "lstm", "units": 2, "return_sequences": True, "carry": True},
        "logits": {"kind": "dense", "units": 300},
    },
    "outputs": {"logits": "logits"},
}
TRAIN = {"batch_size": 2, "evaluation_batch_size": 2, "metrics": {}}


def dataset(folder: Path, train: dict[str, Any] | None = None, **data: Any) -> Dataset:
    given = {
        "split": {"train": 0.6, "valid": 0.2, "test": 0.2},
        "order": "stream",
        "windows": {"length": 5, "field": "token"},
        **data,
    }
    config = config_of(folder, {"token": TOKENS}, network=NETWORK, data=given, train={**TRAIN, **(train or {})})
    return load_dataset(config, check(config).spec)


def test_windows_are_cut_within_each_split_in_order_with_the_next_values_as_labels(tmp_path: Path) -> None:
    data = dataset(tmp_path)
    ends = {"train": (0, 63), "valid": (63, 84), "test": (84, 105)}
    for split, (first, end) in ends.items():
        count = (end - first - 1) // 5
        token, label = (np.asarray(data.splits[split][name][:]) for name in ("token", "label"))
        np.testing.assert_array_equal(token.ravel(), TOKENS[first : first + 5 * count])
        np.testing.assert_array_equal(label.ravel(), TOKENS[first + 1 : first + 5 * count + 1])
        assert token.shape == label.shape == (count, 5)


def test_windows_of_a_file_are_those_of_memory(tmp_path: Path) -> None:
    source = write_arrays(tmp_path / "files", {"token": TOKENS})
    memory, disk = dataset(tmp_path), dataset(tmp_path, source=source)
    assert (memory.placement, disk.placement) == ("resident", "streamed")
    for split, fields in memory.splits.items():
        for name, array in fields.items():
            on_disk = disk.splits[split][name]
            assert isinstance(on_disk, DiskArray)
            np.testing.assert_array_equal(on_disk[:], array)
            np.testing.assert_array_equal(on_disk.take(np.array([2, 0, 2])), array[[2, 0, 2]])


def test_windows_of_several_fields_without_a_label_are_aligned() -> None:
    fields = {"x": np.arange(24.0).reshape(12, 2), "y": np.arange(12)}
    found = windowed(fields, WindowsConfig(length=5), "train")
    assert {name: array.shape for name, array in found.items()} == {"x": (2, 5, 2), "y": (2, 5)}
    np.testing.assert_array_equal(found["x"][1], fields["x"][5:10])
    np.testing.assert_array_equal(found["y"][1], fields["y"][5:10])


def test_windows_that_cannot_be_say_why() -> None:
    fields = {"token": np.arange(5), "label": np.arange(5)}
    with pytest.raises(ConfigError) as unknown:
        windowed(fields, WindowsConfig(length=2, field="tokens"), "train")
    assert str(unknown.value).startswith(
        "data.windows.field: the data has no field 'tokens'; did you mean 'token'? fields: "
    )
    with pytest.raises(ConfigError) as twice:
        windowed(fields, WindowsConfig(length=2, field="token"), "train")
    assert str(twice.value) == (
        "data.windows.label: the data has a field 'label' already; give the next values another name"
    )
    with pytest.raises(DataError) as short:
        windowed(fields, WindowsConfig(length=5, field="token", label="next"), "valid")
    assert str(short.value) == (
        "data.windows.length: a window has 5 steps, and one more for its label, the valid split has 5; decrease it, or "
        "increase data.split.valid"
    )


def test_lanes_that_cannot_be_say_why(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        dataset(tmp_path, {"batch_size": 4, "gradient_accumulation_steps": 4, "evaluation_batch_size": 5})
    assert [str(problem) for problem in caught.value.problems] == [
        "train.batch_size: a step of 16 examples needs as many lanes of the stream, more than the 12 training "
        "examples; decrease it, or the batches of a step (train.gradient_accumulation_steps)",
        "train.evaluation_batch_size: 5 lanes of a stream are more than the 4 valid examples, so nothing would be "
        "carried from one to the next; decrease it",
        "train.evaluation_batch_size: 5 lanes of a stream are more than the 4 test examples, so nothing would be "
        "carried from one to the next; decrease it",
    ]


def test_examples_in_no_lane_are_reported(tmp_path: Path) -> None:
    assert dataset(tmp_path, {"batch_size": 5}).warnings == (
        "the last 2 of 12 training examples are never seen: 5 lanes of a stream have 2 each",
    )
    assert dataset(tmp_path).warnings == ()


def test_the_grammar_is_what_it_says_and_no_model_is_below_its_perplexity() -> None:
    grammar = Grammar(length=60_000, vocabulary=9, topics=3, paragraph=20, seed=5)
    words = grammar.load()["words"]
    assert (words.dtype, words.shape, words.min(), words.max()) == (np.int32, (60_000,), 0, 11)
    np.testing.assert_array_equal(words, grammar.load()["words"])
    assert np.any(words != grammar.model_copy(update={"seed": 6}).load()["words"])
    # The best model knows topic, word and the grammar; its loss on the text approaches the entropy.
    counts: dict[tuple[int, int], Counter[int]] = {}
    topic, before = 0, 9
    for word in words.tolist():
        counts.setdefault((topic, before), Counter())[word] += 1
        topic, before = (word - 9, 9) if word >= 9 else (topic, word)
    entropy = -sum(
        count * math.log(count / sum(rows.values())) for rows in counts.values() for count in rows.values()
    ) / len(words)
    assert math.exp(entropy) == pytest.approx(grammar.perplexity, rel=0.01)
    common = [rows for rows in counts.values() if sum(rows.values()) > 300]
    assert len(common) > 20
    for rows in common:
        own = sorted((count for word, count in rows.items() if word < 9), reverse=True)
        assert len(own) == len(FOLLOWERS)
        assert own[0] / sum(own) == pytest.approx(0.7, abs=0.1)
