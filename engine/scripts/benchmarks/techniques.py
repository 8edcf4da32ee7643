"""What some techniques save or cost: activations computed again, transforms of single images, mixed batches."""

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from benchmarks.table import Row, least
from kindling.cli.entry import compose
from kindling.config.composition import instantiate
from kindling.debug.bytes_held import kept_for_backward

MODELS, DATA = ("cnn", "resnet", "vit"), "mnist_5k"
BATCH_SIZE, NUM_BATCHES, ROUNDS = 128, 8, 5
TRANSFORMS = ("trivial", "rand", "color_jitter", "resized_crop")


def techniques() -> list[Row]:
    """Memory and time against the same without the technique; one thread."""
    torch.set_num_threads(1)
    return [*recomputation(), *transforms(), *mixes()]


def recomputation() -> list[Row]:
    """A step on 128 images of MNIST's size: bytes kept for the backward pass, and seconds."""
    rows = []
    for model in MODELS:
        nets = {on: net_of(model, on) for on in ("false", "true")}
        kept = {on: kept_bytes(net) for on, net in nets.items()}
        seconds = least({on: lambda net=net: clocked(lambda: step(net)) for on, net in nets.items()}, ROUNDS)
        rows += [
            Row(f"{model}: kept for backward with checkpoint_activations", kept["true"] / kept["false"], "times"),
            Row(f"{model}: a step with checkpoint_activations", seconds["true"] / seconds["false"], "times"),
        ]
    return rows


def net_of(model: str, checkpoint_activations: str) -> nn.Module:
    cfg = compose([f"model={model}", f"model.checkpoint_activations={checkpoint_activations}"])
    return instantiate(cfg.model, "model")


def step(net: nn.Module) -> None:
    net(torch.zeros(BATCH_SIZE, 1, 28, 28)).sum().backward()


def kept_bytes(net: nn.Module) -> int:
    with kept_for_backward([*net.parameters(), *net.buffers()]) as kept:
        output = net(torch.zeros(BATCH_SIZE, 1, 28, 28))
    assert output.requires_grad
    return kept.num_bytes


def transforms() -> list[Row]:
    """Images a second of mnist_5k in memory, with its own augmentation and one of torchvision's before it."""
    loaders = {name: loader_of([f"transform={name}"] if name else []) for name in ("", *TRANSFORMS)}
    seconds = least({name: lambda each=each: clocked(lambda: take(each)) for name, each in loaders.items()}, 3)
    num_images = BATCH_SIZE * NUM_BATCHES
    return [Row(f"transform={name or 'null'}", num_images / each, "images/s") for name, each in seconds.items()]


def loader_of(overrides: list[str]) -> Any:
    return instantiate(compose([f"data={DATA}", *overrides]).data, "data").train_dataloader()


def take(loader: Any) -> None:
    batches = iter(loader)
    for _ in range(NUM_BATCHES):
        next(batches)


def mixes() -> list[Row]:
    images, labels = torch.rand(BATCH_SIZE, 1, 28, 28), torch.arange(BATCH_SIZE) % 10
    made = {name: instantiate(compose([f"mix={name}"]).mix, "mix") for name in ("mixup", "cutmix")}
    seconds = least({name: lambda mix=mix: clocked(lambda: mix(images, labels)) for name, mix in made.items()}, 20)
    return [Row(f"mix={name}", 1e3 * each, "ms a batch") for name, each in seconds.items()]


def clocked(do: Callable[[], Any]) -> float:
    started = time.perf_counter()
    do()
    return time.perf_counter() - started
