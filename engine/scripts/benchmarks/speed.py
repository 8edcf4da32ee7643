"""experiment=cifar10_speed against a loop of the same recipe written by hand: seconds and accuracy over seeds."""

import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any, NamedTuple
from unittest.mock import patch

import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from benchmarks import bare
from benchmarks.fitting import EpochClock
from benchmarks.measured import DEVICE, wait_for_device
from benchmarks.recipes import seeds_of
from benchmarks.table import Row
from kindling.cli.entry import compose
from kindling.config.composition import instantiate
from kindling.images.augment import FLIP_DRAW, NUM_DRAWS, Augment, Normalize
from kindling.images.views import average_logits
from kindling.train import train
from kindling.training.optimization import linear, parameter_groups
from kindling.training.task import Task


class Trained(NamedTuple):
    seconds: float  # of training and the validation at its end
    accuracy: float  # on the test images


def speed(overrides: list[str]) -> list[Row]:
    """Both ways in turn for each seed, after one of each that compiles and warms up."""
    seeds, overrides = seeds_of(overrides)
    settings = ["experiment=cifar10_speed", *overrides]
    ours: list[Trained] = []
    by_hand: list[Trained] = []
    for seed in [seeds, *range(seeds)]:
        pair = by_kindling([*settings, f"seed={seed}"]), by_a_loop(compose([*settings, f"seed={seed}"]))
        print(f"seed {seed}: Kindling {pair[0]}, by hand {pair[1]}", file=sys.stderr)
        # The first pair warms up.
        if seed != seeds:
            ours.append(pair[0])
            by_hand.append(pair[1])
    rows = []
    for name, runs in (("Kindling", ours), ("by hand", by_hand)):
        rows += [
            Row(
                f"{name}: seconds of training, mean over {seeds} seeds", statistics.mean(each[0] for each in runs), "s"
            ),
            Row(f"{name}: the same, standard deviation", statistics.stdev(each[0] for each in runs), "s"),
            Row(f"{name}: test accuracy, mean", statistics.mean(each[1] for each in runs)),
            Row(f"{name}: test accuracy, standard deviation", statistics.stdev(each[1] for each in runs)),
        ]
    ratio = min(each[0] for each in ours) / min(each[0] for each in by_hand)
    return [*rows, Row("Kindling's least seconds against those by hand", ratio, "times", "<= 1.02")]


def by_kindling(overrides: list[str]) -> Trained:
    """A whole run with all defaults; its seconds are from the first step to the end of training."""
    clock = WholeClock()
    with tempfile.TemporaryDirectory() as logs, patch.object(Task, "configure_callbacks", lambda self: [clock]):
        metrics = train(compose([*overrides, f"paths.logs={logs}"]))
    return Trained(clock.instants[-1] - clock.instants[0], metrics["test/accuracy"])


class WholeClock(EpochClock):
    """The instants of the start and of the end alone, so that no epoch waits for the GPU."""

    def on_train_start(self, *_: Any) -> None:
        wait_for_device()
        self.instants.append(time.perf_counter())

    def on_train_epoch_start(self, *_: Any) -> None:
        pass


def by_a_loop(cfg: DictConfig) -> Trained:
    """The same net, optimizer, schedule, pictures and precision, without Lightning."""
    torch.manual_seed(cfg.seed)
    data: Any = instantiate(cfg.data, "data")
    data.setup("fit")
    data.setup("test")
    net: Any = instantiate(cfg.model, "model")
    normalize = Normalize(data.mean, data.std)
    net.whitening.fit(normalize(data.splits.train.images[: cfg.callbacks.whitening.num_images]))
    net.to(DEVICE, memory_format=torch.channels_last)
    if cfg.compile:
        net.compile(mode=cfg.compile)
    torch.backends.cudnn.benchmark = True
    normalize.to(DEVICE)
    splits = {name: on_device(getattr(data.splits, name)) for name in ("train", "val", "test")}
    size, epochs = cfg.data.batch_size, cfg.trainer.max_epochs
    total = epochs * (len(splits["train"][1]) // size)
    optimizer = instantiate(cfg.optimizer, "optimizer")(parameter_groups(net))
    scheduler = linear(optimizer, total, cfg.scheduler.scheduler.warmup, cfg.scheduler.scheduler.final)
    criterion = nn.CrossEntropyLoss(label_smoothing=cfg.task.criterion.label_smoothing)
    wait_for_device()
    started, sides = time.perf_counter(), torch.rand(len(splits["train"][1]), device=DEVICE)
    for epoch in range(epochs):
        net.train()
        sums = bare.Sums()
        for images, labels in augmented(*splits["train"], size, data.augment, normalize, (sides + epoch / 2) % 1):
            with torch.autocast(DEVICE.type, torch.bfloat16):
                logits = net(images)
                loss = criterion(logits, labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
            sums.add(loss, logits, labels)
    measured(net, *splits["val"], size, normalize, "none")
    wait_for_device()
    seconds = time.perf_counter() - started
    return Trained(seconds, measured(net, *splits["test"], size, normalize, cfg.task.views))


def on_device(images: Any) -> tuple[Tensor, Tensor]:
    return images.images.to(DEVICE), images.labels.to(DEVICE)


def augmented(
    images: Tensor, labels: Tensor, size: int, augment: Augment, normalize: Normalize, sides: Tensor
) -> Iterator[bare.Batch]:
    """Whole batches of an epoch, with numbers that are drawn on the device."""
    draws = torch.rand(len(labels), NUM_DRAWS, device=DEVICE)
    draws[:, FLIP_DRAW] = sides
    for indices in torch.randperm(len(labels), device=DEVICE).split(size):
        if len(indices) == size:
            yield normalize(augment(images.index_select(0, indices), draws[indices])), labels[indices]


@torch.inference_mode()
def measured(net: nn.Module, images: Tensor, labels: Tensor, size: int, normalize: Normalize, views: Any) -> float:
    net.eval()
    hits = torch.zeros((), dtype=torch.int64, device=DEVICE)
    for part, targets in zip(images.split(size), labels.split(size), strict=True):
        with torch.autocast(DEVICE.type, torch.bfloat16):
            hits += (average_logits(net, normalize(part), views).argmax(1) == targets).sum()
    return int(hits) / len(labels)
