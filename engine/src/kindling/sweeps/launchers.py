"""Launchers of Hydra's, such as hydra/launcher=submitit_slurm, each of whose calls waits for the end of a trial."""

import gc
import sys
from typing import Any

from hydra.core.plugins import Plugins
from omegaconf import DictConfig

# Hydra's default, in whose place trials are forked or are commands.
OWN = "hydra._internal.core_plugins.basic_launcher.BasicLauncher"


def is_own(config: DictConfig) -> bool:
    """Whether the sweep starts trials itself."""
    return config.hydra.launcher._target_ == OWN


def launcher_of(context: Any, task: Any, config: DictConfig) -> Any:
    if "n_jobs" in config.hydra.launcher:
        # Of joblib, whose every call has one trial.
        config.hydra.launcher.n_jobs = 1
    return Plugins.instance().instantiate_launcher(hydra_context=context, task_function=task, config=config)


def cancel_jobs() -> None:
    """End what submitit has started, which would go on, or wait in a queue, without its sweep."""
    submitit: Any = sys.modules.get("submitit")
    # The launcher does not give its jobs away.
    for each in gc.get_objects() if submitit else ():
        if isinstance(each, submitit.Job):
            each.cancel(check=False)
