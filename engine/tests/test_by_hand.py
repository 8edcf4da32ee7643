"""A run of the engine is the loop that one writes by hand."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch import seed_everything

from kindling.cli.entry import compose
from kindling.config.composition import instantiate
from kindling.data.seeds import mix_seeds, seed_all
from kindling.train import train

TWO_STEPS = [
    "data=fake",
    "data.channels=3",
    "data.image_size=16",
    "data.num_images=32",
    "data.num_classes=4",
    "data.batch_size=16",
    "optimizer=sgd",
    "optimizer.lr=0.02",
    "optimizer.weight_decay=0",
    "scheduler=constant",
    "trainer=cpu",
    "trainer.max_epochs=1",
    "logger=none",
]


@pytest.fixture(scope="module", params=["mlp", "cnn"])
def run(request, tmp_path_factory):
    """A run of two steps: its config, metrics and checkpoints."""
    cfg = compose([*TWO_STEPS, f"model={request.param}", f"paths.logs={tmp_path_factory.mktemp('run')}"])
    metrics = train(cfg)
    return cfg, metrics, Path(cfg.paths.run) / "checkpoints"


def test_a_run_is_the_loop_that_one_writes_by_hand(run):
    cfg, metrics, checkpoints = run
    seed_everything(cfg.seed, verbose=False)
    data = instantiate(cfg.data, "data")
    net = instantiate(cfg.model, "model").to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.02, momentum=0.9, nesterov=True)
    losses = []
    for index, (images, labels) in enumerate(data.train_dataloader()):
        seed_all(mix_seeds(cfg.seed, 0, 0) + index, torch.device("cpu"))  # of dropout
        loss = F.cross_entropy(net(images), labels)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert len(losses) == 2
    assert metrics["train/loss"] == pytest.approx(sum(losses) / 2, rel=1e-5)
    weights = torch.load(checkpoints / "last.ckpt", weights_only=True)["state_dict"]
    for key, value in net.state_dict().items():
        assert torch.allclose(weights[f"net.{key}"], value, atol=1e-6), key


def test_the_reported_metrics_are_those_of_the_best_checkpoint_by_hand(run):
    cfg, metrics, checkpoints = run
    splits = instantiate(cfg.data, "data").splits
    saved = torch.load(checkpoints / "best.ckpt", weights_only=True)["state_dict"]
    net = instantiate(cfg.model, "model").eval()
    net.load_state_dict({key.removeprefix("net."): value for key, value in saved.items()})
    for split in ("val", "test"):
        images, labels = getattr(splits, split).images, getattr(splits, split).labels
        with torch.no_grad():
            logits = net((images.permute(0, 3, 1, 2) / 255 - cfg.data.mean[0]) / cfg.data.std[0])
        assert metrics[f"{split}/loss"] == pytest.approx(F.cross_entropy(logits, labels).item(), rel=1e-4)
        assert metrics[f"{split}/accuracy"] == pytest.approx((logits.argmax(1) == labels).float().mean().item())
