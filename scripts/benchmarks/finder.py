"""The learning rate that the range test suggests against the rates of a grid."""

import json
import math
import tempfile
from pathlib import Path

from benchmarks.table import Row

from kindling.config.entry import compose
from kindling.errors import DivergedError
from kindling.train import train

RATES = (0.0003, 0.001, 0.003, 0.01, 0.03)
GRID = ("trainer.max_epochs=3", "logger=none", "callbacks=none", "test=false", "trainer.num_sanity_val_steps=0")


def finder() -> list[Row]:
    """val/loss of experiment=cnn after three epochs with each rate, and what the range test suggests."""
    losses = {rate: loss_of(rate, ["experiment=cnn"]) for rate in RATES}
    best = min(losses, key=lambda rate: losses[rate])
    suggested = suggestion(["experiment=cnn"])
    return [
        *(Row(f"val/loss after 3 epochs, optimizer.lr={rate:g}", loss) for rate, loss in losses.items()),
        Row("debug=find_lr suggests optimizer.lr", suggested),
        Row("the suggestion against the best of the grid", max(suggested / best, best / suggested), "times", "<= 3"),
    ]


def loss_of(rate: float, overrides: list[str]) -> float:
    with tempfile.TemporaryDirectory() as logs:
        try:
            return train(compose([*overrides, *GRID, f"optimizer.lr={rate}", f"paths.logs={logs}"]))["val/loss"]
        except DivergedError:
            return math.inf


def suggestion(overrides: list[str]) -> float:
    with tempfile.TemporaryDirectory() as logs:
        cfg = compose([*overrides, "debug=find_lr", f"paths.logs={logs}"])
        train(cfg)
        return json.loads((Path(cfg.paths.run) / "lr_find.json").read_text())["suggested"]
