"""Hydra reads the same files, and composes each job of a sweep, several times; here it does so once.

Of the first MOST_KEPT jobs of a sweep, each runs with the config that was composed before the first one began.
"""

import copy
import os
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository
from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigResult
from omegaconf import DictConfig

MOST_KEPT = 200  # configs of a sweep's jobs, of some hundred kB each

_load_config = ConfigRepository.load_config
_load_sweep_config = ConfigLoaderImpl.load_sweep_config
_files: dict[tuple[Any, ...], ConfigResult | None] = {}
_jobs: dict[tuple[str, ...], tuple[DictConfig, DictConfig]] = {}  # by overrides: the sweep's and the job's


def install() -> None:
    """Take the place of two methods of Hydra's."""
    ConfigRepository.load_config = _load_once
    ConfigLoaderImpl.load_sweep_config = _compose_once


def _load_once(self: ConfigRepository, config_path: str) -> ConfigResult | None:
    source = self._find_object_source(config_path=config_path, object_type=ObjectType.CONFIG)
    if source is None or source.scheme() not in ("file", "pkg"):
        return _load_config(self, config_path)
    file = os.path.join(source.path, source._normalize_file_name(config_path))
    stat = os.stat(file) if source.scheme() == "file" else None  # others are a part of Hydra
    key = (source.provider, source.scheme(), file, stat and (stat.st_mtime_ns, stat.st_size))
    if key not in _files:
        _files[key] = _load_config(self, config_path)
    return copy.deepcopy(_files[key])


def _compose_once(self: ConfigLoaderImpl, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
    """Hydra composes a job to see whether it can, forgets that, and composes it anew to run it."""
    key = tuple(sweep_overrides)
    master, config = _jobs.pop(key, (None, None))
    if config is not None and master is master_config:
        return config
    config = _load_sweep_config(self, master_config, sweep_overrides)
    if len(_jobs) < MOST_KEPT:
        _jobs[key] = (master_config, config)
    return config
