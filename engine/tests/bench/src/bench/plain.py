"""Modules written without knowing the engine."""

import lightning as L
import torch
from lightning import LightningDataModule, LightningModule
from torch import Tensor, nn
from torch.utils.data import Dataset


class GAN(L.LightningModule):
    """Two optimizers and a loss without a stage."""

    def __init__(self, channels: int = 1, width: int = 8):
        super().__init__()
        self.automatic_optimization = False
        self.net = nn.Linear(channels, width)

    def training_step(self, batch, batch_idx):
        self.log_dict({"g_loss": torch.zeros(()), "d_loss": torch.zeros(())})

    def configure_optimizers(self):
        return [torch.optim.SGD(self.parameters(), 0.1), torch.optim.SGD(self.parameters(), 0.1)]


class Regression(LightningModule):
    """One optimizer, and a loss and an error of validation."""

    def training_step(self, batch, batch_idx):
        self.log("train_loss", torch.zeros(()), on_epoch=True)

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", self(batch))
        self.log(name="val_mae", value=self(batch))

    def forward(self, batch):
        return batch[0].mean()


class Stages(LightningModule):
    """Names that only a run knows."""

    def step(self, batch, stage):
        self.log(f"{stage}_loss", torch.zeros(()))


class Numbers(LightningDataModule):
    """No loader, but facts that models ask for."""

    def __init__(self, num_classes: int, channels: int, image_size: int):
        super().__init__()


class Ragged(Dataset):
    """Rows of 1 to 5 numbers."""

    def __init__(self, num: int = 12):
        self.num = num

    def __len__(self) -> int:
        return self.num

    def __getitem__(self, index: int) -> Tensor:
        return torch.full((1 + index % 5,), float(index))


def padded(rows: list[Tensor], value: float = 0.0) -> Tensor:
    """Rows of any length -> (B, T), filled up with a value."""
    return nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=value)
