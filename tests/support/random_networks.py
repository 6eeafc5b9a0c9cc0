"""Random networks over all kinds, valid by construction: scopes in scopes, shared variables, renamed ones, rules."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from random import Random
from typing import Any

from expkit.errors import ConfigError
from expkit.kinds.layers.base import Inputs, Layer
from expkit.network.names import join
from expkit.registry import kinds
from expkit.tensor_spec import TensorSpec
from support.networks import spec_of
from support.recipes import LAST, RECIPES, last

INPUTS: dict[str, dict[str, Any]] = {
    "image": {"shape": [6, 5, 3]},
    "words": {"shape": [4], "dtype": "int32"},
    "sequence": {"shape": [4, 6]},
    "ragged": {"shape": [None, 6]},
    "volume": {"shape": [3, 2, 2, 2]},
    "which": {"shape": [4], "dtype": "bool"},
    "features": {"shape": [7]},
    "lengths": {"shape": [], "dtype": "int32"},
}


def random_networks(count: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield networks as plain data, each with its seed."""
    seed = found = 0
    while found < count:
        raw = _Growth(seed).raw()
        if raw["outputs"]:
            found += 1
            yield seed, raw
        seed += 1


def joined_networks(count: int, first_seed: int, dtype: str = "float32") -> tuple[list[int], dict[str, Any]]:
    """Return the first networks from a seed on that are valid with floats of this dtype, as one, and their seeds.

    Each has an output of its own, named by its seed.
    """
    seeds: list[int] = []
    joined: dict[str, Any] = {"inputs": _retyped(INPUTS, dtype), "layers": {}, "outputs": {}}
    seed = first_seed
    while len(seeds) < count:
        raw = _retyped(_Growth(seed, 1_000 * len(seeds), most=4).raw(), dtype)
        raw.pop("variables", None)  # Renames all kernels, those of other networks too.
        raw.pop("rules", None)
        if raw["outputs"] and _is_valid(raw):
            seeds.append(seed)
            joined["layers"] |= raw["layers"]
            joined["outputs"][f"out{seed}"] = raw["outputs"]["the_output"]
            if "blocks" in raw:
                joined["blocks"] = raw["blocks"]
        seed += 1
    return seeds, joined


def _retyped(raw: Any, dtype: str) -> Any:
    """Return a network whose float32 tensors have another dtype."""
    if isinstance(raw, list):
        return [_retyped(item, dtype) for item in raw]
    if not isinstance(raw, dict):
        return dtype if raw == "float32" else raw
    made = {key: _retyped(item, dtype) for key, item in raw.items()}
    floats = raw.get("kind") in ("constant", "random", "variable") or ("shape" in raw and "kind" not in raw)
    return {"dtype": dtype, **made} if floats else made


def _is_valid(raw: dict[str, Any]) -> bool:
    try:
        spec_of(raw)
    except ConfigError:
        return False
    return True


BLOCK = {
    "layers": {"inner": {"kind": "dense", "units": 3}, "norm": {"kind": "layer_norm", "input": "inner"}},
    "outputs": {"before": "inner"},
}


class _Growth:
    """A random network that grows layer by layer, each on tensors that fit it."""

    def __init__(self, seed: int, first_name: int = 0, most: int = 7) -> None:
        self.rng = Random(seed)
        self.most = most
        """Largest number of layers outside scopes."""
        self.names = iter(f"l{i}" for i in range(first_name, first_name + 1_000))
        self.twins: list[tuple[str, dict[str, Any], TensorSpec]] = []
        """Layers with variables, by the full scope these are in, to share them."""
        self.kernels = 0
        self.blocks = 0

    def raw(self) -> dict[str, Any]:
        """Return the network as plain data."""
        tensors = {name: TensorSpec(tuple(i["shape"]), i.get("dtype", "float32")) for name, i in INPUTS.items()}
        layers = self.layers(tensors, "", self.rng.randint(2, self.most), depth=2)
        raw: dict[str, Any] = {"inputs": INPUTS, "layers": layers}
        batched = [name for name in layers if name in tensors and tensors[name].batched]
        raw["outputs"] = {"the_output": self.rng.choice(batched)} if batched else {}
        if self.blocks:
            raw["blocks"] = {"tower": BLOCK}
        if self.kernels and self.rng.random() < 0.3:
            raw["variables"] = {"kernel": "weights"}
        if self.kernels and self.rng.random() < 0.3:
            raw["rules"] = {"still": {"variables": ".*[02468]/.*|.*(kernel|weights)", "trainable": False}}
        return raw

    def layers(self, tensors: dict[str, TensorSpec], scope: str, count: int, depth: int) -> dict[str, Any]:
        """Return layers that read the tensors and each other; add what they make to the tensors."""
        made: dict[str, Any] = {}
        for _ in range(count):
            name = next(self.names)
            if depth and self.rng.random() < 0.2:
                made[name] = self.scope(tensors, name, scope, depth)
            elif self.rng.random() < 0.1:
                made[name] = self.rng.choice((self.repeated, self.connected))(tensors, name)
            elif (layer := self.layer(tensors, name, scope)) is not None:
                made[name] = layer
        return made

    def scope(self, tensors: dict[str, TensorSpec], name: str, scope: str, depth: int) -> dict[str, Any]:
        """Return a scope of layers, with a further output now and then."""
        own = self.rng.choice((None, None, "", "inner/most", f"/top/{name}"))
        within = scope if own == "" else own[1:] if own and own[0] == "/" else join(scope, own or name)
        ends: list[str] = []
        while not ends:
            inside = dict(tensors)
            layers = self.layers(inside, within, self.rng.randint(1, 4), depth - 1)
            ends = [end for end in layers if end in inside]
        made = {"kind": "scope", "input": "features", "layers": layers, "output": self.rng.choice(ends)}
        tensors[name] = inside[made["output"]]
        if own is not None:
            made["scope"] = own
        if self.rng.random() < 0.3:
            made["outputs"] = {"more": self.rng.choice(ends)}
            tensors[f"{name}/more"] = inside[made["outputs"]["more"]]
        return made

    def repeated(self, tensors: dict[str, TensorSpec], name: str) -> dict[str, Any]:
        """Return a scope that is made several times, with variables of its own each time or the same."""
        source = self.rng.choice([path for path, spec in tensors.items() if LAST(spec)])
        tensors[name] = tensors[source]
        self.kernels += 1
        layers = {"same": {"kind": "dense", "units": last(tensors[source])}, "norm": {"kind": "rms_norm"}}
        shared = {"scope": f"{name}_all", "reuse": "auto"} if self.rng.random() < 0.5 else {}
        return {"kind": "scope", "input": source, "repeat": self.rng.randint(1, 4), "layers": layers, **shared}

    def connected(self, tensors: dict[str, TensorSpec], name: str) -> dict[str, Any]:
        """Return another use of the block; all uses on one shape share their variables."""
        source = self.rng.choice([path for path, spec in tensors.items() if LAST(spec)])
        spec = tensors[source]
        for path in (name, f"{name}/before"):
            tensors[path] = replace(spec, shape=(*spec.shape[:-1], 3))
        self.kernels += 1
        self.blocks += 1
        return {"kind": "block", "block": "tower", "input": source, "scope": f"/tower{last(spec)}", "reuse": "auto"}

    def layer(self, tensors: dict[str, TensorSpec], name: str, scope: str) -> dict[str, Any] | None:
        """Return a layer of a random kind; ``None`` where none of the tensors fits it."""
        if self.twins and self.rng.random() < 0.2:
            return self.twin(tensors, name)
        kind = self.rng.choice(list(RECIPES))
        recipe, cls = RECIPES[kind], kinds("layer")[kind]
        assert issubclass(cls, Layer)
        least, most = cls.arity
        fitting = [path for path, spec in tensors.items() if recipe.fits(spec)]
        if most != 0 and not fitting:
            return None
        reads = [self.rng.choice(fitting)] if most != 0 else []
        first = tensors[reads[0]] if reads else TensorSpec(())
        if recipe.beside is not None:
            beside = [path for path, spec in tensors.items() if recipe.beside(first, spec)]
            reads += self.rng.choices(beside, k=self.rng.randint(least, most or 3) - 1)
        named = {}
        for field, goes in (recipe.reads or {}).items():
            going = [path for path, spec in tensors.items() if goes(first, spec)]
            required = cls.model_fields[field].is_required()
            if required and not going:
                return None
            if going and (required or self.rng.random() < 0.7):
                named[field] = self.rng.choice(going)
        return self.placed(
            tensors, name, {"kind": kind, **recipe.fields(self.rng, first)}, reads, named, join(scope, name)
        )

    def placed(
        self,
        tensors: dict[str, TensorSpec],
        name: str,
        fields: dict[str, Any],
        reads: list[str],
        named: dict[str, str],
        scope: str,
    ) -> dict[str, Any]:
        """Return a layer where it stands, after adding its outputs to the tensors."""
        layer = kinds("layer")[fields["kind"]].model_validate({**fields, **named}, strict=False)
        assert isinstance(layer, Layer)
        specs = Inputs([tensors[path] for path in reads], {field: tensors[path] for field, path in named.items()})
        output = layer.output_spec(specs)
        batched = any(spec.batched for spec in (*specs, *specs.named.values()))
        for own, spec in ({"": output} if isinstance(output, TensorSpec) else output).items():
            tensors[join(name, own)] = replace(spec, batched=batched)
        declared = layer.declare(specs)
        if declared and len(reads) == 1 and not named and "scope" not in fields:
            self.twins.append((scope, fields, specs[0]))
        self.kernels += any(item.name == "kernel" for item in declared)
        return {**fields, **({"input": reads} if reads else {}), **named}

    def twin(self, tensors: dict[str, TensorSpec], name: str) -> dict[str, Any] | None:
        """Return a layer that shares all variables of another."""
        scope, fields, wanted = self.rng.choice(self.twins)
        alike = [path for path, spec in tensors.items() if spec == wanted]
        if not alike:
            return None
        shared = {**fields, "scope": f"/{scope}", "reuse": self.rng.choice((True, "auto"))}
        return self.placed(tensors, name, shared, [self.rng.choice(alike)], {}, scope)
