"""What is suggested as a ``restore`` section to paste: few rules that say much, guesses as comments."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from itertools import takewhile

from expkit.checkpoints.matching.match import Suggestion
from expkit.config.sections.restore import RenameRule

__all__ = ["as_plain", "keep_initial_patterns", "rules_of", "section"]


def section(suggestion: Suggestion, names: Collection[str], keep_initial: Sequence[str] = ()) -> str:
    """Return the ``restore`` section, as YAML, that does what is suggested; an empty string where none is needed.

    Guesses are comments: a rule for each, after the names that may be meant instead.

    Args:
        suggestion: what is suggested.
        names: all names of the checkpoint.
        keep_initial: what is to keep its initial value already.
    """
    rules, keep = rules_of(suggestion), _kept(suggestion, keep_initial)
    guesses = [proposal for proposal in suggestion.proposals if proposal.sure == "ambiguous"]
    lines = []
    if _averages_alone(suggestion, names):
        lines.append("  weights: ema_if_present  # the checkpoint has averages without their variables")
    if rules or any(proposal.source != proposal.variable for proposal in guesses):
        lines.append("  rename:" if rules else "  # rename:")
    for rule in rules:
        what = "name" if rule.name is not None else "pattern"
        lines.append(f"    - {{{what}: {_quoted(rule.word)}, to: {_quoted(str(rule.to))}}}")
    for guess in guesses:
        also = f", or {', '.join(guess.others)}" if guess.others else ""
        source = guess.source if guess.source != guess.variable else "what has its name"
        lines.append(f"    # ambiguous: {guess.variable} may be {source}{also}")
        if guess.source != guess.variable:
            lines.append(f"    # - {{name: {_quoted(guess.source)}, to: {_quoted(guess.variable)}}}")
    if keep:
        lines.append(f"  keep_initial: [{', '.join(map(_quoted, keep))}]")
    return "\n".join(["restore:", *lines]) if lines else ""


def rules_of(suggestion: Suggestion) -> tuple[RenameRule, ...]:
    """Return rules for what is certain: a pattern where one says what became of many names, else one for each name."""
    names = {p.source: p.variable for p in suggestion.proposals if p.sure == "high" and p.source != p.variable}
    stay = {p.source for p in suggestion.proposals} - set(names)
    variables = set(_variables(suggestion))
    said = Counter(way for pair in names.items() for way in dict.fromkeys(_ways(*pair)))
    every = [*names, *stay, *suggestion.spare]
    left, rules = dict(names), []
    for (pattern, to), count in sorted(said.items(), key=lambda item: -item[1]):
        if count < 2 or len(left) < 2:
            break
        matched = {name: match.expand(to) for name in every if (match := re.fullmatch(pattern, name))}
        mine = [name for name in matched if name in left]
        if len(mine) > 1 and all(
            target == names[name] if name in names else name not in stay and target not in variables
            for name, target in matched.items()
        ):
            rules.append(RenameRule(pattern=pattern, to=to))
            left = {name: target for name, target in left.items() if name not in matched}
    return (*rules, *(RenameRule(name=name, to=to) for name, to in left.items()))


def keep_initial_patterns(wanted: Collection[str], all_names: Collection[str]) -> list[str]:
    """Return regular expressions for ``restore.keep_initial`` that match the wanted names and no other."""
    patterns: dict[str, None] = {}
    for name in wanted:
        parts = name.split("/")
        scopes = ("/".join(parts[:end]) for end in range(1, len(parts)))
        whole = (s for s in scopes if all(other in wanted for other in all_names if other.startswith(f"{s}/")))
        scope = next(whole, None)
        patterns[re.escape(name) if scope is None else f"{re.escape(scope)}/.*"] = None
    return list(patterns)


def as_plain(suggestion: Suggestion, names: Collection[str], keep_initial: Sequence[str] = ()) -> dict[str, object]:
    """Return what is suggested as plain data; arguments as of ``section``."""
    restore = {
        "rename": [rule.model_dump(exclude_defaults=True) for rule in rules_of(suggestion)],
        "keep_initial": _kept(suggestion, keep_initial),
    }
    return {
        "certain": suggestion.certain,
        "proposals": [
            {"variable": p.variable, "source": p.source, "sure": p.sure, "others": list(p.others)}
            for p in suggestion.proposals
        ],
        "missing": list(suggestion.missing),
        "spare": list(suggestion.spare),
        "restore": {"weights": "ema_if_present", **restore} if _averages_alone(suggestion, names) else restore,
    }


def _kept(suggestion: Suggestion, keep_initial: Sequence[str]) -> list[str]:
    """Return what ``keep_initial`` must say; empty where what it says already is enough."""
    missing = keep_initial_patterns(suggestion.missing, _variables(suggestion))
    return [*keep_initial, *missing] if missing else []


def _averages_alone(suggestion: Suggestion, names: Collection[str]) -> bool:
    """Return whether the checkpoint has averages of which the variables themselves are not in it."""
    return any(proposal.source not in names for proposal in suggestion.proposals)


def _variables(suggestion: Suggestion) -> list[str]:
    return [*(proposal.variable for proposal in suggestion.proposals), *suggestion.missing]


def _ways(name: str, to: str) -> Iterator[tuple[str, str]]:
    """Yield the patterns that bring one name to another, and may bring others, the most general first."""
    (*a, end), (*b, its) = name.split("/"), to.split("/")
    same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(reversed(a), reversed(b), strict=False)))
    ends = ("", "") if end == its else (f"/{re.escape(end)}", f"/{its}")
    for count in range(same + (end == its), -1, -1):
        parts = a if end != its else [*a, end]
        others = b if end != its else [*b, its]
        before, after = parts[: len(parts) - count], others[: len(others) - count]
        if count or ends[0]:
            yield from _moved("/".join(before), "/".join(after), ends, rest=bool(count))


def _moved(before: str, after: str, ends: tuple[str, str], *, rest: bool) -> Iterator[tuple[str, str]]:
    """Yield the rule that moves all of one scope into another, for this number in it and for any."""
    tail, tail_to = ("(.*)" if rest else ""), (r"\{}" if rest else "")

    def rule(start: str, target: str, group: int) -> tuple[str, str]:
        pattern = "/".join(part for part in (start, tail) if part) + ends[0]
        return pattern, "/".join(part for part in (target, tail_to.format(group)) if part) + ends[1]

    olds, news = re.split(r"(\d+)", before), re.split(r"(\d+)", after)
    if len(olds) > 1 and olds[1::2] == news[1::2]:
        groups = iter(range(1, len(olds)))
        target = "".join(rf"\{next(groups)}" if i % 2 else part for i, part in enumerate(news))
        yield rule(r"(\d+)".join(map(re.escape, olds[::2])), target, next(groups, len(olds[1::2]) + 1))
    yield rule(re.escape(before), after, 1)


def _quoted(text: str) -> str:
    return text if all(letter.isalnum() or letter in "_/" for letter in text) else f"'{text}'"
