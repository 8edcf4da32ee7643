"""A trial as a command of its own: where it takes a GPU, or several processes, each of which reads the command line."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from kindling.config.composition import arguments_parser
from kindling.errors import ConfigError
from kindling.process.gpus import VISIBLE, has_accelerator, visible_gpus

FLAGS = ("config_path", "config_name", "config_dir")
SEARCH = "hydra.searchpath="
# Of the sweep, and not of a trial.
OF_A_SWEEP = ("hydra.sweep", "hydra.mode=", "hydra.launcher", "hydra/sweeper", "hydra/launcher")


def needs_a_command(config: DictConfig) -> bool:
    """Whether a trial cannot be forked."""
    trainer = OmegaConf.select(config, "trainer") or {}
    accelerator, devices = trainer.get("accelerator", "auto"), trainer.get("devices", 1)
    is_on_cpu = accelerator == "cpu" or (accelerator == "auto" and not has_accelerator())
    return not is_on_cpu or devices not in (1, "1") or trainer.get("strategy", "auto") != "auto"


def where_configs_are(config: DictConfig) -> list[str]:
    """What of the command line of a sweep says where its YAML files are, for whoever gives it from elsewhere."""
    given, _ = arguments_parser().parse_known_intermixed_args(sys.argv[1:])
    flags = {name: value for name in FLAGS if (value := getattr(given, name))}
    for name, value in flags.items():
        if name != "config_name" and not value.startswith("pkg://"):
            flags[name] = os.path.abspath(value)
    of_hydra = [each for each in config.hydra.overrides.hydra if each.startswith(SEARCH)]
    return [*(f"--{name.replace('_', '-')}={value}" for name, value in flags.items()), *of_hydra]


def command_of(config: DictConfig, folder: Path, overrides: Sequence[str]) -> list[str]:
    """The command line of a trial, which a person can give too.

    Args:
        config: of the sweep.
        folder: of the trial.
        overrides: of the trial.
    """
    flags = [each for each in where_configs_are(config) if each.startswith("--")]
    of_hydra = [each for each in config.hydra.overrides.hydra if not each.startswith(OF_A_SWEEP)]
    into = [f"hydra.run.dir={quoted(folder)}", "resume=auto"]
    # A recipe may have a space, or choose a sweep.
    single = [] if "sweep=none" in overrides else ["sweep=none"]
    return [sys.executable, sys.argv[0], *flags, *of_hydra, *overrides, *single, *into]


def quoted(path: Path) -> str:
    """A path as the value of an override."""
    text = str(path).replace("\\", "\\\\").replace("'", "\\'")
    return f"'{text}'"


def environment_of(gpus: str | None) -> dict[str, str]:
    """The environment of a trial's command, which is not launched by the sweep in the sense of a rank by its first."""
    own = {key: value for key, value in os.environ.items() if not key.startswith("KINDLING_")}
    # Set by each command for itself.
    own.pop("HYDRA_FULL_ERROR", None)
    return own if gpus is None else own | {VISIBLE: gpus}


def gpus_of(settings: Any) -> list[str]:
    """What each of the trials that run at a time sees as CUDA_VISIBLE_DEVICES; none if that stays as it is.

    Raises:
        ConfigError: this machine has no such GPU.
    """
    given = [str(each) for each in settings.get("gpus") or ()]
    there = visible_gpus()
    for name in ",".join(given).split(",") if given else ():
        if name not in there and not (name.isdecimal() and int(name) < len(there)):
            numbers = ", ".join(map(str, range(len(there)))) or "null, as this machine has no GPU that can be seen"
            raise ConfigError(f"sweep.gpus: given {name}; allowed: {numbers}")
    # A number is a place among those that are visible.
    named = [[there[int(name)] if name.isdecimal() else name for name in each.split(",")] for each in given]
    return [",".join(names) for names in named]
