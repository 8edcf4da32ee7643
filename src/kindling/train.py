"""Train a model and test its best checkpoint."""

import math
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer, seed_everything
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint, ModelSummary, ProgressBar
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from omegaconf import DictConfig
from torch import Tensor, nn

from kindling import checkpoint
from kindling.classifier import Classifier
from kindling.compilation import compile_net
from kindling.config import machine
from kindling.config.check import check_config, refuse
from kindling.config.composition import in_sweep, instantiate
from kindling.console import print_results, set_up_logging, warn
from kindling.data.datamodule import ImageDataModule
from kindling.errors import CheckpointError, ConfigError, KindlingError
from kindling.overhead import lean
from kindling.run_folder import flatten, recorded, refuse_changes
from kindling.views import average_logits

COMPARED = ("seed", "data", "model", "criterion", "optimizer", "scheduler", "trainer")  # in HPARAMS
# Lightning refuses these callbacks if their flag is off.
SWITCHES = {
    "enable_checkpointing": Checkpoint,
    "enable_progress_bar": ProgressBar,
    "enable_model_summary": ModelSummary,
}


def train(cfg: DictConfig) -> dict[str, float]:
    """Train and test as the config says; returns the final metrics, such as test/accuracy.

    Raises:
        KindlingError: the config, the data or a checkpoint cannot be right.
    """
    warnings = check_config(cfg)
    with recorded(cfg) as run:
        set_up_logging()
        for warning in warnings:
            warn(warning)
        refuse(machine.faults(run.config))
        start = starting_checkpoint(cfg)
        seed_everything(cfg.seed, workers=True, verbose=False)
        torch.set_float32_matmul_precision(cfg.float32_matmul_precision)
        data: ImageDataModule = instantiate(cfg.data, "data")
        classifier = build_classifier(cfg, run.config)
        callbacks: list[Callback] = instantiate_all(cfg.callbacks, "callbacks")
        loggers: list[Logger] = instantiate_all(cfg.logger, "logger")
        trainer = build_trainer(cfg, callbacks, loggers)
        if start:
            load_start(classifier, start, run.config)
        if cfg.train:
            with run.timed("fit"), ending_children(trainer):
                trainer.fit(classifier, data, ckpt_path=start, weights_only=True)
            run.update(metrics=run.facts["metrics"] | numbers(trainer), best=best_score(trainer))
        if cfg.test:
            if not start and trainer.global_step == 0:
                raise ConfigError("trainer: nothing was trained, so there is nothing to test; allow at least one step")
            with run.timed("test"):
                trainer.test(classifier, data, best_checkpoint(trainer), verbose=False, weights_only=True)
            run.update(metrics=run.facts["metrics"] | numbers(trainer))
        run.update(data_fingerprint=data.fingerprint(), threads=torch.get_num_threads())
        metrics: dict[str, float] = run.facts["metrics"]
        refuse_divergence(metrics)
        log_settings(loggers, run.config, metrics, trainer.global_step)
        if trainer.is_global_zero:
            print_results(metrics, "run folder", run.folder)
    return metrics


def starting_checkpoint(cfg: DictConfig) -> Path | None:
    """The checkpoint that `resume` means.

    Raises:
        CheckpointError: it does not exist, or nothing is to be trained and there is none to test.
    """
    if cfg.resume:
        return checkpoint.find(cfg.resume, prefer="last" if cfg.train else "best")
    if not cfg.train:
        raise CheckpointError("train=false: given no checkpoint to test; allowed: resume=<run folder or checkpoint>")
    return None


def load_start(classifier: Classifier, start: Path, config: dict[str, Any]) -> None:
    """Load the weights of the checkpoint to start from.

    Raises:
        CheckpointError: it is damaged or of another model.
        ConfigError: it is of a run with other settings.
    """
    saved = checkpoint.load(start)
    refuse_changes(saved[checkpoint.DESCRIPTION]["config"], config)
    checkpoint.load_weights(classifier, saved["state_dict"], start)


def build_classifier(cfg: DictConfig, config: dict[str, Any]) -> Classifier:
    net = instantiate(cfg.model, "model")
    blank = torch.zeros(2, cfg.data.channels, cfg.data.image_size, cfg.data.image_size)  # (B, C, H, W)
    check_shapes(net, blank, cfg)
    if torch.cuda.is_available() and cfg.trainer.accelerator != "cpu":
        refuse([*machine.order_is_fixed(config, net)])
    if cfg.compile:
        compile_net(net, cfg.compile, Path(cfg.paths.cache).expanduser())
    return Classifier(
        net,
        criterion=instantiate(cfg.criterion, "criterion"),
        optimizer=instantiate(cfg.optimizer, "optimizer"),
        scheduler=instantiate(cfg.scheduler, "scheduler"),
        config=config,
    )


def check_shapes(net: nn.Module, blank: Tensor, cfg: DictConfig) -> None:
    """Pass blank images through the net.

    Raises:
        ConfigError: the net cannot take the data's shape, or gives another number of classes.
    """
    given = f"model: given {cfg.model._target_} for images of (C, H, W) = {tuple(blank.shape[1:])}"
    net.eval()
    try:
        with torch.inference_mode():
            logits = average_logits(net, blank, cfg.views)
    except (RuntimeError, ValueError, AssertionError) as error:
        raise ConfigError(
            f"{given}, which it cannot take ({error}); set data.image_size or take another model"
        ) from error
    net.train()
    if logits.shape != (len(blank), cfg.data.num_classes):
        raise ConfigError(f"{given}: gives logits {tuple(logits.shape)}; allowed: (2, {cfg.data.num_classes})")


def build_trainer(cfg: DictConfig, callbacks: list[Callback], loggers: list[Logger]) -> Trainer:
    switched_off = tuple(kind for flag, kind in SWITCHES.items() if not cfg.trainer[flag] or cfg.trainer.barebones)
    callbacks = [callback for callback in callbacks if not isinstance(callback, switched_off)]
    plugins = [checkpoint.WholeCheckpointIO()]
    trainer = lean(instantiate(cfg.trainer, "trainer", callbacks=callbacks, logger=loggers or False, plugins=plugins))
    if trainer.world_size > 1 and in_sweep():
        raise ConfigError(
            f"trainer.devices: given {trainer.world_size} processes in a sweep, each of which would run the whole "
            "sweep; allowed: 1; run the jobs one by one"
        )
    return trainer


def instantiate_all(group: DictConfig | None, path: str) -> list[Any]:
    """What a group of named nodes builds, without those set to null."""
    return [built for built in (instantiate(group, path) or {}).values() if built is not None]


@contextmanager
def ending_children(trainer: Trainer) -> Iterator[None]:
    """End the processes that Lightning has launched if this one fails; they would wait for it for ever."""
    try:
        yield
    except BaseException:
        launcher = trainer.strategy.launcher
        if launcher is not None:
            launcher.kill(signal.SIGKILL)
        raise


def refuse_divergence(metrics: dict[str, float]) -> None:
    """
    Raises:
        KindlingError: a loss is NaN or infinite.
    """
    for name, value in metrics.items():
        if not math.isfinite(value):
            raise KindlingError(
                f"{name}: is {value}; allowed: finite numbers; "
                "lower optimizer.lr or set trainer.gradient_clip_val, and look for NaN with debug=anomaly"
            )


def best_checkpoint(trainer: Trainer) -> str | None:
    """The best checkpoint of this run; None if none is kept and the weights in memory are to be tested."""
    best = trainer.checkpoint_callback
    return best.best_model_path or None if isinstance(best, ModelCheckpoint) else None


def best_score(trainer: Trainer) -> dict[str, Any] | None:
    best = trainer.checkpoint_callback
    if not isinstance(best, ModelCheckpoint) or best.best_model_score is None:
        return None
    return {"monitor": best.monitor, "score": best.best_model_score.item()}


def numbers(trainer: Trainer) -> dict[str, float]:
    """The last value of each metric of an epoch, such as val/loss."""
    of_epochs = (name for name in trainer.callback_metrics if "/" in name and not name.endswith("_step"))
    return {name: trainer.callback_metrics[name].item() for name in of_epochs if not name.startswith("lr-")}


def log_settings(loggers: list[Logger], config: dict[str, Any], metrics: dict[str, float], step: int) -> None:
    """Give the loggers the settings; TensorBoard's HPARAMS tab shows them beside the final metrics."""
    settings = {}
    for key, value in flatten({section: config[section] for section in COMPARED}).items():
        if key.endswith("._target_"):
            settings[key.removesuffix("._target_")] = value.rpartition(".")[2]  # model: CNN
        elif value is not None and not key.endswith("._partial_"):
            settings[key] = value
    for logger in loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.log_hyperparams(settings, metrics, step)
        else:
            logger.log_hyperparams(settings)
        logger.finalize("success")
