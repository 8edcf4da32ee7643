"""A small training run, as tests need it."""

import csv
import shutil
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import DictConfig

FAST = ["data=fake", "data.image_size=16", "logger=csv", "trainer=cpu"]
FAST += ["trainer.max_epochs=2", "trainer.log_every_n_steps=1"]
# As debug=fast, which a project may have left out.
ONE_BATCH = [f"trainer.limit_{stage}_batches=1" for stage in ("train", "val", "test")]
ONE_BATCH += ["trainer.max_epochs=1", "trainer.num_sanity_val_steps=1", "trainer.log_every_n_steps=1"]


class Run(NamedTuple):
    cfg: DictConfig
    folder: Path
    metrics: dict[str, float]

    def weights(self, name: str = "last") -> dict[str, Any]:
        import torch

        return torch.load(self.folder / "checkpoints" / f"{name}.ckpt", weights_only=True)["state_dict"]

    def copied_to(self, logs: Path) -> "Run":
        folder = logs / self.folder.parent.name / self.folder.name
        shutil.copytree(self.folder, folder)
        return self._replace(folder=folder)


def same_weights(a: dict[str, Any], b: dict[str, Any]) -> bool:
    import torch

    assert a.keys() == b.keys()
    return all(torch.equal(a[key], b[key]) for key in a)


def rows_of(run: Run) -> list[dict[str, str]]:
    with (run.folder / "metrics.csv").open() as stream:
        return list(csv.DictReader(stream))
