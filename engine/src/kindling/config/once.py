"""Hydra reads and merges the same files several times for each job of a sweep; here it does so once.

Of the first MOST_KEPT jobs of a sweep, each runs with the config that was composed before the first one began.
An interpolation is parsed once too.
"""

import copy
import os
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from hydra._internal import config_loader_impl
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.plugins.config_source import ConfigResult
from omegaconf import DictConfig, _utils, base, grammar_parser

# Configs of jobs, at some hundred kB each.
MOST_KEPT = 200
# Texts of interpolations, of which a config has about fifty.
MOST_PARSED = 2_000

_load_config = ConfigRepository.load_config
_load_sweep_config = ConfigLoaderImpl.load_sweep_config
_files: dict[tuple[Any, ...], ConfigResult | None] = {}
# By choices: the sweep's config, and that of the files.
_bases: dict[tuple[str, ...], tuple[DictConfig, DictConfig]] = {}
# By overrides: the sweep's config, and the job's.
_jobs: dict[tuple[str, ...], tuple[DictConfig, DictConfig]] = {}


def install() -> None:
    """Take the place of two methods of Hydra's, and of a function of OmegaConf's."""
    ConfigRepository.load_config = _load_once
    ConfigLoaderImpl.load_sweep_config = _compose_once
    # Whoever resolves a tree reads it alone.
    _utils.parse = base.parse = _parse_once  # pyright: ignore[reportPrivateImportUsage]


_parse_once = lru_cache(MOST_PARSED)(grammar_parser.parse)


def _load_once(self: ConfigRepository, config_path: str) -> ConfigResult | None:
    source = self._find_object_source(config_path=config_path, object_type=ObjectType.CONFIG)
    if source is None or source.scheme() not in ("file", "pkg"):
        return _load_config(self, config_path)
    file = os.path.join(source.path, source._normalize_file_name(config_path))
    # Scheme pkg names Hydra's own files, which stay the same.
    stat = os.stat(file) if source.scheme() == "file" else None
    key = (source.provider, source.scheme(), file, stat and (stat.st_mtime_ns, stat.st_size))
    if key not in _files:
        _files[key] = _load_config(self, config_path)
    return copy.deepcopy(_files[key])


def _compose_once(self: ConfigLoaderImpl, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
    """Hydra composes a job to see whether it can, forgets that, and composes it anew to run it."""
    key = tuple(sweep_overrides)
    master, config = _jobs.get(key, (None, None))
    if config is None or master is not master_config:
        config = _compose_job(self, master_config, sweep_overrides)
        if len(_jobs) < MOST_KEPT or key in _jobs:
            _jobs[key] = (master_config, config)
    # Another job may have the same settings, and Hydra changes the config of each.
    return copy.deepcopy(config)


def compose_last(loader: ConfigLoaderImpl, master_config: DictConfig, lines: Sequence[str]) -> DictConfig:
    """The config of a job that nobody will ask for again."""
    master, config = _jobs.pop(tuple(lines), (None, None))
    if config is None or master is not master_config:
        return _compose_job(loader, master_config, list(lines))
    return config


def _compose_job(loader: ConfigLoaderImpl, master_config: DictConfig, lines: list[str]) -> DictConfig:
    """As Hydra does it, but the files that several jobs choose are merged once."""
    overrides = OverridesParser.create().parse_overrides(lines)
    if master_config.hydra.searchpath or any("hydra.searchpath" in line for line in lines):
        # Only Hydra finds the groups of a search path.
        return _load_sweep_config(loader, master_config, lines)
    values, choices = parts_of(loader, overrides)
    master, base = _bases.get(choices, (None, None))
    if base is None or master is not master_config:
        base = _load_sweep_config(loader, master_config, list(choices))
        if len(_bases) < MOST_KEPT:
            _bases[choices] = (master_config, base)
    return with_values(loader, base, overrides, values)


def parts_of(loader: ConfigLoaderImpl, overrides: list[Override]) -> tuple[list[Override], tuple[str, ...]]:
    """Those that set values; and the lines of the others, which choose files."""
    values = [override for override in overrides if _is_value(loader, override)]
    return values, tuple(str(override.input_line) for override in overrides if override not in values)


def with_values(
    loader: ConfigLoaderImpl, base: DictConfig, overrides: list[Override], values: list[Override]
) -> DictConfig:
    """A config of files with the values of overrides, as Hydra composes all of these."""
    config = copy.deepcopy(base)
    loader._apply_overrides_to_config(values, config)
    of_task = [override for override in overrides if not override.is_hydra_override()]
    config.hydra.overrides.task = [override.input_line for override in of_task]
    # Hydra 1.4 resolves it when it is asked for.
    if dirname := getattr(config_loader_impl, "get_overrides_dirname", None):
        config.hydra.job.override_dirname = dirname(of_task, **config.hydra.job.config.override_dirname)
    return config


def _is_value(loader: ConfigLoaderImpl, override: Override) -> bool:
    """Whether an override sets a key, and not a choice of a file, nor anything of Hydra's own."""
    chooses = loader.repository.group_exists(override.key_or_group) and not isinstance(override.value(), dict)
    return not (chooses or override.is_hydra_override())
