"""Kindling's loop against the bare one: a step, a validation step, an epoch, a checkpoint. No Hydra here."""

import tempfile
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import AdamW, Optimizer

from benchmarks import bare
from benchmarks.fitting import EpochClock, defaults, fit, on_a_terminal, quiet
from benchmarks.measured import CNN, DEVICE, MLP, wait_for_device
from benchmarks.repeated import NUM_STEPS, Plain, Repeated
from benchmarks.table import Row, least
from kindling.checkpoints.resume_checkpoint import ResumeCheckpoint
from kindling.images.augment import Augment, Normalize
from kindling.images.images import ImageTensors
from kindling.images.loader import EpochLoader
from kindling.training.optimization import cosine, parameter_groups

MNIST = {"mean": [0.1307], "std": [0.3081]}


def step() -> list[Row]:
    """A step of a linear layer on ready batches of 64: what is left is the loop itself."""
    torch.set_num_threads(1)
    kinds = {"quiet": quiet, "defaults": defaults, "on a terminal": on_a_terminal}
    steps = {name: partial(step_of, settings) for name, settings in kinds.items()}
    micros = least({"bare": bare_step, "a plain loader": step_of_plain_loader} | steps, 15)
    over = {name: micros[name] - micros["bare"] for name in micros}
    return [
        Row("a bare step with the same metrics and schedule", micros["bare"], "µs"),
        Row("the same", 64e6 / micros["bare"], "images/s"),
        Row("Kindling, without loggers and callbacks", over["quiet"], "µs more"),
        Row("Kindling, all defaults", over["defaults"], "µs more", "<= 430"),
        Row("Kindling, all defaults", micros["defaults"] / micros["bare"], "times"),
        Row("Kindling, all defaults, with the bar of a terminal", over["on a terminal"], "µs more"),
        Row("Kindling, all defaults, with a loader that knows nothing of resuming", over["a plain loader"], "µs more"),
    ]


def validation() -> list[Row]:
    """A validation step of the same layer."""
    torch.set_num_threads(1)
    micros = least({"bare": bare_validation_step, "defaults": validation_step}, 15)
    return [
        Row("a bare validation step with the same metrics", micros["bare"], "µs"),
        Row("Kindling's validation step, all defaults", micros["defaults"], "µs"),
        Row("Kindling's validation step, all defaults", micros["defaults"] / micros["bare"], "times", "<= 6"),
    ]


def mlp() -> list[Row]:
    """An epoch of 55,000 + 5,000 MNIST-sized images, batch 128: hidden layers 64, 128, 64, one thread."""
    torch.set_num_threads(1)
    train, val = random_images(55_000), random_images(5_000)
    ready, ready_val = floats(train), floats(val)
    make = partial(MLP, 1, 28, 10, [64, 128, 64], 0.0)
    seconds = least(
        {
            "bare": lambda: bare_epoch(make(), lambda: bare.shuffled(*ready, 128), ready_val),
            "quiet": lambda: epoch_of(make(), loaders(train, val, augment=None), quiet),
            "defaults": lambda: epoch_of(make(), loaders(train, val, augment=None), defaults),
        },
        rounds=9,
    )
    return [
        Row("a bare epoch on float tensors", seconds["bare"], "s"),
        Row("the same", 55_000 / seconds["bare"], "images/s"),
        Row("Kindling, without loggers and callbacks", seconds["quiet"] / seconds["bare"], "times", "<= 1.35"),
        Row("Kindling, all defaults", seconds["defaults"] / seconds["bare"], "times", "<= 1.5"),
    ]


def cnn_parts() -> tuple[Callable[[], nn.Module], Callable[[], tuple[EpochLoader, EpochLoader]]]:
    """What makes the net and the loaders of experiment=cnn: 27 steps an epoch."""
    train, val = random_images(3_500), random_images(500)
    augment = Augment(
        crop_padding=2,
        padding_mode="constant",
        horizontal_flip=0.0,
        alternating_flip=False,
        rotation=10,
        random_erasing=0.0,
    )
    return partial(CNN, 1, 10, [16, 32, 64], 0.2), partial(loaders, train, val, augment)


def cnn() -> list[Row]:
    """An epoch of experiment=cnn, with its augmentation, validation and checkpoints, on all cores."""
    make, data = cnn_parts()
    ready, val = list(data()[0]), list(data()[1])
    ready_val = torch.cat([images for images, _ in val]), torch.cat([labels for _, labels in val])
    channels_last = partial(nn.Module.to, memory_format=torch.channels_last)
    seconds = least(
        {
            "bare": lambda: bare_epoch(channels_last(make()), lambda: ready, ready_val),
            "defaults": lambda: epoch_of(make(), data(), defaults),
            "checkpoint": lambda: checkpoint_of(make(), data()),
        },
        rounds=9,
    )
    return [
        Row("a bare epoch on ready batches", seconds["bare"], "s"),
        Row("the same", 3_500 / seconds["bare"], "images/s"),
        Row("Kindling, all defaults", seconds["defaults"] / seconds["bare"], "times", "<= 1.08"),
        Row("one more checkpoint in mid-epoch", 100 * seconds["checkpoint"] / seconds["defaults"], "% of it", "<= 3"),
    ]


def linear() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(28 * 28, 10))


def optimizer_of(net: nn.Module) -> Optimizer:
    return AdamW(parameter_groups(net), lr=0.001, fused=True)


def bare_step() -> float:
    net, batches = linear().to(DEVICE), Repeated()
    optimizer = optimizer_of(net)
    bare.train_epoch(net, optimizer, cosine(optimizer, NUM_STEPS, warmup=0.05, final=0.0), batches)
    return batches.micros


def step_of(settings: Callable[[Path], dict[str, Any]]) -> float:
    train = Repeated()
    fit(linear(), train, Repeated(2), settings, max_epochs=1)
    return train.micros


def step_of_plain_loader() -> float:
    """With batches of a loader that Kindling makes resumable."""
    train = Repeated()
    fit(linear(), Plain(train), Repeated(2), defaults, max_epochs=1)
    return train.micros


def bare_validation_step() -> float:
    batches = Repeated()
    bare.validate(linear().to(DEVICE), batches)
    return batches.micros


def validation_step() -> float:
    val = Repeated()
    fit(linear(), Repeated(2), val, defaults, max_epochs=1)
    return val.micros


def bare_epoch(
    net: nn.Module, batches: Callable[[], Iterable[bare.Batch]], val: tuple[torch.Tensor, torch.Tensor]
) -> float:
    """Seconds of the second epoch, with its validation."""
    optimizer, seconds = optimizer_of(net.to(DEVICE)), 0.0
    scheduler = cosine(optimizer, 2 * 430, warmup=0.05, final=0.0)
    for _ in range(2):
        wait_for_device()
        started = time.perf_counter()
        bare.train_epoch(net, optimizer, scheduler, batches())
        bare.validate(net, zip(*(part.split(128) for part in val), strict=True))
        wait_for_device()
        seconds = time.perf_counter() - started
    return seconds


def epoch_of(
    net: nn.Module, data: tuple[EpochLoader, EpochLoader], settings: Callable[[Path], dict[str, Any]]
) -> float:
    """Seconds of the second epoch, with its validation, logs and checkpoints."""
    clock = EpochClock()
    fit(net, *data, settings, max_epochs=2, further=clock)
    return clock.instants[2] - clock.instants[1]


class MidEpoch(ResumeCheckpoint):
    """A checkpoint within each of two epochs of 27 steps, and the seconds that its hook took in all."""

    def __init__(self, folder: Path):
        super().__init__(folder=str(folder), every_n_steps=20, every_minutes=None, keep=3, max_time=None, strict=False)
        self.seconds = 0.0

    def on_train_batch_start(self, *arguments: Any) -> None:
        started = time.perf_counter()
        super().on_train_batch_start(*arguments)
        self.seconds += time.perf_counter() - started


def checkpoint_of(net: nn.Module, data: tuple[EpochLoader, EpochLoader]) -> float:
    """Seconds of an epoch that one more checkpoint takes."""
    with tempfile.TemporaryDirectory() as folder:
        middle = MidEpoch(Path(folder))
        fit(net, *data, defaults, max_epochs=2, further=middle)
    return middle.seconds / 2


def random_images(num_images: int) -> ImageTensors:
    pixels = torch.randint(0, 256, (num_images, 28, 28, 1), dtype=torch.uint8)
    return ImageTensors(pixels, torch.randint(0, 10, (num_images,)))


def floats(images: ImageTensors) -> bare.Batch:
    return Normalize(**MNIST)(images.images).to(DEVICE), images.labels.to(DEVICE)


def loaders(train: ImageTensors, val: ImageTensors, augment: Augment | None) -> tuple[EpochLoader, EpochLoader]:
    settings = {"batch_size": 128, "normalize": Normalize(**MNIST), "device": DEVICE}
    shuffled = EpochLoader(train, train=True, shuffle=True, augment=augment, **settings)
    return shuffled, EpochLoader(val, **settings)
