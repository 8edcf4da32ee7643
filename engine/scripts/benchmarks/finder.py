"""The learning rate that the range test suggests against the rates of a grid."""

import json
import math
import tempfile
from pathlib import Path

from benchmarks.table import Row
from kindling.cli.entry import compose
from kindling.errors import DivergedError
from kindling.train import train

RECIPES = ("cnn", "resnet", "vit")
# The best rate should not be the last.
RATES = (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1)
GRID = ("trainer.max_epochs=3", "logger=none", "callbacks=none", "test=false", "trainer.num_sanity_val_steps=0")


def finder() -> list[Row]:
    """val/loss of some recipes after three epochs with each rate, and what the range test suggests."""
    return [row for recipe in RECIPES for row in compared(recipe)]


def compared(recipe: str) -> list[Row]:
    overrides = [f"experiment={recipe}"]
    losses = {rate: loss_of(rate, overrides) for rate in RATES}
    best = min(losses, key=lambda rate: losses[rate])
    suggested = suggestion(overrides)
    return [
        *(Row(f"{recipe}: val/loss after 3 epochs, optimizer.lr={rate:g}", loss) for rate, loss in losses.items()),
        Row(f"{recipe}: debug=find_lr suggests optimizer.lr", suggested),
        Row(f"{recipe}: against the best of the grid", max(suggested / best, best / suggested), "times", "<= 3"),
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
