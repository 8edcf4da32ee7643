"""What a setting may be by itself: its type where no target tells it, its range, its choices."""

import math
from fnmatch import fnmatch
from functools import cache
from typing import Any, NamedTuple

from kindling.config.fault import Fault, nearest

# Of keys whose node has no _target_ to ask.
TYPES = {
    "seed": "int",
    "train": "bool",
    "test": "bool",
    "resume": "str | None",
    "resume_strict": "bool",
    "fork": "str | None",
    "weights": "str | None",
    "init": "str | None",
    "on_nan": "Literal['stop', 'rollback']",
    "rollback.times": "int",
    "rollback.skip_batch": "bool",
    "rollback.lr_factor": "float",
    "views": "Literal['none', 'flip', 'flip_and_shift'] | None",
    "compile": "Literal['default', 'reduce-overhead', 'max-autotune'] | None",
    "float32_matmul_precision": "Literal['highest', 'high', 'medium']",
    "experiment_name": "str | None",
    "monitor": "str",
    "monitor_mode": "Literal['min', 'max']",
    "paths.*": "str | None",
    "scheduler.interval": "Literal['step', 'epoch']",
    "scheduler.frequency": "int",
    "scheduler.monitor": "str",
    "run": "str | None",
    "ckpt": "str | None",
    "model.folder": "str | None",
    "split": "Literal['test', 'val']",
    "input": "str | None",
    "output": "str | None",
    "overwrite": "bool",
    "top_k": "int | None",
    "batch_size": "int",
    "device": "str",
    "format": "Literal['onnx', 'pt2', 'torchscript', 'int8']",
    "preprocessing": "bool",
    "torchscript": "Literal['auto', 'script', 'trace']",
    "aot": "bool",
    "calibration_images": "int",
    "benchmark": "bool",
    "host": "str",
    "port": "int",
    "reload": "bool",
    "threads": "int | None",
    "max_batch": "int",
    "max_queue": "int",
    "max_images": "int",
    "max_body_bytes": "int",
    "max_pixels": "int",
    "timeout_s": "float",
    "data.root": "str | None",
    "data.batch_size": "int | None",
    "data.num_workers": "int | Literal['auto'] | None",
}


class Range(NamedTuple):
    """Numbers from `low` to `high`, which themselves are allowed unless `open`."""

    low: float
    high: float = math.inf
    open: str = ""  # "low", "high" or "both"

    def __contains__(self, value: object) -> bool:
        if isinstance(value, list | tuple):
            return all(item in self for item in value)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return True  # its type is told by others
        above = value > self.low if self.open in ("low", "both") else value >= self.low
        below = value < self.high if self.open in ("high", "both") else value <= self.high
        return above and below and math.isfinite(value)

    def __str__(self) -> str:
        low = f"more than {self.low}" if self.open in ("low", "both") else f"{self.low} or more"
        if math.isinf(self.high):
            return low
        high = f"less than {self.high}" if self.open in ("high", "both") else f"{self.high} or less"
        return f"{low} and {high}"


POSITIVE, NOT_NEGATIVE, PROBABILITY = Range(0, open="low"), Range(0), Range(0, 1)
SHARE = Range(0, 1, open="both")
RANGES = {
    "seed": Range(0, 2**32 - 1),
    "batch_size": Range(1),
    "calibration_images": Range(1),
    "layer_lr_decay": Range(0, 1, open="low"),
    "callbacks.find_lr.num_steps": Range(2),
    "callbacks.find_lr.min_lr": POSITIVE,
    "callbacks.find_lr.max_lr": POSITIVE,
    "callbacks.find_batch_size.start": Range(2),
    "callbacks.find_batch_size.limit": Range(2),
    "callbacks.find_batch_size.steps": Range(1),
    "callbacks.finetuning.head_epochs": NOT_NEGATIVE,
    "callbacks.finetuning.epochs_per_layer": NOT_NEGATIVE,
    "rollback.times": Range(1),
    "rollback.lr_factor": Range(0, 1, open="low"),
    "callbacks.ema.update_every_n_steps": Range(1),
    "callbacks.ema.update_starting_at_step": NOT_NEGATIVE,
    "callbacks.swa.start_epoch": NOT_NEGATIVE,
    "callbacks.resume_checkpoint.every_n_steps": Range(1),
    "callbacks.resume_checkpoint.every_minutes": NOT_NEGATIVE,
    "callbacks.resume_checkpoint.keep": Range(1),
    "criterion.label_smoothing": PROBABILITY,
    "criterion.focal_gamma": NOT_NEGATIVE,
    "criterion.class_weights": NOT_NEGATIVE,
    "port": Range(0, 65535),
    "threads": Range(1, 1024),
    "top_k": Range(1),
    "max_batch": Range(1, 65536),
    "max_queue": Range(1, 65536),
    "max_images": Range(1, 65536),
    "max_body_bytes": Range(1024, 2**31),
    "max_pixels": Range(1, 89478485),  # beyond which Pillow takes any image for a bomb
    "timeout_s": Range(0, 3600, open="low"),
    "data.batch_size": Range(1),
    "data.num_workers": NOT_NEGATIVE,
    "data.num_classes": Range(1),
    "data.num_images": Range(1),
    "data.fold": NOT_NEGATIVE,
    "data.num_folds": Range(2),
    "data.channels": Range(1),
    "data.image_size": Range(1),
    "data.std": POSITIVE,
    "data.*_fraction": SHARE,
    "data.augment.crop_padding": NOT_NEGATIVE,
    "data.augment.horizontal_flip": PROBABILITY,
    "data.augment.rotation": Range(0, 180),
    "data.augment.random_erasing": PROBABILITY,
    "mix.alpha": POSITIVE,
    "model.dropout": PROBABILITY,
    "model.channels": POSITIVE,
    "model.hidden": POSITIVE,
    "model.depth": POSITIVE,
    "model.width": POSITIVE,
    "model.widths": POSITIVE,
    "model.whitening_size": Range(1),
    "model.stochastic_depth": Range(0, 1, open="high"),
    "model.dim": POSITIVE,
    "model.num_heads": POSITIVE,
    "model.patch_size": POSITIVE,
    "optimizer.lr": NOT_NEGATIVE,
    "optimizer.*_lr": NOT_NEGATIVE,
    "optimizer.weight_decay": NOT_NEGATIVE,
    "optimizer.momentum": Range(0, 1, open="high"),
    "optimizer.sgd_momentum": Range(0, 1, open="high"),
    "optimizer.num_iterations": Range(1),
    "optimizer.betas": Range(0, 1, open="high"),
    "optimizer.eps": NOT_NEGATIVE,
    "scheduler.frequency": Range(1),
    "scheduler.scheduler.warmup": PROBABILITY,
    "scheduler.scheduler.final": NOT_NEGATIVE,
    "scheduler.scheduler.max_lr": POSITIVE,
    "scheduler.scheduler.pct_start": PROBABILITY,
    "scheduler.scheduler.step_size": Range(1),
    "scheduler.scheduler.patience": NOT_NEGATIVE,
    "scheduler.scheduler.gamma": POSITIVE,
    "trainer.num_nodes": Range(1),
    "trainer.fast_dev_run": NOT_NEGATIVE,
    "trainer.max_epochs": Range(-1),
    "trainer.min_epochs": NOT_NEGATIVE,
    "trainer.max_steps": Range(-1),
    "trainer.min_steps": NOT_NEGATIVE,
    "trainer.accumulate_grad_batches": Range(1),
    "trainer.gradient_clip_val": NOT_NEGATIVE,
    "trainer.check_val_every_n_epoch": Range(1),
    "trainer.num_sanity_val_steps": Range(-1),
    "trainer.log_every_n_steps": NOT_NEGATIVE,
    "trainer.reload_dataloaders_every_n_epochs": NOT_NEGATIVE,
    "callbacks.*.patience": NOT_NEGATIVE,
    "callbacks.*.min_delta": NOT_NEGATIVE,
    "callbacks.*.save_top_k": Range(-1),
    "callbacks.*.decay": SHARE,  # of an exponential moving average
    "callbacks.*.refresh_rate": Range(0),
    "callbacks.*.max_depth": Range(-1),
    "callbacks.*.num_images": Range(1),
}

CHOICES = {
    "init": (
        "kaiming_normal",
        "kaiming_uniform",
        "xavier_normal",
        "xavier_uniform",
        "orthogonal",
        "trunc_normal",
        None,
    ),
    "trainer.accelerator": ("auto", "cpu", "gpu", "cuda", "mps", "tpu"),
    "trainer.gradient_clip_algorithm": ("norm", "value", None),
    "trainer.profiler": ("simple", "advanced", "pytorch", "xla", None),
    "trainer.precision": (
        *("32-true", "16-mixed", "bf16-mixed", "16-true", "bf16-true", "64-true", "32", "16", "bf16", "64"),
        *(32, 16, 64, "transformer-engine", "transformer-engine-float16", None),
    ),
    "trainer.deterministic": (True, False, "warn", None),
    "callbacks.*.mode": ("min", "max"),
    "callbacks.learning_rate.logging_interval": ("step", "epoch", None),
}


class Told(NamedTuple):
    """What the tables above say of a path."""

    annotation: str | None
    range: Range | None
    choices: tuple[Any, ...] | None


@cache
def told(path: str) -> Told:
    """What is told of a path such as "data.std", in which a pattern's * stands for any text."""
    return Told(_first(TYPES, path), _first(RANGES, path), _first(CHOICES, path))


def _first(table: dict[str, Any], path: str) -> Any:
    return next((found for pattern, found in table.items() if fnmatch(path, pattern)), None)


def value_fault(path: str, value: Any) -> Fault | None:
    """What is wrong with a value by itself, beyond its type."""
    _, allowed, choices = told(path)
    if allowed and value not in allowed:
        return Fault(path, str(value), str(allowed))
    if choices and not isinstance(value, dict) and value not in choices:
        names = [str(choice) for choice in choices if choice is not None]
        return Fault(path, str(value), ", ".join(names), nearest(str(value), names))
    return None
