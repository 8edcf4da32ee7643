"""The length of all weights after each epoch, to start from: log here what you want to see."""

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn

from kindling.ranges import PositiveInt


class Starter(Callback):
    """Logs train/weight_norm; give state that a resumed run needs to `state_dict` and `load_state_dict`.

    Args:
        every_n_epochs: epochs between two values.
    """

    def __init__(self, every_n_epochs: PositiveInt):
        self.every_n_epochs = every_n_epochs

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if (trainer.current_epoch + 1) % self.every_n_epochs == 0:
            pl_module.log("train/weight_norm", weight_norm(pl_module))


@torch.no_grad()
def weight_norm(module: nn.Module) -> Tensor:
    """The Euclidean norm of all trainable parameters together."""
    return torch.stack([each.norm() for each in module.parameters() if each.requires_grad]).norm()
