"""What the report of a processor of the project's own saves is in TensorBoard, as it is in an evaluation."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from PIL import Image
from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader
from torch import nn

from kindling.callbacks.report_pictures import ReportPictures
from kindling.data.datamodule import DataModule
from kindling.data.processor import Evaluated, Processor
from kindling.data.rows_processor import RowsProcessor
from kindling.errors import Interrupted
from kindling.training.task import StepOutput, Task

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:lightning", "ignore:.*LeafSpec")
SPLITS = {"train": torch.arange(8.0).view(8, 1), "val": torch.arange(6.0).view(6, 1)}


class Drawn(RowsProcessor):
    """Saves the outputs as the grey levels of a picture."""

    def __init__(self) -> None:
        super().__init__(["x"], ["y"])
        self.seen: list[Evaluated] = []

    def report(self, evaluated: Evaluated, folder: Path) -> dict[str, Any]:
        self.seen.append(evaluated)
        Image.fromarray(np.uint8(evaluated.outputs)).save(folder / "levels.png")
        return {"val/further": 1.0}


class Tripled(Task):
    """One number, whose weight no step changes."""

    def __init__(self, processor: Processor | None):
        net = nn.Linear(1, 1, bias=False)
        nn.init.constant_(net.weight, 3.0)
        super().__init__(nn.Sequential(net, nn.Dropout(0.5)), optimizer=lambda groups: torch.optim.SGD(groups, lr=0.0))
        self._made = processor

    def step(self, batch: Any, stage: Any) -> StepOutput:
        outputs = self(batch[0])
        return StepOutput(outputs.square().mean(), len(outputs), outputs=outputs, targets=batch[1])

    def processor(self) -> Processor | None:
        return self._made


class Numbers(DataModule):
    def __init__(self) -> None:
        super().__init__(batch_size=4, num_workers=0, seed=0)

    def read(self) -> Any:
        return {name: (rows, -rows) for name, rows in SPLITS.items()}


def fit(task: LightningModule, folder: Path, every_n_epochs: int | None = None, **settings: Any) -> Trainer:
    trainer = Trainer(
        accelerator="cpu",
        callbacks=[ReportPictures(every_n_epochs)],
        logger=TensorBoardLogger(folder),
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **{"max_epochs": 3, "log_every_n_steps": 1, **settings},
    )
    trainer.fit(task, datamodule=Numbers())
    return trainer


def pictures_in(folder: Path) -> dict[str, list[tuple[int, np.ndarray]]]:
    """Steps and pixels, by tag."""
    found: dict[str, list[tuple[int, np.ndarray]]] = {}
    for file in sorted(folder.rglob("events*")):
        for event in LegacyEventFileLoader(str(file)).Load():
            for each in event.summary.value:
                if each.WhichOneof("value") == "image":
                    pixels = np.asarray(Image.open(io.BytesIO(each.image.encoded_image_string)))
                    found.setdefault(each.tag, []).append((event.step, pixels))
    return found


def test_what_a_report_saves_of_the_last_validation_is_shown(tmp_path):
    processor = Drawn()
    task = Tripled(processor)
    fit(task, tmp_path)
    ((step, pixels),) = pictures_in(tmp_path)["val/levels"]
    assert step == 5
    assert pixels[..., 0].tolist() == (3 * SPLITS["val"]).int().tolist()
    (evaluated,) = processor.seen
    assert evaluated.split == "val"
    assert np.array_equal(evaluated.targets, -SPLITS["val"].numpy())
    assert torch.equal(evaluated.examples[0], SPLITS["val"])
    assert "step" not in vars(task)


def test_the_validations_of_each_nth_epoch_are_shown_with_that_of_the_end(tmp_path):
    fit(Tripled(Drawn()), tmp_path, 2, num_sanity_val_steps=1)
    assert [step for step, _ in pictures_in(tmp_path)["val/levels"]] == [3, 5]


def test_a_report_may_compute_further_outputs_and_the_net_stays_in_the_mode_that_it_is_in():
    from kindling.callbacks.report_pictures import compute_as_it_is

    task = Tripled(None).train()
    next(task.net.children()).eval()
    modes = [each.training for each in task.modules()]
    rows = np.arange(100, dtype=np.float32).reshape(100, 1)
    assert np.array_equal(compute_as_it_is(task)(rows), 3 * rows), "nothing is dropped out"
    assert [each.training for each in task.modules()] == modes


@pytest.mark.parametrize("processor", [None, RowsProcessor(["x"], ["y"])])
def test_nothing_is_kept_for_a_report_that_the_project_has_not_written(processor, tmp_path, caplog):
    task = Tripled(processor)
    trainer = fit(task, tmp_path, max_epochs=1)
    (pictures,) = (each for each in trainer.callbacks if isinstance(each, ReportPictures))  # pyright: ignore[reportAttributeAccessIssue]
    assert pictures._kept is None
    assert pictures_in(tmp_path) == {}
    assert "warning: " not in caplog.text


@pytest.mark.parametrize("method", ["report", "keep"])
def test_a_report_that_fails_is_told_once_and_costs_no_run(method, tmp_path, monkeypatch, caplog):
    def fails(*_: Any) -> None:
        raise ValueError("no ink")

    monkeypatch.setattr(Drawn, method, fails)
    Drawn.report.__module__ = __name__
    trainer = fit(Tripled(Drawn()), tmp_path, 1)
    assert trainer.current_epoch == 3
    assert [each for each in caplog.messages if "no ink" in each] == ["warning: ReportPictures: cannot draw: no ink"]


def test_a_validation_that_is_broken_off_leaves_the_step_as_it_was(tmp_path):
    class Stops(Tripled):
        def on_validation_batch_end(self, *_: Any) -> None:
            raise Interrupted("enough")

    task = Stops(Drawn())
    with pytest.raises(Interrupted):
        fit(task, tmp_path, num_sanity_val_steps=0)
    assert "step" not in vars(task)
