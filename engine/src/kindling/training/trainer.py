"""Lightning's Trainer as the config describes it."""

from typing import Any

from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import Checkpoint, ModelSummary, ProgressBar
from lightning.pytorch.loggers import Logger
from lightning.pytorch.profilers import PassThroughProfiler, Profiler
from omegaconf import DictConfig, open_dict

from kindling.checkpoints.checkpoint import WholeCheckpointIO
from kindling.checkpoints.resume_checkpoint import ResumeCheckpoint
from kindling.config.composition import in_sweep, instantiate
from kindling.errors import ConfigError, one_line
from kindling.lightning_internals import spawned
from kindling.lightning_internals.overhead import reduce_overhead
from kindling.training.others import ended_with_others

# Lightning refuses these callbacks if their flag is off.
SWITCHES = {
    "enable_checkpointing": Checkpoint,
    "enable_progress_bar": ProgressBar,
    "enable_model_summary": ModelSummary,
}


def build_trainer(
    cfg: DictConfig, callbacks: list[Callback], loggers: list[Logger], checkpoints: WholeCheckpointIO
) -> Trainer:
    switched_off = tuple(kind for flag, kind in SWITCHES.items() if not cfg.trainer[flag])
    callbacks = [callback for callback in callbacks if not isinstance(callback, switched_off)]
    given: dict[str, Any] = {"callbacks": callbacks, "logger": loggers or False, "plugins": [checkpoints]}
    # Else Lightning would add its own.
    absent = [flag for flag, kind in SWITCHES.items() if not any(isinstance(each, kind) for each in callbacks)]
    given |= dict.fromkeys(absent, False)
    if any(isinstance(callback, ResumeCheckpoint) for callback in callbacks):
        # That callback ends the run in time.
        given["max_time"] = None
    try:
        trainer = reduce_overhead(instantiate(cfg.trainer, "trainer", **given))
    except (RuntimeError, NotImplementedError) as error:
        # Of Slurm's settings and of devices.
        raise ConfigError(f"trainer: {one_line(error)}") from error
    if isinstance(cfg.trainer.val_check_interval, str):
        # Of a time Lightning sets none, and its callbacks look for one.
        trainer.val_check_interval = cfg.trainer.val_check_interval  # pyright: ignore[reportAttributeAccessIssue]
    name_report(trainer.profiler, cfg.paths.run)  # pyright: ignore[reportAttributeAccessIssue]
    trainer.callbacks.sort(key=lambda each: not isinstance(each, ResumeCheckpoint))  # pyright: ignore[reportAttributeAccessIssue]
    if spawned.are_spawned(trainer):
        trainer.strategy._launcher = spawned.Spawning(trainer, ended_with_others)
    if trainer.world_size > 1 and in_sweep():
        raise ConfigError(
            f"trainer.devices: given {trainer.world_size} processes in a sweep, each of which would run the whole "
            "sweep; allowed: 1, or sweep=grid without a launcher, which runs each as a command of its own"
        )
    if trainer.world_size > 1 and cfg.on_nan == "rollback":
        raise ConfigError(f"on_nan: given rollback with {trainer.world_size} processes; allowed: stop")
    return trainer


def without_output(cfg: DictConfig) -> DictConfig:
    """The same config for a run that writes and shows nothing."""
    hidden = {"enable_progress_bar": False, "enable_model_summary": False, "num_sanity_val_steps": 0}
    cfg = cfg.copy()
    with open_dict(cfg):
        cfg.trainer.merge_with(hidden)
        cfg.logger = {}
        if cfg.trainer.barebones:
            # Lightning refuses whatever would be seen or kept.
            cfg.trainer.log_every_n_steps, cfg.callbacks = 0, {}
        else:
            cfg.compile = None
    return cfg


def name_report(profiler: Profiler, folder: str | None) -> None:
    """Have Lightning's profilers write fit-profile.txt and the like; they log it where nobody sees it."""
    if folder and not isinstance(profiler, PassThroughProfiler) and not profiler.filename:
        profiler.dirpath, profiler.filename = profiler.dirpath or folder, "profile"
