"""Making the restore plan: which name in which file goes into which variable, worked out without TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from expkit.checkpoints.restore.plan import Gap, GapKind, Offer, Origin, Pair, Plan, Wanted
from expkit.checkpoints.restore.rules import Claim, claims, first_names, matching
from expkit.checkpoints.restore.transforms import dtype_after, fitting, joined_shape, shape_after
from expkit.errors import MAX_EXPLAINED, Problem, comma_list, did_you_mean, unknown
from expkit.network.names import ema_name

__all__ = ["restore_plan"]


def restore_plan(
    wanted: Mapping[str, Wanted], offers: Sequence[Offer], keep_initial: Sequence[str] = (), at: str = "restore"
) -> Plan:
    """Return the plan that gives everything wanted a value, as far as it goes.

    The rules are a true map: a name that a rule sends elsewhere no longer stands for itself, so two names can be
    swapped; one name may go to several variables; several go into one only where a rule joins them. What is kept beside
    a variable follows it: averages and slots come from beside the variable's name in the file, changed as it is.

    Args:
        wanted: what is to get a value, variables before what is kept beside them.
        offers: the files, and what is asked of each.
        keep_initial: regular expressions over what is left out.
        at: path in the configuration, for problems.
    """
    making = _Making(offers)
    kept = making.kept(wanted, keep_initial, at)
    open_to = {name: want for name, want in wanted.items() if name not in kept}
    found = claims(open_to, offers, making.gaps)
    for name, want in open_to.items():
        if want.of in making.skipped or want.of in kept:
            kept[name] = None
        elif want.of is None:
            making.variable(name, want, found.get(name), at)
        else:
            making.beside(name, want, found.get(name), found.get(want.of))
    read = {(pair.offer, source) for pair in making.pairs.values() for source in pair.sources}
    return Plan(
        tuple(making.pairs[name] for name in wanted if name in making.pairs),
        tuple(name for name in wanted if name in kept),
        making.skipped,
        {offer.at: tuple(name for name in offer.shapes if (offer.at, name) not in read) for offer in offers},
        {offer.at: offer.file for offer in offers},
        sum(want.role == "variable" for want in wanted.values()),
        tuple(making.gaps),
    )


class _Making:
    """A plan in the making."""

    def __init__(self, offers: Sequence[Offer]) -> None:
        self.pairs: dict[str, Pair] = {}
        self.skipped: dict[str, str] = {}
        self.gaps: list[Gap] = []
        self._told = 0  # of what is missing
        self._names = first_names({name: None for offer in offers for name in offer.shapes})

    def kept(self, wanted: Mapping[str, Wanted], patterns: Sequence[str], at: str) -> dict[str, None]:
        """Return what keeps its initial value, as asked."""
        kept: dict[str, None] = {}
        for pattern in patterns:
            found = matching(pattern, wanted)
            if not found:
                variables = [name for name, want in wanted.items() if want.of is None]
                said = unknown(f"'{pattern}' matches no variable", pattern, variables, label="variables")
                self._gap("pattern", pattern, f"{at}.keep_initial", said)
            kept |= dict.fromkeys(found)
        return kept

    def variable(self, name: str, want: Wanted, claim: Claim | None, at: str) -> None:
        """Plan a variable or a counter."""
        if claim is None:
            self._missing(name, at)
            return
        available, asked = claim.offer.shapes, claim.offer.asked.weights
        if all(source in available and source.endswith(ema_name("")) for source in claim.names):
            self._pair(name, want, claim, claim.names, "ema", claim.origin())  # A rule names the average itself.
            return
        averages = tuple(ema_name(source) for source in claim.names)
        there = all(average in available for average in averages)
        if asked != "raw" and there:
            self._pair(name, want, claim, averages, "ema", claim.origin())
        elif asked == "ema" and want.averaged:
            absent = next(average for average in averages if average not in available)
            self._gap(
                "average",
                name,
                claim.offer.at,
                f"variable '{name}' has no average in the checkpoint: '{absent}' is absent; set weights to "
                "ema_if_present or raw, or leave the variable out of ema.variables",
            )
        elif all(source in available for source in claim.names):
            note = "no EMA in the file" if asked == "ema_if_present" and want.averaged else ""
            self._pair(name, want, claim, claim.names, "raw", claim.origin(note))
        else:
            self._missing(name, claim.offer.at)

    def beside(self, name: str, want: Wanted, claim: Claim | None, owner: Claim | None) -> None:
        """Plan what is kept beside a variable: as a rule says, else from beside the variable's name in the file."""
        weights: Literal["raw", "ema"] = "ema" if want.role == "average" else "raw"
        if claim is not None:
            if all(source in claim.offer.shapes for source in claim.names):
                self._pair(name, want, claim, claim.names, weights, claim.origin())
            return
        pair = self.pairs.get(str(want.of))
        if pair is None or owner is None:
            return
        ending = name.removeprefix(f"{want.of}/")
        sources = tuple(f"{source}/{ending}" for source in owner.names)
        absent = [source for source in sources if source not in owner.offer.shapes]
        if want.role == "average" and not want.averaged and (absent or pair.weights == "ema"):
            self._pair(name, want, owner, pair.sources, pair.weights, owner.origin("EMA starts as its variable"))
        elif not absent:
            self._pair(
                name, want, owner, sources, weights, owner.origin("renamed with its owner" if owner.rule else "")
            )
        elif want.role == "average":
            said = f"the average of '{want.of}' is not in the checkpoint: '{absent[0]}' is absent"
            self._gap("average", name, owner.offer.at, said)
        else:
            said = (
                f"slot '{name}' gets no value: '{absent[0]}' is not in the checkpoint; set optimizer to reset, or add "
                "the slot to keep_initial"
            )
            self._gap("slot", name, owner.offer.at, said)

    def _pair(
        self,
        name: str,
        want: Wanted,
        claim: Claim,
        sources: tuple[str, ...],
        weights: Literal["raw", "ema"],
        origin: Origin,
    ) -> None:
        """Add the pair where shapes and types fit, once the rule has made its changes."""
        rule, offer = claim.rule, claim.offer
        axis, steps = (rule.axis, rule.transform) if rule is not None else (0, ())
        told = " + ".join(f"'{source}'" for source in sources)
        dtype = offer.dtypes[sources[0]]
        try:
            if want.role == "slot" and any(step.scale is not None for step in steps):
                raise ValueError("a slot does not scale as its variable does; set optimizer to reset")
            if len(kinds := dict.fromkeys(offer.dtypes[source] for source in sources)) > 1:
                raise ValueError(f"{told} have different types: {', '.join(kinds)}")
            shapes = [tuple(offer.shapes[source]) for source in sources]
            shape = joined_shape(shapes, axis) if len(shapes) > 1 else shapes[0]
            for step in steps:
                shape, dtype = shape_after(step, shape), dtype_after(step, dtype)
            if shape != want.shape and rule is not None and rule.on_shape_mismatch == "skip":
                self.skipped[name] = " + ".join(sources)
                return
            if shape != want.shape and rule is not None and rule.on_shape_mismatch == "slice_or_pad":
                steps = (*steps, *fitting(shape, want.shape))
                shape = want.shape
        except ValueError as error:
            self._gap("transform", name, claim.where, f"variable '{name}' from {told}: {error}")
            return
        owner = want.of or name
        if shape != want.shape:
            made = " as the rule changes it" if steps or len(sources) > 1 else " in the checkpoint"
            said = (
                f"variable '{name}' has shape {list(want.shape)}, {told}{made} has {list(shape)}; make the network "
                f"fit, give its rule a transform or on_shape_mismatch, or add '{owner}' to keep_initial"
            )
            self._gap("shape", name, claim.where, said)
        if dtype != want.dtype:
            castable = not dtype.startswith(("string", "complex"))
            cast = f"give its rule transform: [{{cast: {want.dtype}}}], or " if castable else ""
            said = f"variable '{name}' is {want.dtype}, {told} in the checkpoint is {dtype}; {cast}"
            self._gap("dtype", name, claim.where, f"{said}add '{owner}' to keep_initial")
        if shape == want.shape and dtype == want.dtype:
            self.pairs[name] = Pair(
                name, offer.at, sources, weights, want.shape, want.dtype, want.role, axis, tuple(steps), origin
            )

    def _missing(self, name: str, at: str) -> None:
        before, self._told = self._told, self._told + 1
        others = (other for other in self._names if other != name)
        near = (did_you_mean(name, others) if before < MAX_EXPLAINED else "") or ";"
        names = f" names: {comma_list(self._names)};" if before == 0 else ""
        said = f"variable '{name}' gets no value from the checkpoint{near}{names} add a rename rule, or add it to "
        self._gap("missing", name, at, f"{said}keep_initial")

    def _gap(self, kind: GapKind, about: str, at: str, said: str) -> None:
        self.gaps.append(Gap(kind, about, Problem(at, said)))
