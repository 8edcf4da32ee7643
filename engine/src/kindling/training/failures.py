"""Errors that say what would help: memory that ran out, workers that died, checkpoints that do not fit."""

import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer

from kindling.checkpoints.checkpoint import config_of
from kindling.data import shared_memory
from kindling.data.batches import first_examples
from kindling.errors import CheckpointError, ConfigError, KindlingError, counted, one_line, one_to
from kindling.lightning_internals.checkpoints import LOADS_STATES
from kindling.process import silence
from kindling.training.misfits import misfit
from kindling.training.requirements import sharing
from kindling.training.task import Task

# Torch's words when the CPU's memory runs out.
CPU_MEMORY = ("DefaultCPUAllocator", "not enough memory", "Cannot allocate memory")
# Gloo's words when another process has ended.
GONE_PROCESS = ("Connection closed by peer", "Connection reset by peer", "Broken pipe")
# Those of torch where processes have not found each other.
NO_GROUP = (
    "client socket has timed out",
    "client socket has failed to connect",
    "waiting for clients",
    "hostname lookup",
)
LONGEST_REASON = 120
# Lightning's words where processes wait for gradients that a step has none of.
UNUSED = "parameters that were not used in producing the loss"

# Torch's words for batch norm of a single example.
ONE_EXAMPLE = "Expected more than 1 value per channel when training"


@contextmanager
def explained(trainer: Trainer, task: LightningModule) -> Iterator[None]:
    """Add to an error what would help.

    Raises:
        KindlingError: instead of an error of torch that calls for other settings.
    """
    # Of loaders that are not ours.
    shared_memory.answer_for_unsent_batches()
    try:
        yield
    except (RuntimeError, MemoryError, ValueError, ImportError) as error:
        text = " ".join(str(error).split())
        if ran_out_of_memory(error, text):
            # The frames hold the batch's activations.
            traceback.clear_frames(error.__traceback__)
            raise KindlingError(out_of_memory(trainer, task)) from error
        if ONE_EXAMPLE in text:
            given = (config_of(trainer).get("data") or {}).get("batch_size")
            each = " for each process" if trainer.world_size > 1 else ""
            raise ConfigError(
                f"data.batch_size: given {given}, which leaves batch norm a single example to train on; allowed: 2 or "
                f"more{each}, none left over for the last batch; or a model without batch norm"
            ) from error
        if UNUSED in text:
            name = type(task).__name__
            raise ConfigError(
                f"trainer.strategy: given ddp with {name}, of whose parameters a step leaves some without a gradient; "
                "allowed: trainer.strategy=ddp_find_unused_parameters_true, or trainer.devices=1"
            ) from error
        remedy = shared_memory.remedy(error) or lost_process(text)
        if remedy:
            raise KindlingError(remedy) from error
        refused = refused_by_lightning(error, trainer)
        if refused:
            raise ConfigError(refused) from error
        raise


def refused_by_lightning(error: Exception, trainer: Trainer) -> str | None:
    """What Lightning says of settings, which it looks at late; None if the error is of other code, or a slip there."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    if "/lightning/" not in last.filename.replace("\\", "/") or not (last.line or "").startswith("raise "):
        return None
    text = one_line(error)
    if "`val_check_interval`" in text:
        given, batches = trainer.val_check_interval, trainer.fit_loop.max_batches  # pyright: ignore[reportAttributeAccessIssue]
        return (
            f"trainer.val_check_interval: given {given}, and an epoch has {counted(batches, 'batch')}; "
            f"allowed: {one_to(batches)}, a share such as 0.5, or trainer.check_val_every_n_epoch=null to count over "
            "epochs"
        )
    return f"trainer: {text}"


@contextmanager
def naming_misfits() -> Iterator[None]:
    """Name the tensors that do not fit.

    Raises:
        ConfigError: instead of what torch raises for them.
    """
    try:
        yield
    except (RuntimeError, ValueError, IndexError, TypeError) as error:
        words = None if ran_out_of_memory(error, str(error)) else misfit(error)
        if words:
            raise ConfigError(words) from error
        raise


def ran_out_of_memory(error: BaseException, text: str) -> bool:
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(words in text for words in CPU_MEMORY)


def lost_process(text: str) -> str | None:
    """What to do if an error says that another process is gone."""
    if any(words in text for words in NO_GROUP):
        address = ":".join(os.environ.get(name, "") for name in ("MASTER_ADDR", "MASTER_PORT"))
        return (
            f"trainer.devices: no group has come together at {address} ({text[:LONGEST_REASON]}); start all processes, "
            "or give trainer.devices=1 trainer.num_nodes=1 for one"
        )
    if "gloo" in text and any(words in text for words in GONE_PROCESS):
        return silence.found() or silence.GONE
    return None


@contextmanager
def naming_checkpoint(path: Any) -> Iterator[None]:
    """Name the checkpoint, if any, in which something is not as it should be.

    Raises:
        CheckpointError: instead of whatever Lightning and torch raise while they load its states.
    """
    try:
        yield
    except KindlingError:
        raise
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        if path is None or not any(frame.name in LOADS_STATES for frame in frames):
            raise
        raise CheckpointError(
            f"{path}: cannot be restored ({type(error).__name__}: {one_line(error)}); use another checkpoint; "
            "HYDRA_FULL_ERROR=1 shows where"
        ) from error


def out_of_memory(trainer: Trainer, task: LightningModule) -> str:
    batch_size = (config_of(trainer).get("data") or {}).get("batch_size")
    if trainer.state.fn == "test":
        return "data: memory ran out in a batch of the test; take fewer examples a batch, or a smaller model"
    loop = trainer.fit_loop.epoch_loop
    if not loop.batch_progress.total.ready and not loop.val_loop.batch_progress.total.ready:
        return (
            "data, model: memory ran out before the first batch; take a smaller model, or leave large sets on disk "
            "with data.cache=none"
        )
    if not isinstance(task, Task) or not isinstance(batch_size, int):
        return "data: memory ran out in a batch; take fewer examples a batch, or a smaller model"
    given = f"data.batch_size: given {batch_size}, for which memory ran out"
    processes = sharing(trainer)
    own = batch_size // processes
    fitting = largest_fitting(trainer, task, own // 2)
    if not fitting:
        return f"{given}; no half of it fits either; take a smaller model, or smaller examples"
    batches = num_parts(own, fitting)
    size = own // batches * processes
    kept = "the examples of a step" if size * batches == batch_size else f"{size * batches} examples a step"
    steps = trainer.accumulate_grad_batches * batches
    return f"{given}; {size} would likely fit; trainer.accumulate_grad_batches={steps} keeps {kept}"


def num_parts(batch_size: int, fitting: int) -> int:
    """Into how many parts that fit a batch is cut, so that they hold all of its examples, or almost all."""
    # More and smaller ones would take too long.
    most = 2 * -(-batch_size // fitting)
    numbers = [each for each in range(batch_size // fitting, most + 1) if batch_size // each <= fitting]

    # Of equal numbers `max` takes the first: the fewest parts.
    return max(numbers, key=lambda number: batch_size // number * number)


def largest_fitting(trainer: Trainer, task: Task, most: int) -> int:
    """The first of `most`, its half, its quarter, ... with which a step fits; 0 if none does."""
    device = trainer.strategy.root_device
    task.to(device).train()
    whole = next(iter(trainer.train_dataloader or []))
    # Batch norm cannot train on one image.
    while most > 1:
        try:
            batch = trainer.strategy.batch_to_device(first_examples(whole, most), device)
            with trainer.precision_plugin.forward_context():
                task.step(batch, "train").loss.backward()
            return most
        except Exception:
            # The reason is known already: no memory.
            most //= 2
        finally:
            task.zero_grad()
            if device.type == "cuda":
                torch.cuda.empty_cache()
    return 0
