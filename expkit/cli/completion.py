"""Tab completion of verbs and of overrides: only words that the verb accepts."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from expkit.cli.verbs import VERBS
from expkit.config.hydra_internals import hydra_completions
from expkit.config.load import compose_plain, load
from expkit.config.search import primary_conf, searching
from expkit.errors import ExpkitError

__all__ = ["completions"]

_CONFIGURED = ("train", "names", "check", "show-data", "find-learning-rate", "restore-plan", "verify-resume")
"""Verbs that take overrides."""

_HIDDEN = ("callbacks", "job.chdir", "mode", "overrides", "runtime", "sweep.subdir")
"""Settings under ``hydra`` that are refused, or that Hydra itself sets."""

_REST = {".": "x=x", "/": "x=x", "=": "x"}
"""By the last letter of an incomplete word: text that completes it."""


def completions(line: str) -> list[str]:
    """Return the words that may stand in place of the last one of a command line; none if the line has a mistake."""
    _, _, rest = line.partition(" ")
    verb, found, rest = rest.lstrip().partition(" ")
    if not found:
        return [name for name in VERBS if name.startswith(verb)]
    *before, word = rest.split(" ")
    if verb not in _CONFIGURED or word.startswith("-") or before[-1:] == ["--config-dir"]:
        return []
    folders = [after for option, after in pairwise(before) if option == "--config-dir"]
    folders += [text.partition("=")[2] for text in before if text.startswith("--config-dir=")]
    overrides = [text for text in before if text.startswith("~") or ("=" in text and not text.startswith("-"))]
    with suppress(ExpkitError, HydraException, OmegaConfBaseException, OSError, ValueError):
        composed = compose_plain(overrides, folders)
        if not word and (missing := sorted(_missing(composed))):
            return [f"{key}=" for key in missing]  # Whatever else is given, the command is refused without them.
        with searching(folders):
            offered = hydra_completions(primary_conf(), [*overrides, word])
        accepted = sorted({text for given in offered if (text := _accepted(given, composed)) and _readable(text)})
        return [text for text in accepted if not text.startswith("~") or _loads([*overrides, text], folders)]
    return []


def _accepted(word: str, composed: DictConfig) -> str | None:
    """Return a word that Hydra offers as expkit accepts it, or ``None``."""
    if word == "hydra":
        return "hydra/"
    group = word[1:].partition("=")[0]
    if word.startswith("+") and (group == "hydra" or group in composed.hydra.runtime.choices):
        return None  # Another choice of a group is an override without +.
    if any(word.startswith((f"hydra.{key}.", f"hydra.{key}=")) for key in _HIDDEN):
        return None
    if word.endswith("."):
        node = OmegaConf.select(composed, word[:-1])
        if isinstance(node, ListConfig) or not node:
            return f"{word[:-1]}="
    return word


def _missing(composed: DictConfig) -> list[str]:
    """Return the keys outside ``hydra`` that have no value yet (``???``)."""
    missing: list[str] = []
    for section in (str(key) for key in composed if key != "hydra"):
        with suppress(OmegaConfBaseException):  # an interpolation into what is missing
            node = composed[section]
            missing += OmegaConf.missing_keys(node) if OmegaConf.is_config(node) else ()
    return missing


def _readable(word: str) -> bool:
    """Return whether a word, or a completed one, is one override with one value."""
    try:
        parsed = OverridesParser.create().parse_override(word + _REST.get(word[-1], ""))
    except HydraException:
        return False
    return not parsed.is_sweep_override() and len(word.split()) == 1


def _loads(overrides: Sequence[str], folders: Sequence[str]) -> bool:
    try:
        load(overrides, folders)
    except ExpkitError:
        return False
    return True
