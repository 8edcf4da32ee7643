"""Modules that know nothing of the engine, copied from Lightning: they train, stop, are resumed and evaluated."""

import hashlib
import inspect
import textwrap
from collections.abc import Callable
from importlib.metadata import distribution, version
from pathlib import Path
from typing import Any

import lightning.pytorch.demos
import pytest
import torch
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.core.optimizer import LightningOptimizer

from bench import adapters
from bench.foreign.autoencoder import LitAutoEncoder
from bench.foreign.boring_classes import (
    BoringDataModule,
    BoringDataModuleNoLen,
    BoringModel,
    IterableBoringDataModule,
    ManualOptimBoringModel,
)
from bench.foreign.lstm import LightningLSTM
from bench.foreign.mnist_datamodule import MNISTDataModule
from bench.foreign.transformer import LightningTransformer
from bench_root import BENCH
from kindling.checkpoints import resume_files
from kindling.checkpoints.resume_checkpoint import ResumeCheckpoint
from kindling.errors import DivergedError
from kindling.training.bookkeeping import PlainBookkeeping
from long_run import some

# Lightning's advice about workers and rare logs, and torch's about what Lightning calls.
pytestmark = pytest.mark.filterwarnings(
    "ignore::UserWarning:lightning",
    "ignore:.*LeafSpec",
    "ignore::UserWarning:torch.nn.modules",
    # The demo pins memory whatever the device.
    "ignore:'pin_memory' argument is set as true",
)

FOREIGN = BENCH / "src" / "bench" / "foreign"
DEMOS = Path(lightning.pytorch.demos.__file__).parent
README = distribution("lightning").read_text("METADATA") or ""
EXAMPLES = textwrap.dedent((inspect.getdoc(LightningOptimizer.step) or "").partition("Example::\n")[2])


# Of the files as they were copied from this version; another may have changed its own.
COPIED_FROM = "2.6.6"
SHA256 = {
    "autoencoder": "200362b82a12f5bbd8df11567f4b73829a616829f9fafba6adafe7f2f8e43911",
    "boring_classes": "b42c9c00f633e7bcb924d2b59b9cb6b93427e282c48af39ff7c6203e5284c755",
    "gan": "321fa846f964df72ac3c14b0a32e1d11f397a1caf846aa9ab9b54ac4bf0c5b9c",
    "gan_with_closures": "de154fdc5f5545a09de6de0de9621c7ea53ea5434b31951618984b46f26efe11",
    "lstm": "0a235627820c2c1c2f416f51ebb28cbe105bfdb1f1aee17d2b981ce116b9b6ab",
    "mnist_datamodule": "b8187889b4c95bffc494d94e494450289829b132b2ee1b9723305efed168a278",
    "transformer": "6655cf1b00acc96209b878598c2b5e63d1246bc32342e1991d42c5fc57aa4e4d",
}
of_the_version = pytest.mark.skipif(version("lightning") != COPIED_FROM, reason=f"compares with {COPIED_FROM}")


def test_every_copied_file_is_as_it_was_copied():
    found = {file.stem: hashlib.sha256(file.read_bytes()).hexdigest() for file in FOREIGN.glob("*.py")}
    assert {name: digest for name, digest in found.items() if name != "__init__"} == SHA256
    assert len(SHA256) == 7


@of_the_version
@pytest.mark.parametrize("name", ["boring_classes", "lstm", "transformer", "mnist_datamodule"])
def test_a_demo_of_lightning_is_copied_unchanged(name):
    assert (FOREIGN / f"{name}.py").read_text() == (DEMOS / f"{name}.py").read_text()


@of_the_version
@pytest.mark.parametrize(
    ("name", "source"), [("autoencoder", README)] + [(n, EXAMPLES) for n in ("gan", "gan_with_closures")]
)
def test_an_example_of_lightnings_documentation_is_copied_unchanged(name, source):
    copied = (FOREIGN / f"{name}.py").read_text()
    assert copied.strip()
    assert copied in source + "\n"


def test_every_copied_file_is_named_with_its_source():
    readme = (FOREIGN / "README.md").read_text()
    rows = [row.split("|")[1] for row in readme.splitlines() if row.startswith("| `")]
    assert {f"{name}.py" for name in SHA256} == {
        name for row in rows for name in row.split("`") if name.endswith(".py")
    }


# Kill and resume, with what the engine puts around any module


class StoppedError(Exception):
    """Ends a run."""


class Stops(Callback):
    """Ends the run at a batch."""

    def __init__(self, at: tuple[int, int] | None):
        self.at = at

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if (trainer.current_epoch, batch_idx) == self.at:
            raise StoppedError


@pytest.fixture
def given_files(tmp_path, monkeypatch):
    """What the demos would download: digits as tensors, and words."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PL_USE_MOCKED_MNIST", "1")
    digits = tmp_path / "data" / "MNIST" / "complete"
    digits.mkdir(parents=True)
    generator = torch.Generator().manual_seed(0)
    for name in ("training.pt", "test.pt"):
        pixels = torch.randint(0, 256, (24, 28, 28), dtype=torch.uint8, generator=generator)
        torch.save((pixels, torch.arange(24) % 10), digits / name)
    words = " ".join(f"word{index % 17}" for index in range(100))
    (tmp_path / "data" / "wikitext-2.txt").write_text(words)


def digits() -> LightningDataModule:
    return MNISTDataModule("./data", val_split=8, num_workers=0, batch_size=2)


TEXT = "./data/wikitext-2.txt"
RUNS: dict[str, tuple[Callable[[], LightningModule], Callable[[], LightningDataModule]]] = {
    "boring": (BoringModel, BoringDataModule),
    "stream": (BoringModel, BoringDataModuleNoLen),
    "several loaders": (adapters.OfSeveral, IterableBoringDataModule),
    "manual optimization": (ManualOptimBoringModel, BoringDataModule),
    "autoencoder": (LitAutoEncoder, digits),
    "GAN": (lambda: adapters.GAN(4), lambda: adapters.Numbers(24, 4, 4)),
    "GAN with closures": (lambda: adapters.GANWithClosures(4), lambda: adapters.Numbers(24, 4, 4)),
    "transformer": (lambda: LightningTransformer(20), lambda: adapters.Text(TEXT)),
    "log in every hook": (lambda: adapters.LogsInEveryHook(4), lambda: adapters.Numbers(24, 4, 4)),
}

# Each of its steps takes half a second.
SLOW = {"transformer", "GAN with closures", "manual optimization"}


def fit(name: str, folder: Path, stop_at: Any = None, ckpt: Any = None) -> tuple[LightningModule, dict[str, float]]:
    torch.manual_seed(0)
    make_module, make_data = RUNS[name]
    module, data = make_module(), make_data()
    saver = ResumeCheckpoint(
        folder=str(folder), every_n_steps=1, every_minutes=None, keep=2, max_time=None, strict=False
    )
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=2,
        limit_train_batches=6,
        limit_val_batches=2,
        callbacks=[saver, PlainBookkeeping(7), Stops(stop_at)],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, data, ckpt_path=ckpt, weights_only=True)
    return module, {key: value.item() for key, value in trainer.callback_metrics.items()}


def resumed(name: str, folder: Path, place: tuple[int, int]) -> tuple[LightningModule, dict[str, float]]:
    with pytest.raises(StoppedError):
        fit(name, folder, place)
    return fit(name, folder, ckpt=resume_files.newest_first(folder)[0])


def same_weights(one: LightningModule, other: LightningModule) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.usefixtures("given_files")
@pytest.mark.parametrize("name", some(RUNS, *RUNS.keys() - SLOW))
def test_a_foreign_module_is_resumed_to_the_same_bits_wherever_it_was_killed(name, tmp_path, caplog):
    module, metrics = fit(name, tmp_path / "whole")
    for place in [(0, 4), (1, 1), (1, 5)]:
        found, logged = resumed(name, tmp_path / str(place), place)
        assert same_weights(found, module), place
        assert logged == metrics
    assert "the last bits" not in caplog.text


@pytest.mark.slow
@pytest.mark.usefixtures("given_files")
def test_a_module_that_keeps_its_hidden_state_to_itself_is_told_of(tmp_path, monkeypatch, caplog):
    monkeypatch.setitem(RUNS, "lstm", (lambda: LightningLSTM(20), lambda: adapters.Text(TEXT, sequence=True)))
    resumed("lstm", tmp_path, (1, 2))
    assert "LightningLSTM keeps hidden in plain attributes, which no checkpoint holds" in caplog.text


@pytest.mark.usefixtures("given_files")
@pytest.mark.parametrize("name", ["boring", "several loaders", "GAN", "autoencoder"])
def test_a_nan_stops_a_foreign_module_before_it_is_saved(name, tmp_path, monkeypatch):
    make_module, make_data = RUNS[name]

    def broken() -> LightningModule:
        module = make_module()
        with torch.no_grad():
            next(module.parameters()).fill_(torch.nan)
        return module

    monkeypatch.setitem(RUNS, name, (broken, make_data))
    with pytest.raises(DivergedError, match="is NaN or infinite"):
        fit(name, tmp_path)
    assert not resume_files.newest_first(tmp_path)
