"""Modules that do what Lightning allows, and that the engine may not expect."""

from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch import LightningDataModule, LightningModule
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau, StepLR
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics import MeanMetric

from bench.tasks.in_and_out import Sum
from kindling.training.task import Task

SIZE = 4


def rows(num: int = 24, seed: int = 0) -> TensorDataset:
    return TensorDataset(torch.randn(num, SIZE, generator=torch.Generator().manual_seed(seed)))


class Unannotated(nn.Module):
    """A net that says nothing of what it takes."""

    def __init__(self, size):
        super().__init__()
        self.layer = nn.Linear(SIZE, size + 1)


class Bound(Task):
    """Its processor stands elsewhere."""

    processor = Sum.processor


@dataclass(eq=False)
class Unknown(Task):
    """A decorator may give it any method."""


class Plain(LightningModule):
    """One layer, one loss, and a metric of each stage."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(SIZE, 1)

    def loss(self, batch: Any) -> Tensor:
        return (self.layer(batch[0]) - batch[0].sum(1, keepdim=True)).square().mean()

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = self.loss(batch)
        self.log("train_loss", loss, on_step=True, on_epoch=True)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> Any:
        self.log("val_loss", self.loss(batch))

    def test_step(self, batch: Any, batch_idx: int) -> Any:
        self.log("test_loss", self.loss(batch))

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.01)


class GivesADict(Plain):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return {"loss": self.loss(batch), "rows": batch[0], "note": "any"}


class GivesNothingAtTimes(Plain):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return None if batch_idx % 2 else self.loss(batch)


class GivesNothing(Plain):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return None


class WithoutIndex(Plain):
    def training_step(self, batch: Any) -> Any:
        return self.loss(batch)

    def validation_step(self, batch: Any) -> Any:
        self.log("val_loss", self.loss(batch))


class TakesTheIterator(Plain):
    def training_step(self, dataloader_iter: Any) -> Any:
        batch, _, _ = next(dataloader_iter)
        return self.loss(batch)


class WithoutValidation(Plain):
    validation_step = LightningModule.validation_step


class WithoutTest(Plain):
    test_step = LightningModule.test_step


class WithoutTraining(Plain):
    training_step = LightningModule.training_step


class WithoutOptimizer(Plain):
    configure_optimizers = LightningModule.configure_optimizers


class OptimizerIsNone(Plain):
    def configure_optimizers(self) -> Any:
        return None


class TwoLists(Plain):
    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.01)
        return [optimizer], [{"scheduler": StepLR(optimizer, 3), "interval": "step", "name": "rate"}]


class Plateau(Plain):
    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.01)
        return {"optimizer": optimizer, "lr_scheduler": ReduceLROnPlateau(optimizer), "monitor": "val_loss"}


class Several(Plain):
    """A tuple of optimizers, stepped by hand, each with its schedule."""

    def __init__(self):
        super().__init__()
        self.automatic_optimization = False
        self.other = nn.Linear(SIZE, 1)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        optimizers: Any = self.optimizers()
        schedules: Any = self.lr_schedulers()
        for optimizer, schedule, net in zip(optimizers, schedules, (self.layer, self.other), strict=True):
            assert isinstance(optimizer, LightningOptimizer)
            self.toggle_optimizer(optimizer)
            loss = net(batch[0]).square().mean()
            optimizer.zero_grad()
            self.manual_backward(loss)
            optimizer.step()
            schedule.step()
            self.untoggle_optimizer(optimizer)

    def configure_optimizers(self) -> Any:
        optimizers = [torch.optim.Adam(net.parameters(), lr=0.01) for net in (self.layer, self.other)]
        return tuple(
            {"optimizer": optimizer, "lr_scheduler": StepLR(optimizer, 2, gamma=0.9)} for optimizer in optimizers
        )


class SavesItself(Plain):
    """Keeps a count in an attribute, and saves it."""

    def __init__(self):
        super().__init__()
        self.seen = 0

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.seen += len(batch[0])
        self.log("seen", float(self.seen))
        return self.loss(batch)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["seen"] = self.seen

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.seen = checkpoint["seen"]


class Reporter:
    """Something of one's own in a checkpoint, which loads no classes."""


class SavesAnObject(Plain):
    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["reporter"] = Reporter()


class LogsOddly(Plain):
    """Everything that `self.log` takes."""

    def __init__(self):
        super().__init__()
        self.mean = MeanMetric()

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = self.loss(batch)
        self.mean(loss)
        self.log("mean", self.mean, on_step=False, on_epoch=True)
        self.log_dict({"a/b/c": loss, "with space": 1, "ünicode": 2.0}, on_step=True, on_epoch=True, prog_bar=True)
        self.log("not shown", 3, logger=False, prog_bar=True)
        self.log("epoch", float(self.current_epoch))
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> Any:
        self.log("val/loss", self.loss(batch), on_step=True, on_epoch=True)


class Template(LightningModule):
    """As lightning-hydra-template writes them: a net and partials of an optimizer and a schedule."""

    def __init__(self, net: nn.Module, optimizer: Any, scheduler: Any, compile: bool = False):
        super().__init__()
        self.save_hyperparameters(logger=False)
        self.net = net
        self.criterion = nn.CrossEntropyLoss()
        self.val_acc = MeanMetric()

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)

    def model_step(self, batch: Any) -> tuple[Tensor, Tensor]:
        x, y = batch[:2]
        logits = self.forward(x)
        return self.criterion(logits, y), logits.argmax(1) == y

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss, _ = self.model_step(batch)
        self.log("train/loss", loss, on_step=False, on_epoch=True, prog_bar=True)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        loss, hits = self.model_step(batch)
        self.val_acc(hits.float())
        self.log("val/loss", loss, on_step=False, on_epoch=True, prog_bar=True)
        self.log("val/acc", self.val_acc, on_step=False, on_epoch=True, prog_bar=True)

    def test_step(self, batch: Any, batch_idx: int) -> None:
        loss, _ = self.model_step(batch)
        self.log("test/loss", loss, on_step=False, on_epoch=True, prog_bar=True)

    def setup(self, stage: str) -> None:
        if self.hparams["compile"] and stage == "fit":
            self.net = torch.compile(self.net)

    def configure_optimizers(self) -> Any:
        optimizer = self.hparams["optimizer"](params=self.trainer.model.parameters())  # pyright: ignore
        if self.hparams["scheduler"] is not None:
            scheduler = self.hparams["scheduler"](optimizer=optimizer)
            return {
                "optimizer": optimizer,
                "lr_scheduler": {
                    "scheduler": scheduler,
                    "monitor": "val/loss",
                    "interval": "epoch",
                    "frequency": 1,
                },
            }
        return {"optimizer": optimizer}


class BringsItsData(Plain):
    """No data module, but loaders of its own."""

    def train_dataloader(self) -> Any:
        return DataLoader(rows(), 4, shuffle=True)

    def val_dataloader(self) -> Any:
        return DataLoader(rows(8, seed=1), 4)

    def test_dataloader(self) -> Any:
        return DataLoader(rows(8, seed=2), 4)


class Rows(LightningDataModule):
    """Rows for all of these."""

    def __init__(self, val: bool = True):
        super().__init__()
        self.has_val = val

    def train_dataloader(self) -> Any:
        return DataLoader(rows(), 4, shuffle=True)

    def val_dataloader(self) -> Any:
        return DataLoader(rows(8, seed=1), 4) if self.has_val else []

    def test_dataloader(self) -> Any:
        return DataLoader(rows(8, seed=2), 4)
