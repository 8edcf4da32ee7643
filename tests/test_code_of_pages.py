"""Python that a page shows in parts does what the page says of it."""

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningDataModule, LightningModule
from PIL import Image
from torch.utils.data import DataLoader, TensorDataset

import kindling
from kindling.cli.entry import compose
from kindling.config import project
from kindling.data.processor import Evaluated
from kindling.images.datamodule import ImageDataModule, Splits
from kindling.images.images import ImageTensors
from kindling.training.task import StepOutput, Task

ROOT = project.current().root


def shown(page: str, name: str, **known: Any) -> Any:
    """The class of that name, of a page's code in which some names are known."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text("utf-8"), re.DOTALL)
    (code,) = (each for each in blocks if f"class {name}(" in each)
    exec(code, known)
    return known[name]


def test_the_masks_that_the_page_of_tasks_writes_are_pictures(tmp_path: Path):
    masks = shown("docs/tasks.md", "Masks")(["a", "b", "c"], 4, 1, [0.5], [0.5])
    logits = np.random.default_rng(0).random((10, 3, 4, 4))
    targets = np.zeros((10, 4, 4), dtype=np.int64)
    assert masks.read(np.zeros((4, 4), np.uint8)).shape == (1, 4, 4)
    assert np.array_equal(masks.write(logits[0])["mask"], logits[0].argmax(0))
    assert masks.report(Evaluated(logits, targets, "test", None, lambda _: _), tmp_path) == {}
    assert sorted(file.name for file in tmp_path.iterdir()) == [f"masks_{number}.png" for number in range(8)]
    drawn = np.asarray(Image.open(tmp_path / "masks_0.png"))
    assert np.array_equal(drawn, np.hstack((targets[0], logits[0].argmax(0))) * 127)


def test_the_task_of_the_page_for_contributors_logs_the_mean_error():
    from typing import ClassVar

    made = shown("CONTRIBUTING.md", "MyTask", Task=Task, StepOutput=StepOutput, ClassVar=ClassVar)
    step = made(torch.nn.Identity()).step((torch.tensor([1.0, 2.0]), torch.tensor([1.0, 4.0])), "val")
    assert step.loss.item() == 2
    assert step.sums["mae"] / step.num == 1


def test_the_data_set_of_the_page_of_data_has_images_labels_and_classes():
    known = {"ImageDataModule": ImageDataModule, "ImageTensors": ImageTensors, "Splits": Splits}
    images, labels = torch.zeros(2, 8, 8, 1, dtype=torch.uint8), torch.tensor([0, 1])
    splits = shown("docs/data.md", "MyImages", **known, images=images, labels=labels).read(SimpleNamespace())
    assert len(splits.train) == 2
    assert splits.classes == ("cat", "dog")


class Foreign(LightningModule):
    """A module that knows nothing of the engine."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        loss = torch.nn.functional.mse_loss(self.layer(batch[0]), batch[1])
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", torch.nn.functional.mse_loss(self.layer(batch[0]), batch[1]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.01)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning:lightning", "ignore:.*LeafSpec", "ignore:'pin_memory'")
@pytest.mark.parametrize("page", ["docs/tasks.md", "docs/runs.md"])
def test_objects_of_ones_own_train_as_the_page_shows(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    short = [f"paths.logs={tmp_path}", "trainer=cpu", "trainer.limit_train_batches=2", "logger=csv"]
    monkeypatch.setattr(kindling, "compose", lambda given: compose([*given, *short]))
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text("utf-8"), re.DOTALL)
    (code,) = (each for each in blocks if "task=my_module" in each)
    inputs, targets = torch.zeros(8, 2), torch.ones(8, 1)
    dataset = TensorDataset(inputs, targets)
    loader = DataLoader(dataset, 4)
    data = LightningDataModule.from_datasets(dataset, dataset, batch_size=4)
    exec(code, {**locals(), "val": (inputs, targets), "my_module": Foreign(), "my_data_module": data})
    assert len(list(tmp_path.rglob("run.json"))) == code.count("train(compose(")
