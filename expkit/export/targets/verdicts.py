"""Sentences on proofs that failed."""

from __future__ import annotations

from collections.abc import Iterable

from expkit.export.targets.base import Proof

__all__ = ["failures_of"]


def failures_of(proofs: Iterable[Proof], *, quantized: bool) -> list[str]:
    """Return a sentence for every row that does not hold.

    Args:
        proofs: rows of the table.
        quantized: whether the metrics of a run decide, where there are any.
    """
    rows = list(proofs)
    sentences = [_sentence(row) for row in rows if not row.holds]
    if quantized and sentences and not any(row.compared.startswith("metric") for row in rows):
        sentences.append("no metric of a run can be computed from the outputs, so --tolerance decides")
    return sentences


def _sentence(row: Proof) -> str:
    if row.allowed is None:
        return "the control failed: a permuted input gives the same numbers, so these examples prove nothing"
    if row.compared.startswith("metric"):
        before, after = row.note.split(" -> ")
        rises = float(after) > float(before)
        change = f"rises by {row.difference:.3g} of its value," if rises else "falls"
        return f"{row.compared} {change} from {before} to {after}, allowed is {row.allowed:g}"
    return (
        f"outputs ({row.door}) differ from the frozen graph by {row.difference:.3g} of the largest output, "
        f"allowed {row.allowed:.3g}{row.note}"
    )
