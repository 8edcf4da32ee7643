"""A callback that makes all weights NaN."""

from typing import Any

import torch
from lightning.pytorch import Callback


class Spoiling(Callback):
    """Spoils the weights in a hook of the last epoch, whichever it is named.

    Args:
        hook: such as on_fit_end.
    """

    def __init__(self, hook: str):
        setattr(self, hook, self._spoil)

    def _spoil(self, trainer: Any, module: Any, *_: Any) -> None:
        if trainer.current_epoch >= trainer.max_epochs - 1:
            with torch.no_grad():
                for each in module.parameters():
                    each.fill_(torch.nan)
