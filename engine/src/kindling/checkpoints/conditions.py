"""What a bit-identical result depends on, beside the config."""

from typing import Any

import torch

from kindling.console import report, warn
from kindling.errors import ConfigError, counted


def conditions(trainer: Any) -> dict[str, Any]:
    """The conditions under which a trainer works."""
    device = trainer.strategy.root_device
    cuda = device.type == "cuda"
    return {
        "processes": trainer.world_size,
        "strategy": type(trainer.strategy).__name__,
        "device": torch.cuda.get_device_name(device) if cuda else device.type,
        "threads": None if cuda else torch.get_num_threads(),
        "torch": str(torch.__version__),
        "precision": str(trainer.precision),
        "data": getattr(trainer.datamodule, "fingerprint", None),
    }


def compare_conditions(saved: dict[str, Any], trainer: Any, *, strict: bool) -> None:
    """Warn of conditions of a trainer that differ from those of the checkpoint.

    Raises:
        ConfigError: they differ and `strict` is true, or other processes would train on other batches.
    """
    now = conditions(trainer)
    if saved["processes"] != now["processes"]:
        if not getattr(trainer.datamodule, "shares_batches", False):
            raise ConfigError(
                f"resume: given {counted(now['processes'], 'process')}; allowed: {saved['processes']}, as each has "
                "batches of its own"
            )
        report(
            "resume: %s (it was %d), with the same batches in the same order",
            counted(now["processes"], "process"),
            saved["processes"],
        )
    # Older checkpoints lack some.
    changed = [f"{name} {now[name]} (it was {saved[name]})" for name in now if now[name] != saved.get(name, now[name])]
    if changed and strict:
        raise ConfigError(f"resume: given {', '.join(changed)} with resume_strict=true; allowed: the same")
    if changed:
        warn(f"resume: {', '.join(changed)}: the last bits of the results will differ")
