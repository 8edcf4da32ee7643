"""What a module holds beside its state_dict: gradients, what is frozen, and attributes that no checkpoint has."""

from collections.abc import Mapping
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn
from torchmetrics import Metric

from kindling.console import warn
from kindling.lightning_internals.results import gather

# Attributes that Lightning itself changes.
NOT_THEIRS = frozenset(vars(LightningModule())) | {"training"}
# Items of a list that are compared.
COMPARED = 100


class ModuleState:
    """Saves and restores what Lightning leaves out of a module's state, and says what cannot be."""

    def __init__(self) -> None:
        self._at_beginning: dict[str, Any] | None = None
        # Names of attributes that changed before a resume.
        self._changed_before: set[str] = set()

    def note_beginning(self, pl_module: LightningModule) -> None:
        """Look at the attributes before the first step; at later ones this does nothing."""
        if self._at_beginning is None:
            self._at_beginning = attributes(pl_module)

    def gathered(self, trainer: Trainer, pl_module: LightningModule) -> list[dict[str, Any]]:
        """The state of each process, by rank."""
        return gather(trainer, self.of(pl_module))

    def of(self, pl_module: LightningModule) -> dict[str, Any]:
        return {
            "gradients": {} if pl_module.automatic_optimization else gradients(pl_module),
            "frozen": [name for name, each in pl_module.named_parameters() if not each.requires_grad],
            "in_eval_mode": [name for name, each in pl_module.named_modules() if not each.training],
            "changed": sorted(self._changed(pl_module)),
        }

    def _changed(self, pl_module: LightningModule) -> set[str]:
        if self._at_beginning is None:
            return self._changed_before
        new = object()
        now = attributes(pl_module).items()
        return self._changed_before | {name for name, each in now if self._at_beginning.get(name, new) != each}

    def restore(self, pl_module: LightningModule, saved: dict[str, Any]) -> None:
        for name, parameter in pl_module.named_parameters():
            parameter.requires_grad_(name not in saved["frozen"])
            gradient = saved["gradients"].get(name)
            if gradient is not None:
                parameter.grad = gradient.to(parameter.device)
        for name, module in pl_module.named_modules():
            # Not `train`, which would reach the modules within.
            module.training = name not in saved["in_eval_mode"]
        self._changed_before = set(saved["changed"])
        if saved["changed"] and not saves_itself(pl_module):
            warn(
                f"resume: {type(pl_module).__name__} keeps {', '.join(saved['changed'])} in plain attributes, "
                "which no checkpoint holds; use register_buffer or on_save_checkpoint"
            )


def gradients(module: nn.Module) -> dict[str, Tensor]:
    """Those that a manual optimization accumulates over several batches, on the CPU."""
    found = ((name, each.grad) for name, each in module.named_parameters())
    return {name: grad.detach().cpu().clone() for name, grad in found if grad is not None}


def saves_itself(pl_module: LightningModule) -> bool:
    return type(pl_module).on_save_checkpoint is not LightningModule.on_save_checkpoint


def attributes(pl_module: LightningModule) -> dict[str, Any]:
    """Names of plain attributes, also of the modules within, and what shows whether they have changed."""
    return {
        f"{path}.{name}" if path else name: appearance(value)
        for path, module in pl_module.named_modules()
        if not isinstance(module, Metric)
        for name, value in vars(module).items()
        if name not in NOT_THEIRS and is_compared(value, own=path == "")
    }


def is_compared(value: Any, own: bool) -> bool:
    """Of the modules within, tensors are left out: those are caches for the most part."""
    return isinstance(value, int | float | str | bool) or (
        own and isinstance(value, None | Tensor | list | tuple | dict)
    )


def appearance(value: Any) -> Any:
    """What differs when a value has changed; of a tensor, which one it is and how often it was written."""
    if isinstance(value, Tensor):
        return id(value), value._version
    if isinstance(value, Mapping):
        return len(value), {key: appearance(each) for key, each in list(value.items())[:COMPARED]}
    if isinstance(value, list | tuple):
        return len(value), [appearance(each) for each in value[-COMPARED:]]
    # Other objects hold what is not looked at.
    return value if isinstance(value, int | float | str | bool | None) else None
