"""The verb ``train``: one run, a sweep with ``-m``, or what Hydra itself answers."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

import hydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from expkit.cli.completion import completions
from expkit.config.hydra_internals import argument_parser
from expkit.config.hydra_messages import composition_message
from expkit.config.load import compose_plain
from expkit.config.search import primary_conf, searching
from expkit.errors import ConfigError, Problem
from expkit.runs.interruption import interruption_exits
from expkit.runs.train import train

__all__ = ["complete", "run"]

# Flags of Hydra that would run something else than the checked configuration.
_REFUSED = {
    "config_name": "an experiment starts from config.yaml; put yours into conf/experiment and write experiment=NAME",
    "config_path": "files are read from ./conf; name another folder with --config-dir",
    "experimental_rerun": "a run is resumed with run.resume=PATH",
}


def run(arguments: list[str]) -> int:
    """Run one experiment, or a sweep with ``-m``; return the exit code."""
    given = _parse(arguments)
    overrides, folders = list(given.overrides), [given.config_dir] if given.config_dir else []
    if given.shell_completion:
        return _hydra(_flags(given), overrides, folders)
    if given.help or given.hydra_help or given.cfg or given.info or given.resolve or given.package:
        compose_plain([word for word in overrides if not _varies(word)], folders)  # Hydra would not check its settings.
        return _hydra(_flags(given), overrides, folders)
    with interruption_exits():
        if given.multirun:
            from expkit.runs import sweep

            return sweep.run(overrides, folders)
        return train(overrides, folders).exit_code


def complete(arguments: list[str]) -> int:
    """Answer the shell's tab completion, or print the script that sets it up."""
    shell = next((word.removeprefix("query=") for word in arguments if word.startswith("query=")), None)
    if shell in ("bash", "fish", "zsh"):
        if not (line := os.environ.get("COMP_LINE", "")):
            message = 'answers a shell, which sets COMP_LINE; set it up with eval "$(expkit -sc install=bash)"'
            raise ConfigError.at("-sc query", message)
        print(*completions(line), sep="\n" if shell == "fish" else " ")
        return 0
    return _hydra(arguments, [], [])


def _parse(arguments: list[str]) -> Any:
    parser = argument_parser()
    parser.prog = "expkit train"
    given = parser.parse_intermixed_args(arguments)
    refused = {flag: why for flag, why in _REFUSED.items() if getattr(given, flag) is not None}
    if refused:
        raise ConfigError(*(Problem(f"--{flag.replace('_', '-')}", why) for flag, why in refused.items()))
    return given


def _flags(given: Any) -> list[str]:
    """Return the flags to pass on; ``--config-dir`` goes into Hydra's search path instead."""
    switches = ("help", "hydra_help", "resolve", "run", "multirun", "shell_completion")
    valued = {name: getattr(given, name) for name in ("cfg", "package", "info")}
    return [
        *(f"--{name.replace('_', '-')}" for name in switches if getattr(given, name)),
        *(word for name, value in valued.items() if value is not None for word in (f"--{name}", value)),
    ]


def _hydra(flags: list[str], overrides: list[str], folders: Sequence[str]) -> int:
    """Let Hydra answer the command line, flags first, because it wants all overrides together.

    Raises:
        ConfigError: Hydra's own settings are wrong, or flags exclude each other.
    """
    sys.argv = ["expkit", *flags, *overrides]

    def expkit(config: DictConfig) -> None:
        raise AssertionError("Hydra answers this itself")

    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises what it would print with a traceback.
    try:
        with searching(folders):
            hydra.main(version_base="1.3", config_path=str(primary_conf()), config_name="config")(expkit)()
    except (HydraException, OmegaConfBaseException, OSError, ValueError) as error:
        if isinstance(error, OSError) and error.filename is None:
            raise  # The output cannot be written: no fault of the command line.
        raise ConfigError.at("command line", composition_message(error)) from None
    return 0


def _varies(word: str) -> bool:
    try:
        return bool(OverridesParser.create().parse_override(word).is_sweep_override())
    except HydraException:
        return False
