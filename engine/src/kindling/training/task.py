"""The base of the LightningModules that are trained here: its owner writes what a step computes."""

import inspect
import sys
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any, ClassVar

from lightning.pytorch import Callback, LightningModule
from torch import Tensor, nn
from torch.optim import Optimizer
from torchmetrics import Metric

from kindling.config.declared import ALLOWED, Misdeclared, wrong_in
from kindling.data.processor import Processor
from kindling.errors import ConfigError
from kindling.lightning_internals.loops import total_steps
from kindling.stages import STAGES, Stage
from kindling.training.bookkeeping import Bookkeeping, PlainBookkeeping
from kindling.training.counting import counted, no_loss, window_scale
from kindling.training.divergence import refuse_divergence
from kindling.training.optimization import apply_lr_factors, build_scheduler, parameter_groups
from kindling.training.split import weight_of_process
from kindling.training.sums import LOSS, NUM, StageSums, StepOutput

# What the engine keeps on a task, and what it asks it for.
KEPT = ("config", "facts", "kindling_sums", "kindling_metrics", "kindling_metrics_of")
ASKED = ("step", "epoch_metrics", "example", "check_outputs", "processor")


class Task(LightningModule):
    """Trains a net; a subclass writes `step`.

    Args:
        net: what is trained.
        optimizer: takes parameter groups; None if nothing is trained.
        scheduler: Lightning's lr_scheduler config, whose `scheduler` takes the optimizer, and `total_steps`
            if it needs them.
        layer_lr_decay: of the rate, from each layer to the one before it.
        metrics: of torchmetrics, by name; each stage gives them the outputs and targets of its steps.
        config: the run's plain config.
    """

    # What is logged beside the loss, and whether less of it is better: "min" or "max". A literal, since the check
    # of a command line reads it from the source.
    METRICS: ClassVar[Mapping[str, str]] = {}
    # Of the run, as plain values.
    config: dict[str, Any]
    # Of the data: names, statistics, a vocabulary. Known once the data is read, and from a checkpoint.
    facts: Mapping[str, Any]
    kindling_sums: StageSums
    kindling_metrics_of: dict[Stage, dict[str, Metric]]
    kindling_metrics: nn.ModuleList

    def __init__(
        self,
        net: nn.Module,
        *,
        optimizer: Callable[..., Optimizer] | None = None,
        scheduler: dict[str, Any] | None = None,
        layer_lr_decay: float = 1.0,
        metrics: Mapping[str, Metric | None] | None = None,
        config: dict[str, Any] | None = None,
    ):
        for name in KEPT:
            if hasattr(type(self), name):
                refuse_name(self, name)
        refuse_misdeclared(type(self))
        super().__init__()
        self.net = net
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.layer_lr_decay = layer_lr_decay
        for name, metric in (metrics or {}).items():
            if name in (LOSS, *self.METRICS):
                raise ConfigError(
                    f"metrics.{name}: given a name that {type(self).__name__} logs itself; allowed: another"
                )
            if not isinstance(metric, Metric | None):
                raise ConfigError(f"metrics.{name}: given {type(metric).__name__}; allowed: a Metric, each by its name")
        of_stages: dict[Stage, dict[str, Metric]] = {
            stage: {name: metric.clone() for name, metric in (metrics or {}).items() if metric} for stage in STAGES
        }
        vars(self).update(config=config or {}, facts={}, kindling_sums=StageSums(), kindling_metrics_of=of_stages)
        if any(of_stages.values()):
            # As modules they move to the device, and a resumed run restores them.
            self._modules["kindling_metrics"] = nn.ModuleList(
                each for named in of_stages.values() for each in named.values()
            )

    # What a subclass writes

    def step(self, batch: Any, stage: Stage) -> StepOutput:
        """The loss of a batch, and what else is to be known of it.

        Args:
            batch: as the data module's loader gives it, on the device.
            stage: "train", "val" or "test".
        """
        raise NotImplementedError(f"{type(self).__name__}: write step(batch, stage) -> StepOutput")

    def epoch_metrics(self, sums: dict[str, Tensor]) -> dict[str, Tensor]:
        """What is logged of an epoch, by name: the mean of each sum over the examples.

        Args:
            sums: over all processes; "loss" and "num", of losses and examples, and those of the steps.
        """
        return {name: value / sums[NUM] for name, value in sums.items() if name != NUM}

    def example(self) -> Any:
        """The net's input of a batch of two, which it passes before training; a tuple if it takes several."""
        return None

    def check_outputs(self, outputs: Any) -> None:
        """Look at what the net makes of the example.

        Raises:
            ConfigError: the task cannot use it.
        """

    def processor(self) -> Processor | None:
        """How an input is read and an output written, for evaluate, predict, export and serve; None without them.

        Made of `self.config["data"]` and `self.facts`.
        """
        return None

    # What the engine does with it

    def __setattr__(self, name: str, value: Any) -> None:
        # Set 46 times a step, where nn.Module searches parameters.
        if name == "_current_fx_name":
            self.__dict__[name] = value
            return
        if (name in KEPT and is_of(sys._getframe(1), self)) or (name in ASKED and not is_function(value)):
            refuse_name(self, name)
        super().__setattr__(name, value)

    def forward(self, *inputs: Any) -> Any:
        return self.net(*inputs)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        output = counted(self, batch, "train", batch_idx)
        loss = output.loss if isinstance(output.num, Tensor) or output.num else no_loss(self)
        several = self.trainer.world_size > 1
        if several:
            loss = loss * weight_of_process(self.trainer, output)
        every_n_steps: int = self.trainer.log_every_n_steps  # pyright: ignore[reportAttributeAccessIssue]
        if every_n_steps and (self.global_step + 1) % every_n_steps == 0:
            refuse_divergence(self.trainer, self.kindling_sums["train"].loss, "train")
            self.log("train/loss_step", loss, sync_dist=several)
        return loss if self.trainer.accumulate_grad_batches == 1 else loss * window_scale(self.trainer, batch_idx)

    # Lightning reads it each step; this saves 20 µs.
    training_step.__signature__ = inspect.signature(training_step)  # pyright: ignore[reportFunctionMemberAccess]

    def validation_step(self, batch: Any, batch_idx: int) -> Any:
        return counted(self, batch, "val", batch_idx).outputs

    def test_step(self, batch: Any, batch_idx: int) -> Any:
        return counted(self, batch, "test", batch_idx).outputs

    @property
    def leaves_out_repeated(self) -> bool:
        """Whether examples that are evaluated twice, so that no process has fewer batches, count once."""
        kind = type(self)
        return kind.validation_step is Task.validation_step and kind.test_step is Task.test_step

    @property
    def can_count_none(self) -> bool:
        """Whether a process may evaluate no example that counts; a torchmetrics object may not know its own shape."""
        return self.leaves_out_repeated and not any(self.kindling_metrics_of.values())

    def configure_callbacks(self) -> list[Callback]:
        """What a Trainer lacks that `kindling.train` did not make."""
        callbacks: list[Any] = self.trainer.callbacks  # pyright: ignore[reportAttributeAccessIssue]
        there = any(isinstance(each, Bookkeeping) for each in callbacks)
        return [] if there else [bookkeeping_of(self)(self.config.get("seed", 0))]

    def configure_optimizers(self) -> Any:
        assert self.optimizer is not None, "a task without optimizer is not trained"
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
        schedule = build_scheduler(make, optimizer, lambda: total_steps(self.trainer))
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


def bookkeeping_of(module: LightningModule) -> type[Bookkeeping]:
    """The kind of callback that a module needs: the sums of a task see each loss only of its own training step."""
    return Bookkeeping if getattr(type(module), "training_step", None) is Task.training_step else PlainBookkeeping


def refuse_misdeclared(kind: type[Task]) -> None:
    """Of a class that a program has made, whose source the check of a config does not know.

    Raises:
        ConfigError: METRICS does not say which metrics are logged, and which way each is better.
    """
    given = wrong_in(kind.METRICS)
    if given:
        file = getattr(sys.modules.get(kind.__module__), "__file__", None) or kind.__module__
        raise ConfigError(f"task: given {Misdeclared(file, kind.__qualname__, given)}; allowed: {ALLOWED}")


def is_of(frame: FrameType, task: Task) -> bool:
    """Whether a frame is of a method of the task itself; the engine and tests may give it what it knows of the data."""
    arguments = frame.f_code.co_varnames[: frame.f_code.co_argcount]
    return bool(arguments) and frame.f_locals.get(arguments[0]) is task


def is_function(value: Any) -> bool:
    return callable(value) and not isinstance(value, nn.Module)


def refuse_name(task: Task, name: str) -> None:
    """
    Raises:
        ConfigError: always.
    """
    raise ConfigError(
        f"task: given {name} by {type(task).__name__}, a name under which the engine keeps or asks for its own; "
        "allowed: another name"
    )
