"""Fine-tuning: the last layer alone at first, then the others, all at once or one by one from the last back."""

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import SGD

from kindling.errors import ConfigError
from kindling.lightning_internals.steps import waits_for_every_gradient
from kindling.ranges import NotNegativeInt
from kindling.training.net import net_of, refuse_manual_optimization
from kindling.training.optimization import layer_numbers


class Finetuning(Callback):
    """Freezes layers until their epoch comes (arXiv 1801.06146, section 3.3); a frozen batch norm keeps its statistics.

    All parameters belong to the optimizer from the start, so that schedules go on as if none were frozen; without a
    gradient a parameter neither moves nor decays.

    Args:
        head_epochs: epochs with the last layer alone; None: all of them.
        epochs_per_layer: then another layer more after each so many epochs; 0: all at once.

    Raises:
        ConfigError: several processes, which wait for the gradients of frozen parameters; or a net of one layer.
    """

    def __init__(self, head_epochs: NotNegativeInt | None, epochs_per_layer: NotNegativeInt):
        self.head_epochs = head_epochs
        self.epochs_per_layer = epochs_per_layer
        # The layer of each parameter that may be trained.
        self._layers: dict[str, int] = {}

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit" and waits_for_every_gradient(trainer):
            raise ConfigError(
                f"callbacks.finetuning: given {trainer.world_size} processes; allowed: one, or "
                "trainer.strategy=ddp_find_unused_parameters_true"
            )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        refuse_manual_optimization(pl_module, "callbacks.finetuning", "perhaps with a loss of frozen layers alone")
        net = net_of(pl_module)
        trained = {name for name, parameter in net.named_parameters() if parameter.requires_grad}
        self._layers = {name: number for name, number in layer_numbers(net).items() if name in trained}
        if len(set(self._layers.values())) < 2:
            raise ConfigError(
                f"callbacks.finetuning: given {type(net).__name__}, all of one layer by the names of its parameters; "
                "allowed: null, or a net whose layers have numbers or names of their own"
            )
        for group in (group for each in trainer.optimizers for group in each.param_groups if isinstance(each, SGD)):
            # Fused SGD takes momentum buffers of all or none.
            group["fused"] = False

        # A resumed epoch calls no on_train_epoch_start.
        self._freeze(net, trainer.current_epoch)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._freeze(net_of(pl_module), trainer.current_epoch)

    def _freeze(self, net: nn.Module, epoch: int) -> None:
        first = max(self._layers.values()) + 1 - self._num_trained(epoch)
        for name, parameter in net.named_parameters():
            parameter.requires_grad_(name in self._layers and self._layers[name] >= first)
        for module in net.modules():
            parameters = list(module.parameters(recurse=False))
            if isinstance(module, _BatchNorm) and parameters:
                module.train(any(parameter.requires_grad for parameter in parameters))

    def _num_trained(self, epoch: int) -> int:
        """How many layers are trained in an epoch, from the last one back."""
        if self.head_epochs is None or epoch < self.head_epochs:
            return 1
        if self.epochs_per_layer == 0:
            return max(self._layers.values()) + 1
        return min(2 + (epoch - self.head_epochs) // self.epochs_per_layer, max(self._layers.values()) + 1)
