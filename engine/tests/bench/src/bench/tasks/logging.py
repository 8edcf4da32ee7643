"""A task as people write it, with torchmetrics and self.log over an epoch."""

import torch
from torchmetrics import CatMetric, MeanMetric

from bench.tasks.classification import Classification


class Logging(Classification):
    def __init__(self, *arguments, **named):
        super().__init__(*arguments, **named)
        self.metric = MeanMetric()
        self.seen = CatMetric()

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        assert loss is not None
        self.metric(loss.detach())
        self.seen(batch[1].float())
        self.log("train/mean", loss, on_step=False, on_epoch=True)
        self.log("train/max", loss, on_step=False, on_epoch=True, reduce_fx="max")
        self.log("train/sum", loss, on_step=True, on_epoch=True, reduce_fx=torch.sum)
        return loss

    def on_train_epoch_end(self):
        self.log_dict({"train/metric": self.metric.compute(), "train/labels": self.seen.compute().mean()})
        self.metric.reset()
        self.seen.reset()
