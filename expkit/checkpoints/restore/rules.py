"""What rules say: which names of the files stand for which variables."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from expkit.checkpoints.restore.plan import Gap, Offer, Origin, Wanted
from expkit.config.sections.restore import RenameRule
from expkit.errors import Problem, comma_list, unknown
from expkit.network.names import ema_name

__all__ = ["Claim", "claims", "first_names", "matching"]

_SHADOW = ema_name("")


@dataclass(frozen=True)
class Claim:
    """Where a variable's value is to come from, raw or averaged."""

    offer: Offer
    names: tuple[str, ...]
    """In the file; several are joined."""
    rule: RenameRule | None = None
    where: str = ""
    """Path of the rule in the configuration; of the file where no rule is needed."""

    def origin(self, note: str = "") -> Origin:
        """Return the rule as a plan reports it."""
        if self.rule is None:
            return Origin(note=note)
        to = "" if self.rule.to is None else f" -> '{self.rule.to}'"
        return Origin(self.where.removeprefix("restore."), f"{_quoted((self.rule.word, *self.rule.concat))}{to}", note)


def claims(wanted: Mapping[str, Wanted], offers: Sequence[Offer], gaps: list[Gap]) -> dict[str, Claim]:
    """Return the claims on names of the files: by rules first, then by names that agree.

    A name that a rule sends elsewhere no longer stands for itself. What is kept beside a variable has a claim only
    where a rule says so; elsewhere it follows its variable.

    Args:
        wanted: what is to get a value.
        offers: the files.
        gaps: takes rules without effect and collisions.
    """
    found: dict[str, Claim] = {}
    themselves: list[tuple[Offer, set[str], set[str]]] = []
    for offer in offers:
        taken = _taken(offer, gaps)
        bases = {*taken, *(name.removesuffix(_SHADOW) for name in taken if name.endswith(_SHADOW))}
        moved: set[str] = set()
        for place, rule in enumerate(offer.asked.rename):
            _claim(Claim(offer, (), rule, f"{offer.at}.rename[{place}]"), bases, taken, wanted, found, moved, gaps)
        themselves.append((offer, bases, moved))
    for name, want in wanted.items():
        if name in found or want.of is not None:
            continue
        by_name = [
            Claim(offer, (name,), None, offer.at)
            for offer, bases, moved in themselves
            if name in bases and (name not in moved or want.role == "counter")
        ]
        if len(by_name) > 1:
            both = " and ".join(f"{claim.offer.at} ({claim.offer.file})" for claim in by_name)
            said = f"variable '{name}' would get its value from {both}; leave it out of one with exclude"
            gaps.append(Gap("collision", name, Problem(offers[0].at, said)))
        if by_name:
            found[name] = by_name[0]
    return found


def matching(pattern: str, names: Collection[str]) -> list[str]:
    """Return the names that a regular expression matches as wholes."""
    return [name for name in names if re.fullmatch(pattern, name)]


def first_names(names: Collection[str]) -> list[str]:
    """Return the names that are not of something kept beside another: what a person looks for."""
    known = set(names)
    return [name for name in names if name.rpartition("/")[0] not in known]


def _taken(offer: Offer, gaps: list[Gap]) -> dict[str, None]:
    """Return the names that are not left out by ``include`` and ``exclude``."""
    taken, asked = dict.fromkeys(offer.shapes), offer.asked
    matched = {}
    for field, patterns in (("include", asked.include), ("exclude", asked.exclude)):
        matched[field] = {name for pattern in patterns for name in matching(pattern, offer.shapes)}
        for pattern in patterns:
            if not matching(pattern, offer.shapes):
                said = f"'{pattern}' matches no name in the checkpoint; names: {comma_list(first_names(offer.shapes))}"
                gaps.append(Gap("pattern", pattern, Problem(f"{offer.at}.{field}", said)))
    if asked.include:
        taken = {name: None for name in taken if name in matched["include"]}
    return {name: None for name in taken if name not in matched["exclude"]}


def _claim(
    made: Claim,
    bases: Collection[str],
    taken: Collection[str],
    wanted: Mapping[str, Wanted],
    found: dict[str, Claim],
    moved: set[str],
    gaps: list[Gap],
) -> None:
    """Add the claims of one rule."""
    rule, where = made.rule, made.where
    assert rule is not None

    def gap(said: str) -> None:
        gaps.append(Gap("rule", where, Problem(where, said)))

    reached = new = 0
    targets = list(_targets(rule, bases, taken))
    for names, target in targets:
        if absent := [name for name in names if name not in bases]:
            names_told = comma_list(first_names(taken))
            gap(f"{comma_list(absent)}, to be joined to '{names[0]}', is not in the checkpoint; names: {names_told}")
            reached = new = 1
            continue
        moved.update(names)
        if target not in wanted:
            continue
        reached += 1
        before = found.get(target)
        if before is None:
            found[target] = Claim(made.offer, names, rule, where)
            new += 1
        elif (before.offer, before.names) != (made.offer, names):
            said = (
                f"variable '{target}' would get both {_quoted(before.names)} ({_place(before, made)}) and "
                f"{_quoted(names)}; keep one"
            )
            gaps.append(Gap("collision", target, Problem(where, said)))
            new += 1
    if rule.optional:
        return
    if not targets:
        sentence = f"'{rule.word}' matches no name in the checkpoint"
        gap(unknown(sentence, rule.word, taken, label="names", shown=first_names(taken)))
    elif not reached:
        target = targets[0][1]
        variables = [name for name, want in wanted.items() if want.of is None]
        gap(unknown(f"'{target}' is no variable to restore", target, variables, label="variables"))
    elif not new:
        gap(f"does nothing: rules before it say all that '{rule.word}' does; put it before them, or leave it out")


def _targets(rule: RenameRule, bases: Collection[str], taken: Collection[str]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield names to be joined and the variable that a rule sends them to, in the order of the file."""
    if rule.name is not None:
        if rule.name in bases:
            yield (rule.name, *rule.concat), rule.name if rule.to is None else rule.to
        return
    for name in [*taken, *sorted(set(bases) - set(taken))]:
        if rule.prefix is not None:
            if name.startswith(rule.prefix):
                yield (name,), name if rule.to is None else rule.to + name.removeprefix(rule.prefix)
        elif match := re.fullmatch(str(rule.pattern), name):
            more = tuple(match.expand(other) for other in rule.concat)
            yield (name, *more), name if rule.to is None else match.expand(rule.to)


def _quoted(names: tuple[str, ...]) -> str:
    return " + ".join(f"'{name}'" for name in names)


def _place(before: Claim, now: Claim) -> str:
    return before.where.removeprefix(f"{now.offer.at}.")
