"""Names mistakes of training that raise no error, in one line each, with what is usual and what to do."""

from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from kindling.console import warn
from kindling.errors import one_line
from kindling.images.datamodule import ImageDataModule
from kindling.images.doctor.data_rules import AT_START
from kindling.images.doctor.fetching import Fetching
from kindling.images.doctor.seen import Rule, Seen
from kindling.images.doctor.training_rules import EPOCH, FIRST_BATCH, FIRST_STEPS, OF_THE_CLOCK, VALIDATION
from kindling.training.observer import Observer
from kindling.training.sums import LOSS, NUM
from kindling.training.task import Task

# A net may skip layers, or start some at zero.
NUM_STEPS = 8


class Doctor(Observer):
    """Asks the rules of kindling.images.doctor; reports each once a run; changes nothing and ends nothing."""

    def __init__(self) -> None:
        self._reported: set[str] = set()
        # Steps whose gradients it has seen so far.
        self._num_steps = 0
        self._fetching = Fetching()
        self._first_labels: Tensor | None = None
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
        self._seen = Seen(trainer, pl_module, trainer.datamodule)  # pyright: ignore[reportAttributeAccessIssue, reportArgumentType]
        # The rules know no other kind of task and data.
        knows = isinstance(pl_module, Task) and hasattr(pl_module, "criterion")
        if not isinstance(self._seen.data, ImageDataModule) or not knows:
            for name in vars(Doctor):
                if name.startswith("on_"):
                    # Lightning skips a hook that is not callable.
                    setattr(self, name, None)
        else:
            self._ask(AT_START)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        def look(criterion: Any, inputs: Any) -> None:
            self._seen.logits = inputs[0].detach()
            self._seen.made_by = inputs[0].grad_fn.name() if inputs[0].grad_fn else ""
            handle.remove()
            self._ask(FIRST_BATCH)
            self._seen.logits = None

        # A resumed run has its first steps behind it.
        if trainer.global_step:
            self.on_before_optimizer_step = None  # pyright: ignore[reportAttributeAccessIssue]
        self._fetching.watch(trainer.fit_loop.epoch_loop)
        criterion: Any = self._seen.task.criterion
        handle = criterion.register_forward_pre_hook(look)

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
        sums = self._seen.task.sums["train"].state()
        if sums is not None:
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
        if trainer.state.fn != "fit" or trainer.sanity_checking or not isinstance(outputs, Tensor):
            return
        if batch_idx == 0:
            self._compare_order(batch[1])
            self._predicted = torch.zeros(outputs.shape[1], dtype=torch.int32, device=outputs.device)
        assert self._predicted is not None, "made with the first batch"
        self._predicted.index_fill_(0, outputs.argmax(1), 1)

    def _compare_order(self, labels: Tensor) -> None:
        if self._first_labels is not None and self._first_labels.shape == labels.shape:
            self._seen.first_labels = (self._first_labels, labels)
        self._first_labels = labels

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn != "fit" or trainer.sanity_checking:
            return
        loader: Any = trainer.val_dataloaders
        whole = hasattr(loader, "__len__") and trainer.num_val_batches == [len(loader)]
        counted = whole and self._predicted is not None
        self._seen.predicted = trainer.strategy.reduce(self._predicted, reduce_op="sum") if counted else None
        self._ask(VALIDATION)
