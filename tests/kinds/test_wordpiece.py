# ruff: noqa: RUF001, SIM905  # the texts have look-alike letters, and lists of words are easier to read as text
"""BERT's tokenization in the graph against one written in Python from its published description."""

from __future__ import annotations

import os
import subprocess
import sys
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from expkit import tf1 as tf
from expkit.kinds.preprocess import word_file
from expkit.kinds.preprocess.categories import Vocabulary
from expkit.kinds.preprocess.wordpiece import WordPiece

pytestmark = pytest.mark.untraced

WORDS = """un ##aff ##able ##ffable hello world wor ##ld strasse ##ss ß 中 国 a ##a b e ##e i ##i ##ς ##σ σ α ##α
##\u0307 naive nai ##ve é ##é 한 \u1112 ##\u1161 ##\u11ab , . ! $ [ ] unk ## # - 1 ##1 ı ##ı 𝒳 ##𝒳 İ""".split()
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *dict.fromkeys(WORDS)]


def tokens(text: bytes, lower_case: bool, longest: int) -> list[str]:
    """Return the pieces of a text, by Devlin et al. 2018 and the comments of google-research/bert's tokenization."""
    cleaned = ""
    for char in text.decode("utf-8", "ignore"):
        category = unicodedata.category(char)
        if char in " \t\n\r" or category == "Zs":
            cleaned += " "
        elif char not in "\0\ufffd" and category not in ("Cc", "Cf"):
            code = ord(char)
            ideograph = any(
                first <= code <= last
                for first, last in (
                    (0x4E00, 0x9FFF),
                    (0x3400, 0x4DBF),
                    (0x20000, 0x2A6DF),
                    (0x2A700, 0x2B73F),
                    (0x2B740, 0x2B81F),
                    (0x2B820, 0x2CEAF),
                    (0xF900, 0xFAFF),
                    (0x2F800, 0x2FA1F),
                )
            )
            cleaned += f" {char} " if ideograph else char
    words: list[str] = []
    for word in cleaned.split():
        if lower_case:
            word = "".join(c for c in unicodedata.normalize("NFD", word.lower()) if unicodedata.category(c) != "Mn")
        current = ""
        for char in word:
            code = ord(char)
            ascii_mark = 33 <= code <= 47 or 58 <= code <= 64 or 91 <= code <= 96 or 123 <= code <= 126
            if ascii_mark or unicodedata.category(char).startswith("P"):
                words += [current, char]
                current = ""
            else:
                current += char
        words.append(current)
    found: list[str] = []
    for word in (word for word in " ".join(words).split()):
        pieces: list[str] = []
        start = 0
        while start < len(word) and len(word) <= longest:
            for end in range(len(word), start, -1):
                piece = ("##" if start else "") + word[start:end]
                if piece in VOCABULARY:
                    pieces.append(piece)
                    start = end
                    break
            else:
                pieces = []
                break
        found += pieces or ["[UNK]"]
    return found


def example(texts: list[bytes], length: int, lower_case: bool = True, longest: int = 200) -> list[list[int]]:
    """Return numbers, mask and types of one text or of a pair."""
    first, *rest = (tokens(text, lower_case, longest) for text in texts)
    second = rest[0] if rest else []
    if second:
        while len(first) + len(second) > length - 3:
            (first if len(first) > len(second) else second).pop()
    else:
        first = first[: length - 2]
    row = ["[CLS]", *first, "[SEP]"]
    types = [0] * len(row)
    if second:
        row += [*second, "[SEP]"]
        types += [1] * (len(second) + 1)
    empty = [0] * (length - len(row))
    return [[VOCABULARY.index(piece) for piece in row] + empty, [1] * len(row) + empty, types + empty]


def texts(values: Any) -> np.ndarray:
    array = np.empty(np.shape(values), object)
    array[...] = values
    return array


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("bert") / "vocab.txt"
    file.write_text("\n".join(VOCABULARY) + "\n", encoding="utf-8")
    return str(file)


class Graph:
    """The step for texts and for pairs, in one session."""

    def __init__(self, step: WordPiece) -> None:
        fitted = step.fit(())
        self.step = step
        with tf.Graph().as_default() as graph:
            self._inputs = {1: tf.placeholder(tf.string, (None,)), 2: tf.placeholder(tf.string, (None, 2))}
            self._outputs = {rank: step.apply(values, fitted) for rank, values in self._inputs.items()}
        self._session = tf.Session(graph=graph)

    def __call__(self, values: np.ndarray) -> list[Any]:
        found = self._session.run(self._outputs[values.ndim], {self._inputs[values.ndim]: values})
        assert found.dtype == np.int32
        return list(found.tolist())

    def wanted(self, values: np.ndarray) -> list[Any]:
        step = self.step
        rows = [row if isinstance(row, list) else [row] for row in values.tolist()]
        return [example(row, step.length, step.lower_case, step.max_word_length) for row in rows]


@pytest.fixture(scope="module")
def uncased(vocabulary: str) -> Graph:
    return Graph(WordPiece(file=vocabulary, length=12))


@pytest.fixture(scope="module")
def cased(vocabulary: str) -> Graph:
    return Graph(WordPiece(file=vocabulary, length=12, lower_case=False, max_word_length=5))


HARD = [
    "",
    "   ",
    "Unaffable, HELLO world!",
    "naïve NAÏVE na\u0131\u0308ve",
    "Straße STRASSE ß",
    "中国hello中",
    "한국 \ud55c",
    "ΑΣ ΑΣΑ Σ ΑΣ. ΑΣ\u0301 ΑΣ\u200bΑ ΑΣ中",
    "İI ıi I\u0307",
    "a\u00a0a\u2003a\u2028a\u2029a\u3000a\x0ba\x85a\x1fa",
    "a\u200ba\ufeffa\u00ada\ufffda\0a\x01ΑΣ\x01Α",
    "[UNK] [unk] ##a # ## a##a",
    "e\u0301é É \u0301",
    "𝒳𝒳 😀 \U00020000a\U0002f800 \uf900",
    "$1.11 ¡a! «a» a’a a—a",
    "a" * 199,
    "a" * 200,
    "a" * 201 + " a",
    "a" * 5 + " " + "a" * 6,
    "é" * 200 + "b",
    "hello " * 40,
    "q" + "a" * 150,
]


def test_texts_become_the_pieces_of_the_published_description(uncased: Graph, cased: Graph) -> None:
    values = texts([text.encode("utf-8", "surrogatepass") for text in HARD] + [b"a\xff\xfe\xe4\xb8 a\xed\xa0\x80a"])
    for graph in (uncased, cased):
        for text, got, wanted in zip(values, graph(values), graph.wanted(values), strict=True):
            assert got == wanted, text
        assert graph(values[:1]) == graph.wanted(values[:1])  # A batch of nothing but empty texts.
        assert graph(values[:0]) == []


TEXT = st.text(
    st.one_of(st.sampled_from("aeibunworld ,.!-[]#1中한éÉİIΣσßſ\u0301\u00a0\t\n\0"), st.characters()), max_size=14
)


@settings(derandomize=True, max_examples=80, deadline=None)
@given(st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=8))
def test_any_unicode_has_the_same_pieces_alone_and_in_pairs(uncased: Graph, pairs: list[tuple[str, str]]) -> None:
    values = texts([[text.encode("utf-8", "surrogatepass") for text in pair] for pair in pairs])
    assert uncased(values) == uncased.wanted(values)
    assert uncased(values[:, 0]) == uncased.wanted(values[:, 0])


def test_every_character_has_the_same_pieces(uncased: Graph, cased: Graph) -> None:
    """Every 7th character of Unicode, among letters of the vocabulary."""
    codes = [code for code in range(0, 0x30000, 7) if not 0xD800 <= code < 0xE000]
    values = texts([f"a{chr(code)}a".encode() for code in codes])
    for graph in (uncased, cased):
        got, wanted = graph(values), graph.wanted(values)
        assert [code for code, one, other in zip(codes, got, wanted, strict=True) if one != other] == []


def test_a_pair_is_cut_from_the_longer_text(vocabulary: str) -> None:
    for length in (3, 4, 7, 8):
        graph = Graph(WordPiece(file=vocabulary, length=length))
        counts = [(first, second) for first in range(8) for second in range(8)]
        values = texts([[b"a " * first, b"b " * second] for first, second in counts])
        assert graph(values) == graph.wanted(values)


LOCALE = """
import sys
import numpy as np
from expkit import tf1 as tf
with tf.Graph().as_default(), tf.Session() as session:
    from expkit.kinds.preprocess.text import lower
    print(session.run(lower(np.array([sys.argv[1].encode()], object)))[0].hex())
"""


def test_small_letters_do_not_depend_on_the_locale() -> None:
    """ICU would make a dotless i of I for a Turkish user, and a graph would not compute what it was trained on."""
    given = "I İ Iı J\u0301 Į\u0303 Ì Í Ĩ I\u0307 ΑΣ"
    done = subprocess.run(
        [sys.executable, "-c", LOCALE, given],
        env={**os.environ, "LC_ALL": "tr_TR.UTF-8"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert bytes.fromhex(done.stdout.strip()).decode() == given.lower()


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"[PAD]\n[CLS]\na\n", "has no [UNK], [SEP]; give the vocab.txt of a BERT checkpoint"),
        (b"[PAD]\n[UNK]\n\n[CLS]\n[SEP]\n", "line 3 is empty, and a piece per line is needed"),
        (b"[PAD]\n[UNK]\n[CLS]\n[SEP]\na\nb\r\na\n", "has the word 'a' twice, in lines 5 and 7"),
        (b"[PAD]\n\xff\n", "line 2: no UTF-8; write the file as UTF-8"),
        (None, "cannot be read: No such file or directory"),
    ],
)
def test_a_file_that_is_no_vocabulary_is_reported(tmp_path: Path, content: bytes | None, problem: str) -> None:
    file = tmp_path / "vocab.txt"
    if content is not None:
        file.write_bytes(content)
    told = WordPiece(file=str(file), length=8).file_problem()
    assert told is not None
    assert told.startswith(str(file))
    assert told.endswith(problem)


def test_a_file_too_large_for_a_vocabulary_is_not_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(word_file, "LARGEST", 1 << 20)
    (tmp_path / "vocab.txt").write_bytes(b"a" * ((1 << 20) + 1))
    problem = Vocabulary(file=str(tmp_path / "vocab.txt")).file_problem()
    assert problem == f"{tmp_path / 'vocab.txt'} has more than 1 MiB, which is not a list of words"
