"""What the modules of foreign/ lack to be run: their data without a download, and losses that an example leaves out."""

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningDataModule, LightningModule
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from bench.foreign import gan, gan_with_closures
from bench.foreign.boring_classes import BoringModel
from bench.foreign.lstm import SequenceSampler
from bench.foreign.transformer import WikiText2

LATENT = 3


class Numbers(LightningDataModule):
    """Rows of random numbers; a plain DataLoader shuffles those of training."""

    def __init__(self, num: int, size: int, batch_size: int, num_workers: int = 0):
        super().__init__()
        self.batch_size, self.num_workers = batch_size, num_workers
        rows = torch.randn(3, num, size, generator=torch.Generator().manual_seed(0))
        self.train, self.val, self.test = map(TensorDataset, rows)

    def train_dataloader(self) -> DataLoader:
        return DataLoader(self.train, self.batch_size, shuffle=True, num_workers=self.num_workers)

    def val_dataloader(self) -> DataLoader:
        return DataLoader(self.val, self.batch_size)

    def test_dataloader(self) -> DataLoader:
        return DataLoader(self.test, self.batch_size)


class Text(LightningDataModule):
    """The words of a file, as the language models take them: in sequence or one after the other."""

    def __init__(self, path: str, sequence: bool = False):
        super().__init__()
        self.words, self.sequence = WikiText2(Path(path).parent, block_size=4, download=False), sequence

    def train_dataloader(self) -> DataLoader:
        sampler = SequenceSampler(self.words, batch_size=2)
        return DataLoader(self.words, batch_sampler=sampler) if self.sequence else DataLoader(self.words, shuffle=True)


class GAN(LightningModule):
    """The losses and nets of Lightning's example, whose step takes them for granted."""

    training_step = gan.training_step

    def __init__(self, size: int, dropout: float = 0.2):
        super().__init__()
        self.automatic_optimization = False
        self.generator = nn.Sequential(nn.Linear(LATENT, 8), nn.ReLU(), nn.Dropout(dropout), nn.Linear(8, size))
        self.discriminator = nn.Sequential(nn.Linear(size, 8), nn.ReLU(), nn.Linear(8, 1))
        self.rows = torch.empty(0)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        # The example's step hands on an ellipsis in its place.
        self.rows = batch[0]

    def made(self, num: int) -> Tensor:
        return self.generator(torch.randn(num, LATENT, device=self.device))

    def loss(self, rows: Tensor, is_real: bool) -> Tensor:
        logits = self.discriminator(rows)
        return nn.functional.binary_cross_entropy_with_logits(logits, torch.full_like(logits, float(is_real)))

    def compute_generator_loss(self, _: Any) -> Tensor:
        loss = self.loss(self.made(len(self.rows)), is_real=True)
        self.log("generator_loss", loss, prog_bar=True)
        return loss

    def compute_discriminator_loss(self, _: Any) -> Tensor:
        loss = (self.loss(self.rows, is_real=True) + self.loss(self.made(len(self.rows)).detach(), is_real=False)) / 2
        self.log("discriminator_loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_gap", (self.made(len(batch[0])).mean() - batch[0].mean()).abs())

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.log("test_gap", (self.made(len(batch[0])).mean() - batch[0].mean()).abs())

    def configure_optimizers(self) -> Any:
        return [torch.optim.Adam(net.parameters(), lr=0.01) for net in (self.generator, self.discriminator)]


class GANWithClosures(GAN):
    """The more advanced example: closures and toggled models."""

    training_step = gan_with_closures.training_step


class OfSeveral(BoringModel):
    """Takes what IterableBoringDataModule gives: a batch of each loader in training, of one at a time in evaluation."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 2)

    def step(self, batch: Any) -> Tensor:
        rows = torch.cat(batch) if isinstance(batch, list) else batch
        return self.loss(self(rows))

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self.log("val_loss", self.step(batch))

    def test_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self.log("test_loss", self.step(batch))


HOOKS = (
    *("on_train_start", "on_train_epoch_start", "on_train_batch_start", "on_train_batch_end", "on_train_epoch_end"),
    *("on_before_backward", "on_after_backward", "on_before_zero_grad", "on_before_optimizer_step"),
    *("on_validation_start", "on_validation_epoch_start", "on_validation_batch_start", "on_validation_batch_end"),
    *("on_validation_epoch_end", "on_test_start", "on_test_epoch_start", "on_test_batch_start", "on_test_batch_end"),
    "on_test_epoch_end",
)
STEPS = ("training_step", "validation_step", "test_step")


class LogsInEveryHook(LightningModule):
    """Logs a random number from each hook in which Lightning allows it."""

    def __init__(self, size: int):
        super().__init__()
        self.layer = nn.Linear(size, 1)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.01)


def logging_hook(name: str) -> Any:
    def hook(self: Any, *arguments: Any) -> Any:
        self.log(f"{name}_mean", torch.rand(()))
        self.log(f"{name}_sum", torch.rand(()), on_step=False, on_epoch=True, reduce_fx=torch.sum)
        return self.layer(arguments[0][0]).square().mean() if name in STEPS else None

    return hook


for each in (*HOOKS, *STEPS):
    setattr(LogsInEveryHook, each, logging_hook(each))
