"""Training in which each process keeps a part of each weight (FSDP 2, arXiv 2304.11277), with whole checkpoints."""

from collections.abc import Mapping
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.strategies import ModelParallelStrategy
from lightning.pytorch.strategies.strategy import Strategy
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer
from torch.utils._pytree import tree_map

from kindling.console import report
from kindling.errors import ConfigError
from kindling.training.muon import part_like
from kindling.training.task import Task


class FSDP2(ModelParallelStrategy):
    """Shards the net of a task among all processes, block by block; each builds it whole before.

    Its checkpoints are those of a single process, of one file: torch's own of several are read by pickle.
    """

    # Before the net is sharded: callbacks expect it so.
    restore_checkpoint_after_setup = False  # pyright: ignore[reportAssignmentType]
    lightning_restore_optimizer = True  # pyright: ignore[reportAssignmentType]
    # Lightning's go past the run's CheckpointIO.
    load_checkpoint = Strategy.load_checkpoint

    def __init__(self) -> None:
        super().__init__(tensor_parallel_size=1, save_distributed_checkpoint=False)

    def setup_environment(self) -> None:
        self._data_parallel_size = self.num_nodes * self.num_processes
        super().setup_environment()

    def setup(self, trainer: Trainer) -> None:
        module = self.lightning_module
        assert module is not None
        if not is_sharded(module):
            shard(module, self.device_mesh["data_parallel"])
        Strategy.setup(self, trainer)
        self.barrier()

    def lightning_module_state_dict(self) -> dict[str, Any]:
        return self._whole(Strategy.lightning_module_state_dict(self))

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        # Torch's own function numbers parameters by the module, a single process by the groups.
        return self._whole(Strategy.optimizer_state(self, optimizer))

    def _whole(self, state: dict[str, Any]) -> dict[str, Any]:
        """A state with all of each tensor, in the first process."""

        def gathered(value: Any) -> Any:
            if not isinstance(value, DTensor):
                return value
            whole = value.full_tensor()
            return whole.cpu() if self.is_global_zero else None

        return tree_map(gathered, state)

    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        module = self.lightning_module
        assert module is not None
        own = module.state_dict()
        given = {name: part_of(value, own.get(name)) for name, value in checkpoint["state_dict"].items()}
        module.load_state_dict(given, strict=strict)

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        for optimizer, saved in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            parameters = [each for group in optimizer.param_groups for each in group["params"]]
            states = {
                number: {name: part_of(value, parameters[number]) for name, value in state.items()}
                for number, state in saved["state"].items()
            }
            optimizer.load_state_dict({**saved, "state": states})


def part_of(value: Any, own: Any) -> Any:
    """This process's part of a whole tensor that all have read, cut as its own one of the same shape."""
    if not (isinstance(own, DTensor) and isinstance(value, Tensor) and value.shape == own.shape):
        return value
    return part_like(own, value.to(own.device))


def is_sharded(module: nn.Module) -> bool:
    return any(isinstance(each, DTensor) for each in module.parameters())


def shard(module: LightningModule, mesh: DeviceMesh) -> None:
    """Share out the net of a task; each of its blocks is put together only while it is computed.

    Raises:
        ConfigError: the module is no task, or trains more than its net.
    """
    if not isinstance(module, Task):
        raise ConfigError(
            f"trainer: given fsdp2 with {type(module).__name__}, whose net is not known; allowed: a Task, a module "
            "that calls fully_shard in configure_model, or trainer=ddp"
        )
    trained = {name for name, each in module.named_parameters() if each.requires_grad and not name.startswith("net.")}
    if trained:
        raise ConfigError(
            f"trainer: given fsdp2 with {min(trained)}, which {type(module).__name__} trains beside its net; "
            "allowed: nets alone, or trainer=ddp"
        )
    for parameter in module.net.parameters():
        # Channels that come last cannot be cut.
        parameter.data = parameter.data.contiguous()
    blocks = blocks_of(module.net)
    if not blocks:
        report("fsdp2: %s names no blocks, and is put together whole in each step", type(module.net).__name__)
    for block in blocks:
        fully_shard(block, mesh=mesh)
    fully_shard(module.net, mesh=mesh)


def blocks_of(net: nn.Module) -> list[nn.Module]:
    """What stands in the container that a net names in BLOCKS, such as encoder.layers; by default in its `blocks`.

    Raises:
        ConfigError: it names a container that it does not have.
    """
    name: str | None = getattr(net, "BLOCKS", None)
    holder = dict(net.named_modules()).get(name or "blocks")
    if name and holder is None:
        raise ConfigError(f"model: given {type(net).__name__} with BLOCKS={name!r}; allowed: the name of a part of it")
    return [] if holder is None else [*holder.children()]
