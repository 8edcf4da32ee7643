"""The LightningModule: one step for all stages, its metrics, the optimiser hook."""

import inspect
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from kindling.checkpoints.checkpoint import DESCRIPTION, describe, load_weights
from kindling.checkpoints.described import build, section
from kindling.data.seeds import mix_seeds, seed_all
from kindling.errors import ConfigError, DivergedError
from kindling.images.criterion import CrossEntropy
from kindling.images.metrics import Totals
from kindling.images.views import Views, average_logits
from kindling.lightning_internals.results import gather
from kindling.training.divergence import not_finite
from kindling.training.optimization import apply_lr_factors, build_scheduler, parameter_groups, scale_rates
from kindling.training.task import Task

Batch = tuple[Tensor, Tensor]
# Arguments by which torchvision downloads weights.
PRETRAINED = ("pretrained", "pretrained_backbone", "weights_backbone")


class Classifier(Task):
    """Trains a net to give each image its label.

    Args:
        net: images (B, C, H, W) -> logits (B, K).
        criterion: logits (B, K), labels (B,) -> mean loss ().
        optimizer: takes parameter groups; None if nothing is trained.
        scheduler: Lightning's lr_scheduler config, whose `scheduler` takes the optimizer, and `total_steps`
            if it needs them.
        layer_lr_decay: of the rate, from each layer to the one before it.
        mix: training images (B, C, H, W) and labels (B,) -> mixed images and shares of the classes (B, K).
        config: the run's plain config, written into each checkpoint.
    """

    def __init__(
        self,
        net: nn.Module,
        criterion: nn.Module,
        optimizer: Callable[..., Optimizer] | None = None,
        scheduler: dict[str, Any] | None = None,
        layer_lr_decay: float = 1.0,
        mix: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None = None,
        config: dict[str, Any] | None = None,
    ):
        super().__init__()
        # Channels last, convolutions run 1.6 times faster.
        self.net = net.to(memory_format=torch.channels_last)
        self.criterion = criterion
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.layer_lr_decay = layer_lr_decay
        self.mix = mix
        self.config = config or {}
        # Stages that are not named take one view.
        self.views: dict[str, Views] = {"test": self.config.get("views") or "none"}
        self.totals = {"train": Totals(), "val": Totals(), "test": Totals()}
        # [epoch, batch] of the batches that gave NaN.
        self.rollbacks: list[list[int]] = []
        # Whether those batches are left out.
        self.skips_batches = True
        # Multiplies all learning rates when training starts.
        self.lr_factor = 1.0
        self._epoch_seed: int | None = None

    def __setattr__(self, name: str, value: Any) -> None:
        # Set 46 times a step, where nn.Module searches parameters.
        if name == "_current_fx_name":
            self.__dict__[name] = value
        else:
            super().__setattr__(name, value)

    def setup(self, stage: str) -> None:
        if isinstance(self.criterion, CrossEntropy) and self.criterion.is_balanced:
            # A checkpoint brings the weights of its classes.
            if stage != "fit" and not self.criterion.is_even:
                return
            data: Any = self.trainer.datamodule  # pyright: ignore[reportAttributeAccessIssue]
            self.criterion.balance(data.splits.train.labels)

    def forward(self, images: Tensor) -> Tensor:
        return self.net(images)

    def _step(self, batch: Batch, stage: str) -> tuple[Tensor, Tensor]:
        images, labels = batch  # (B, C, H, W), (B,)
        if self.mix is not None and stage == "train":
            images, labels = self.mix(images, labels)  # (B, C, H, W), (B, K)
        logits = average_logits(self.net, images, self.views.get(stage, "none"))  # (B, K)
        loss = self.criterion(logits, labels)
        padded = stage != "train" and self.trainer.world_size > 1
        self.totals[stage].update(loss, logits, labels, padded=padded)
        return loss, logits

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor | None:
        if self.rollbacks and self.skips_batches and [self.current_epoch, batch_idx] in self.rollbacks:
            # Else the last step's loss would be logged again.
            self.trainer.fit_loop.epoch_loop._results.pop("training_step.train/loss_step", None)
            return None
        loss, _ = self._step(batch, "train")
        every_n_steps: int = self.trainer.log_every_n_steps  # pyright: ignore[reportAttributeAccessIssue]
        if every_n_steps and (self.global_step + 1) % every_n_steps == 0:
            self.refuse_divergence("train")
            self.log("train/loss_step", loss)
        return loss if self.trainer.accumulate_grad_batches == 1 else loss * self._window_scale(batch_idx)

    # Lightning reads it each step; this saves 20 µs.
    training_step.__signature__ = inspect.signature(training_step)  # pyright: ignore[reportFunctionMemberAccess]

    def _window_scale(self, batch_idx: int) -> float:
        """Lightning divides a loss by all the batches of a step, also where an epoch ends with fewer."""
        full, batches = self.trainer.accumulate_grad_batches, self.trainer.num_training_batches
        rest = int(batches % full) if math.isfinite(batches) else 0
        return full / rest if rest and batch_idx >= batches - rest else 1.0

    def validation_step(self, batch: Batch, batch_idx: int) -> Tensor:
        return self._step(batch, "val")[1]

    def test_step(self, batch: Batch, batch_idx: int) -> Tensor:
        return self._step(batch, "test")[1]

    def _log_epoch(self, stage: str) -> None:
        sums = self.totals[stage].sums
        if sums is None:
            return
        self.refuse_divergence(stage)
        loss, hits, num_images = self.trainer.strategy.reduce(sums, reduce_op="sum")
        means = {
            f"{stage}/loss": (loss / num_images).float(),
            f"{stage}/accuracy": (hits / num_images).float(),
        }
        self.log_dict(means, prog_bar=True, sync_dist=True)

    def on_train_start(self) -> None:
        if self.lr_factor != 1:
            scale_rates(self.trainer.optimizers, self.trainer.lr_scheduler_configs, self.lr_factor)

    def on_train_epoch_start(self) -> None:
        self.totals["train"].reset()

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        # A resumed step's dropout equals the uninterrupted one's.
        if batch_idx == 0 or self._epoch_seed is None:
            self._epoch_seed = mix_seeds(self.config.get("seed", 0), self.current_epoch, self.global_rank)
        seed_all(self._epoch_seed + batch_idx, self.device)

    def on_validation_epoch_start(self) -> None:
        self.totals["val"].reset()

    def on_test_epoch_start(self) -> None:
        seed_all(mix_seeds(self.config.get("seed", 0), self.global_rank), self.device)
        self.totals["test"].reset()

    def on_train_epoch_end(self) -> None:
        self._log_epoch("train")

    def on_validation_epoch_end(self) -> None:
        self._log_epoch("val")

    def on_test_epoch_end(self) -> None:
        self._log_epoch("test")

    def configure_optimizers(self) -> Any:
        assert self.optimizer is not None, "a classifier without optimizer is not trained"
        groups = parameter_groups(self.net, self.layer_lr_decay)
        # A fused step unscales gradients itself, too late to clip.
        can_fuse = "fused" in inspect.signature(self.optimizer).parameters
        mixed = self.trainer.precision in ("16-mixed", "bf16-mixed")
        clips_mixed = can_fuse and mixed and self.trainer.gradient_clip_val
        try:
            optimizer = self.optimizer(groups, fused=False) if clips_mixed else self.optimizer(groups)
        except (TypeError, ValueError) as error:
            # For a learning rate below zero, say.
            raise ConfigError(f"optimizer: {error}") from error

        apply_lr_factors(optimizer)
        if self.scheduler is None:
            return optimizer
        make = self.scheduler["scheduler"]
        schedule = build_scheduler(make, optimizer, lambda: self.trainer.estimated_stepping_batches)
        return {"optimizer": optimizer, "lr_scheduler": {**self.scheduler, "scheduler": schedule}}

    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: Optimizer) -> None:
        # DeepSpeed's optimizer has its own, for instance.
        if type(optimizer).zero_grad is not Optimizer.zero_grad:
            optimizer.zero_grad()
            return
        # As torch does, in a third of the time.
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = None

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        if gradient_clip_val is not None or self.trainer.gradient_clip_val is not None:
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)

    def refuse_divergence(self, stage: str) -> None:
        """Wait for the device and look at what it has summed up; asked only where it is waited for anyway.

        Raises:
            DivergedError: a loss since the epoch began was NaN or infinite, in this process or another.
        """
        sums = self.totals[stage].sums
        diverged = sums is not None and not sums[0].isfinite().item()
        if self.trainer.world_size > 1:
            diverged = self.trainer.strategy.reduce_boolean_decision(diverged, all=False)
        if diverged:
            raise DivergedError(f"{stage}/loss: is NaN or infinite")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.refuse_divergence("train")
        # A NaN gradient shows in the next loss only.
        wrong = not_finite(self.named_parameters())
        if wrong:
            raise DivergedError(f"{wrong}: is NaN or infinite")

        data = getattr(self.trainer, "datamodule", None)
        describe(checkpoint, self.config, data.facts if data else {})
        sums = self.totals["train"].sums
        checkpoint["train_sums"] = gather(self.trainer, None if sums is None else sums.tolist())
        checkpoint["rollbacks"] = self.rollbacks

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        sums = checkpoint.get("train_sums", [])
        # Older checkpoints lack them; other process counts differ.
        if len(sums) == self.trainer.world_size:
            self.totals["train"].restore(sums[self.global_rank], self.trainer.strategy.root_device)
        self.rollbacks += [each for each in checkpoint.get("rollbacks", []) if each not in self.rollbacks]


def rebuild(saved: dict[str, Any], path: Path) -> Classifier:
    """The classifier of a loaded checkpoint, for everything but training.

    Raises:
        CheckpointError: its weights do not fit the model that it describes.
    """
    config = saved[DESCRIPTION]["config"]
    model = {key: value for key, value in section(config, "model").items() if key not in PRETRAINED}
    # The state_dict has all weights, so none are downloaded.
    model |= {"weights": None} if "weights" in model else {}
    criterion = build(section(config, "criterion"), "criterion", nn.Module)
    classifier = Classifier(build(model, "model", nn.Module), criterion, config=config)
    load_weights(classifier, saved["state_dict"], path)
    return classifier
