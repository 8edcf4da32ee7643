"""What only a GPU can show: `make test-gpu`. Elsewhere, all of it is skipped."""

import json
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback

from kindling.cli.entry import compose
from kindling.images.augment import Augment, Normalize
from kindling.images.images import ImageTensors
from kindling.images.loader import EpochLoader
from kindling.train import train
from kindling.training.task import Task

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]

AUGMENT = Augment(
    crop_padding=2,
    padding_mode="reflect",
    horizontal_flip=0.5,
    alternating_flip=True,
    rotation=0,
    random_erasing=0.0,
)
SMALL = ["data=fake", "data.num_images=512", "data.channels=3", "data.image_size=32", "trainer=gpu", "logger=csv"]


def loader(device: str, **settings) -> EpochLoader:
    pixels = torch.randint(0, 256, (300, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    images = ImageTensors(pixels, torch.arange(300) % 10)
    settings = {"batch_size": 64, "train": True, "shuffle": True, "augment": AUGMENT} | settings
    return EpochLoader(images, normalize=Normalize([0.5] * 3, [0.2] * 3), device=torch.device(device), **settings)


def test_batches_of_the_gpu_are_those_of_the_cpu():
    for (images, labels), (expected, their_labels) in zip(loader("cuda"), loader("cpu"), strict=True):
        assert images.is_cuda
        assert torch.equal(labels.cpu(), their_labels)
        assert torch.equal(images.cpu(), expected)


class NoWaiting(Callback):
    """From the second step of an epoch to its last, waiting for the GPU is an error."""

    def on_train_batch_end(self, *_) -> None:
        torch.cuda.set_sync_debug_mode("error")

    def on_validation_start(self, *_) -> None:
        torch.cuda.set_sync_debug_mode("default")

    def on_exception(self, *_) -> None:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("model", ["cnn", "resnet", "airbench"])
def test_no_step_waits_for_the_gpu(tmp_path, monkeypatch, model):
    cfg = compose(
        [*SMALL, f"model={model}", "trainer.max_epochs=1", "trainer.log_every_n_steps=0", f"paths.logs={tmp_path}"]
    )
    monkeypatch.setattr(Task, "configure_callbacks", lambda self: [NoWaiting()])
    try:
        assert train(cfg)["train/loss"] > 0
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "16-mixed"])
def test_a_run_learns_in_each_precision(tmp_path, precision):
    cfg = compose([*SMALL, f"trainer.precision={precision}", "trainer.max_epochs=3", f"paths.logs={tmp_path}"])
    assert train(cfg)["train/accuracy"] > 0.9


def test_the_same_seed_gives_the_same_bits(tmp_path):
    weights = []
    for run in range(2):
        cfg = compose([*SMALL, "trainer.deterministic=true", "trainer.max_epochs=2", f"paths.logs={tmp_path}/{run}"])
        train(cfg)
        saved = torch.load(Path(cfg.paths.run) / "checkpoints" / "last.ckpt", weights_only=True)
        weights.append(saved["state_dict"])
    assert all(torch.equal(weights[0][name].cpu(), weights[1][name].cpu()) for name in weights[0])


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("mode", ["default", "reduce-overhead"])
def test_a_compiled_run_learns(tmp_path, mode, precision):
    settings = [*SMALL, f"compile={mode}", f"trainer.precision={precision}", "trainer.max_epochs=3"]
    cfg = compose([*settings, f"paths.logs={tmp_path}", f"paths.cache={tmp_path}"])
    assert train(cfg)["train/accuracy"] > 0.9
    assert json.loads((Path(cfg.paths.run) / "run.json").read_text())["status"] == "finished"


def test_a_profile_counts_the_time_of_the_gpu(tmp_path):
    cfg = compose([*SMALL, "debug=profile", "trainer.max_epochs=5", f"paths.logs={tmp_path}"])
    train(cfg)
    assert "on the GPU" in (Path(cfg.paths.run) / "profile.txt").read_text()
