"""What a run has fitted, as ``expkit info`` prints it, and the bar of ``expkit predict``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from expkit.cli.fitted import fitted_lines
from expkit.cli.predict import _progress
from expkit.errors import RunError


def written(path: Path, content: Any) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_means_medians_and_first_words_are_shown(tmp_path: Path) -> None:
    words = [f"word{number}" for number in range(20)]
    steps = {
        "age": [
            {"kind": "impute", "fitted": {"value": {"dtype": "<f8", "values": 31.5}}},
            {"kind": "clip", "fitted": {}},
            {"kind": "standardize", "fitted": {"mean": {"dtype": "<f4", "values": [[1.23456789], [2.0]]}}},
        ],
        "city": [{"kind": "vocabulary", "fitted": {"words": {"dtype": "|O", "values": ["a\x1b", *words]}}}],
    }
    assert list(fitted_lines(written(tmp_path / "preprocess.json", {"preprocess": steps, "classes": {}}))) == [
        "  age: impute value 31.5",
        "  age: standardize mean 1.23457, 2",
        "  city: vocabulary words 'a\\x1b', word0, word1, word2, word3, word4, word5, word6, ... (21 values)",
    ]


@pytest.mark.parametrize(
    "content", ["{", "[]", {"preprocess": 3}, {"preprocess": {"x": [{"fitted": {"mean": 3}}]}}, "[" * 100_000]
)
def test_a_damaged_file_is_one_message(tmp_path: Path, content: Any) -> None:
    with pytest.raises(RunError, match=r"preprocess\.json: is not a readable record of the preprocessing: "):
        list(fitted_lines(written(tmp_path / "preprocess.json", content)))


def test_a_bar_is_for_terminals_alone(capsys: pytest.CaptureFixture[str]) -> None:
    with _progress(20_000) as progress:
        progress(10_000)
    assert capsys.readouterr() == ("", "")
