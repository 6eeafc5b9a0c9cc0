"""A suggestion as a ``restore`` section of YAML, with few general rules, and guesses as comments."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from itertools import takewhile

from expkit.checkpoints.matching.match import Suggestion
from expkit.config.sections.restore import RenameRule

__all__ = ["keep_initial_patterns", "restore_section", "suggested_rules", "suggestion_as_json"]


def restore_section(suggestion: Suggestion, names: Collection[str], keep_initial: Sequence[str] = ()) -> str:
    """Return the suggested ``restore`` section as YAML; an empty string if none is needed.

    Guesses are comments: a rule for each, after other possible names.

    Args:
        suggestion: proposals for the network's variables.
        names: all names of the checkpoint.
        keep_initial: patterns of ``restore.keep_initial`` so far.
    """
    rules, keep = suggested_rules(suggestion), _kept(suggestion, keep_initial)
    guesses = [proposal for proposal in suggestion.proposals if proposal.confidence == "ambiguous"]
    lines = []
    if _has_ema_only(suggestion, names):
        lines.append("  weights: ema_if_present  # the checkpoint has EMA variables without their owners")
    if rules or any(proposal.source != proposal.variable for proposal in guesses):
        lines.append("  rename:" if rules else "  # rename:")
    for rule in rules:
        field = "name" if rule.name is not None else "pattern"
        lines.append(f"    - {{{field}: {_quoted(rule.selector)}, to: {_quoted(str(rule.to))}}}")
    for guess in guesses:
        also = f", or {', '.join(guess.others)}" if guess.others else ""
        source = guess.source if guess.source != guess.variable else "the same name"
        lines.append(f"    # ambiguous: {guess.variable} may be {source}{also}")
        if guess.source != guess.variable:
            lines.append(f"    # - {{name: {_quoted(guess.source)}, to: {_quoted(guess.variable)}}}")
    if keep:
        lines.append(f"  keep_initial: [{', '.join(map(_quoted, keep))}]")
    return "\n".join(["restore:", *lines]) if lines else ""


def suggested_rules(suggestion: Suggestion) -> tuple[RenameRule, ...]:
    """Return rules for the certain proposals: patterns where one covers several names, else a rule for each name."""
    names = {p.source: p.variable for p in suggestion.proposals if p.confidence == "high" and p.source != p.variable}
    stay = {p.source for p in suggestion.proposals} - set(names)
    variables = set(_variables(suggestion))
    candidates = Counter(rule for pair in names.items() for rule in dict.fromkeys(_patterns(*pair)))
    every = [*names, *stay, *suggestion.unused]
    left, rules = dict(names), []
    for (pattern, to), count in sorted(candidates.items(), key=lambda item: -item[1]):
        if count < 2 or len(left) < 2:
            break
        matched = {name: match.expand(to) for name in every if (match := re.fullmatch(pattern, name))}
        covered = [name for name in matched if name in left]
        if len(covered) > 1 and all(
            target == names[name] if name in names else name not in stay and target not in variables
            for name, target in matched.items()
        ):
            rules.append(RenameRule(pattern=pattern, to=to))
            left = {name: target for name, target in left.items() if name not in matched}
    return (*rules, *(RenameRule(name=name, to=to) for name, to in left.items()))


def keep_initial_patterns(names: Collection[str], all_names: Collection[str]) -> list[str]:
    """Return regular expressions for ``restore.keep_initial`` that match the given names and no other."""
    patterns: dict[str, None] = {}
    for name in names:
        elements = name.split("/")
        scopes = ("/".join(elements[:end]) for end in range(1, len(elements)))
        whole = (s for s in scopes if all(other in names for other in all_names if other.startswith(f"{s}/")))
        scope = next(whole, None)
        patterns[re.escape(name) if scope is None else f"{re.escape(scope)}/.*"] = None
    return list(patterns)


def suggestion_as_json(
    suggestion: Suggestion, names: Collection[str], keep_initial: Sequence[str] = ()
) -> dict[str, object]:
    """Return the suggestion as plain data; arguments as of ``restore_section``."""
    restore = {
        "rename": [rule.model_dump(exclude_defaults=True) for rule in suggested_rules(suggestion)],
        "keep_initial": _kept(suggestion, keep_initial),
    }
    return {
        "certain": suggestion.certain,
        "proposals": [
            {"variable": p.variable, "source": p.source, "sure": p.confidence, "others": list(p.others)}
            for p in suggestion.proposals
        ],
        "missing": list(suggestion.missing),
        "spare": list(suggestion.unused),
        "restore": {"weights": "ema_if_present", **restore} if _has_ema_only(suggestion, names) else restore,
    }


def _kept(suggestion: Suggestion, keep_initial: Sequence[str]) -> list[str]:
    """Return the patterns for ``keep_initial``; empty if those so far suffice."""
    missing = keep_initial_patterns(suggestion.missing, _variables(suggestion))
    return [*keep_initial, *missing] if missing else []


def _has_ema_only(suggestion: Suggestion, names: Collection[str]) -> bool:
    """Return True if the checkpoint has EMA variables without their owners."""
    return any(proposal.source not in names for proposal in suggestion.proposals)


def _variables(suggestion: Suggestion) -> list[str]:
    return [*(proposal.variable for proposal in suggestion.proposals), *suggestion.missing]


def _patterns(name: str, to: str) -> Iterator[tuple[str, str]]:
    """Yield patterns that rename one name to another, and may cover others, the most general first."""
    (*a, end), (*b, new_end) = name.split("/"), to.split("/")
    same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(reversed(a), reversed(b), strict=False)))
    ends = ("", "") if end == new_end else (f"/{re.escape(end)}", f"/{new_end}")
    for count in range(same + (end == new_end), -1, -1):
        olds = a if end != new_end else [*a, end]
        news = b if end != new_end else [*b, new_end]
        before, after = olds[: len(olds) - count], news[: len(news) - count]
        if count or ends[0]:
            yield from _moved("/".join(before), "/".join(after), ends, rest=bool(count))


def _moved(before: str, after: str, ends: tuple[str, str], *, rest: bool) -> Iterator[tuple[str, str]]:
    """Yield the rules that rename one scope to another: with its numbers as groups, then with these numbers only."""
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
