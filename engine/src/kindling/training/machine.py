"""What this machine cannot do of a config, asked when torch is loaded, before anything is built; what a run is on."""

import math
import os
import shutil
from collections.abc import Iterator
from typing import Any

import torch
from lightning.pytorch import Trainer
from torch import nn

from kindling.config.fault import Fault
from kindling.config.plain import Config, get
from kindling.config.rules.trainer_rules import HALF
from kindling.errors import counted
from kindling.run_folders.provenance import processor

# Layers that a GPU can only compute in changing order.
UNORDERED = (
    nn.AdaptiveAvgPool2d,
    nn.AdaptiveAvgPool3d,
    nn.AdaptiveMaxPool2d,
    nn.FractionalMaxPool2d,
    nn.FractionalMaxPool3d,
    nn.MaxUnpool1d,
    nn.MaxUnpool2d,
    nn.MaxUnpool3d,
    nn.ReflectionPad1d,
    nn.ReplicationPad2d,
    nn.CTCLoss,
)


def device_of(trainer: Trainer) -> dict[str, Any]:
    """What a run computes on, and how exactly, as run.json has it."""
    device = trainer.strategy.root_device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else processor()
    return {"device": f"{device} ({name})" if name else str(device), "precision": str(trainer.precision)}


def in_words(trainer: Trainer) -> str:
    """The same for the terminal, and how long training is, on a line of its own."""
    found = device_of(trainer)
    threads = f", {counted(torch.get_num_threads(), 'thread')}" if trainer.strategy.root_device.type == "cpu" else ""
    processes = f", {trainer.world_size} processes" if trainer.world_size > 1 else ""
    length = length_of(trainer.max_epochs, trainer.num_training_batches)
    return f"{found['device']}{threads}{processes}, precision {found['precision']}\n{length}"


def length_of(epochs: int | None, batches: float) -> str:
    """Such as "25 epochs of 27 batches, counted from 0"; what nobody knows is left out."""
    num = counted(epochs, "epoch") if epochs and epochs > 0 else "epochs"
    of = "" if math.isinf(batches) else f" of {counted(int(batches), 'batch')}"
    return f"{num}{of}, counted from 0"


def faults(config: Config) -> list[Fault]:
    gpus = torch.cuda.device_count() or int(torch.backends.mps.is_available())
    return [*devices_are_there(config, gpus), *half_precision_has_a_gpu(config, gpus), *compiler_is_there(config)]


def devices_are_there(config: Config, gpus: int) -> Iterator[Fault]:
    """GPUs that are asked for, against those that are there."""
    if get(config, "trainer.accelerator") not in ("gpu", "cuda", "mps"):
        return
    devices = get(config, "trainer.devices")
    listed = [int(part) for part in devices.split(",") if part] if _is_list(devices) else devices
    missing = max(listed) >= gpus if isinstance(listed, list) else isinstance(listed, int) and listed > gpus
    if gpus == 0:
        yield Fault("trainer.accelerator", f"{get(config, 'trainer.accelerator')}, and no GPU is there", "auto, cpu")
    elif missing:
        yield Fault("trainer.devices", str(devices), f"the {gpus} GPUs that are there")


def half_precision_has_a_gpu(config: Config, gpus: int) -> Iterator[Fault]:
    precision = str(get(config, "trainer.precision"))
    if precision in HALF and get(config, "trainer.accelerator") == "auto" and gpus == 0:
        yield Fault("trainer.precision", f"{precision}, and no GPU is there", "32-true, bf16-mixed", "bf16-mixed")


def compiler_is_there(config: Config) -> Iterator[Fault]:
    """torch.compile writes C++, which something has to compile."""
    compilers = [os.environ["CXX"]] if "CXX" in os.environ else ["g++", "clang++"]
    if get(config, "compile") and not any(map(shutil.which, compilers)):
        given = f"{get(config, 'compile')}, and no C++ compiler is there ({' or '.join(compilers)})"
        yield Fault("compile", given, "null, or install one")


def order_is_fixed(config: Config, net: nn.Module) -> Iterator[Fault]:
    """On CUDA, trainer.deterministic=true stops at the first operation that has no fixed order."""
    if get(config, "trainer.deterministic") is not True:
        return
    for name, module in net.named_modules():
        # Pooling to one value is a plain mean.
        single = set(_sizes(module)) == {1}
        if isinstance(module, UNORDERED) and not single:
            given = f"true with model's {name}, {type(module).__name__}, which a GPU computes in changing order"
            yield Fault("trainer.deterministic", given, "warn, false, or another model")
            return


def _is_list(devices: object) -> bool:
    return isinstance(devices, str) and "," in devices


def _sizes(module: nn.Module) -> tuple[object, ...]:
    size = getattr(module, "output_size", None)
    return tuple(size) if isinstance(size, tuple | list) else (size,)
