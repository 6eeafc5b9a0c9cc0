"""Loading of the configuration: Hydra composes YAML files and overrides, pydantic validates the result."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException
from pydantic import ValidationError
from yaml import YAMLError

from expkit.config.explain import explain
from expkit.config.hydra_internals import dump
from expkit.config.hydra_messages import composition_message, unreadable_override
from expkit.config.hydra_settings import check_hydra_settings
from expkit.config.null_entries import without_null_entries
from expkit.config.schema import Config
from expkit.config.search import builtin_conf, primary_conf, searching
from expkit.config.yaml_files import display_path, read_yaml
from expkit.errors import ConfigError, Problem, limit_problems, reading, unknown
from expkit.plugins import load_plugins
from expkit.redact import masked_values

__all__ = [
    "compose_plain",
    "explain_composed",
    "hydra_resolvable",
    "load",
    "plain",
    "plain_yaml",
    "plugins_folder",
    "quoted",
    "read",
    "unrelated",
    "validate",
    "validate_composed",
]

Plain = dict[str, Any]


def quoted(value: object) -> str:
    """Return a value quoted for Hydra's grammar of overrides."""
    text = str(value).replace("\\", "\\\\").replace("'", "\\'")
    return f"'{text}'"


def load(overrides: Sequence[str], config_dirs: Sequence[str] = ()) -> Config:
    """Return the validated configuration of a list of overrides.

    Raises:
        ConfigError: with every problem found.
    """
    return validate_composed(compose_plain(overrides, config_dirs), config_dirs)


def validate_composed(composed: DictConfig, config_dirs: Sequence[str] = ()) -> Config:
    """Return the validated configuration of a composed one, without Hydra's own settings.

    Raises:
        ConfigError: with every problem found.
    """
    config, problems = explain_composed(composed, config_dirs)
    if config is None or problems:
        raise ConfigError(*limit_problems(problems))
    return config


def explain_composed(composed: DictConfig, config_dirs: Sequence[str]) -> tuple[Config | None, list[Problem]]:
    """Return the configuration of a composed one with the problems that it has.

    There is a configuration in spite of problems if values are missing (``???``) whose text may stand for them, so
    that the checks that follow find the other mistakes.
    """
    raw, absent = _plain(composed)
    if misplaced := [*_without_package(composed), *_without_sections(composed, raw)]:
        return None, misplaced
    try:
        return validate(raw, config_dirs), absent
    except ConfigError as error:
        return None, [*absent, *unrelated(error.problems, absent)]


def unrelated(problems: Iterable[Problem], known: Sequence[Problem]) -> list[Problem]:
    """Return the problems that are not about the paths of known ones."""
    paths = [problem.path for problem in known]
    return [item for item in problems if not any(_within(item.path, at) or _within(at, item.path) for at in paths)]


def compose_plain(overrides: Sequence[str], config_dirs: Sequence[str] = ()) -> DictConfig:
    """Return the composed configuration before validation, with Hydra's own settings under ``hydra``.

    Raises:
        ConfigError: an override or a file cannot be read, an overridden key does not exist, or Hydra's settings are
            wrong.
    """
    try:
        return _compose(overrides, config_dirs)
    except ConfigCompositionException as error:
        raise _composition_error(error, overrides, config_dirs) from None


def validate(raw: Plain, config_dirs: Sequence[str] = (), plugin_copies: Path | None = None) -> Config:
    """Return the validated configuration of plain data, its plugins loaded.

    Args:
        raw: the data.
        config_dirs: folders searched for plugins before the working folder and its ``conf``.
        plugin_copies: folder with a run's copies of its plugins, searched first.

    Raises:
        ConfigError: with every problem found.
    """
    plugins = raw.get("plugins")
    if isinstance(plugins, list) and all(isinstance(name, str) for name in plugins):
        load_plugins(plugins, [*map(Path, config_dirs), Path.cwd(), primary_conf()], plugin_copies)
    try:
        text = json.dumps(without_null_entries(raw, Config))
        return Config.model_validate_json(text)
    except TypeError as error:
        raise ConfigError.at(
            "configuration", f"{error}; allowed: text, numbers, true, false, null, lists, mappings"
        ) from None
    except ValidationError as error:
        raise ConfigError(*limit_problems(explain(error, json.loads(text), Config))) from None


def read(path: Path) -> Config:
    """Return the validated configuration of one composed YAML file, as in a run folder; ``${...}`` is text there.

    Raises:
        ConfigError: the file is not a configuration.
    """
    problem = "not a readable configuration"
    with reading(str(path), problem, raises=ConfigError):
        try:
            content = read_yaml(path)
            if not isinstance(content, dict):
                raise ConfigError.at(str(path), f"{problem}: it is empty, or no mapping of sections")
        except (OSError, UnicodeDecodeError, YAMLError) as error:  # Their messages are long.
            raise ConfigError.at(str(path), f"{problem}: {composition_message(error)}") from None
    return validate(content, plugin_copies=plugins_folder(path.parent))


def plugins_folder(run: Path) -> Path:
    """Return the folder of a run's copies of its plugins."""
    return run / "plugins"


def plain(config: Config, *, exclude_unset: bool = False) -> Plain:
    """Return a configuration as plain data; ``exclude_unset`` omits fields that are not given."""
    return config.model_dump(mode="json", by_alias=True, serialize_as_any=True, exclude_unset=exclude_unset)


def plain_yaml(config: Config) -> str:
    """Return a configuration as YAML with every field, defaults included, and its secrets hidden."""
    return dump(masked_values(plain(config)))


def _compose(overrides: Sequence[str], config_dirs: Sequence[str]) -> DictConfig:
    GlobalHydra.instance().clear()
    try:
        with searching(config_dirs), initialize_config_dir(str(primary_conf()), version_base="1.3"):
            composed: DictConfig = compose("config", overrides=list(overrides), return_hydra_config=True)
        with hydra_resolvable(composed):
            check_hydra_settings(composed)
        return composed
    except OverrideParseException as error:
        raise ConfigError(unreadable_override(str(error.override))) from None
    except MissingConfigException as error:
        raise _missing_file(error) from None
    except ConfigCompositionException:
        raise
    except (HydraException, OmegaConfBaseException, YAMLError, ValueError) as error:
        raise ConfigError.at("configuration", composition_message(error)) from None


@contextmanager
def hydra_resolvable(composed: DictConfig) -> Iterator[None]:
    """Let ``${hydra:...}`` name settings of this configuration; in a run, Hydra itself has set its own."""
    current = HydraConfig.instance()
    before = current.cfg
    if "hydra" in composed:
        current.cfg = composed
    try:
        yield
    finally:
        current.cfg = before


def _plain(composed: DictConfig) -> tuple[Plain, list[Problem]]:
    """Return the plain data of a composed configuration, and the values that are missing or cannot be resolved."""
    raw: Plain = {}
    problems = []
    with hydra_resolvable(composed):
        for key in map(str, composed):
            if key == "hydra":
                continue
            try:
                section = composed[key]
                nested = OmegaConf.is_config(section)
                raw[key] = OmegaConf.to_container(section, resolve=True) if nested else section
                problems += [_missing_value(at) for at in sorted(OmegaConf.missing_keys(section) if nested else ())]
            except MissingMandatoryValue as error:
                problems.append(_missing_value(str(error.full_key or key)))
            except OmegaConfBaseException as error:
                problems.append(Problem(str(error.full_key or key), composition_message(error)))
    return raw, problems


def _missing_value(path: str) -> Problem:
    return Problem(path, f"missing: give it with {path}=VALUE")


def _without_package(composed: DictConfig) -> Iterator[Problem]:
    """Yield the files whose keys stand under the name of their group, because they do not say ``_global_``."""
    for group, option in _choices(composed).items():
        if group in composed and group not in Config.model_fields:
            yield _no_package(group, option)


def _no_package(group: str, option: str) -> Problem:
    return Problem(
        group,
        f"the keys of conf/{group}/{option}.yaml stand under '{group}'; make '# @package _global_' the first line of "
        "the file",
    )


def _without_sections(composed: DictConfig, raw: Plain) -> Iterator[Problem]:
    """Yield a problem if the user's ``config.yaml`` chooses no file for some sections."""
    file = primary_conf() / "config.yaml"
    if "hydra" not in composed or not file.is_file() or primary_conf() == builtin_conf():
        return
    deleted = {str(word)[1:].partition("=")[0] for word in composed.hydra.overrides.task if str(word).startswith("~")}
    required = [name for name, field in Config.model_fields.items() if field.is_required()]
    lacking = [name for name in required if name not in raw and name not in {*_choices(composed), *deleted}]
    if lacking:
        yield Problem(
            display_path(file),
            f"its defaults list has no file for {', '.join(lacking)}; add them as {builtin_conf() / 'config.yaml'} "
            "has them, or delete this file and put what you change into conf/experiment/NAME.yaml",
        )


def _choices(composed: DictConfig) -> dict[str, Any]:
    return dict(composed.hydra.runtime.choices) if "hydra" in composed else {}


def _within(path: str, outer: str) -> bool:
    return path == outer or path.startswith((f"{outer}.", f"{outer}["))


def _missing_file(error: MissingConfigException) -> ConfigError:
    name = str(error.missing_cfg_file)
    if not error.options:
        return ConfigError.at("configuration", composition_message(error))
    group, _, option = name.removesuffix(".yaml").rpartition("/")
    options = [str(choice) for choice in error.options]
    return ConfigError.at(group, unknown(f"no file '{option}' in this group", option, options))


def _composition_error(
    error: ConfigCompositionException, overrides: Sequence[str], config_dirs: Sequence[str]
) -> ConfigError:
    """Return the error of a key that no file mentions: an unknown key, or one to be added with ``+``."""
    if below := re.search(r"In '([^'/]+)/([^']+)': Could not override '[^'@]+@\1\.", str(error)):
        return ConfigError(_no_package(below[1], below[2]))
    named = re.search(r"Could not (?:override|delete|append)[^'\"]*['\"]([^'\"]+)['\"]", str(error))
    key = named[1].split("=")[0].split("@")[0] if named else "configuration"
    index = next((index for index, word in enumerate(overrides) if word.startswith(f"{key}=")), None)
    if index is None:
        return ConfigError.at(key, composition_message(error))
    added = [*overrides[:index], f"+{overrides[index]}", *overrides[index + 1 :]]
    try:
        load(added, config_dirs)
    except ConfigError as explained:
        return explained
    return ConfigError.at(key, f"no configuration file mentions this key; to add it write {added[index]}")
