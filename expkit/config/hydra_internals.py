"""Private API of Hydra (with OmegaConf), used by no other module."""

from __future__ import annotations

import os
from abc import abstractmethod
from argparse import ArgumentParser
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from hydra._internal.callbacks import Callbacks
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.core_plugins.bash_completion import BashCompletion
from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra._internal.core_plugins.importlib_resources_config_source import ImportlibResourcesConfigSource
from hydra._internal.sources_registry import SourcesRegistry
from hydra._internal.utils import create_config_search_path, get_args_parser
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.config_source import ConfigResult
from omegaconf import DictConfig, Node
from omegaconf._utils import get_omega_conf_dumper, get_yaml_loader

from expkit.errors import ConfigError

__all__ = [
    "Callbacks",
    "FileSource",
    "argument_parser",
    "config_loader",
    "dump",
    "failure_of",
    "fill",
    "hydra_completions",
    "reading_files_by",
    "scalar_resolvers",
]


def argument_parser() -> ArgumentParser:
    """Return the parser of Hydra's command line."""
    parser: ArgumentParser = get_args_parser()
    return parser


def dump(values: Any) -> str:
    """Return plain data as YAML, with OmegaConf's rules for numbers and text; ``${...}`` stands as it is."""
    text: str = yaml.dump(
        values, default_flow_style=False, allow_unicode=True, sort_keys=False, Dumper=get_omega_conf_dumper()
    )
    return text


def config_loader(conf: Path) -> Any:
    """Return Hydra's loader of configurations, which reads a folder first."""
    return ConfigLoaderImpl(create_config_search_path(str(conf)))


def hydra_completions(conf: Path, words: Sequence[str]) -> list[str]:
    """Return Hydra's completions of the last of a list of overrides, for a folder of configuration files."""
    plugin = BashCompletion(config_loader(conf))
    return list(plugin._query("config", " ".join(words)))


class FileSource(FileConfigSource):  # type: ignore[misc]  # Hydra declares no types
    """Hydra's reader of configuration files, with the reading of a file left to a subclass."""

    @abstractmethod
    def read(self, path: Path) -> Node:
        """Return the content of a file."""

    def load_config(self, config_path: str) -> ConfigResult:
        """Return the content and the header, or raise Hydra's error where there is no such file."""
        path = Path(os.path.realpath(os.path.join(self.path, self._normalize_file_name(config_path))))
        if not path.is_file():
            return super().load_config(config_path)
        config = self.read(path)
        with path.open(encoding="utf-8") as file:
            header = self._get_header_dict(file.read(512))
        return ConfigResult(provider=self.provider, path=f"file://{self.path}", config=config, header=header)


class _OwnPackages(ImportlibResourcesConfigSource):  # type: ignore[misc]  # Hydra declares no types
    """Hydra's reader of files in Python packages, which imports them: only those of installed packages."""

    def __init__(self, provider: str, path: str) -> None:
        if provider.startswith("hydra.searchpath"):
            at = "is a Python package, which reading would import; write file://FOLDER with the folder of its files"
            raise ConfigError.at("hydra.searchpath", f"'{path}' {at}")
        super().__init__(provider, path)


@contextmanager
def reading_files_by(source: type[FileSource]) -> Iterator[None]:
    """Make Hydra read files by another class, and import no packages for them, inside the block."""
    types = SourcesRegistry.instance().types
    before = dict(types)
    types.update(file=source, pkg=_OwnPackages)
    try:
        yield
    finally:
        types.update(before)


def scalar_resolvers() -> Any:
    """Return OmegaConf's rules for numbers and text in YAML."""
    return get_yaml_loader().yaml_implicit_resolvers


def fill(mapping: DictConfig, nodes: Mapping[str, Node]) -> None:
    """Put nodes into an empty mapping without the checks of each assignment."""
    mapping.__dict__["_content"].update(nodes)


def failure_of(job: JobReturn) -> BaseException | None:
    """Return the exception that ended a job; Hydra's public property prints before it raises."""
    return job._return_value if job.status == JobStatus.FAILED else None
