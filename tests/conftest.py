"""One thread in each test process, since pytest-xdist already uses all cores; and a small training run."""

import os

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["CUDA_VISIBLE_DEVICES"] = os.environ.get("CUDA_VISIBLE_DEVICES", "")

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import crash
import numpy as np
import pytest
import torch
from omegaconf import DictConfig
from PIL import Image

from kindling.config import project
from kindling.config.composition import Composer
from kindling.config.entry import compose
from kindling.train import train

CONFIGS = project.use(Path(__file__).parents[1]).configs

SMALL = ["data=fake", "data.image_size=16", "logger=csv", "trainer=cpu", "trainer.max_epochs=2"]
FAST = [*SMALL, "trainer.log_every_n_steps=1"]


os.fsync = lambda descriptor: None  # guards against a loss of power, which no test brings about

crash.heed_signals()
_composed: dict[tuple[str, ...], DictConfig] = {}
_compose = Composer.compose


def _compose_once(self: Composer, lines: Sequence[str]) -> DictConfig:
    """Hydra takes a quarter of a second to compose the same groups, and most tests share theirs."""
    if self.folders != (CONFIGS,):
        return _compose(self, lines)
    key = (self.name, *lines)
    if key not in _composed:
        _composed[key] = _compose(self, lines)
    return _composed[key].copy()


Composer.compose = _compose_once


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets a test import what lies in scripts/."""
    monkeypatch.syspath_prepend(str(CONFIGS.parent / "scripts"))


class Run(NamedTuple):
    cfg: DictConfig
    folder: Path
    metrics: dict[str, float]

    def weights(self, name: str = "last") -> dict[str, torch.Tensor]:
        file = self.folder / "checkpoints" / f"{name}.ckpt"
        return torch.load(file, weights_only=True)["state_dict"]


@pytest.fixture
def config(tmp_path: Path) -> Callable[..., DictConfig]:
    """Composes a config of a small run that logs below tmp_path."""
    return lambda *overrides: compose([*FAST, f"paths.logs={tmp_path}/logs", *overrides])


@pytest.fixture
def train_run(config: Callable[..., DictConfig]) -> Callable[..., Run]:
    """Trains a small run in this process."""

    def run(*overrides: str) -> Run:
        cfg = config(*overrides)
        metrics = train(cfg)
        return Run(cfg, Path(cfg.paths.run), metrics)

    return run


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One finished run, to look at and to copy."""
    cfg = compose([*FAST, "logger=default", f"paths.logs={tmp_path_factory.mktemp('trained')}"])
    metrics = train(cfg)
    return Run(cfg, Path(cfg.paths.run), metrics)


@pytest.fixture
def finished(trained: Run, tmp_path: Path) -> Run:
    """A copy of a finished run, to do with as one likes."""
    folder = tmp_path / "logs" / trained.folder.parent.name / trained.folder.name
    shutil.copytree(trained.folder, folder)
    return Run(trained.cfg, folder, trained.metrics)


@pytest.fixture
def make_tree(tmp_path: Path) -> Callable[..., Path]:
    """Writes a class-per-folder tree of random PNGs, grey or colour, and returns its root."""

    def make(
        *,
        splits: tuple[str, ...] = ("",),
        classes: str = "abc",
        images: int = 10,
        size: int = 12,
        channels: int = 3,
    ) -> Path:
        root = tmp_path / "tree"
        rng = np.random.default_rng(0)
        for split in splits:
            for name in classes:
                folder = root / split / name
                folder.mkdir(parents=True, exist_ok=True)
                for index in range(images):
                    pixels = rng.integers(0, 256, (size, size, channels), dtype=np.uint8)
                    Image.fromarray(pixels.squeeze()).save(folder / f"{index:03}.png")
        return root

    return make
