"""Checkpoints as other programs would have written them: a network's variables under other names, with a fixed seed."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from expkit.tensor_spec import TensorSpec

__all__ = ["Renamed", "renamed"]

PREFIXES = ("model", "net", "train/tower_0", "my_model", "v1", "trunk")
WORDS = ("alpha", "stem", "zeta", "part", "foo", "sigma", "piece", "gadget", "quux", "delta", "omega", "thing")
LEAVES = {
    "kernel": ("weights", "kernel", "w", "W", "weight"),
    "bias": ("biases", "bias", "b"),
    "gamma": ("scale", "gamma"),
    "beta": ("offset", "beta"),
    "mean": ("running_mean", "moving_mean", "mean"),
    "variance": ("running_var", "moving_variance", "moving_var", "running_variance", "variance"),
}
KIND = {word: kind for kind, words in LEAVES.items() for word in words}
SLOTS = (
    {},
    {"Adam": 2},
    {"Momentum": 1},
    {"ExponentialMovingAverage": 1},
    {"RMSProp": 2, "ExponentialMovingAverage": 1},
)


@dataclass
class Renamed:
    """A checkpoint and what is what in it."""

    network: dict[str, TensorSpec]
    checkpoint: dict[str, TensorSpec]
    truth: dict[str, str]
    """The checkpoint's name for every variable that has a value there."""
    knowable: set[str]
    """Variables that names and shapes can tell from all others."""
    done: list[str] = field(default_factory=list)
    """What was done to the names."""


class _Work:
    def __init__(self, network: Mapping[str, TensorSpec], rng: random.Random) -> None:
        self.rng = rng
        self.network = network
        self.at = {name: name.split("/") for name in network}
        self.extra: dict[str, TensorSpec] = {}
        self.lying: set[str] = set()
        """Words of the network that now stand for nothing that resembles them."""
        self.done: list[str] = []

    def scopes(self) -> list[tuple[str, ...]]:
        return sorted({tuple(parts[:i]) for parts in self.at.values() for i in range(1, len(parts))})

    def profile(self, scope: tuple[str, ...]) -> Counter[tuple[str, TensorSpec]]:
        n = len(scope)
        return Counter(
            ("/".join(parts[n:]), self.network[name]) for name, parts in self.at.items() if tuple(parts[:n]) == scope
        )

    def makes(self, scope: tuple[str, ...]) -> Counter[TensorSpec]:
        return Counter(self.network[name] for name, parts in self.at.items() if tuple(parts[: len(scope)]) == scope)

    # What may be done.

    def add_prefix(self) -> None:
        prefix = self.rng.choice(PREFIXES).split("/")
        self.at = {name: [*prefix, *parts] for name, parts in self.at.items()}
        self.done.append(f"prefix {'/'.join(prefix)}")

    def drop_prefix(self) -> None:
        if len({parts[0] for parts in self.at.values()}) == 1 and all(len(parts) > 2 for parts in self.at.values()):
            self.at = {name: parts[1:] for name, parts in self.at.items()}
            self.done.append("dropped prefix")

    def insert_scope(self) -> None:
        scope = self.rng.choice(self.scopes() or [()])
        word, n = self.rng.choice(WORDS), len(scope)
        self.at = {
            name: [*parts[:n], word, *parts[n:]] if tuple(parts[:n]) == scope else parts
            for name, parts in self.at.items()
        }
        self.done.append(f"{'/'.join(scope)} + {word}")

    def drop_scope(self) -> None:
        word = self.rng.choice(sorted({part for parts in self.at.values() for part in parts[:-1]}) or [""])
        at = {name: [*(part for part in parts[:-1] if part != word), parts[-1]] for name, parts in self.at.items()}
        if len({tuple(parts) for parts in at.values()}) == len(at):
            self.at = at
            self.done.append(f"- {word}")

    def leaves(self) -> None:
        words = {kind: self.rng.choice(choices) for kind, choices in LEAVES.items()}
        self.at = {
            name: [*parts[:-1], words[KIND[parts[-1]]] if parts[-1] in KIND else parts[-1]]
            for name, parts in self.at.items()
        }
        self.done.append(f"leaves {words}")

    def word(self) -> None:
        """Another spelling, or another word, for one word everywhere."""
        words = sorted(
            {word for parts in self.at.values() for part in parts[:-1] for word in re.findall("[A-Za-z]{2,}", part)}
        )
        if not words:
            return
        word = self.rng.choice(words)
        kind = self.rng.choice(("short", "case", "other"))
        new = {
            "short": word[:3],
            "case": word.swapcase() if word.islower() else word.lower(),
            "other": self.rng.choice(WORDS),
        }[kind]
        if kind == "other" or len(word) <= 3:
            self.lying.add(word)
        at = {
            name: [*(re.sub(rf"(?<![A-Za-z]){word}(?![A-Za-z])", new, part) for part in parts[:-1]), parts[-1]]
            for name, parts in self.at.items()
        }
        self.at = at
        self.done.append(f"{word} -> {new}")

    def numbers(self) -> None:
        """Another first number for one kind of scope."""
        labels = sorted(
            {re.sub(r"\d+", "#", p) for parts in self.at.values() for p in parts[:-1] if re.search(r"\d+$", p)}
        )
        if not labels:
            return
        label = self.rng.choice(labels)
        these = [p for parts in self.at.values() for p in parts[:-1] if re.sub(r"\d+", "#", p) == label]
        least = min(int(number) for p in these for number in re.findall(r"\d+", p)[-1:])
        by = -1 if least == 1 or (least > 1 and self.rng.random() < 0.5) else 1
        every = label.count("#") > 1 and self.rng.random() < 0.5

        def shift(part: str) -> str:
            if re.sub(r"\d+", "#", part) != label:
                return part
            if every and all(int(n) + by >= 0 for p in these for n in re.findall(r"\d+", p)):
                return re.sub(r"\d+", lambda m: str(int(m[0]) + by), part)
            return re.sub(r"\d+$", lambda m: str(int(m[0]) + by), part)

        self.at = {name: [*map(shift, parts[:-1]), parts[-1]] for name, parts in self.at.items()}
        self.done.append(f"{label} {by:+}")

    def swap(self) -> None:
        """Two sibling scopes that differ in what they hold exchange their names."""
        scopes = self.scopes()
        pairs = [(a, b) for i, a in enumerate(scopes) for b in scopes[i + 1 :] if len(a) == len(b) and a[:-1] == b[:-1]]
        self.rng.shuffle(pairs)
        for a, b in pairs[:10]:
            if self.makes(a) != self.makes(b):
                other = {a: b, b: a}
                n = len(a)
                self.at = {
                    name: [*other.get(tuple(parts[:n]), tuple(parts[:n])), *parts[n:]]
                    for name, parts in self.at.items()
                }
                self.done.append(f"swap {'/'.join(a)} {'/'.join(b)}")
                return

    def one_scope(self) -> None:
        """Another word for a scope, or for two that are the same inside."""
        scopes = self.scopes()
        if not scopes:
            return
        one = self.rng.choice(scopes)
        twins = [s for s in scopes if s[:-1] == one[:-1] and s != one and self.profile(s) == self.profile(one)]
        both = [one, self.rng.choice(twins)] if twins and self.rng.random() < 0.5 else [one]
        for scope, word in zip(both, self.rng.sample(WORDS, 2), strict=False):
            n = len(scope)
            for name, parts in self.at.items():
                if tuple(parts[:n]) == scope:
                    self.at[name] = [*parts[: n - 1], word, *parts[n:]]
            self.done.append(f"{'/'.join(scope)} -> {word}")
        if len(both) == 2:
            self.lying |= {scope[-1] for scope in both}

    def head(self) -> None:
        """The last layer is missing, has other classes, or is another one of the same shapes."""
        last = self.at[next(reversed(self.at))][:-1]
        mine = [name for name, parts in self.at.items() if parts[:-1] == last]
        if len(mine) * 2 > len(self.at) or not last or self.scopes().count(tuple(last)) == 0:
            return
        if any(parts[: len(last)] == last and len(parts) > len(last) + 1 for parts in self.at.values()):
            return
        how = self.rng.choice(("missing", "classes", "other"))
        for name in mine:
            parts = self.at.pop(name)
            made = self.network[name]
            if how == "classes":
                self.extra["/".join(parts)] = TensorSpec.of_variable((*made.shape[:-1], made.shape[-1] + 7), made.dtype)
            elif how == "other":
                self.extra["/".join([*parts[:-2], "auxiliary", parts[-1]])] = made
        self.done.append(f"head {'/'.join(last)} {how}")

    def distractor(self) -> None:
        """A layer more, of the shapes of one that is there."""
        scope = self.rng.choice(self.scopes() or [()])
        word, n = self.rng.choice(("extra", "discarded", "second")), len(scope)
        if not n:
            return
        for name, parts in self.at.items():
            if tuple(parts[:n]) == scope:
                self.extra["/".join([*parts[: n - 1], word, *parts[n:]])] = self.network[name]
        self.done.append(f"more {'/'.join(scope)} as {word}")


def renamed(network: Mapping[str, TensorSpec], rng: random.Random) -> Renamed:
    """Return a checkpoint of the network under other names; some of its variables may not be in it."""
    while True:
        work = _Work(network, rng)
        ways = {
            work.add_prefix: 3, work.drop_prefix: 3, work.insert_scope: 1, work.drop_scope: 1, work.leaves: 4,
            work.word: 3, work.numbers: 4, work.swap: 2, work.one_scope: 2, work.head: 2, work.distractor: 1,
        }  # fmt: skip
        todo = rng.choices(list(ways), list(ways.values()), k=rng.randint(1, 4))
        for way in sorted(dict.fromkeys(todo), key=work.distractor.__eq__):  # It looks like what is there at last.
            way()
        truth = {name: "/".join(parts) for name, parts in work.at.items()}
        checkpoint = {source: network[name] for name, source in truth.items()}
        if work.done and len(checkpoint) == len(truth) and not set(work.extra) & set(checkpoint):
            break
    weights = dict(checkpoint)
    checkpoint |= work.extra
    for slot, count in rng.choice(SLOTS).items():
        for name, made in weights.items():
            checkpoint |= {f"{name}/{slot}" + (f"_{i}" if i else ""): made for i in range(count)}
        if slot == "Adam":
            checkpoint |= {name: TensorSpec.of_variable((), "float32") for name in ("beta1_power", "beta2_power")}
    if rng.random() < 0.7:
        checkpoint["global_step"] = TensorSpec.of_variable((), "int64")
    return Renamed(
        dict(network), dict(sorted(checkpoint.items())), truth, _knowable(network, truth, work.lying), work.done
    )


def _knowable(network: Mapping[str, TensorSpec], truth: Iterable[str], lying: set[str]) -> set[str]:
    """Return the variables that differ from all of the same make in more than words that were exchanged for others."""

    def bare(name: str) -> str:
        return re.sub("|".join(rf"(?<![A-Za-z]){re.escape(word)}(?![A-Za-z])" for word in sorted(lying)), "?", name)

    if not lying:
        return set(truth)
    like = Counter((bare(name), made) for name, made in network.items())
    return {name for name in truth if like[bare(name), network[name]] == 1}
