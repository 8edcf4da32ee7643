"""Whether what a run watches, and what its task declares, is logged: asked once something has been validated."""

import inspect
import sys
from typing import Any

from lightning.pytorch import LightningModule, Trainer

from kindling.checkpoints.checkpoint import config_of
from kindling.config.fault import Fault, nearest
from kindling.config.logged import without_loader
from kindling.config.rules.callback_rules import OF_VALIDATION
from kindling.config.rules.metric_rules import watched
from kindling.console import warn
from kindling.errors import ConfigError
from kindling.lightning_internals import fresh
from kindling.training.requirements import metrics_watched, validates_nothing

# How a module knows of a sanity check.
ASKS = "sanity_checking"


def refuse_unlogged(trainer: Trainer, module: LightningModule) -> None:
    """Warn of metrics that a task declares, and that the validation that has just ended did not log.

    Raises:
        ConfigError: a metric of validation is watched that it did not log.
    """
    if trainer.barebones:  # pyright: ignore[reportAttributeAccessIssue]
        return
    logged = sorted({without_loader(name) for name in trainer.callback_metrics} - {"epoch", "step"})
    name = type(module).__name__
    for monitor in metrics_watched(trainer):
        if OF_VALIDATION.match(monitor) and without_loader(monitor) not in logged:
            given = f"{monitor}, which validation of {name} does not log"
            raise ConfigError(str(_fault(_key_of(monitor, trainer), given, logged, monitor)))
    for metric in (f"val/{each}" for each in declared_by(module)):
        if metric not in logged:
            warn(_fault("task", f"{metric} by METRICS of {name}, whose validation does not log it", logged, metric))


def refuse_never_logged(trainer: Trainer, module: LightningModule) -> None:
    """
    Raises:
        ConfigError: a metric is watched that neither an epoch of training nor a validation has logged.
    """
    if not trainer.current_epoch or (trainer.enable_validation and not fresh.has_validated(trainer)):
        return
    logged = sorted({without_loader(name) for name in trainer.callback_metrics} - {"epoch", "step"})
    unvalidated = validates_nothing(trainer)
    for monitor in metrics_watched(trainer):
        # Of a run without validation, the last epoch is the best.
        if monitor not in trainer.callback_metrics and not (unvalidated and OF_VALIDATION.match(monitor)):
            given = f"{monitor}, which {type(module).__name__} does not log"
            raise ConfigError(str(_fault(_key_of(monitor, trainer), given, logged, monitor)))


def declared_by(module: Any) -> dict[str, str]:
    # A module that is no task may call something else so.
    return module.METRICS if hasattr(module, "kindling_sums") else {}


def _fault(path: str, given: str, logged: list[str], name: str) -> Fault:
    return Fault(path, given, ", ".join(logged) or "null, as its validation logs nothing", nearest(name, logged))


def _key_of(monitor: str, trainer: Trainer) -> str:
    """The setting that names a metric."""
    return next((path for path, (given, _) in watched(config_of(trainer)).items() if given == monitor), "monitor")


def is_partial(trainer: Trainer) -> bool:
    """Whether this is a sanity check of some batches of several."""
    return trainer.sanity_checking and sum(trainer.num_sanity_val_batches) < sum(trainer.num_val_batches)


def knows_of_sanity_checks(module: LightningModule) -> bool:
    """Whether a module may log less in a sanity check, for which its source asks."""
    kinds = [kind for kind in type(module).__mro__ if not kind.__module__.startswith(("lightning.", "torch."))]
    # To find a class in a file, Python parses all of it.
    asked = [kind for kind in kinds if ASKS in source_of(sys.modules.get(kind.__module__))]
    return any(ASKS in source_of(kind) for kind in asked)


def source_of(kind: Any) -> str:
    try:
        return inspect.getsource(kind)
    except (OSError, TypeError):
        return ""
