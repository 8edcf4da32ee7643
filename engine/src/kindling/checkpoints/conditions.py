"""What a bit-identical result depends on, beside the config."""

from typing import Any

import torch

from kindling.console import warn
from kindling.errors import ConfigError


def conditions(trainer: Any) -> dict[str, Any]:
    """The conditions under which a trainer works."""
    device = trainer.strategy.root_device
    cuda = device.type == "cuda"
    return {
        "processes": trainer.world_size,
        "device": torch.cuda.get_device_name(device) if cuda else device.type,
        "threads": None if cuda else torch.get_num_threads(),
        "torch": str(torch.__version__),
        "precision": str(trainer.precision),
        "data": getattr(trainer.datamodule, "fingerprint", None),
    }


def compare_conditions(saved: dict[str, Any], now: dict[str, Any], *, strict: bool) -> None:
    """Warn of conditions that differ from those of the checkpoint.

    Raises:
        ConfigError: they differ and `strict` is true, or the images would be shared out among other processes.
    """
    if saved["processes"] != now["processes"]:
        raise ConfigError(
            f"resume: given {now['processes']} processes; allowed: {saved['processes']}, which share out the images"
        )
    changed = [f"{name} {now[name]} (it was {saved.get(name)})" for name in now if now[name] != saved.get(name)]
    if changed and strict:
        raise ConfigError(f"resume: given {', '.join(changed)} with resume_strict=true; allowed: the same")
    if changed:
        warn(f"resume: {', '.join(changed)}: the last bits of the results will differ")
