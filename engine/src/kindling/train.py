"""Train a model and test its best checkpoint."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer, seed_everything
from lightning.pytorch.loggers import Logger
from omegaconf import DictConfig
from torch import nn

from kindling.checkpoints.checkpoint import Saved, WholeCheckpointIO
from kindling.checkpoints.states import FittingStates
from kindling.config import project
from kindling.config.check.command_line import refuse
from kindling.config.check.composed import check_config
from kindling.config.composition import instantiate
from kindling.config.extras import has_room
from kindling.config.given import GIVEN, taken_by
from kindling.config.processes import PER_PROCESS
from kindling.console import print_results, report, set_up_logging, shown, warn
from kindling.data.datamodule import DataModule
from kindling.errors import ConfigError
from kindling.loggers import tracking
from kindling.process import silence
from kindling.process.start_and_end import uncollected
from kindling.run_folders.lifecycle import recorded
from kindling.run_folders.record import RunRecord
from kindling.training import machine
from kindling.training.compilation import compile_net
from kindling.training.example import give_shapes, has_lazy_layers, keep_lazy_layers_for_training, pass_example
from kindling.training.fit import fit, guarded
from kindling.training.found import fill_in, naming_open_settings
from kindling.training.from_python import FromPython
from kindling.training.initial_state import load_start
from kindling.training.initialisation import initialise
from kindling.training.others import in_each_process
from kindling.training.parts import Parts, untested_because
from kindling.training.replay import WRITERS
from kindling.training.requirements import refuse_unfit
from kindling.training.results import (
    best_checkpoint,
    end_of,
    final_metrics,
    log_settings,
    say_next,
    untested_best,
    worth,
)
from kindling.training.schedule import Schedule, schedule_for
from kindling.training.start import hide_void_events
from kindling.training.task import Task
from kindling.training.trainer import build_trainer, without_output

# What a task is given of the groups of the same name.
BUILT_FROM_NODES = {"optimizer", "scheduler", "mix", "metrics"}


def train(cfg: DictConfig, *, task: Any = None, data: Any = None, root: str | Path | None = None) -> dict[str, float]:
    """Train and test as the config says; returns the final metrics, such as test/accuracy, and the best `monitor`.

    Args:
        cfg: as `kindling.compose` gives it.
        task: a LightningModule in place of the config's task and model, trained itself.
        data: a LightningDataModule in place of the config's data; or the training split, or {"train": ..., "val": ...,
            "test": ...}, each a data set, a tuple of tensors or a loader; "collate_fn" puts examples together.
        root: the folder of the project, from then on that of this process; by default the one last used.

    Raises:
        KindlingError: the config, the data or a checkpoint cannot be right, or the loss became NaN.
    """
    if not isinstance(cfg, DictConfig):
        raise ConfigError(f"cfg: given a {type(cfg).__name__}; allowed: what kindling.compose([...]) gives")
    if root is not None:
        project.use_own(root)
    given = FromPython(task, data)
    cfg = given.settle(cfg)
    warnings = check_config(cfg, given=given.keys)
    set_up_logging()
    with recorded(cfg) as run, silence.ended():
        for warning in (*run.left_out, *warnings):
            warn(warning)
        refuse(machine.faults(run.config))
        if run.is_done:
            report("resume: %s has finished; nothing is left to do", shown(run.folder))
            return worth(run.facts)
        torch.set_float32_matmul_precision(cfg.float32_matmul_precision)
        build = partial(build_parts, cfg, run.config, given)
        if cfg.train:
            with run.timed("fit"):
                data, task, loggers, trainer = fit(build, run, cfg)
            run.update(metrics=run.facts["metrics"] | final_metrics(trainer), **end_of(trainer))
            if worse := pruned(trainer):
                report("pruned %s", worse)
                run.end("pruned", worse)
                return worth(run.facts)
        else:
            data, task, loggers, trainer = build(None, [])
            tracking.begin(trainer.loggers, run)
        if cfg.test and not untested_because(task, data):
            test_best(Parts(data, task, loggers, trainer), run, cfg)
        return conclude(Parts(data, task, loggers, trainer), run)


def pruned(trainer: Trainer) -> str | None:
    """Why a trial of a sweep was ended before its time."""
    if not has_room("sweeps"):
        return None
    from kindling.sweeps import pruning

    return pruning.pruned(trainer)


def pruning_of(config: dict[str, Any]) -> list[Callback]:
    """What ends a trial of a sweep before its time."""
    if not has_room("sweeps"):
        return []
    from kindling.sweeps import pruning

    return pruning.pruning_of(config)


def test_best(parts: Parts, run: RunRecord, cfg: DictConfig) -> None:
    """Test the best checkpoint; the weights in memory if none is kept.

    Raises:
        ConfigError: nothing was trained.
    """
    data, task, _, trainer = parts
    if cfg.train and trainer.global_step == 0:
        raise ConfigError("trainer: nothing was trained, so there is nothing to test; allow at least one step")
    best = best_checkpoint(trainer)
    if cfg.train and (reason := untested_best(trainer)):
        warn(f"test: {reason}")
    # Data may be drawn when it is set up.
    seed_everything(cfg.seed, workers=True, verbose=False)
    with run.timed("test"), in_each_process(trainer, run, partial(guarded, task=task, path=best)):
        trainer.test(task, data, best, verbose=False, weights_only=True)
    run.update(metrics=run.facts["metrics"] | final_metrics(trainer))


def conclude(parts: Parts, run: RunRecord) -> dict[str, float]:
    """Record and show what a run is worth; returns its metrics."""
    data, task, loggers, trainer = parts
    run.update(data_fingerprint=getattr(data, "fingerprint", None), threads=torch.get_num_threads())
    metrics: dict[str, float] = run.facts["metrics"]
    log_settings(loggers, run.config)
    if trainer.is_global_zero:
        # How the losses of the table differ, if they do.
        if note := getattr(getattr(task, "criterion", None), "note", None):
            report("%s", note)
        print_results(metrics, "run folder", run.folder)
        say_next(run, task, loggers)
    return worth(run.facts)


def build_parts(
    cfg: DictConfig,
    config: dict[str, Any],
    given: FromPython,
    start: Saved | None,
    rollbacks: list[list[int]],
    *,
    replay: Callback | None = None,
) -> Parts:
    """Build what the config describes, with the weights to start from.

    Args:
        cfg: of the run.
        config: the same, as plain values.
        given: parts that the config does not describe.
        start: the checkpoint that it goes on from.
        rollbacks: [epoch, batch] of the batches that gave NaN.
        replay: takes the place of the callbacks and loggers that write.

    Raises:
        KindlingError: the config, the data or the weights cannot be right.
    """
    if replay or cfg.trainer.barebones:
        cfg = without_output(cfg)
    if cfg.trainer.barebones:
        report("trainer.barebones: nothing is logged or kept; left out: callbacks, logger")
    seed_everything(cfg.seed, workers=True, verbose=False)
    data: LightningDataModule | None = given.build_data(cfg) or instantiate_data(cfg.data)
    if isinstance(data, DataModule):
        data.batch_size_is_per_process = bool(config.get(PER_PROCESS))
    cfg, config, found = fill_in(cfg, config, data)
    with naming_open_settings(cfg, data):
        task = given.build_task(replay=replay is not None) if given.task is not None else build_task(cfg, config)
    if cfg.train:
        refuse_unfit(task, data)
    missing = untested_because(task, data)
    if cfg.test and missing and not cfg.train:
        raise ConfigError(f"test: given true, and {missing}; allowed: train=true, or write it")
    if cfg.test and missing and not replay:
        report("test: %s; nothing is tested", missing)
    bookkeeping = load_start(task, config, start, rollbacks)
    callbacks = [bookkeeping, FittingStates(), *instantiate_all(cfg.callbacks, "callbacks"), *pruning_of(config)]
    with uncollected():
        loggers: list[Logger] = instantiate_all(cfg.logger, "logger")
    if replay:
        callbacks = [*(each for each in callbacks if not isinstance(each, WRITERS)), replay]
    hide_void_events(loggers, start)
    trainer = build_trainer(cfg, callbacks, loggers, WholeCheckpointIO(config, data, found))
    keep_lazy_layers_for_training(trainer, task)
    return Parts(data, task, loggers, trainer)


def instantiate_data(node: DictConfig | None) -> LightningDataModule | None:
    return instantiate(node, "data") if node and "_target_" in node else None


def build_task(cfg: DictConfig, config: dict[str, Any]) -> LightningModule:
    """The LightningModule, with what it takes of the net, the optimizer and other parts."""
    taken = taken_by(cfg.task._target_)
    parts: dict[str, Any] = {name: instantiate(cfg[GIVEN[name]], name) for name in taken & BUILT_FROM_NODES}
    if cfg.trainer.overfit_batches:
        parts |= dict.fromkeys(taken & {"mix"})
    if parts.get("scheduler"):
        parts["scheduler"] = schedule_for(cfg.task._target_, parts["scheduler"])
    plain = {"layer_lr_decay": cfg.layer_lr_decay, "config": config}
    make = partial(instantiate, cfg.task, "task", **parts, **{k: v for k, v in plain.items() if k in taken})
    net = {"net": build_net(cfg, config, make)} if "net" in taken else {}
    task: LightningModule = make(**net)
    if isinstance(parts.get("scheduler"), Schedule):
        parts["scheduler"].owner = task
    if isinstance(task, Task):
        pass_example(task)
    if cfg.compile and net:
        compile_net(net["net"], cfg.compile, Path(cfg.paths.cache).expanduser())
    return task


def build_net(cfg: DictConfig, config: dict[str, Any], make: Callable[..., LightningModule]) -> nn.Module:
    net = instantiate(cfg.model, "model")
    if has_lazy_layers(net):
        give_shapes(net, make)
    if cfg.init:
        initialise(net, cfg.init)
    if torch.cuda.is_available() and cfg.trainer.accelerator != "cpu":
        refuse([*machine.order_is_fixed(config, net)])
    return net


def instantiate_all(group: DictConfig | None, path: str) -> list[Any]:
    """What a group of named nodes builds, without those set to null."""
    return [built for built in (instantiate(group, path) or {}).values() if built is not None]
