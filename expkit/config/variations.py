"""Composition of configurations that differ in plain values, as the points of a sweep: Hydra composes the first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from expkit.config.load import compose_plain

__all__ = ["Variations"]


@dataclass(frozen=True)
class _Last:
    """The configuration that was composed last; its values are replaced by those of the next."""

    overrides: tuple[str, ...]
    composed: DictConfig


class Variations:
    """Composes lists of overrides one after another; where only plain values differ, without Hydra.

    ``key=value`` replaces a value of the composed configuration in Hydra, too, after all files are merged. So the next
    list needs only the values in which it differs from the last one: 1 ms instead of 75 ms. Groups, additions,
    deletions, mappings, interpolations and keys that are named twice are left to Hydra.
    """

    def __init__(self) -> None:
        self._last: _Last | None = None
        self._parsed: dict[str, Override] = {}

    def compose(self, overrides: Sequence[str], config_dirs: Sequence[str] = ()) -> DictConfig:
        """Return the composition of ``compose_plain`` without Hydra's own settings; it is valid until the next call.

        Raises:
            ConfigError: as ``compose_plain``.
        """
        last, self._last = self._last, None  # Half-changed values are not a start for the next.
        if last is not None and self._vary(last, overrides):
            composed = last.composed
        else:
            composed = compose_plain(overrides, config_dirs)
            if _names_hydra(composed):
                return composed
        self._last = _Last(tuple(overrides), composed)
        return composed

    def _vary(self, last: _Last, overrides: Sequence[str]) -> bool:
        """Replace the values in which a list of overrides differs from the last one; return False if it cannot be."""
        if len(overrides) != len(last.overrides):
            return False
        different = [pair for pair in zip(last.overrides, overrides, strict=True) if pair[0] != pair[1]]
        try:
            pairs = [(self._parse(before), self._parse(after)) for before, after in different]
            keys = [self._parse(word).key_or_group for word in overrides]
            if not all(_replaces(before, after, keys, last.composed) for before, after in pairs):
                return False
            for _, after in pairs:
                OmegaConf.update(last.composed, after.key_or_group, after.value(), merge=True)
        except (HydraException, OmegaConfBaseException):  # Hydra says what is wrong.
            return False
        return True

    def _parse(self, word: str) -> Override:
        if word not in self._parsed:
            self._parsed[word] = OverridesParser.create().parse_override(word)
        return self._parsed[word]


def _replaces(before: Override, after: Override, keys: Sequence[str], composed: DictConfig) -> bool:
    """Return whether one override takes the place of another by setting its value."""
    key = after.key_or_group
    if key != before.key_or_group or not all(_is_plain(item) for item in (before, after)):
        return False
    if isinstance(after.value(), list) and not isinstance(before.value(), list):
        return False  # It might meet a mapping, which Hydra refuses.
    groups = composed.hydra.runtime.choices
    if key in groups or after.is_hydra_override():
        return False
    set_values = [name for name in keys if name not in groups]
    related = [name for name in set_values if name == key or name.startswith(f"{key}.") or key.startswith(f"{name}.")]
    return len(related) == 1


def _is_plain(item: Override) -> bool:
    if item.is_add() or item.is_force_add() or item.is_delete() or item.is_sweep_override() or item.package:
        return False
    return not isinstance(item.value(), dict) and "${" not in str(item.input_line)


def _names_hydra(composed: DictConfig) -> bool:
    """Return whether a value names one of Hydra's settings, which are those of the list that Hydra composed."""
    own = {name: section for name, section in composed.items_ex(resolve=False) if name != "hydra"}
    return "${hydra:" in str(own)
