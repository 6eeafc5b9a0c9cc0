"""Matches of rename rules: the names in the opened checkpoints that give each variable its value."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from expkit.checkpoints.restore.plan import Issue, OpenedCheckpoint, Origin, Target
from expkit.config.sections.restore import RenameRule
from expkit.errors import Problem, comma_list, unknown
from expkit.network.names import ema_name

__all__ = ["Match", "matches", "matching_names", "primary_names", "renames"]

_EMA = ema_name("")


@dataclass(frozen=True, kw_only=True)
class Match:
    """The names in a checkpoint that give a variable its value, by a rule or because they are the same."""

    checkpoint: OpenedCheckpoint
    names: tuple[str, ...] = ()
    """Several are concatenated."""
    rule: RenameRule | None = None
    at: str
    """Path of the rule in the configuration, or of the file if no rule is needed."""

    @property
    def origin(self) -> Origin:
        """The rule, as a plan reports it."""
        if self.rule is None:
            return Origin()
        to = "" if self.rule.to is None else f" -> '{self.rule.to}'"
        return Origin(self.at.removeprefix("restore."), f"{_quoted((self.rule.selector, *self.rule.concat))}{to}")


def matches(
    targets: Mapping[str, Target], checkpoints: Sequence[OpenedCheckpoint], issues: list[Issue]
) -> dict[str, Match]:
    """Return the match of each target, by rules first, then by equal names.

    A name that a rule sends elsewhere no longer matches the variable of the same name. A slot or an EMA variable has a
    match only if a rule sends a name to it; otherwise it follows its owner.

    Args:
        targets: restore targets.
        checkpoints: opened checkpoints.
        issues: receives rules without effect, and collisions.
    """
    by_rule = _RuleMatches(targets, issues)
    renamed = [(checkpoint, *by_rule.add(checkpoint)) for checkpoint in checkpoints]
    found = by_rule.found
    for name, target in targets.items():
        if name in found or target.owner is not None:
            continue
        same = [
            Match(checkpoint=checkpoint, names=(at,), at=checkpoint.at)
            for checkpoint, available, moved in renamed
            if (at := checkpoint.counter(name) if target.role == "counter" else name) in available
            and (name not in moved or target.role == "counter")
        ]
        if len(same) > 1:
            both = " and ".join(f"{match.at} ({match.checkpoint.source.path})" for match in same)
            message = f"variable '{name}' would get its value from {both}; leave it out of one with exclude"
            issues.append(Issue("collision", name, Problem(checkpoints[0].at, message)))
        if same:
            found[name] = same[0]
    return found


def matching_names(pattern: str, names: Collection[str]) -> list[str]:
    """Return the names that a regular expression matches as a whole."""
    return [name for name in names if re.fullmatch(pattern, name)]


def primary_names(names: Collection[str]) -> list[str]:
    """Return the names of primary variables, without slots, EMA and counters; for messages."""
    known = set(names)
    return [name for name in names if name.rpartition("/")[0] not in known]


class _RuleMatches:
    """Matches of rules, collected checkpoint by checkpoint."""

    def __init__(self, targets: Mapping[str, Target], issues: list[Issue]) -> None:
        self.found: dict[str, Match] = {}
        self._targets = targets
        self._issues = issues

    def add(self, checkpoint: OpenedCheckpoint) -> tuple[set[str], set[str]]:
        """Add the matches of a checkpoint's rules.

        Returns:
            The names that can match, among them those of which only the EMA is in the file; the names that rules move.
        """
        included = _included(checkpoint, self._issues)
        owners = {ema: owner for owner, ema in checkpoint.owned.emas.items()}
        emas = [name for name in included if name.endswith(_EMA)]
        available = {*included, *(owners.get(name, name.removesuffix(_EMA)) for name in emas)}
        moved: set[str] = set()
        for index, rule in enumerate(checkpoint.config.rename):
            match = Match(checkpoint=checkpoint, rule=rule, at=f"{checkpoint.at}.rename[{index}]")
            moved |= self._apply(rule, match, available, included)
        return available, moved

    def _apply(
        self, rule: RenameRule, template: Match, available: Collection[str], included: Collection[str]
    ) -> set[str]:
        """Add the matches of one rule; return the names that it moves."""
        moved: set[str] = set()
        reached = effective = 0
        renamed = list(renames(rule, available, included))
        for names, target in renamed:
            if absent := [name for name in names if name not in available]:
                missing = f"{comma_list(absent)}, to join with '{names[0]}', is not in the checkpoint"
                self._issue(template, f"{missing}; names: {comma_list(primary_names(included))}")
                reached = effective = 1
                continue
            moved.update(names)
            if target not in self._targets:
                continue
            reached += 1
            match = replace(template, names=names)
            before = self.found.setdefault(target, match)
            if before is match:
                effective += 1
            elif before.checkpoint is not match.checkpoint or before.names != names:
                at = before.at.removeprefix(f"{match.checkpoint.at}.")
                both = f"both {_quoted(before.names)} ({at}) and {_quoted(names)}"
                problem = Problem(match.at, f"variable '{target}' would get {both}; keep one")
                self._issues.append(Issue("collision", target, problem))
                effective += 1
        if rule.optional:
            return moved
        if not renamed:
            sentence = f"'{rule.selector}' matches no name in the checkpoint"
            primary = primary_names(included)
            self._issue(template, unknown(sentence, rule.selector, included, label="names", shown=primary))
        elif not reached:
            target = renamed[0][1]
            variables = [name for name, other in self._targets.items() if other.owner is None]
            sentence = f"'{target}' is not a variable to restore"
            self._issue(template, unknown(sentence, target, variables, label="variables"))
        elif not effective:
            self._issue(
                template,
                f"has no effect: earlier rules cover everything that '{rule.selector}' matches; move it before them, "
                "or leave it out",
            )
        return moved

    def _issue(self, match: Match, message: str) -> None:
        self._issues.append(Issue("rule", match.at, Problem(match.at, message)))


def _included(checkpoint: OpenedCheckpoint, issues: list[Issue]) -> list[str]:
    """Return the names that ``include`` and ``exclude`` leave."""
    names = checkpoint.variables
    found: dict[str, set[str]] = {}
    for field, patterns in (("include", checkpoint.config.include), ("exclude", checkpoint.config.exclude)):
        found[field] = set()
        for pattern in patterns:
            matching = matching_names(pattern, names)
            found[field].update(matching)
            if not matching:
                message = f"'{pattern}' matches no name in the checkpoint; names: {comma_list(primary_names(names))}"
                issues.append(Issue("pattern", pattern, Problem(f"{checkpoint.at}.{field}", message)))
    included = found["include"] if checkpoint.config.include else set(names)
    return [name for name in names if name in included and name not in found["exclude"]]


def renames(
    rule: RenameRule, available: Collection[str], included: Collection[str]
) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield the names that a rule matches, in the order of the file, each with the names to join and the new name."""
    if rule.name is not None:
        if rule.name in available:
            yield (rule.name, *rule.concat), rule.name if rule.to is None else rule.to
        return
    for name in [*included, *sorted(set(available) - set(included))]:
        if rule.prefix is not None:
            if name.startswith(rule.prefix):
                yield (name,), name if rule.to is None else rule.to + name.removeprefix(rule.prefix)
        elif found := re.fullmatch(str(rule.pattern), name):
            more = tuple(found.expand(other) for other in rule.concat)
            yield (name, *more), name if rule.to is None else found.expand(rule.to)


def _quoted(names: tuple[str, ...]) -> str:
    return " + ".join(f"'{name}'" for name in names)
