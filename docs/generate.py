"""Write what is generated from the registered kinds and the models: parts of docs/*.md, and schema/*.json.

Usage: python docs/generate.py [--check]

With ``--check`` nothing is written; the exit code is 1 when a file is not up to date.
"""

from __future__ import annotations

import re
import sys
import types
import typing
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from expkit.config import schema
from expkit.config.json_schema import FILES, file_schema, schema_text
from expkit.kinds.layers import base as layer
from expkit.registry import KindsOf, field_docs, kinds
from expkit.sweeps.sweeper_selection import HydraSettings

HERE = Path(__file__).parent
MARK = "<!-- generated from here on by docs/generate.py -->\n"
TITLES = {
    "layer": "Kinds of layers",
    "initializer": "Kinds of initializers",
    "source": "Kinds of data sources",
    "preprocess": "Kinds of preprocessing",
    "augment": "Kinds of augmentation",
    "optimizer": "Kinds of optimizers",
    "schedule": "Kinds of learning-rate schedules",
    "loss": "Kinds of losses",
    "metric": "Kinds of metrics",
}


RECIPES = (
    "resnet", "densenet", "mbconv", "vit", "mixer", "unet", "ssd", "gcn", "wavenet", "transformer", "bert_mlm", "ptb",
    "seq2seq", "ctc", "autoencoder", "vae", "gan", "siamese", "triplet", "mean_teacher", "byol",
)  # fmt: skip
"""Experiments of docs/recipes and conf/, in the order of the table of recipes."""


def main() -> None:
    """Write or check the files."""
    pages = {
        "recipes.md": recipe_table(),
        "network.md": families("layer", "initializer") + sections(layer.Regularizer, layer.Shared),
        "configuration.md": sections(*schema.models())
        + families("source", "preprocess", "augment", "optimizer", "schedule", "loss", "metric"),
    }
    written = {HERE / name: (HERE / name).read_text().partition(MARK)[0] + MARK + text for name, text in pages.items()}
    schemas = HERE.parent / "schema"
    written |= {schemas / f"{name}.json": schema_text(file_schema(name, HydraSettings)) for name in FILES}
    stale = []
    for path, wanted in written.items():
        if not path.is_file() or path.read_text() != wanted:
            stale.append(path.relative_to(HERE.parent).as_posix())
            if "--check" not in sys.argv:
                path.write_text(wanted)
    if stale and "--check" in sys.argv:
        sys.exit(f"not up to date: {', '.join(stale)}; run python docs/generate.py")


def recipe_table() -> str:
    """Return the table of recipes, from the comments that their files begin with."""
    rows = ["| Recipe | Lines | Shows | Command | Result |", "|---|---|---|---|---|"]
    for name in RECIPES:
        experiment = recipe_file("experiment", name)
        lines = experiment.read_text().splitlines()
        comments = [line.removeprefix("#").strip() for line in lines if line.startswith("#")]
        text = " ".join(comment for comment in comments if not comment.startswith(("@", "yaml-language-server")))
        shows, _, rest = text.partition("Command: ")
        command, _, expected = rest.partition("Expected: ")
        command, _, note = command.strip().partition("  ")
        network = next((line.split()[-1] for line in lines if "override /network:" in line), name)
        files = [experiment, *network_files(network)]
        count = sum(bool(line.split("#")[0].strip()) for file in files for line in file.read_text().splitlines())
        links = " ".join(f"[{file.parent.name}]({link(file)})" for file in files)
        rows.append(
            f"| {name}: {links} | {count} | {shows.strip()} | `{command}` {note.strip()} | {expected.strip()} |"
        )
    return "\n".join(rows) + "\n"


def network_files(name: str) -> list[Path]:
    """Return the file of a network, and those that it builds on."""
    file = recipe_file("network", name)
    below = yaml.safe_load(file.read_text()).get("defaults", [])
    names = [str(item if isinstance(item, str) else next(iter(item.values()))) for item in below if item != "_self_"]
    return [file, *(path for base in names for path in network_files(base.partition("@")[0].rpartition("/")[2]))]


def recipe_file(group: str, name: str) -> Path:
    """Return the file of a recipe, beside this program or of those that expkit ships."""
    own = HERE / "recipes" / group / f"{name}.yaml"
    return own if own.is_file() else HERE.parent / "conf" / group / f"{name}.yaml"


def link(file: Path) -> str:
    """Return the path of a file from the folder of documents."""
    return file.relative_to(HERE).as_posix() if file.is_relative_to(HERE) else f"../{file.relative_to(HERE.parent)}"


def sections(*models: type[BaseModel]) -> str:
    """Return the reference of sections that are not kinds."""
    parts = []
    for model in models:
        title = model.__name__.removesuffix("Config")
        parts.append(f"\n## {title}\n\n{summary(model)}\n\n{fields(model)}")
    return "".join(parts)


def families(*names: str) -> str:
    """Return the reference of the registered kinds of families."""
    parts = []
    for family in names:
        parts.append(f"\n## {TITLES[family]}\n")
        members = kinds(family)
        base = next(iter(members.values())).__mro__
        shared = next(cls for cls in base if vars(cls).get("family") == family)
        common = fields(shared, leave_out=("kind",))
        if common:
            parts.append(f"\nEvery kind has these fields:\n\n{common}")
        for kind, model in members.items():
            common_fields = shared.__pydantic_fields__.items()
            same = [n for n, field in common_fields if field.default == model.__pydantic_fields__[n].default]
            own = fields(model, leave_out=("kind", *same))
            parts.append(f"\n### `{kind}`\n\n{summary(model)}\n{f'{chr(10)}{own}' if own else ''}")
    return "".join(parts)


def summary(model: type[BaseModel]) -> str:
    """Return a model's docstring as running text."""
    paragraphs = re.split(r"\n\s*\n", (model.__doc__ or "").strip())
    return "\n\n".join(code(" ".join(paragraph.split())) for paragraph in paragraphs)


def fields(model: type[BaseModel], leave_out: tuple[str, ...] = ()) -> str:
    """Return a table of a model's fields, or an empty string where there are none."""
    docs = field_docs(model)
    rows = []
    for name, field in model.__pydantic_fields__.items():
        if name in leave_out:
            continue
        family = next((item.family for item in field.metadata if isinstance(item, KindsOf)), None)
        shown = f"{family} (by `kind`)" if family else type_name(field.annotation)
        default = "required" if field.is_required() else f"`{plain(field.default)}`"
        bounds = [
            f"{sign} {getattr(item, word)}"
            for item in field.metadata
            for word, sign in (("gt", ">"), ("ge", ">="), ("lt", "<"), ("le", "<="))
            if hasattr(item, word)
        ]
        text = code(" ".join(docs.get(name, "").split())) + (f" Allowed: {' and '.join(bounds)}." if bounds else "")
        rows.append(f"| `{field.alias or name}` | {shown} | {default} | {text.strip()} |\n")
    return "| field | type | default | meaning |\n|---|---|---|---|\n" + "".join(rows) if rows else ""


def type_name(annotation: Any) -> str:
    """Return a type in the words of YAML."""
    words = {str: "text", int: "whole number", float: "number", bool: "true or false", type(None): "null"}
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation in words:
        return words[annotation]
    if origin is typing.Annotated:
        family = next((item.family for item in arguments[1:] if isinstance(item, KindsOf)), None)
        return f"{family} (by `kind`)" if family else type_name(arguments[0])
    if origin is typing.Literal:
        return " or ".join(f"`{word}`" for word in arguments)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(dict.fromkeys(type_name(part) for part in arguments))
    if origin is dict:
        return f"mapping of {type_name(arguments[1])}"
    if origin is tuple:
        parts = [type_name(part) for part in arguments if part is not Ellipsis]
        return f"list of {parts[0]}" if Ellipsis in arguments else f"[{', '.join(parts)}]"
    return str(annotation.__name__).removesuffix("Config").lower()


def plain(value: object) -> str:
    """Return a default in the words of YAML."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return str(list(value))
    return {None: "null", "": '""'}.get(value, str(value)) if isinstance(value, str | None) else str(value)


def code(text: str) -> str:
    """Return docstring markup as Markdown."""
    return text.replace("``", "`").replace("|", "\\|")


if __name__ == "__main__":
    main()
