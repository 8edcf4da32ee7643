"""A task and data that a program made itself, in place of those that a config describes."""

import copy
import inspect
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningDataModule, LightningModule
from omegaconf import DictConfig, OmegaConf, open_dict
from torch import Tensor
from torch.utils.data import DataLoader

from kindling.config.given import GIVEN
from kindling.config.left_out import value
from kindling.config.logged import LOSSES, better, loss_of
from kindling.console import report
from kindling.data.plain import PlainData
from kindling.errors import ConfigError, KindlingError, counted
from kindling.run_folders.resumption import goes_on_with, newest_unfinished
from kindling.stages import STAGES
from kindling.training.example import has_lazy_layers, pass_example
from kindling.training.task import Task

# What the config says of data that is no data module.
SETTINGS = ("batch_size", "num_workers", "prefetch_factor", "pin_memory", "persistent_workers", "seed")


class FromPython:
    """The parts that `kindling.train` was given.

    Args:
        task: a LightningModule; None if the config describes it.
        data: a LightningDataModule; or the training split, or several by the names "train", "val" and "test", each
            a data set, a tuple of tensors or a loader, and by "collate_fn" what puts a list of examples together; None
            if the config describes it, or the task has loaders.

    Raises:
        ConfigError: they are of another kind.
    """

    def __init__(self, task: Any = None, data: Any = None):
        if not isinstance(task, LightningModule | None):
            raise ConfigError(f"task: given {type(task).__name__}; allowed: a LightningModule")
        self.task = task
        self.data = data
        # As it was before its training; a replay trains the copy, if there can be one.
        self._state = copy.deepcopy(task.state_dict()) if task is not None else {}
        self._copy = copy_of(task)

    @property
    def keys(self) -> list[str]:
        """The groups of the config that they stand for."""
        given = ["task", *filter(None, GIVEN.values())] if self.task is not None else []
        return given + ["data"] * (self.data is not None or self._has_loaders)

    @property
    def _has_loaders(self) -> bool:
        return self.task is not None and type(self.task).train_dataloader is not LightningModule.train_dataloader

    def settle(self, cfg: DictConfig) -> DictConfig:
        """The config without what they stand for."""
        if not self.keys:
            return cfg
        cfg = cfg.copy()
        nodes = [key for key in self.keys if OmegaConf.is_config(cfg.get(key)) or cfg.get(key) is None]
        with open_dict(cfg):
            if self.task is not None:
                self._settle_monitor(cfg)
            settings = {key: cfg.data[key] for key in SETTINGS if cfg.data and key in cfg.data}
            for key in nodes:
                cfg[key] = None
            if self.data is not None and not isinstance(self.data, LightningDataModule):
                cfg.data = {"batch_size": 32, "num_workers": 0, "seed": cfg.seed, **settings}
            if cfg.get("resume") == "auto":
                cfg.paths.run = unfinished_run(cfg)
        report("given in Python: %s", ", ".join(key for key in ("task", "data") if key in nodes))
        return cfg

    def _settle_monitor(self, cfg: DictConfig) -> None:
        """Find the metric that decides, and its direction, in the source of the task."""
        kind = type(self.task)
        target = f"{kind.__module__}.{kind.__qualname__}"
        # With task=plain it is found in the source of a task that is not named yet.
        cfg.monitor = value(cfg, "monitor", "val/loss")
        if cfg.monitor == "val/loss" and not isinstance(self.task, Task):
            cfg.monitor = loss_of(target) or loss_in_source(kind)
        way = ways_of(self.task).get(str(cfg.monitor)) if isinstance(self.task, Task) else None
        if way and OmegaConf.is_interpolation(cfg, "monitor_mode"):
            # A class of a script or a notebook has no source to be found by its name.
            cfg.monitor_mode = way
        elif OmegaConf.is_interpolation(cfg, "monitor_mode"):
            cfg.monitor_mode = better({"task": {"_target_": target}}, cfg.monitor)

    def build_task(self, *, replay: bool) -> LightningModule:
        """The task itself, as it was before; for a replay a copy."""
        assert self.task is not None
        if replay and self._copy is None:
            raise KindlingError(f"{type(self.task).__name__} cannot be copied")
        task = copy.deepcopy(self._copy) if replay else self.task
        assert task is not None
        task.load_state_dict(self._state)
        if isinstance(task, Task) and has_lazy_layers(task):
            pass_example(task)
        return task

    def build_data(self, cfg: DictConfig) -> LightningDataModule | None:
        if self.data is None or isinstance(self.data, LightningDataModule):
            return self.data
        is_map = isinstance(self.data, Mapping)
        named = is_map and ("train" in self.data or not all(isinstance(part, Tensor) for part in self.data.values()))
        unknown = [str(name) for name in self.data if name not in (*STAGES, "collate_fn")] if named else []
        if unknown or isinstance(self.data, str):
            given = f"splits named {', '.join(unknown)}" if unknown else f"the text {self.data!r}"
            raise ConfigError(f"data: given {given}; allowed: data sets, tensors or loaders, as train, val, test")
        if isinstance(self.data, list | tuple) and any(isinstance(part, DataLoader) for part in self.data):
            raise ConfigError(
                f"data: given {counted(len(self.data), 'loader')} without names; allowed: one, or several by "
                'the names train, val and test; did you mean data={"train": ..., "val": ...}?'
            )
        if named and "train" not in self.data:
            raise ConfigError(
                f"data: given {', '.join(map(str, self.data))}; allowed: train, with val and test beside it"
            )
        splits: Any = self.data if named else {"train": self.data}
        return PlainData(**splits, **cfg.data)


def unfinished_run(cfg: DictConfig) -> str:
    """The folder that resume=auto means, now that it is known what stands for the config's groups."""
    folder = Path(cfg.paths.run)
    fitting = (found for found in newest_unfinished(folder.parent) if goes_on_with(found, cfg))
    return str(folder if (folder / "run.json").is_file() else next(fitting, folder))


def ways_of(task: Task) -> dict[str, str]:
    """What a task says that it logs, with "min" or "max" where that is known."""
    known: dict[bool | None, str] = {True: "max", False: "min"}
    given = {name: known.get(each.higher_is_better, "") for name, each in task.kindling_metrics_of["val"].items()}
    ways = {"loss": "min", **task.METRICS, **given}
    return {f"{stage}/{name}": way for stage in ("val", "train") for name, way in ways.items()}


def copy_of(task: LightningModule | None) -> LightningModule | None:
    """None also of a module that holds what cannot be copied, such as a lock or an open file."""
    try:
        return copy.deepcopy(task)
    except Exception:
        return None


def loss_in_source(kind: type) -> str | None:
    """The loss that a class of a script or a notebook names."""
    try:
        source = inspect.getsource(kind)
    except (OSError, TypeError):
        return None
    return next((name for name in LOSSES if re.search(rf"""["']{re.escape(name)}["']""", source)), None)
