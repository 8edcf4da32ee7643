"""What of a step depends on how several processes share its batch: all else is the training of a single one."""

from collections.abc import Iterator
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd
from torch.utils._pytree import tree_leaves
from torch.utils.data import DataLoader, DistributedSampler, IterableDataset

from kindling.console import report, warn
from kindling.data.datamodule import DataModule
from kindling.data.resumable import samplers_of
from kindling.training.sums import StepOutput

# Layers of other packages that leave out a part by chance, by their names.
RANDOM = ("Dropout", "DropPath", "StochasticDepth", "DropBlock")


def say_what_depends_on_the_split(trainer: Trainer, module: LightningModule) -> None:
    """Once, as training starts in several processes."""
    if trainer.world_size == 1:
        return
    for name in whole_loaders(trainer):
        warn(
            f"data: each of {trainer.world_size} processes trains on all that {name} gives; for a share of it, "
            "trainer.use_distributed_sampler=true, or share it out by rank"
        )
    found = [*layers(module), *drawn(trainer, module)]
    if found:
        report(
            "%d processes: a step is not that of a single process with the same batch, as each has its own %s",
            trainer.world_size,
            ", ".join(found),
        )


def layers(module: nn.Module) -> Iterator[str]:
    """Kinds of layers that look at more than one example, or draw numbers, each with the first of its places."""
    places: dict[str, list[str]] = {}
    for name, each in module.named_modules():
        kind = _kind(each)
        if kind:
            places.setdefault(kind, []).append(name)
    for kind, names in places.items():
        yield f"{kind} ({names[0]}{f' and {len(names) - 1} more' if len(names) > 1 else ''})"


def _kind(module: nn.Module) -> str:
    if isinstance(module, _BatchNorm) and not isinstance(module, nn.SyncBatchNorm):
        return "batch norm"
    is_random = isinstance(module, _DropoutNd) or type(module).__name__.startswith(RANDOM)
    if is_random and getattr(module, "p", getattr(module, "drop_prob", 1)):
        return "dropout" if isinstance(module, _DropoutNd) else type(module).__name__
    # As of nn.MultiheadAttention and nn.LSTM; a layer that holds one is named by it.
    chance = getattr(module, "dropout", None)
    return f"dropout of {type(module).__name__}" if isinstance(chance, float) and chance else ""


def drawn(trainer: Trainer, module: LightningModule) -> Iterator[str]:
    """What is drawn for a batch as a whole."""
    if getattr(module, "mix", None) is not None:
        yield "mix"
    data: Any = trainer.datamodule  # pyright: ignore[reportAttributeAccessIssue]
    loader: Any = trainer.train_dataloader
    # Images are changed by numbers of their own, whatever the batch.
    if isinstance(data, DataModule) and getattr(loader, "augment", None) and not hasattr(loader, "transform"):
        yield "augment"


def whole_loaders(trainer: Trainer) -> Iterator[str]:
    """What loaders read that know nothing of processes."""
    for loader in tree_leaves(trainer.train_dataloader):
        inner = getattr(loader, "loader", loader)
        if isinstance(inner, DataLoader) and not any(isinstance(s, DistributedSampler) for s in samplers_of(inner)):
            kind = "the stream " if isinstance(inner.dataset, IterableDataset) else ""
            yield f"{kind}{type(inner.dataset).__name__}"


def weight_of_process(trainer: Trainer, output: StepOutput) -> Tensor | float:
    """By which a loss is multiplied so that the mean over processes is that over the examples of all of them."""
    # Other batches are full, and alike.
    if trainer.world_size == 1 or not (isinstance(output.num, Tensor) or trainer.num_training_batches == 1):
        return 1.0
    num = output.loss.new_zeros((), dtype=torch.float32) + output.num
    total: Any = trainer.strategy.reduce(num.clone(), reduce_op="sum")
    return num * trainer.world_size / total.clamp_min(1)
