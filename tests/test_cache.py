"""Facts about data that the cache keeps: found once, and again where their file is damaged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from expkit.cache import cache_folder, remembered
from expkit.data.duplicates import Duplicates

FACT = (3, 17, False)


def counted(calls: list[int]) -> Callable[[], tuple[int, int, bool]]:
    def find() -> tuple[int, int, bool]:
        calls.append(1)
        return FACT

    return find


@pytest.mark.parametrize(
    "content",
    ["", "[3, 17", "null", "3", "[3, 17]", "[3, 17, false, 1]", '["3", 17, false]', "[3, 17, 1]", '{"0": 3}', "\xff"],
)
def test_a_damaged_fact_is_found_anew(content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    calls: list[int] = []
    for times in (1, 1):
        assert remembered("some-1", b"data", counted(calls), tuple[int, int, bool]) == FACT
        assert len(calls) == times
    (file,) = cache_folder("facts").iterdir()
    file.write_text(content, encoding="latin-1")
    for _ in range(2):
        assert remembered("some-1", b"data", counted(calls), tuple[int, int, bool]) == FACT
        assert len(calls) == 2


def test_facts_of_several_kinds_are_as_they_were_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    found = [Duplicates(part="test", other="train", count=2, total=9, name="é.png", other_name="b")]
    for _ in range(2):
        assert remembered("list-1", b"x", lambda: found, list[Duplicates]) == found
        assert remembered("none-1", b"x", lambda: None, None) is None
        assert remembered("text-1", b"x", lambda: "ab", str) == "ab"
    assert len(list(cache_folder("facts").iterdir())) == 3


def test_the_suite_leaves_the_cache_of_the_user_alone(tmp_path_factory: pytest.TempPathFactory) -> None:
    assert cache_folder("facts").is_relative_to(tmp_path_factory.getbasetemp())
