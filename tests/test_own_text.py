"""Sentences of a user's own: from a table to BERT's inputs, in training and in a frozen graph."""

from __future__ import annotations

import csv
import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from expkit import tf1 as tf
from expkit.config.load import load
from expkit.config.schema import Config
from expkit.data import kept
from expkit.data.dataset import Dataset, load_dataset
from expkit.errors import DataError
from expkit.export.freeze import read_frozen
from expkit.preflight import check
from golden.write_sentences import EMBEDDED, table, vocabulary
from support.command_line import call
from support.experiments import config_of, run
from test_own_data import served

SPECIAL = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_the_embedded_sentences_are_those_of_their_rule() -> None:
    assert (EMBEDDED / "sentences.csv").read_bytes() == table()
    assert (EMBEDDED / "sentences_vocab.txt").read_bytes() == vocabulary()


def test_bert_reads_sentences_and_a_frozen_graph_reads_them_bit_for_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["experiment=sentences_bert", "train.steps=600", "tracking=none", f"run.folder={tmp_path}"]
    config = load(words)
    result = run(config, tmp_path / "run")
    assert result.test["test/accuracy"] >= 0.95
    assert result.frozen is not None
    metadata = read_frozen(result.frozen.path).metadata
    assert list(metadata["inputs"]) == ["text"]
    assert metadata["inputs"]["text"]["dtype"] == "string"
    assert list(metadata["preprocessed"]) == ["input_ids", "input_mask", "token_type_ids"]
    assert "frozen file, preprocessed inputs" in [item.name for item in result.frozen.parity]
    data = load_dataset(config, check(config).spec)
    raw = data.first("train", 1000, raw=True)["text"]
    assert len(raw) == 1000
    monkeypatch.setenv("LC_ALL", "tr_TR.UTF-8")
    found = served(tmp_path / "run/frozen.pb", {"text": raw}, tmp_path)
    for name, values in found.items():
        np.testing.assert_array_equal(values, data.first("train", 1000)[name])
    lines = io.TextIOWrapper(io.BytesIO("The café was not good.\nOur meal seemed hardly unpleasant!\n".encode()))
    with monkeypatch.context() as context:
        context.setattr(sys, "stdin", lines)
        done = call("predict", tmp_path / "run", "-", cwd=tmp_path)
    assert [line.split()[2] for line in done.out.splitlines()[1:]] == ["negative", "positive"]


def pair_config(folder: Path, **data: Any) -> Config:
    (folder / "vocab.txt").write_text(SPECIAL + "yes\nno\nis\n##n\n##t\nit\n")
    with (folder / "pairs.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["question", "answer", "label"])
        rows.writerows([["Is it" + "n't" * (n % 2), "yes" if n % 3 else "", n % 2] for n in range(60)])
    inputs = {name: {"shape": [9], "dtype": "int32"} for name in ("input_ids", "input_mask", "token_type_ids")}
    layers = {f"{name}_float": {"kind": "cast", "dtype": "float32", "input": name} for name in inputs}
    network = {
        "inputs": inputs,
        "layers": {
            **layers,
            "all": {"kind": "concat", "input": list(layers)},
            "logits": {"kind": "dense", "units": 2},
        },
        "outputs": {"logits": "logits"},
    }
    section = {
        "source": {
            "kind": "table",
            "path": str(folder / "pairs.csv"),
            "columns": {"text": ["question", "answer"], "label": "label"},
        },
        "split": {"train": [0, 40], "valid": None, "test": [40, 60]},
        "preprocess": {"text": [{"kind": "wordpiece", "file": str(folder / "vocab.txt"), "length": 9}]},
        **data,
    }
    return config_of(folder, network=network, data=section)


def datasets(config: Config) -> Dataset:
    return load_dataset(config, check(config).spec)


def test_two_columns_are_a_pair_and_a_table_is_predicted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = pair_config(tmp_path)
    data = datasets(config)
    fields = data.first("train", 3)
    assert fields["input_ids"][:2].tolist() == [[2, 6, 9, 3, 0, 0, 0, 0, 0], [2, 6, 9, 7, 1, 1, 3, 4, 3]]
    assert data.first("train", 2, raw=True)["text"].tolist() == [[b"Is it", b""], [b"Is itn't", b"yes"]]
    assert fields["token_type_ids"].sum(axis=1).tolist() == [0, 2, 2]
    run(config, tmp_path / "run")
    done = call("predict", tmp_path / "run", tmp_path / "pairs.csv", cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    assert done.out.split()[:4] == ["example", "logits", "label", "probability"]
    monkeypatch.setattr(kept, "UNCACHED", 0)
    monkeypatch.setattr(kept, "IN_MEMORY", 0)
    mapped = datasets(config)
    assert mapped.placement == "streamed"
    for name, values in data.splits["train"].items():
        np.testing.assert_array_equal(mapped.splits["train"][name][:], values[:])


def problem_of(config: Config) -> str:
    with pytest.raises(DataError) as caught:
        datasets(config)
    (problem,) = caught.value.problems
    return str(problem)


def test_a_vocabulary_of_which_nothing_is_found_is_reported(tmp_path: Path) -> None:
    config = pair_config(tmp_path)
    (tmp_path / "vocab.txt").write_text(SPECIAL + "Ja\nNein\n")
    assert problem_of(config) == (
        "data.preprocess.text: none of the 2 words of the vocabulary is in the training examples; compare case, "
        "language and cutting of both"
    )


def told(tmp_path: Path, *words: str) -> list[str]:
    done = call("train", "experiment=sentences", "tracking=none", *words, cwd=tmp_path)
    assert (done.code, done.out) == (2, "")
    return done.errors


def test_a_vocabulary_larger_than_its_rows_names_both_numbers(tmp_path: Path) -> None:
    assert told(tmp_path, "network.settings.vocabulary=70") == [
        "error: data.preprocess.text: yields 82 different numbers, but input_dim of layer 'words' is 70, so words "
        "would be lost; make it 82, or the vocabulary smaller"
    ]


def test_a_smaller_vocabulary_is_a_warning_with_both_numbers() -> None:
    config = load(["experiment=sentences", "network.settings.vocabulary=100"])
    assert datasets(config).warnings == (
        "preprocessing of 'text' yields 82 different numbers, and input_dim of layer 'words' is 100: 18 are never used",
    )


def test_text_without_preprocessing_is_no_number(tmp_path: Path) -> None:
    assert told(tmp_path, "data.preprocess.text=[]") == [
        "error: network.inputs.text: the network needs int32, the data is text or encoded files; turn it into numbers "
        "by data.preprocess"
    ]


def test_a_column_that_is_not_there_is_reported_with_one_that_is(tmp_path: Path) -> None:
    assert told(tmp_path, "data.source.columns.text=sentense") == [
        f"error: data.source: no column 'sentense' in {EMBEDDED / 'sentences.csv'}; did you mean 'sentence'? columns: "
        "sentence, verdict"
    ]


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (
            ["data=sentences_wordpiece"],
            "network.inputs.text: data.preprocess.text yields input_ids, input_mask, token_type_ids in its place; read "
            "these",
        ),
        (
            ["experiment=sentences_bert", "network.settings.length=20"],
            "data.preprocess.text: yields input_ids [batch, 24] int32, but network.inputs.input_ids is [batch, 20] "
            "int32; change the steps or the input",
        ),
        (
            ["+data.augment.text=[{kind: token_dropout, rate: 0.1, value: 82}]"],
            "data.augment.text.0.value: is 82, but layer 'words' has rows 0 to 81; give one of these",
        ),
    ],
)
def test_what_does_not_fit_is_known_without_data(tmp_path: Path, words: list[str], problem: str) -> None:
    done = call("check", "experiment=sentences", *words, cwd=tmp_path)
    assert done.code == 2
    assert problem in done.err


def test_one_step_that_yields_several_fields_is_the_last(tmp_path: Path) -> None:
    steps = "[{kind: wordpiece, file: a, length: 9}, {kind: pad, length: 9}]"
    done = call("check", "experiment=sentences", f"data.preprocess.text={steps}", cwd=tmp_path)
    assert "preprocess.text.0: wordpiece yields several fields, so it must be the last step" in done.err


def test_the_tokens_of_a_run_are_dropped_in_training_alone(tmp_path: Path) -> None:
    step = {"kind": "token_dropout", "rate": 0.5, "keep": [0, 2, 3]}
    config = pair_config(tmp_path, augment={"input_ids": [step]})
    result = run(config, tmp_path / "run")
    assert result.frozen is not None
    graph = tf.GraphDef.FromString((tmp_path / "run/frozen.pb").read_bytes())
    assert not [node.name for node in graph.node if "augment" in node.name or "Random" in node.op]
