"""Random networks over all kinds, valid by construction: scopes in scopes, shared variables, renamed ones, rules."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

from expkit.network.layer import Inputs, Layer, TensorSpec
from expkit.registry import kinds
from recipes import RECIPES

INPUTS: dict[str, dict[str, Any]] = {
    "image": {"shape": [6, 5, 3]},
    "words": {"shape": [4], "dtype": "int32"},
    "sequence": {"shape": [4, 6]},
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


class _Growth:
    """A random network that grows layer by layer, each on tensors that fit it."""

    def __init__(self, seed: int) -> None:
        self.rng = Random(seed)
        self.names = iter(f"l{i}" for i in range(10_000))
        self.twins: list[tuple[str, dict[str, Any], TensorSpec]] = []
        """Layers with variables, by the full scope these are in, to share them."""
        self.used: set[str] = set()

    def raw(self) -> dict[str, Any]:
        """Return the network as plain data."""
        tensors = {name: TensorSpec(tuple(i["shape"]), i.get("dtype", "float32")) for name, i in INPUTS.items()}
        layers = self.layers(tensors, "", self.rng.randint(3, 9), depth=2)
        raw: dict[str, Any] = {"inputs": INPUTS, "layers": layers}
        batched = [name for name in layers if name in tensors and tensors[name].batched]
        raw["outputs"] = {"the_output": self.rng.choice(batched)} if batched else {}
        if "kernel" in self.used and self.rng.random() < 0.3:
            raw["variables"] = {"kernel": "weights"}
        if "kernel" in self.used and self.rng.random() < 0.3:
            raw["rules"] = {"still": {"variables": ".*[02468]/.*|.*(kernel|weights)", "trainable": False}}
        return raw

    def layers(self, tensors: dict[str, TensorSpec], scope: str, count: int, depth: int) -> dict[str, Any]:
        """Return layers that read the tensors and each other; add what they make to the tensors."""
        made: dict[str, Any] = {}
        for _ in range(count):
            name = next(self.names)
            if depth and self.rng.random() < 0.25:
                made[name] = self.scope(tensors, name, scope, depth)
            elif (layer := self.layer(tensors, name, scope)) is not None:
                made[name] = layer
        return made

    def scope(self, tensors: dict[str, TensorSpec], name: str, scope: str, depth: int) -> dict[str, Any]:
        """Return a scope of layers; its last one's output is its own."""
        inside = dict(tensors)
        own = self.rng.choice((None, None, "", "inner/most", f"/top/{name}"))
        within = (
            scope if own == "" else own[1:] if own and own[0] == "/" else "/".join(filter(None, [scope, own or name]))
        )
        fields = {} if own is None else {"scope": own}
        while True:
            layers = self.layers(inside, within, self.rng.randint(1, 4), depth - 1)
            if layers:
                break
        tensors[name] = inside[next(reversed(layers))]
        return {"kind": "scope", "input": "features", **fields, "layers": layers}

    def layer(self, tensors: dict[str, TensorSpec], name: str, scope: str) -> dict[str, Any] | None:
        """Return a layer of a random kind; ``None`` where none of the tensors fits it."""
        kind = self.rng.choice(list(RECIPES))
        if self.twins and self.rng.random() < 0.2:
            return self.twin(tensors, name)
        recipe = RECIPES[kind]
        cls = kinds("layer")[kind]
        assert issubclass(cls, Layer)
        fitting = [path for path, spec in tensors.items() if recipe.fits(spec)]
        if cls.arity[1] == 0:
            reads: list[str] = []
        elif fitting:
            reads = [self.rng.choice(fitting)]
        else:
            return None
        first = tensors[reads[0]] if reads else TensorSpec(())
        if recipe.beside is not None:
            beside = [path for path, spec in tensors.items() if recipe.beside(first, spec)]
            least, most = cls.arity
            reads += self.rng.choices(beside, k=self.rng.randint(max(least, 2), most or 3) - 1)
        named = {}
        for field, goes in (recipe.reads or {}).items():
            if going := [path for path, spec in tensors.items() if goes(first, spec)]:
                named[field] = self.rng.choice(going)
        fields = recipe.fields(self.rng, first)
        full = f"{scope}/{name}" if scope else name
        return self.placed(tensors, name, {"kind": kind, **fields}, reads, named, full)

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
        layer = kinds("layer")[fields["kind"]].model_validate(fields, strict=False)
        assert isinstance(layer, Layer)
        specs = Inputs([tensors[path] for path in reads], {field: tensors[path] for field, path in named.items()})
        output = layer.output_spec(specs)
        batched = any(spec.batched for spec in (*specs, *specs.named.values()))
        outputs = {"": output} if isinstance(output, TensorSpec) else dict(output)
        for own, spec in outputs.items():
            tensors[f"{name}/{own}" if own else name] = TensorSpec(spec.shape, spec.dtype, batched)
        declared = layer.declare(specs)
        if declared and len(reads) == 1 and not named and "scope" not in fields:
            self.twins.append((scope, fields, specs[0]))
        self.used |= {item.name for item in declared}
        read = {} if not reads else {"input": reads[0] if len(reads) == 1 else reads}
        return {**fields, **read, **named}

    def twin(self, tensors: dict[str, TensorSpec], name: str) -> dict[str, Any] | None:
        """Return a layer that shares all variables of another."""
        scope, fields, wanted = self.rng.choice(self.twins)
        alike = [path for path, spec in tensors.items() if spec == wanted]
        if not alike:
            return None
        shared = {**fields, "scope": f"/{scope}", "reuse": self.rng.choice((True, "auto"))}
        return self.placed(tensors, name, shared, [self.rng.choice(alike)], {}, scope)
