"""What a trained run is worth: its best checkpoint, its metrics, and the settings beside them."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from torch.nn.parameter import is_lazy

from kindling.checkpoints.checkpoint import config_of
from kindling.config import project
from kindling.config.composition import in_sweep
from kindling.console import is_hushed, report, shown
from kindling.loggers import tensorboard_run, tracking
from kindling.process import terminal
from kindling.process.ranks import is_first_process
from kindling.run_folders.best import best_file
from kindling.run_folders.record import RunRecord
from kindling.run_folders.resumption import flatten
from kindling.training.task import Task

# Commands that take a trained model; those of inputs need a task that reads them.
EVALUATE, OF_INPUTS = "evaluate.py run={}", ("predict.py run={} input=...", "serve.py run={}")
# What TensorBoard's HPARAMS shows, without what follows from another setting or differs in each run.
COMPARED = ("seed", "task", "data", "model", "init", "optimizer", "scheduler", "mix", "trainer")
UNCOMPARED = ("data.seed", "trainer.default_root_dir")


def best_callback(trainer: Trainer) -> ModelCheckpoint | None:
    kept = [each for each in trainer.checkpoint_callbacks if isinstance(each, ModelCheckpoint)]
    return kept[0] if kept else None


def best_checkpoint(trainer: Trainer) -> str | None:
    """The best checkpoint of this run; None if none is kept and the weights in memory are to be tested."""
    best = best_callback(trainer)
    return str(file_of(best)) if best and best.best_model_path else None


def untested_best(trainer: Trainer) -> str | None:
    """Why the last weights are tested where the best should be; None if they are not, or nobody wants others."""
    best = best_callback(trainer)
    if best is None or best.best_model_path or best.monitor is None or best.save_top_k == 0:
        return None
    if trainer.fast_dev_run:  # pyright: ignore[reportAttributeAccessIssue]
        because = "trainer.fast_dev_run keeps no checkpoint"
    elif best.monitor in trainer.callback_metrics:
        because = f"no checkpoint was due, though {best.monitor} was known"
    else:
        because = f"{best.monitor} was never known, as nothing was validated in time"
    return f"{because}; the last weights are tested, not the best"


def file_of(best: ModelCheckpoint) -> Path:
    """The best file, by the name that stays that of the best as training goes on, if there is one."""
    return Path(getattr(best, "best_file", best.best_model_path))


def best_score(trainer: Trainer) -> dict[str, Any] | None:
    """What was watched, its best value, and the epoch of that, from 0 on as in metrics.csv."""
    best = best_callback(trainer)
    if best is None or best.best_model_score is None:
        return None
    file, epoch = file_of(best), None
    if file.is_file():
        # Without reading its tensors.
        epoch = torch.load(file, map_location="meta", weights_only=True, mmap=True)["epoch"]
    return {"monitor": best.monitor, "score": best.best_model_score.item(), "epoch": epoch}


def stopped_early(trainer: Trainer) -> str | None:
    """Why training ended before its last epoch; None if it did not."""
    epochs, last = trainer.current_epoch, trainer.max_epochs
    if not trainer.should_stop or last == epochs:
        return None
    # A callback that has stopped an earlier attempt still has its message.
    said = (each for each in trainer.early_stopping_callbacks if each.stopped_epoch >= epochs - 1)
    reasons = [each.stopping_reason_message for each in said if each.stopping_reason_message]
    reason = reasons[0].removesuffix(" Signaling Trainer to stop.") if reasons else "trainer.should_stop was set"
    of = f" of {last}" if last and last > 0 else ""
    return f"after {epochs}{of} epoch{'s' * (of != '' or epochs != 1)}: {reason}"


def reached_limit(trainer: Trainer) -> str | None:
    """The setting that ended training; None if it ended before, as of a debug= that needs no more."""
    steps, epochs, done = trainer.max_steps, trainer.max_epochs, trainer.current_epoch
    if steps is not None and 0 <= steps <= trainer.global_step:
        return f"after {steps} step{'s' * (steps != 1)}: trainer.max_steps"
    if epochs and 0 < epochs <= done:
        return f"after {done} epoch{'s' * (done != 1)}: trainer.max_epochs"
    return None


def end_of(trainer: Trainer) -> dict[str, Any]:
    """What run.json holds of how training ended, which is also said."""
    best, stopped = best_score(trainer), stopped_early(trainer)
    ended = stopped or reached_limit(trainer)
    if ended:
        report("training %s %s", "stopped early," if stopped else "ended", ended)
    if best and best["epoch"] is not None:
        said = f"best: {best['monitor']} {best['score']:.4g} in epoch {best['epoch']}"
        report("%s", said)
        if is_hushed() and is_first_process():
            terminal.say(said)
    sizes = (each.numel() for each in trainer.lightning_module.parameters() if not is_lazy(each))
    facts = {"best": best, "best_checkpoint": named_best(trainer), "stopped_early": stopped, "ended": ended}
    return facts | {"num_parameters": sum(sizes)}


def say_next(run: RunRecord, task: LightningModule, loggers: list[Logger]) -> None:
    """What one would type next, where somebody has typed this run."""
    if not HydraConfig.initialized() or in_sweep():
        return
    reads_inputs = isinstance(task, Task) and type(task).processor is not Task.processor
    commands = [EVALUATE, *OF_INPUTS * reads_inputs] if best_file(run.folder).is_file() else []
    there = [each for each in commands if (project.current().root / each.partition(" ")[0]).is_file()]
    lines = [f"python {each}".format(shown(run.folder)) for each in there]
    if any(isinstance(logger, TensorBoardLogger) for logger in loggers):
        lines.append(f"tensorboard --logdir {shown(Path(run.config['paths']['logs']))}")
    for number, line in enumerate(lines):
        report("%s%s", "      " if number else "next: ", line)


def named_best(trainer: Trainer) -> str | None:
    """The best file as run.json names it: within the run folder, if it lies there."""
    best, run = best_checkpoint(trainer), str((config_of(trainer).get("paths") or {}).get("run"))
    home = os.path.realpath(run)
    return os.path.relpath(best, home) if best and Path(best).is_relative_to(home) else best


def final_metrics(trainer: Trainer) -> dict[str, float]:
    """The last value of each metric of an epoch, such as val/loss."""
    of_epochs = (name for name in trainer.callback_metrics if not name.endswith("_step"))
    return {name: trainer.callback_metrics[name].item() for name in of_epochs if not name.startswith("lr-")}


def worth(facts: Mapping[str, Any]) -> dict[str, float]:
    """The metrics of a run.json, with the best value of what was monitored in the place of its last."""
    best = facts.get("best")
    return {**facts["metrics"], **({best["monitor"]: best["score"]} if best and best["monitor"] else {})}


def log_settings(loggers: list[Logger], config: dict[str, Any]) -> None:
    """Give the loggers the settings; TensorBoard's HPARAMS tab shows them beside the final metrics."""
    settings = {}
    for key, value in flatten({section: config[section] for section in COMPARED}).items():
        if key.endswith("._target_"):
            # As model: CNN.
            settings[key.removesuffix("._target_")] = value.rpartition(".")[2]
        elif value is not None and not key.endswith("._partial_") and key not in UNCOMPARED:
            settings[key] = value
    for logger in loggers:
        if isinstance(logger, TensorBoardLogger):
            # Other processes have no file.
            if is_first_process():
                tensorboard_run.log_settings(logger, settings)
        elif not isinstance(logger, tracking.Tracker):
            # A tracker has had them all.
            logger.log_hyperparams(settings)
        logger.finalize("success")
