"""What forked trials share: done once in the process that they are forked from, so that none of them has to."""

import gc
from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module
from typing import Any

from hydra.utils import get_object
from omegaconf import DictConfig, open_dict

from kindling.config.check.composed import check_config
from kindling.config.composition import to_plain
from kindling.config.targets import check_targets
from kindling.errors import KindlingError
from kindling.run_folders.provenance import versions

# What a class, or one that builds on it, imports when it is used.
IMPORTED_LATE = {
    "lightning.pytorch.loggers.tensorboard.TensorBoardLogger": (
        "torch.utils.tensorboard",
        "tensorboard.plugins.hparams.metadata",
    )
}
# What every trial imports when it prints a table, and when it saves a checkpoint.
ALWAYS_LATE = ("rich._emoji_codes", "torch.utils.serialization.config", "kindling.sweeps.pruning")


def share(config: DictConfig) -> None:
    """Import the classes of a trial, and read their sources for the check; nothing is built.

    Args:
        config: of the trial, checked once more in its own process.
    """
    from kindling.lightning_internals.overhead import find_out_once

    config = config.copy()
    with open_dict(config):
        config.pop("hydra", None)
    # A trial that cannot be fails in its own process.
    with suppress(KindlingError, ImportError):
        check_config(config)
        plain = to_plain(config)
        check_targets(plain, "")
        for target in set(_targets(plain)):
            for late in _imported_late(get_object(target)):
                import_module(late)
    for late in ALWAYS_LATE:
        # Another version may have it elsewhere.
        with suppress(ImportError):
            import_module(late)
    find_out_once()
    versions()
    # Else each trial's first collection copies the memory of all of it.
    gc.freeze()


def _imported_late(target: Any) -> Iterator[str]:
    for each in target.__mro__ if isinstance(target, type) else ():
        yield from IMPORTED_LATE.get(f"{each.__module__}.{each.__qualname__}", ())


def _targets(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("_target_"), str):
            yield node["_target_"]
        node = list(node.values())
    for each in node if isinstance(node, list) else ():
        yield from _targets(each)
