"""Watches the layers: gradients, weights, outputs and dead ReLUs, in one step of many."""

from collections.abc import Iterator
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor, nn
from torch.optim import Optimizer

from kindling.callbacks.activations import Recorder, has_parameters
from kindling.console import warn
from kindling.loggers.tensorboard_run import LAYERS
from kindling.ranges import NotNegative, Positive, PositiveInt, Probability
from kindling.training.divergence import not_finite
from kindling.training.observer import Observer

Named = dict[str, Tensor]


class LayerMonitor(Observer):
    """Writes TensorBoard curves of each layer and warns, once each, of those that do not learn.

    It looks at every n-th optimizer step alone; the others have no hooks in the net. Of a compiled net, which hooks
    would compile anew, it sees weights and gradients only.

    Args:
        every_n_steps: optimizer steps.
        vanishing: a layer's gradient norm over the largest one, below which at two looks it warns.
        exploding: a gradient norm above which it warns.
        dead: share of a ReLU's units that are zero for a whole batch, above which it warns.
    """

    def __init__(self, *, every_n_steps: PositiveInt, vanishing: NotNegative, exploding: Positive, dead: Probability):
        self.every_n_steps = every_n_steps
        self.vanishing, self.exploding, self.dead = vanishing, exploding, dead
        # None outside of the steps that are looked at.
        self._recorder: Recorder | None = None
        # Layers whose gradient had vanished at the last look.
        self._vanished: set[str] = set()
        self._reported: set[str] = set()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if trainer.global_step % self.every_n_steps or batch_idx % trainer.accumulate_grad_batches:
            return
        self._stop_recording()
        modules: dict[str, nn.Module] = dict(pl_module.named_modules())
        compiled = any(hasattr(each._compiled_call_impl, "_torchdynamo_orig_callable") for each in modules.values())
        self._recorder = Recorder({} if compiled else modules)
        self._recorder.__enter__()

    def _stop_recording(self) -> Recorder | None:
        recorder, self._recorder = self._recorder, None
        if recorder:
            recorder.__exit__(None, None, None)
        return recorder

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._stop_recording()

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        recorder = self._stop_recording()
        if recorder is None:
            return
        scale = loss_scale(trainer, optimizer)
        weights, gradients = layer_norms(pl_module, scale)
        curves = dict(tagged(weights, gradients, recorder))
        values = dict(zip(curves, read(curves.values()), strict=True))
        self._write(trainer, values)
        self._warn_of_first(pl_module, recorder, trainer.global_step, skips=scale is not None)
        self._warn_of_layers(values, skips=scale is not None)

    @rank_zero_only
    def _write(self, trainer: Trainer, values: dict[str, float]) -> None:
        # Not into metrics.csv, with its column for each number.
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                named = {f"{LAYERS}/{tag}": value for tag, value in values.items()}
                logger.log_metrics(named, trainer.global_step)

    def _report(self, key: str, message: str) -> None:
        if key not in self._reported:
            self._reported.add(key)
            warn(message)

    def _warn_of_first(self, pl_module: LightningModule, recorder: Recorder, step: int, *, skips: bool) -> None:
        gradients = [(name, each.grad) for name, each in pl_module.named_parameters()]
        places = (
            ("the parameter", pl_module.named_parameters()),
            ("the output of", recorder.statistics.items()),
            # Backward reaches the last parameter first.
            ("the gradient of", () if skips else reversed(gradients)),
        )
        for kind, tensors in places:
            name = not_finite(tensors)
            if name is not None:
                self._report("not finite", f"step {step}: {kind} {name} is NaN or infinite")
                return

    def _warn_of_layers(self, values: dict[str, float], *, skips: bool) -> None:
        gradients = {tag.partition("/")[2]: each for tag, each in values.items() if tag.startswith("gradients/")}
        largest = max(gradients.values(), default=0.0)
        for layer, norm in gradients.items():
            # Negated, so that NaN counts as exploding.
            if not norm <= self.exploding and not skips:
                self._report(f"exploding {layer}", f"{layer}: the gradient explodes, with a norm of {norm:.3g}")

        vanished = {layer for layer, norm in gradients.items() if norm < self.vanishing * largest}
        # At a first look it may vanish by design.
        for layer in sorted(vanished & self._vanished):
            share = f"{gradients[layer]:.3g}, of {largest:.3g} in the layer with the largest"
            self._report(f"vanishing {layer}", f"{layer}: the gradient vanishes, with a norm of {share}")
        self._vanished = vanished

        for tag, share in values.items():
            if tag.startswith("dead_units/") and share > self.dead:
                layer = tag.partition("/")[2]
                self._report(f"dead {layer}", f"{layer}: {100 * share:.0f} % of the ReLU's units are zero for a batch")


def loss_scale(trainer: Trainer, optimizer: Optimizer) -> float | None:
    """What 16-mixed has multiplied the gradients by; None without it. A fused step divides by it itself."""
    scaler = getattr(trainer.precision_plugin, "scaler", None)
    if scaler is None:
        return None
    return scaler.get_scale() if getattr(optimizer, "_step_supports_amp_scaling", False) else 1.0


def layer_norms(pl_module: nn.Module, scale: float | None) -> tuple[Named, Named]:
    """The norms () of all weights and of all gradients of each layer that has any."""
    layers = {name: module for name, module in pl_module.named_modules() if has_parameters(module)}
    own = {name: list(module.parameters(recurse=False)) for name, module in layers.items()}
    grads = {name: [each.grad for each in parameters if each.grad is not None] for name, parameters in own.items()}
    norm = torch.nn.utils.get_total_norm
    gradients = {name: norm(each) / (scale or 1.0) for name, each in grads.items() if each}
    return {name: norm(own[name]).detach() for name in own}, gradients


def tagged(weights: Named, gradients: Named, recorder: Recorder) -> Iterator[tuple[str, Tensor]]:
    for name, norm in weights.items():
        yield f"weights/{name}", norm
    for name, norm in gradients.items():
        yield f"gradients/{name}", norm
        yield f"gradient_to_weight/{name}", norm / weights[name]
    for name, (mean, std) in recorder.statistics.items():
        yield f"activation_means/{name}", mean
        yield f"activation_stds/{name}", std
    for name, share in recorder.dead.items():
        yield f"dead_units/{name}", share


def read(scalars: Any) -> list[float]:
    """The numbers, with one wait for the device."""
    return torch.stack([each.float() for each in scalars]).tolist()
