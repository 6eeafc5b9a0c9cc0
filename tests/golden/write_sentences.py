"""Write the embedded sentences and their word pieces: ``python tests/golden/write_sentences.py``.

A sentence praises or blames one thing; 'not', 'never' or 'hardly' turns the verdict around. A clause before or after it
says nothing.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np

import expkit

EMBEDDED = Path(expkit.__file__).parent / "kinds" / "sources" / "embedded"
COUNT = 2000
THINGS = ["film", "book", "hotel", "meal", "room", "concert", "garden", "museum", "bread", "coffee", "service", "view"]
PRAISE = ["good", "lovely", "pleasant", "excellent", "charming", "cheerful", "delightful", "tasteful", "friendly"]
BLAME = ["bad", "dull", "unpleasant", "awful", "boring", "cheerless", "dreadful", "tasteless", "unfriendly", "poor"]
OWNERS = ["the", "this", "our", "their", "her"]
VERBS = ["was", "seemed", "has been", "felt"]
TURNS = ["not", "never", "hardly"]
DEGREES = ["", "", "very ", "quite "]
OTHERS = [
    "we came by train",
    "it rained all day",
    "my sister paid for us",
    "they open at nine",
    "there were two doors",
    "I met an old café owner",
    "the bill came late",
    "nobody asked for a name",
]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
PIECES = ["un", "##pleasant", "##friendly", "##ful", "##less", "##ing", "##ed", "##ly", "##s", "cheer", "taste", "bor"]
PIECES += ["dread", "delight", "charm", ",", ".", "!"]


def rows() -> list[tuple[str, str]]:
    """Return different sentences with their verdicts, as many of one as of the other."""
    draw = np.random.default_rng(0)
    found: dict[str, str] = {}
    while len(found) < COUNT:
        positive, turned = len(found) % 2 == 0, bool(draw.integers(2))
        word = draw.choice(PRAISE if positive != turned else BLAME)
        turn = f"{draw.choice(TURNS)} " if turned else ""
        claim = f"{draw.choice(OWNERS)} {draw.choice(THINGS)} {draw.choice(VERBS)} {turn}{draw.choice(DEGREES)}{word}"
        other = draw.choice(OTHERS)
        sentence = f"{claim}, and {other}" if draw.integers(2) else f"{other}, and {claim}"
        sentence = sentence[0].upper() + sentence[1:] + draw.choice([".", "!", "."])
        found.setdefault(sentence, "positive" if positive else "negative")
    return list(found.items())


def table() -> bytes:
    """Return the sentences as a CSV file."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["sentence", "verdict"])
    writer.writerows(rows())
    return file.getvalue().encode()


def vocabulary() -> bytes:
    """Return a vocabulary in BERT's format: words that are not made of other pieces, and these pieces."""
    words = {word for sentence, _ in rows() for word in sentence.lower().replace("é", "e").strip(".!").split()}
    words = {word.strip(",") for word in words}
    cut = {"unpleasant", "unfriendly", "cheerful", "cheerless", "tasteful", "tasteless", "boring", "dreadful"}
    words -= cut | {"delightful", "charming", "opened", "doors", "friendly"}
    return "\n".join([*SPECIAL, *PIECES, "friend", "door", "##rain", *sorted(words), ""]).encode()


if __name__ == "__main__":
    (EMBEDDED / "sentences.csv").write_bytes(table())
    (EMBEDDED / "sentences_vocab.txt").write_bytes(vocabulary())
