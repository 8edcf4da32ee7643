"""Names mistakes of training that raise no error, in one line each, with what is usual and what to do."""

from typing import Any

import torch
from lightning.fabric.utilities.data import sized_len
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn

from kindling.console import warn
from kindling.data.batch_digest import digest, sample
from kindling.data.batches import tensors_in
from kindling.data.datamodule import DataModule
from kindling.errors import one_line
from kindling.images.datamodule import ImageDataModule
from kindling.images.doctor.any_rules import OF_TENSORS
from kindling.images.doctor.data_rules import AT_START
from kindling.images.doctor.fetching import Fetching
from kindling.images.doctor.seen import Rule, Seen
from kindling.images.doctor.training_rules import EPOCH, FIRST_BATCH, FIRST_STEPS, OF_THE_CLOCK, VALIDATION
from kindling.images.keep_logits import has_logits
from kindling.lightning_internals.steps import watch_fetching
from kindling.training.bookkeeping import is_summed
from kindling.training.observer import Observer
from kindling.training.sums import LOSS, NUM

# A net may skip layers, or start some at zero.
NUM_STEPS = 8


class Doctor(Observer):
    """Asks the rules of kindling.images.doctor; reports each once a run; changes nothing and ends nothing.

    Rules of logits and labels are for images with one label each, the others for any module and any data.
    """

    def __init__(self) -> None:
        self._reported: set[str] = set()
        # Steps whose gradients it has seen so far.
        self._num_steps = 0
        self._fetching = Fetching()
        # Of the first batch of the last epoch, and of the last validation.
        self._trained: list[Any] | None = None
        self._validated: list[Any] | None = None
        self._predicted: Tensor | None = None

    def state_dict(self) -> dict[str, Any]:
        reported = self._reported - {rule.__name__ for rule in (*OF_THE_CLOCK, *FIRST_STEPS)}
        # Checkpoints hold this key, so it keeps its name.
        return {"told": sorted(reported)} if reported else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._reported.update(state_dict["told"])

    def _ask(self, rules: tuple[Rule, ...]) -> None:
        if not self._seen.trainer.is_global_zero:
            return
        for rule in rules:
            if rule.__name__ not in self._reported:
                for problem in self._problems(rule):
                    self._reported.add(rule.__name__)
                    warn(problem)

    def _problems(self, rule: Rule) -> list[str]:
        try:
            return list(rule(self._seen))
        except Exception as error:
            # Unusual data or models must not end a run.
            return [f"doctor: {rule.__name__} cannot be asked here: {one_line(error)}"]

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._seen = Seen(trainer, pl_module, trainer.datamodule)  # pyright: ignore[reportAttributeAccessIssue]
        if has_labelled_images(self._seen.data) and hasattr(pl_module, "criterion"):
            self._ask(AT_START)
        elif isinstance(self._seen.data, DataModule) and not isinstance(self._seen.data, ImageDataModule):
            self._ask(OF_TENSORS)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        def look(criterion: Any, inputs: Any) -> None:
            handle.remove()
            # One may call it by keywords.
            if not inputs or not isinstance(inputs[0], Tensor):
                return
            self._seen.logits = inputs[0].detach()
            self._seen.made_by = inputs[0].grad_fn.name() if inputs[0].grad_fn else ""
            self._ask(FIRST_BATCH)
            self._seen.logits = None

        # A resumed run has its first steps behind it.
        if trainer.global_step:
            self.on_before_optimizer_step = None  # pyright: ignore[reportAttributeAccessIssue]
        watch_fetching(trainer, self._fetching.start, self._fetching.stop)
        criterion: Any = getattr(pl_module, "criterion", None)
        if has_labelled_images(self._seen.data) and isinstance(criterion, nn.Module):
            handle = criterion.register_forward_pre_hook(look)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if batch_idx == 0:
            before, self._trained = self._trained, sample(batch)
            self._seen.trained = compared(before, self._trained)

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        self._seen.note_gradients()
        self._num_steps += 1
        if self._num_steps == NUM_STEPS:
            self._ask(FIRST_STEPS)
            # Without the hook, later steps cost nothing.
            self.on_before_optimizer_step = None  # pyright: ignore[reportAttributeAccessIssue]

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._fetching.start_epoch()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        sums: Any = pl_module.kindling_sums["train"].state() if is_summed(pl_module) else None  # pyright: ignore
        if sums is not None and sums[NUM]:
            self._seen.train_loss = sums[LOSS] / sums[NUM]
        self._seen.loading = self._fetching.share
        self._ask(EPOCH)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if trainer.state.fn != "fit" or trainer.sanity_checking:
            return
        if batch_idx == 0 and dataloader_idx == 0:
            before, self._validated = self._validated, sample(labels_in(batch))
            self._seen.validated = compared(before, self._validated)
        if not has_labelled_images(self._seen.data) or not has_logits(outputs, batch):
            return
        if batch_idx == 0:
            self._predicted = torch.zeros(outputs.shape[1], dtype=torch.int32, device=outputs.device)
        assert self._predicted is not None, "made with the first batch"
        self._predicted.index_fill_(0, outputs.argmax(1), 1)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn != "fit" or trainer.sanity_checking:
            return
        loader: Any = trainer.val_dataloaders
        counted = self._predicted is not None and trainer.num_val_batches == [sized_len(loader)]
        self._seen.predicted = trainer.strategy.reduce(self._predicted, reduce_op="sum") if counted else None
        self._ask(VALIDATION)


def has_labelled_images(data: Any) -> bool:
    """Whether data is of images with one label each."""
    return isinstance(data, ImageDataModule) and data.splits.train.labels.ndim == 1


def labels_in(batch: Any) -> list[Tensor]:
    """The whole numbers of a batch, which no noise changes; all of it if there are none."""
    tensors = list(tensors_in(batch))
    return [each for each in tensors if not each.is_floating_point()] or tensors


def compared(before: list[Any] | None, now: list[Any]) -> tuple[str, str] | None:
    """The digests of two batches; None if there was none before. Waits for the device."""
    return None if before is None else (digest(before), digest(now))
