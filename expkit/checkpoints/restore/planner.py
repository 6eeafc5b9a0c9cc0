"""The planner of restores, which assigns names in checkpoints to variables without TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

from expkit.checkpoints.restore.plan import Assignment, Issue, IssueKind, OpenedCheckpoint, Plan, Target
from expkit.checkpoints.restore.pytorch_cells import pytorch_parts
from expkit.checkpoints.restore.rules import Match, matches, matching_names, primary_names
from expkit.checkpoints.restore.transforms import fitting, from_pytorch, joined, transformed
from expkit.config.sections.restore import Transform
from expkit.errors import MAX_EXPLAINED, Problem, comma_list, did_you_mean, unknown
from expkit.network.names import ema_name
from expkit.tensor_spec import TensorSpec

__all__ = ["restore_plan"]


def restore_plan(
    targets: Mapping[str, Target],
    checkpoints: Sequence[OpenedCheckpoint],
    keep_initial: Sequence[str] = (),
    at: str = "restore",
) -> Plan:
    """Return the plan that gives every target a value, with an issue for each that gets none.

    The rules are a true map: a name that a rule sends elsewhere no longer matches the variable of the same name, so
    two names can be swapped; one name may go to several variables; several go into one only if a rule concatenates
    them. Slots and EMA variables follow their owner: their values come from beside the owner's name in the file, with
    the same transforms.

    Args:
        targets: restore targets, owners before what they own.
        checkpoints: opened checkpoints.
        keep_initial: regular expressions over the variables that keep their initial values.
        at: path in the configuration, for problems.
    """
    planner = _Planner(checkpoints, at)
    kept = planner.kept_initial(targets, keep_initial)
    open_targets = {name: target for name, target in targets.items() if name not in kept}
    found = matches(open_targets, checkpoints, planner.issues)
    for name, target in open_targets.items():
        if target.owner in planner.skipped or target.owner in kept:
            kept[name] = None
        elif target.role == "state":
            planner.assign_state(name, target, found.get(name), kept)
        elif target.owner is None:
            planner.assign(name, target, found.get(name))
        else:
            planner.assign_owned(name, target, found.get(name), found.get(target.owner))
    assigned = planner.assignments
    read = {(assignment.checkpoint, source) for assignment in assigned.values() for source in assignment.sources}
    return Plan(
        assignments=tuple(assigned[name] for name in targets if name in assigned),
        kept_initial=tuple(name for name in targets if name in kept),
        skipped=planner.skipped,
        unused={item.at: tuple(name for name in item.variables if (item.at, name) not in read) for item in checkpoints},
        files={item.at: str(item.source.path) for item in checkpoints},
        variables=sum(target.role == "variable" for target in targets.values()),
        issues=tuple(planner.issues),
    )


class _Planner:
    """Assignments and issues, collected target by target."""

    def __init__(self, checkpoints: Sequence[OpenedCheckpoint], at: str) -> None:
        self.assignments: dict[str, Assignment] = {}
        self.skipped: dict[str, str] = {}
        self.issues: list[Issue] = []
        self._at = at
        self._missing_count = 0
        self._reads_pytorch = any(item.config.layout == "pytorch" for item in checkpoints)
        self._names = primary_names({name: None for item in checkpoints for name in item.variables})

    def kept_initial(self, targets: Mapping[str, Target], patterns: Sequence[str]) -> dict[str, None]:
        """Return the targets that keep their initial values, as configured."""
        kept: dict[str, None] = {}
        for pattern in patterns:
            found = matching_names(pattern, targets)
            if not found:
                variables = [name for name, target in targets.items() if target.owner is None]
                message = unknown(f"'{pattern}' matches no variable", pattern, variables, label="variables")
                self._issue("pattern", pattern, f"{self._at}.keep_initial", message)
            kept |= dict.fromkeys(found)
        return kept

    def assign(self, name: str, target: Target, match: Match | None) -> None:
        """Assign a value to a variable or a counter."""
        if match is None:
            self._missing(name, target, self._at)
            return
        available, weights = match.checkpoint.variables, match.checkpoint.config.weights
        if all(source in available and source.endswith(ema_name("")) for source in match.names):
            self._add(name, target, match, match.names, "ema")  # The rule names the EMA itself.
            return
        emas = tuple(map(match.checkpoint.ema_of, match.names))
        several = [ema for source in match.names for ema in match.checkpoint.owned.several_emas.get(source, ())]
        if several and weights != "raw":
            message = (
                f"variable '{name}' has several EMA in the checkpoint: {comma_list(several)}; give the one to use by a "
                f"rename rule: {{name: {several[0]}, to: {name}}}"
            )
            self._issue("average", name, match.checkpoint.at, message)
        elif weights != "raw" and all(ema in available for ema in emas):
            self._add(name, target, match, emas, "ema")
        elif weights == "ema" and target.ema_required:
            absent = next(ema for ema in emas if ema not in available)
            self._issue(
                "average",
                name,
                match.checkpoint.at,
                f"variable '{name}' has no EMA in the checkpoint: '{absent}' is absent; set weights to ema_if_present "
                "or raw, or leave the variable out of ema.variables",
            )
        elif all(source in available for source in match.names):
            note = "no EMA in the file" if weights == "ema_if_present" and target.ema_required else ""
            self._add(name, target, match, match.names, "raw", note)
        else:
            self._missing(name, target, match.checkpoint.at)

    def assign_state(self, name: str, target: Target, match: Match | None, kept: dict[str, None]) -> None:
        """Assign a value to a state if the file has one of the same shape; otherwise it starts with zeros."""
        if match is None or any(source not in match.checkpoint.variables for source in match.names):
            kept[name] = None
            return
        spec = match.checkpoint.variables[match.names[0]]
        if spec == target.spec or (match.rule is not None and (match.rule.transform or match.rule.concat)):
            self._add(name, target, match, match.names, "raw")
        else:
            self.skipped[name] = match.names[0]

    def assign_owned(self, name: str, target: Target, match: Match | None, owners_match: Match | None) -> None:
        """Assign a value to a slot or an EMA variable: by its own rule, else from beside its owner's name."""
        weights: Literal["raw", "ema"] = "ema" if target.role == "average" else "raw"
        if match is not None:
            if all(source in match.checkpoint.variables for source in match.names):
                self._add(name, target, match, match.names, weights)
            return
        owner = self.assignments.get(str(target.owner))
        if owner is None or owners_match is None:
            return
        phase, _, ending = name.rpartition(f"{target.owner}/")
        checkpoint = owners_match.checkpoint
        if target.role == "average":
            sources = tuple(map(checkpoint.ema_of, owners_match.names))
        else:
            slots, available = checkpoint.owned.slots, checkpoint.variables
            own = [f"{phase}{source}/{ending}" for source in owners_match.names]
            sources = tuple(
                slot if slot in available else slots.get((source, ending), slot)
                for slot, source in zip(own, owners_match.names, strict=True)
            )
        absent = [source for source in sources if source not in owners_match.checkpoint.variables]
        if target.role == "average" and not target.ema_required and (absent or owner.weights == "ema"):
            self._add(name, target, owners_match, owner.sources, owner.weights, "EMA starts as its variable")
        elif not absent:
            note = "renamed with its owner" if owners_match.rule else ""
            self._add(name, target, owners_match, sources, weights, note)
        elif target.role == "average":
            message = f"the EMA of '{target.owner}' is not in the checkpoint: '{absent[0]}' is absent"
            self._issue("average", name, owners_match.checkpoint.at, message)
        else:
            message = (
                f"slot '{name}' gets no value: '{absent[0]}' is not in the checkpoint; set optimizer to reset, or add "
                "the slot to keep_initial"
            )
            self._issue("slot", name, owners_match.checkpoint.at, message)

    def _add(
        self,
        name: str,
        target: Target,
        match: Match,
        sources: tuple[str, ...],
        weights: Literal["raw", "ema"],
        note: str = "",
    ) -> None:
        """Add an assignment if shape and dtype fit after the rule's transforms."""
        fitted = self._fitted(name, target, match, sources)
        if fitted is None:
            return
        spec, transforms = fitted
        text = " + ".join(f"'{source}'" for source in sources)
        if spec.shape != target.spec.shape:
            where = " after its rule" if transforms or len(sources) > 1 else " in the checkpoint"
            message = (
                f"variable '{name}' has shape {list(target.spec.shape)}, {text}{where} has {list(spec.shape)}; make "
                f"the network fit, give its rule a transform or on_shape_mismatch, or add '{target.owner or name}' to "
                "keep_initial"
            )
            self._issue("shape", name, match.at, message)
        if spec.dtype != target.spec.dtype:
            castable = not spec.dtype.startswith(("string", "complex"))
            cast = f"give its rule transform: [{{cast: {target.spec.dtype}}}], or " if castable else ""
            message = f"variable '{name}' is {target.spec.dtype}, {text} in the checkpoint is {spec.dtype}; {cast}"
            self._issue("dtype", name, match.at, f"{message}add '{target.owner or name}' to keep_initial")
        if spec == target.spec:
            self.assignments[name] = Assignment(
                variable=name,
                checkpoint=match.checkpoint.at,
                sources=sources,
                weights=weights,
                spec=spec,
                role=target.role,
                axis=0 if match.rule is None else match.rule.axis,
                transforms=transforms,
                origin=replace(match.origin, note=note),
            )

    def _fitted(
        self, name: str, target: Target, match: Match, sources: tuple[str, ...]
    ) -> tuple[TensorSpec, tuple[Transform, ...]] | None:
        """Return the spec after the rule's transforms, with all transforms; ``None`` if skipped or impossible."""
        rule, variables = match.rule, match.checkpoint.variables
        transforms = () if rule is None else rule.transform
        text = " + ".join(f"'{source}'" for source in sources)
        try:
            if target.role == "slot" and any(transform.scale is not None for transform in transforms):
                raise ValueError("a slot does not scale as its variable does; set optimizer to reset")
            if len(dtypes := dict.fromkeys(variables[source].dtype for source in sources)) > 1:
                raise ValueError(f"{text} have different dtypes: {', '.join(dtypes)}")
            specs = [variables[source] for source in sources]
            spec = specs[0] if rule is None or len(specs) == 1 else joined(specs, rule.axis)
            for transform in transforms:
                spec = transformed(spec, transform)
            turns = match.checkpoint.config.layout == "pytorch" and not match.checkpoint.composed.issuperset(sources)
            if turns and target.pytorch is not None:
                turned = from_pytorch(target.pytorch, target.spec.sizes)
                for transform in turned:
                    spec = transformed(spec, transform)
                transforms = (*transforms, *turned)
            if rule is not None and spec.shape != target.spec.shape:
                if rule.on_shape_mismatch == "skip":
                    self.skipped[name] = " + ".join(sources)
                    return None
                if rule.on_shape_mismatch == "slice_or_pad":
                    transforms = (*transforms, *fitting(spec.sizes, target.spec.sizes))
                    spec = TensorSpec.of_variable(target.spec.sizes, spec.dtype)
            if (
                target.role == "counter"
                and spec.dtype != target.spec.dtype
                and _one_kind(spec.dtype, target.spec.dtype)
            ):
                transforms = (*transforms, Transform.model_validate({"cast": target.spec.dtype}))
                spec = TensorSpec.of_variable(spec.sizes, target.spec.dtype)
        except ValueError as error:
            self._issue("transform", name, match.at, f"variable '{name}' from {text}: {error}")
            return None
        return spec, transforms

    def _missing(self, name: str, target: Target, at: str) -> None:
        before, self._missing_count = self._missing_count, self._missing_count + 1
        others = (other for other in self._names if other != name)
        near = (did_you_mean(name, others) if before < MAX_EXPLAINED else "") or ";"
        names = f" names: {comma_list(self._names)};" if before == 0 else ""
        parts = pytorch_parts(name, target.pytorch) if self._reads_pytorch else []
        made = f" PyTorch has it in {comma_list(parts)};" if parts else ""
        message = (
            f"variable '{name}' gets no value from the checkpoint{near}{made}{names} add a rename rule, or add it to "
        )
        self._issue("missing", name, at, f"{message}keep_initial")

    def _issue(self, kind: IssueKind, about: str, at: str, message: str) -> None:
        self.issues.append(Issue(kind, about, Problem(at, message)))


def _one_kind(first: str, second: str) -> bool:
    """Return True if two dtypes differ in their width alone."""
    return first.rstrip("0123456789") == second.rstrip("0123456789")
