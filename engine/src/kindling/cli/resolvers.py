"""The functions that the YAML files call as ${name:arguments}."""

import os
from collections.abc import Callable
from functools import lru_cache
from inspect import signature
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from kindling.config import left_out, logged, project
from kindling.errors import ConfigError, DataError
from kindling.images import folder, looks, table, table_listing
from kindling.images.listing import Faulty
from kindling.process.ranks import is_first_process, stamp
from kindling.run_folders.own_files import keep_apart
from kindling.run_folders.resumption import flatten, goes_on_with, newest_unfinished
from kindling.run_folders.saved_run import origin_of, saved_config


def run_folder(logs: str, experiment: str | None, resume: str | None, *, _root_: DictConfig) -> str:
    """The folder of a run: a new one, or that of the run that `resume` goes on with.

    Raises:
        ConfigError: there is no such run.
    """
    runs = Path(logs).expanduser() / (experiment or "default")

    if resume in ("last", "auto"):
        for found in newest_unfinished(runs):
            if resume == "last" or goes_on_with(found, _root_):
                return str(found)
        if resume == "last":
            raise ConfigError(f"resume: given last; there is no unfinished run in {runs}; resume=auto starts one")

    elif resume:
        given = Path(resume).expanduser()
        if not (given / "run.json").is_file():
            raise ConfigError(
                f"resume: given {given}, which is no run folder; allowed: a run folder, last or auto; "
                "a checkpoint is given as fork= (everything goes on in a new run) or weights= (the weights alone)"
            )
        return str(given)

    return str(runs / stamp())


def sweep_folder(logs: str, experiment: str | None, name: str | None = None) -> str:
    """The folder of a sweep: that of its name, with which the same command goes on, or a new one."""
    recipe = (experiment or "default").replace("/", "-")
    return str(Path(logs).expanduser() / "sweeps" / f"{recipe}_{name or stamp()}")


def log_file(folder: str) -> str:
    """Only the first process of a run writes its log.

    Raises:
        ConfigError: the folder's log leads elsewhere.
    """
    file = Path(folder) / "train.log"
    if file.is_symlink():
        raise ConfigError(f"run folder: given {folder}, whose train.log is a link; allowed: a file; remove the link")
    if file.exists() and not file.is_file():
        raise ConfigError(f"run folder: given {folder}, whose train.log is no file; allowed: a file; remove it")
    if not is_first_process():
        return os.devnull
    keep_apart(file)
    return str(file)


def image_folder(root: str, fact: str, *, _root_: DictConfig) -> int:
    """`num_classes`, `channels` or `image_size` of a class-per-folder tree, as its version lists it."""
    if not isinstance(root, str):
        raise DataError(f"data.root: given {root!r}; allowed: a path")
    given = OmegaConf.select(_root_, "data.decoding")
    version = given if given in folder.VERSIONS else folder.TODAY
    if fact == "num_classes":
        return len(folder.class_names(root, version))
    cache = _text(_root_, "data.cache_dir")
    cache_dir = Path(cache).expanduser() if cache else None
    found = looks.looks_of(root, version, _largest(_root_), cache_dir, _faulty(_root_))
    return {"channels": found.channels, "image_size": found.image_size}[fact]


def image_table(given: str, fact: str, *, _root_: DictConfig) -> int:
    """`num_classes`, `channels` or `image_size` of the images that a table names."""
    if not isinstance(given, str):
        raise DataError(f"data.table: given {given!r}; allowed: a path")
    columns = table.columns_of(*(OmegaConf.select(_root_, key) for key in table.SETTINGS))
    listed = table_listing.facts_of(given, _text(_root_, "data.root"), columns, _faulty(_root_))
    if fact == "num_classes":
        return len(listed.classes)
    found = looks.looks_at(table_listing.spread_of_classes(listed), max_pixels=_largest(_root_), faulty=_faulty(_root_))
    return {"channels": found.channels, "image_size": found.image_size}[fact]


def _faulty(config: DictConfig) -> Faulty:
    # A wrong value is refused elsewhere.
    return "skip" if OmegaConf.select(config, "data.faulty") == "skip" else "refuse"


def _text(config: DictConfig, key: str) -> str | None:
    found = OmegaConf.select(config, key)
    return None if found is None else str(found)


def _largest(config: DictConfig) -> int | None:
    max_pixels = OmegaConf.select(config, "data.max_pixels")
    return max_pixels if isinstance(max_pixels, int) else None


def better(monitor: str | None, *, _root_: DictConfig) -> str:
    """Which way the monitored metric is better, min or max.

    Raises:
        ConfigError: no source says so.
    """
    return logged.better(left_out.asked_of_a_task(_root_), monitor)


def kept(key: str, today: Any, *before: Any, _root_: DictConfig) -> Any:
    """A version of what a setting means: that of the run which resume= or fork= goes on with, else today's.

    Args:
        key: the setting.
        today: of a new run.
        before: of a run that knows none; left out, today's.
    """
    folder = origin_of(_root_.paths.run, _root_.get("resume"), _root_.get("fork"))
    try:
        saved = _saved(folder, (folder / "config.yaml").stat().st_mtime_ns)
        return saved.get(key, *(before or (today,)))
    except (OSError, ConfigError):
        # It is refused elsewhere.
        return today


@lru_cache(maxsize=4)
def _saved(folder: Path, changed_ns: int) -> dict[str, Any]:
    """The settings of a run, which several versions are looked up in."""
    return flatten(saved_config(folder))


def register() -> None:
    for resolver in (run_folder, log_file, image_folder, image_table, kept, better):
        _register(resolver.__name__, resolver)
    # A launcher's processes get it with the config, and do not make one of their own.
    _register("sweep_folder", sweep_folder, use_cache=True)
    _register("loss_of", lambda task: logged.loss_of(str(task)))
    _register("project", lambda: str(project.current().root))


def _register(name: str, resolver: Callable[..., Any], *, use_cache: bool = False) -> None:
    today: Callable[..., None] = OmegaConf.register_resolver
    if "annotation_validation" in signature(today).parameters:
        # A wrong value is refused by the resolver, in one line; no warning before it.
        today(name, resolver, replace=True, use_cache=use_cache, annotation_validation="off")
    else:
        # Before OmegaConf 2.4.
        OmegaConf.register_new_resolver(name, resolver, replace=True, use_cache=use_cache)
