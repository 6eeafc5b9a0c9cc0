"""Loading of the configuration: Hydra composes YAML files and overrides, pydantic validates the result."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from hydra import compose, initialize_config_dir
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException, OverrideParseException
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException
from pydantic import ValidationError
from yaml import YAMLError

from expkit.config.explain import explain
from expkit.config.schema import Config
from expkit.config.yaml_files import files_within_limits, read_yaml
from expkit.errors import ConfigError, Problem, limit_problems, unknown
from expkit.plugins import load_plugins

__all__ = [
    "builtin_conf",
    "builtin_conf_behind",
    "compose_plain",
    "composition_message",
    "load",
    "plain",
    "plain_yaml",
    "plugins_folder",
    "primary_conf",
    "quoted",
    "read",
    "search_path",
    "unreadable_override",
    "validate",
    "validate_composed",
]

Plain = dict[str, Any]


def builtin_conf() -> Path:
    """Return the folder of expkit's own configuration files: in the package, else in the checkout."""
    package = Path(__file__).resolve().parents[1]
    return package / "conf" if (package / "conf").is_dir() else package.parent / "conf"


def primary_conf() -> Path:
    """Return the folder that Hydra reads first: ``conf`` in the working folder, else the built-in one."""
    own = Path.cwd() / "conf"
    return own.resolve() if own.is_dir() else builtin_conf()


def search_path(config_dirs: Sequence[str] = ()) -> list[str]:
    """Return the override that adds ``--config-dir`` folders to Hydra's search path, as a list of at most one item."""
    quoted = [str(Path(folder).resolve()).replace("'", r"\'") for folder in config_dirs]
    folders = ",".join(f"'file://{folder}'" for folder in quoted)
    return [f"hydra.searchpath=[{folders}]"] if folders else []


def quoted(value: object) -> str:
    """Return a value quoted for Hydra's grammar of overrides."""
    text = str(value).replace("\\", "\\\\").replace("'", "\\'")
    return f"'{text}'"


class _BuiltinConf(SearchPathPlugin):  # type: ignore[misc]
    """Hydra plugin that searches the built-in folder after the user's, which then needs only the files that differ.

    A plugin acts on every Hydra program of its process, so this one is active only inside ``builtin_conf_behind``.
    """

    active: ClassVar[bool] = False

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        if self.active and primary_conf() != builtin_conf():
            search_path.append("expkit", f"file://{builtin_conf()}")


@contextmanager
def builtin_conf_behind() -> Iterator[None]:
    """Make Hydra search the built-in files after the user's, and reject files beyond limits, inside the block."""
    _BuiltinConf.active = True
    try:
        with files_within_limits():
            yield
    finally:
        _BuiltinConf.active = False


Plugins.instance().register(_BuiltinConf)


def load(overrides: Sequence[str], config_dirs: Sequence[str] = ()) -> Config:
    """Return the validated configuration of a list of overrides.

    Raises:
        ConfigError: with every problem found.
    """
    try:
        return validate_composed(_compose(overrides, config_dirs), config_dirs)
    except ConfigCompositionException as error:
        raise _composition_error(error, overrides, config_dirs) from None


def validate_composed(composed: DictConfig, config_dirs: Sequence[str] = ()) -> Config:
    """Return the validated configuration of a composed one, without Hydra's own settings.

    Raises:
        ConfigError: with every problem found.
    """
    return validate(_plain(composed), config_dirs)


def compose_plain(overrides: Sequence[str], config_dirs: Sequence[str] = ()) -> DictConfig:
    """Return the composed configuration before validation, with Hydra's own settings under ``hydra``.

    Raises:
        ConfigError: an override or a file cannot be read, or an overridden key does not exist.
    """
    try:
        return _compose(overrides, config_dirs, with_hydra=True)
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
        text = json.dumps(raw)
        return Config.model_validate_json(text)
    except TypeError as error:
        raise ConfigError(
            Problem("configuration", f"{error}; allowed: text, numbers, true, false, null, lists, mappings")
        ) from None
    except ValidationError as error:
        raise ConfigError(*limit_problems(explain(error, json.loads(text), Config))) from None


def read(path: Path) -> Config:
    """Return the validated configuration of one composed YAML file, as in a run folder.

    Raises:
        ConfigError: the file is not a configuration.
    """
    try:
        content = OmegaConf.create(read_yaml(path))
        raw = OmegaConf.to_container(content, resolve=True)
        return validate(raw, plugin_copies=plugins_folder(path.parent))  # type: ignore[arg-type]
    except (OSError, UnicodeDecodeError, YAMLError, OmegaConfBaseException) as error:
        raise ConfigError(Problem(str(path), f"not a readable configuration: {composition_message(error)}")) from None


def plugins_folder(run: Path) -> Path:
    """Return the folder of a run's copies of its plugins."""
    return run / "plugins"


def plain(config: Config, *, exclude_unset: bool = False) -> Plain:
    """Return a configuration as plain data; ``exclude_unset`` omits fields that are not given."""
    return config.model_dump(mode="json", by_alias=True, serialize_as_any=True, exclude_unset=exclude_unset)


def plain_yaml(config: Config) -> str:
    """Return a configuration as YAML with every field, defaults included."""
    return OmegaConf.to_yaml(OmegaConf.create(plain(config)))


def _compose(overrides: Sequence[str], config_dirs: Sequence[str], *, with_hydra: bool = False) -> DictConfig:
    for folder in config_dirs:
        if not Path(folder).is_dir():
            raise ConfigError(Problem("--config-dir", f"no folder {folder}"))
    GlobalHydra.instance().clear()
    try:
        with builtin_conf_behind(), initialize_config_dir(str(primary_conf()), version_base="1.3"):
            words = [*search_path(config_dirs), *overrides]
            composed: DictConfig = compose("config", overrides=words, return_hydra_config=with_hydra)
            return composed
    except OverrideParseException as error:
        raise ConfigError(unreadable_override(str(error.override))) from None
    except MissingConfigException as error:
        raise _missing_file(error) from None
    except ConfigCompositionException:
        raise
    except (HydraException, OmegaConfBaseException, YAMLError, ValueError) as error:
        raise ConfigError(Problem("configuration", composition_message(error))) from None


def _plain(config: DictConfig) -> Plain:
    def value(key: str) -> Any:
        section = config[key]
        if not OmegaConf.is_config(section):
            return section
        return OmegaConf.to_container(section, resolve=True, throw_on_missing=True)

    try:
        return {key: value(key) for key in map(str, config) if key != "hydra"}
    except MissingMandatoryValue as error:
        raise ConfigError(Problem(str(error.full_key), f"missing: give it with {error.full_key}=VALUE")) from None
    except OmegaConfBaseException as error:
        raise ConfigError(Problem(str(error.full_key or "configuration"), composition_message(error))) from None


def _missing_file(error: MissingConfigException) -> ConfigError:
    name = str(error.missing_cfg_file)
    if not error.options:
        return ConfigError(Problem("configuration", composition_message(error)))
    group, _, option = name.removesuffix(".yaml").rpartition("/")
    options = [str(choice) for choice in error.options]
    return ConfigError(Problem(group, unknown(f"no file '{option}' in this group", option, options)))


def _composition_error(
    error: ConfigCompositionException, overrides: Sequence[str], config_dirs: Sequence[str]
) -> ConfigError:
    """Return the error of a key that no file mentions: an unknown key, or one to be added with ``+``."""
    named = re.search(r"Could not (?:override|delete|append)[^'\"]*['\"]([^'\"]+)['\"]", str(error))
    key = named[1].split("=")[0].split("@")[0] if named else "configuration"
    forced = [
        f"++{word}" if "=" in word and word[0] not in "+~" and word.split("=")[0] == key else word for word in overrides
    ]
    if forced == list(overrides):
        return ConfigError(Problem(key, composition_message(error)))
    try:
        validate_composed(_compose(forced, config_dirs), config_dirs)
    except ConfigError as explained:
        return explained
    except ConfigCompositionException as another:
        return _composition_error(another, forced, config_dirs)
    word = next(word for word in overrides if word.startswith(f"{key}="))
    return ConfigError(Problem(key, f"no configuration file mentions this key; to add it write +{word}"))


def unreadable_override(override: str, also: str = "") -> Problem:
    """Return the problem of an override that cannot be parsed; ``also``: further allowed forms."""
    quoted = "" if override.isascii() else "; other letters than a to z need quotes: path.to.key='\"VALUE\"'"
    return Problem("command line", f"cannot read the override '{override}'; write path.to.key=VALUE{also}{quoted}")


def composition_message(error: BaseException) -> str:
    """Return the message of an error of Hydra or OmegaConf in one line, with that of its cause."""
    chain = [error, error.__cause__] if isinstance(error, HydraException) and error.__cause__ else [error]
    return ": ".join(text for text in map(_line, chain) if text) or type(error).__name__


def _line(error: BaseException) -> str:
    lines = str(error).splitlines()  # OmegaConf repeats keys and types after the first line.
    return " ".join(" ".join(lines[:1] if isinstance(error, OmegaConfBaseException) else lines).split())
