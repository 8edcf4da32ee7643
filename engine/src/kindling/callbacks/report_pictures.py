"""The pictures that the report of a project's own processor saves, of a validation."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningModule, Trainer
from PIL import Image
from torch import Tensor

from kindling.callbacks.drawing import TensorBoardCallback, boards, current_step, show
from kindling.data.processor import ENGINE, Compute, Evaluated, Processor
from kindling.ranges import PositiveInt
from kindling.training.keep_outputs import KeepOutputs, join, on_cpu
from kindling.training.task import Task


class ReportPictures(TensorBoardCallback):
    """Shows what `report` saves of the newest validation at the end of each n-th epoch, and of the last of the run.

    Args:
        every_n_epochs: epochs between two; None for the last validation alone.
    """

    def __init__(self, every_n_epochs: PositiveInt | None):
        super().__init__(every_n_epochs)
        self._processor: Processor | None = None
        # The validation that is not drawn yet.
        self._kept: KeepOutputs | None = None
        # The step at which it took place.
        self._step = 0
        self._is_keeping = False

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._processor = processor_with_own_report(pl_module)
        if self._processor and trainer.world_size > 1:
            self.leave_out(trainer, f"given {trainer.world_size} processes; it draws what one validates alone")
            self._processor = None

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._processor and trainer.state.fn == "fit" and not trainer.sanity_checking and boards(trainer):
            self._kept, self._step = KeepOutputs(self._keep), current_step(trainer)
            self._kept.on_validation_start(trainer, pl_module)
            self._is_keeping = True

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._kept is not None and self._is_keeping:
            self._kept.on_validation_end(trainer, pl_module)
            self._is_keeping = False

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        # The step is as it was, for whoever goes on.
        self.on_validation_end(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.ends_period(trainer):
            self.attempt(self._draw, trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.attempt(self._draw, trainer, pl_module)

    def _keep(self, outputs: Any, targets: Any) -> tuple[Any, Any]:
        processor = self._processor
        assert processor is not None, "it is kept for a report"
        kept: list[tuple[Any, Any]] = []
        self.attempt(lambda: kept.append(processor.keep(outputs, targets)))
        return kept[0] if kept else (None, None)

    def _draw(self, trainer: Trainer, pl_module: LightningModule) -> None:
        kept, self._kept = self._kept, None
        # A task may give no outputs.
        if not kept or self._processor is None:
            return
        outputs, targets = kept.joined()
        splits = getattr(trainer.datamodule, "splits", None)  # pyright: ignore[reportAttributeAccessIssue]
        evaluated = Evaluated(outputs, targets, "val", getattr(splits, "val", None), compute_as_it_is(pl_module))
        with TemporaryDirectory() as folder:
            self._processor.report(evaluated, Path(folder))
            for file in sorted(Path(folder).glob("*.png")):
                show(trainer, f"val/{file.stem}", picture_of(file), self._step)


def processor_with_own_report(module: LightningModule) -> Processor | None:
    """That of a task, if the project itself has written its report."""
    processor = module.processor() if isinstance(module, Task) else None
    if processor is None or type(processor).report.__module__.startswith(f"{ENGINE}."):
        return None
    return processor


def compute_as_it_is(module: LightningModule) -> Compute:
    """Batches of arrays to outputs, by a net in the middle of its training, which stays in the mode that it is in."""

    @torch.inference_mode()
    def compute(*inputs: np.ndarray) -> Any:
        modes = {each: each.training for each in module.modules()}
        module.eval()
        try:
            outputs = module(*(torch.from_numpy(np.ascontiguousarray(each)).to(module.device) for each in inputs))
        finally:
            for each, is_training in modes.items():
                each.training = is_training
        return join((on_cpu(outputs),))

    return compute


def picture_of(file: Path) -> Tensor:
    """(3, H, W) uint8."""
    return torch.from_numpy(np.array(Image.open(file).convert("RGB"))).permute(2, 0, 1)
