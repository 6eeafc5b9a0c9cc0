"""Params, tags and points of metrics in a journal, and which of them a store refuses."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from expkit.tracking.errors import StoreRefused
from expkit.tracking.journal import JournalEntry

__all__ = ["Record", "Refusal", "records_of", "refused_among"]

_MOST_NAMED = 20


@dataclass(frozen=True, kw_only=True)
class Record:
    """A param, a tag, or one point of a metric."""

    kind: Literal["param", "tag", "metric"]
    name: str
    value: str | float
    milliseconds: int = 0
    step: int = 0
    start: int
    """Position of its entry in the journal."""


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """Something that the store refuses, while it accepts the rest."""

    what: str
    """Its kind and name: ``param 'a@b'``."""
    reason: str
    start: int
    """Position of its entry in the journal."""

    @staticmethod
    def text(refusals: Sequence[Refusal]) -> str:
        """Return the sentence about refusals, which names each."""
        named = {refusal.what: refusal.reason for refusal in refusals}
        shown = [f"{what} ({reason})" for what, reason in list(named.items())[:_MOST_NAMED]]
        more = f" and {len(named) - _MOST_NAMED} more" if len(named) > _MOST_NAMED else ""
        return f"MLflow refused {', '.join(shown)}{more}; all else is recorded"


def records_of(entry: JournalEntry) -> list[Record]:
    """Return the records of an entry, which a store takes many of in one call.

    Raises:
        LookupError, TypeError, ValueError, AttributeError: the entry is damaged.
    """
    values, start = entry.values, entry.start
    if entry.act == "metrics":
        at = {"milliseconds": int(values["milliseconds"]), "step": int(values["step"]), "start": start}
        return [Record(kind="metric", name=name, value=float(v), **at) for name, v in values["values"].items()]
    if entry.act == "begin":
        return [Record(kind="param", name=key, value=value, start=start) for key, value in values["params"].items()]
    tags = {}
    if entry.act == "tags":
        tags = values["values"]
    elif entry.act == "continue":
        tags = {f"resumed.{key}": now for key, (_, now) in values.get("changed", {}).items()}
    elif entry.act == "finish" and values["error"] is not None:
        tags = {"error": values["error"][:5000]}
    return [Record(kind="tag", name=key, value=value, start=start) for key, value in tags.items()]


def refused_among(send: Callable[[Sequence[Record]], None], records: Sequence[Record]) -> Iterator[Refusal]:
    """Send records, together as far as the store accepts them; yield those that it refuses.

    Halves are sent until each record at fault stands alone. Of a metric whose first and last point are refused, the
    points between are not tried.

    Args:
        send: sends records in one call; raises StoreRefused.
        records: the records.
    """
    if not records:
        return
    records = sorted(records, key=lambda record: (record.kind, record.name))
    try:
        send(records)
        return
    except StoreRefused as refused:
        reason = str(refused)
    one_name = len({(record.kind, record.name) for record in records}) == 1
    if len(records) > 2 and one_name:
        ends = [*refused_among(send, records[:1]), *refused_among(send, records[-1:])]
        yield from ends
        records = records[1:-1]
    else:
        ends = []
    if len(records) == 1 or len(ends) == 2:
        for record in records:
            yield Refusal(what=f"{record.kind} '{record.name}'", reason=reason, start=record.start)
        return
    half = len(records) // 2
    yield from refused_among(send, records[:half])
    yield from refused_among(send, records[half:])
