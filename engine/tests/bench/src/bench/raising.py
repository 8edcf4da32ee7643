"""A callback that raises."""

import os
import signal

from lightning.pytorch import Callback, LightningModule, Trainer


class Raising(Callback):
    """Raises at the end of an epoch, from 0 on; never if it is below 0; -9 kills the process."""

    def __init__(self, epoch: int):
        self.epoch = epoch

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.epoch == -signal.SIGKILL:
            os.kill(os.getpid(), signal.SIGKILL)
        if trainer.current_epoch == self.epoch:
            raise RuntimeError(f"raised in epoch {self.epoch}")
