"""What to do about failures whose own words do not tell: memory that ran out, workers that died."""

import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from lightning.pytorch import Trainer

from kindling.errors import CheckpointError, KindlingError, one_line
from kindling.training.task import Task

CPU_MEMORY = ("DefaultCPUAllocator", "not enough memory", "Cannot allocate memory")  # torch's words, for the CPU
GONE_PROCESS = ("Connection closed by peer", "Connection reset by peer", "Broken pipe")  # gloo's
DEAD_WORKER = re.compile(r"DataLoader worker \(pid")  # torch's too; an error of a live one names no pid

# Functions, Lightning's and others', that hand out what a checkpoint holds.
TAKE_UP = ("resume_start", "_restore_modules_and_callbacks", "restore_training_state", "load_state_dict")


@contextmanager
def explained(trainer: Trainer, classifier: Task) -> Iterator[None]:
    """Say what would help.

    Raises:
        KindlingError: instead of an error of torch that calls for other settings.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        text = " ".join(str(error).split())
        if isinstance(error, torch.OutOfMemoryError | MemoryError) or any(words in text for words in CPU_MEMORY):
            traceback.clear_frames(error.__traceback__)  # which hold the batch's activations
            raise KindlingError(out_of_memory(trainer, classifier)) from error
        if DEAD_WORKER.match(text):
            raise KindlingError(
                f"data.num_workers: a worker process died ({text[:200]}); often memory has run out; "
                "give fewer, and go on with resume="
            ) from error
        if "gloo" in text and any(words in text for words in GONE_PROCESS):
            raise KindlingError(
                "trainer.devices: another process of this run has ended without a word to this one; often memory has "
                "run out, else it said above what was wrong; go on with resume="
            ) from error
        raise


@contextmanager
def taking_up(path: Any) -> Iterator[None]:
    """Name the checkpoint, if any, in which something is not as it should be.

    Raises:
        CheckpointError: instead of whatever Lightning and torch raise while they take up its states.
    """
    try:
        yield
    except KindlingError:
        raise
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        if path is None or not any(frame.name in TAKE_UP for frame in frames):
            raise
        raise CheckpointError(
            f"{path}: cannot be taken up ({type(error).__name__}: {one_line(error)}); use another checkpoint; "
            "HYDRA_FULL_ERROR=1 shows where"
        ) from error


def out_of_memory(trainer: Trainer, classifier: Task) -> str:
    data = classifier.config["data"]
    loop = trainer.fit_loop.epoch_loop
    if not loop.batch_progress.total.ready and not loop.val_loop.batch_progress.total.ready:
        return (
            "data, model: memory ran out before the first batch; take a smaller model, or leave large sets on disk "
            "with data.in_memory=false"
        )
    given = f"data.batch_size: given {data['batch_size']}, for which memory ran out"
    shape = (data["channels"], data["image_size"], data["image_size"])
    fitting = largest_fitting(trainer, classifier, data["batch_size"] // 2, shape)
    if not fitting:
        return f"{given}; no half of it fits either; take a smaller model, or smaller images with data.image_size"
    batches = num_parts(data["batch_size"], fitting)
    size = data["batch_size"] // batches
    kept = "the images of a step" if size * batches == data["batch_size"] else f"{size * batches} images a step"
    steps = trainer.accumulate_grad_batches * batches
    return f"{given}; {size} would likely fit; trainer.accumulate_grad_batches={steps} keeps {kept}"


def num_parts(batch_size: int, fitting: int) -> int:
    """Into how many parts that fit a batch is cut, so that they hold all of its images, or almost all."""
    most = 2 * -(-batch_size // fitting)  # smaller ones would take too long
    numbers = [each for each in range(batch_size // fitting, most + 1) if batch_size // each <= fitting]
    return max(numbers, key=lambda number: batch_size // number * number)  # the fewest of the best


def largest_fitting(trainer: Trainer, classifier: Task, most: int, shape: tuple[int, ...]) -> int:
    """The first of `most`, its half, its quarter, ... that passes through the net and back; 0 if none does."""
    device = trainer.strategy.root_device
    net = classifier.to(device).train().net
    while most > 1:  # batch norm cannot train on one image
        try:
            with trainer.precision_plugin.forward_context():
                net(torch.zeros(most, *shape, device=device)).sum().backward()
            return most
        except Exception:  # it says what is known already: no memory
            most //= 2
        finally:
            classifier.zero_grad()
            if device.type == "cuda":
                torch.cuda.empty_cache()
    return 0
