"""What engine/scripts/launchers.py has each process of a run do."""

import os
from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer

from kindling.data.loader import OrderedLoader


class ShowsRank(Callback):
    """Writes which process has which rank, into the folder that the environment names."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        Path(os.environ["LAUNCHERS_RANKS"], f"rank-{trainer.global_rank}").write_text(str(os.getpid()))


class FirstShare(Callback):
    """The planted fault: each process takes the indices of the first."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        OrderedLoader._share = lambda self, *parts: tuple(part[:: self.world_size] for part in parts)
