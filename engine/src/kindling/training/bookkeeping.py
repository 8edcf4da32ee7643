"""What the engine does around the steps of any LightningModule, so that its owner may override every hook."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.utils._pytree import tree_leaves

from kindling.checkpoints import shared_out
from kindling.checkpoints.writable import refuse_facts
from kindling.console import report
from kindling.data.resumable import make_resumable
from kindling.data.seeds import mix_seeds, seed_all
from kindling.errors import ConfigError, DivergedError
from kindling.lightning_internals import fresh, hooks, plateau, results
from kindling.stages import Stage
from kindling.training.divergence import not_finite, refuse_divergence, refuse_spoilt_weights
from kindling.training.epoch_metrics import as_numbers, computed
from kindling.training.optimization import scale_rates
from kindling.training.other_names import Origin, hold_against
from kindling.training.requirements import (
    metrics_watched,
    refuse_other_interval,
    refuse_shares_of_nothing,
    warn_of_amounts,
    watch_the_last_epoch,
)
from kindling.training.skipping import leave_out
from kindling.training.split import say_what_depends_on_the_split
from kindling.training.sums import NUM, StageSums, refuse_no_examples
from kindling.training.unlogged import is_partial, knows_of_sanity_checks, refuse_never_logged, refuse_unlogged
from kindling.training.waiting import refuse_waiting


class Bookkeeping(Callback):
    """Seeds each step, refuses NaN, logs the sums of an epoch, and restores what a resumed epoch has summed up.

    Args:
        seed: of the run; each step's is a function of it, the epoch and the batch.
        rollbacks: [epoch, batch] of the batches that gave NaN.
        skips_batches: whether those are left out.
        lr_factor: of all learning rates, once training starts.
        origin: what the weights that it starts with were trained with.
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        rollbacks: Sequence[list[int]] = (),
        skips_batches: bool = True,
        lr_factor: float = 1.0,
        origin: Origin | None = None,
    ):
        self.seed = seed
        self.rollbacks = list(rollbacks)
        self.skips_batches = skips_batches
        self.lr_factor = lr_factor
        self.origin = origin
        self._epoch_seed: int | None = None
        # Until a validation has shown what is logged.
        self._looks_at_names = True
        # Whether the sanity check had too few examples for a metric.
        self._is_incomplete = False
        # Metrics of several dataloaders that have been named, and what metrics have warned of.
        self._said: set[str] = set()

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        # Also a module may have brought it along.
        hooks.skip_idle_hooks(self)
        if is_summed(pl_module):
            pl_module.facts = getattr(trainer.datamodule, "facts", {})  # pyright: ignore
        if stage == "fit":
            refuse_facts(getattr(trainer.datamodule, "facts", {}))  # pyright: ignore
            make_resumable(trainer, self.seed)
        if self.origin:
            facts = getattr(trainer.datamodule, "facts", {})  # pyright: ignore
            hold_against(self.origin, facts, trains=stage == "fit")
            self.origin = None
        refuse_shares_of_nothing(trainer, pl_module, stage)

    # Training

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        refuse_waiting(trainer, pl_module)
        watch_the_last_epoch(trainer)
        warn_of_amounts(trainer)
        say_what_depends_on_the_split(trainer, pl_module)
        plateau.step_when_known(trainer)
        if not is_summed(pl_module):
            refuse_other_interval(trainer, pl_module)
        if self.lr_factor != 1:
            scale_rates(trainer.optimizers, trainer.lr_scheduler_configs, self.lr_factor)
        if self.rollbacks and self.skips_batches:
            leave_out(pl_module, self.rollbacks)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        refuse_never_logged(trainer, pl_module)
        self.begin_epoch(pl_module, "train")

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        # A resumed step's dropout equals the uninterrupted one's.
        if batch_idx == 0 or self._epoch_seed is None:
            self._epoch_seed = mix_seeds(self.seed, trainer.current_epoch, trainer.global_rank)
        seed_all(self._epoch_seed + batch_idx, pl_module.device)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.end_epoch(trainer, pl_module, "train")

    # Evaluation

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.begin_evaluation(pl_module, "val", trainer.val_dataloaders)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.end_epoch(trainer, pl_module, "val")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn != "fit":
            return
        if not trainer.sanity_checking:
            fresh.note_validation(trainer)
        if self._looks_at_names and not (trainer.sanity_checking and self._shows_less(trainer, pl_module)):
            refuse_unlogged(trainer, pl_module)
            self._looks_at_names = False
        if trainer.sanity_checking:
            return
        for name, full_name in results.name_first_of_several(trainer, metrics_watched(trainer)).items():
            if name not in self._said:
                report("monitor: %s is logged for each of several dataloaders; %s decides", name, full_name)
                self._said.add(name)

    def _shows_less(self, trainer: Trainer, module: LightningModule) -> bool:
        """Whether a sanity check may show less than a validation; of several dataloaders Lightning keeps nothing."""
        several = len(trainer.num_val_batches) > 1
        return self._is_incomplete or several or knows_of_sanity_checks(module)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        seed_all(mix_seeds(self.seed, trainer.global_rank), pl_module.device)

    def on_test_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.begin_evaluation(pl_module, "test", trainer.test_dataloaders)

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.end_epoch(trainer, pl_module, "test")

    # The sums of a task

    def begin_epoch(self, module: Any, stage: Stage) -> None:
        module.kindling_sums[stage].reset()
        for metric in module.kindling_metrics_of[stage].values():
            metric.reset()

    def begin_evaluation(self, module: Any, stage: Stage, loader: Any) -> None:
        self.begin_epoch(module, stage)
        if is_summed(module):
            counts = [getattr(each, "num_own", math.inf) for each in tree_leaves(loader)]
            module.kindling_sums[stage].num_own = min(counts, default=math.inf)

    def end_epoch(self, trainer: Trainer, module: Any, stage: Stage) -> None:
        sums = module.kindling_sums[stage].reduced(trainer)
        if not sums:
            return
        self.refuse_divergence(trainer, module, stage)
        num = float(sums[NUM])
        try:
            refuse_no_examples(num, module, stage)
            metrics, examples = module.kindling_metrics_of[stage], f"{num:g} examples in {stage}"
            of_metrics = computed(metrics, examples, trainer, self._said)
        except ConfigError:
            # A few batches may be too few where all are enough.
            if is_partial(trainer):
                self._is_incomplete = True
                return
            raise
        found = as_numbers(module.epoch_metrics(sums)) | of_metrics
        means = {f"{stage}/{name}": value.float() for name, value in found.items()}
        module.log_dict(means, prog_bar=True, sync_dist=True)

    def refuse_divergence(self, trainer: Trainer, module: Any, stage: Stage) -> None:
        """
        Raises:
            DivergedError: a loss since the epoch began was NaN or infinite.
        """
        refuse_divergence(trainer, module.kindling_sums[stage].loss, stage)

    # Checkpoints

    def on_save_checkpoint(self, trainer: Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        self.refuse_divergence(trainer, pl_module, "train")
        # A NaN gradient shows in the next loss only.
        refuse_spoilt_weights(pl_module)
        checkpoint["train_sums"] = results.gather(trainer, self.state_of(pl_module))
        checkpoint["rollbacks"] = self.rollbacks

    def state_of(self, module: Any) -> Any:
        return module.kindling_sums["train"].state()

    def on_load_checkpoint(self, trainer: Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        # Older checkpoints lack them.
        if sums := checkpoint.get("train_sums", []):
            self.restore(pl_module, shared_out.train_sums(sums, trainer), trainer.strategy.root_device)
        self.rollbacks += [each for each in checkpoint.get("rollbacks", []) if each not in self.rollbacks]

    def restore(self, module: Any, state: Any, device: torch.device) -> None:
        module.kindling_sums["train"].restore(state, device)


class PlainBookkeeping(Bookkeeping):
    """For a LightningModule that is no `Task`, or whose training step is its owner's own: looks at each loss itself."""

    def __init__(self, *arguments: Any, **named: Any):
        super().__init__(*arguments, **named)
        self._losses: Tensor | None = None

    def begin_epoch(self, module: Any, stage: Stage) -> None:
        if stage == "train":
            self._losses = None
        if is_summed(module):
            super().begin_epoch(module, stage)

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        seen = loss.detach().sum()
        self._losses = seen if self._losses is None else self._losses + seen

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        every: int = trainer.log_every_n_steps  # pyright: ignore[reportAttributeAccessIssue]
        if every and (batch_idx + 1) % every == 0:
            refuse_divergence(trainer, self._losses, "train")

    def end_epoch(self, trainer: Trainer, module: Any, stage: Stage) -> None:
        self.refuse_divergence(trainer, module, stage)
        if is_summed(module):
            super().end_epoch(trainer, module, stage)

    def refuse_divergence(self, trainer: Trainer, module: Any, stage: Stage) -> None:
        if stage == "train":
            refuse_divergence(trainer, self._losses, stage)
        elif is_summed(module):
            super().refuse_divergence(trainer, module, stage)
        else:
            losses = {name: value for name, value in trainer.callback_metrics.items() if "loss" in name}
            wrong = not_finite((name, value) for name, value in losses.items() if not name.startswith("train"))
            if wrong:
                raise DivergedError(f"{wrong}: is NaN or infinite")

    def state_of(self, module: Any) -> Any:
        return super().state_of(module) if is_summed(module) else None

    def restore(self, module: Any, state: Any, device: torch.device) -> None:
        if is_summed(module):
            super().restore(module, state, device)


def is_summed(module: LightningModule) -> bool:
    """Whether a module is a task, which adds up what its steps give."""
    return isinstance(getattr(module, "kindling_sums", None), StageSums)
