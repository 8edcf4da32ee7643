"""What arguments of other packages' classes may be, whose annotations say too little; it holds nothing of ours."""

import ast
from fnmatch import fnmatch
from functools import cache
from typing import Any

from kindling.config.aliases import ANY, annotated, literal
from kindling.config.bounds import Range

POSITIVE, NOT_NEGATIVE, PROBABILITY = Range(0, open="low"), Range(0), Range(0, 1)
BELOW_ONE, FRACTION, ONE_OR_MORE = Range(0, 1, open="high"), Range(0, 1, open="both"), Range(1)
# -1 stands for all, or for no end.
ALL_OR_MORE = Range(-1)

# By class, then by argument: the range of its numbers, or all that it may be. The first class that fits counts, so
# that of a base class in a file of its own stands here as it is found there.
ARGUMENTS: dict[str, dict[str, Range | tuple[Any, ...]]] = {
    "torch.optim.lr_scheduler.*": {
        "max_lr": POSITIVE,
        "pct_start": PROBABILITY,
        "step_size": ONE_OR_MORE,
        "patience": NOT_NEGATIVE,
        "gamma": POSITIVE,
    },
    "torch.optim.*": {
        "lr": NOT_NEGATIVE,
        "weight_decay": NOT_NEGATIVE,
        "momentum": BELOW_ONE,
        "betas": BELOW_ONE,
        "eps": NOT_NEGATIVE,
    },
    "torchmetrics.*": {
        "num_classes": Range(2),
        "num_labels": Range(2),
        "num_outputs": ONE_OR_MORE,
        "top_k": ONE_OR_MORE,
        "n_bins": ONE_OR_MORE,
        "beta": POSITIVE,
    },
    "torchvision.transforms.v2.*": {"alpha": POSITIVE},
    "lightning.pytorch.callbacks.*": {
        "patience": NOT_NEGATIVE,
        "min_delta": NOT_NEGATIVE,
        "save_top_k": ALL_OR_MORE,
        "decay": FRACTION,
        "refresh_rate": NOT_NEGATIVE,
        "max_depth": ALL_OR_MORE,
        "mode": ("min", "max"),
        "logging_interval": ("step", "epoch", None),
    },
    "lightning.pytorch.trainer.*": {
        "num_nodes": ONE_OR_MORE,
        "fast_dev_run": NOT_NEGATIVE,
        "max_epochs": ALL_OR_MORE,
        "min_epochs": NOT_NEGATIVE,
        "max_steps": ALL_OR_MORE,
        "min_steps": NOT_NEGATIVE,
        "accumulate_grad_batches": ONE_OR_MORE,
        "gradient_clip_val": NOT_NEGATIVE,
        "check_val_every_n_epoch": ONE_OR_MORE,
        "num_sanity_val_steps": ALL_OR_MORE,
        "log_every_n_steps": NOT_NEGATIVE,
        "reload_dataloaders_every_n_epochs": NOT_NEGATIVE,
        "accelerator": ("auto", "cpu", "gpu", "cuda", "mps", "tpu"),
        "gradient_clip_algorithm": ("norm", "value", None),
        "profiler": ("simple", "advanced", "pytorch", "xla", None),
        "precision": (
            *("32-true", "16-mixed", "bf16-mixed", "16-true", "bf16-true", "64-true", "32", "16", "bf16", "64"),
            *(32, 16, 64, "transformer-engine", "transformer-engine-float16", None),
        ),
        "deterministic": (True, False, "warn", None),
    },
}


def bounded(place: str, argument: str, annotation: ast.expr | None) -> ast.expr | None:
    """The annotation of an argument of `package.module.name`, with what the table says of it."""
    allowed = _arguments(place).get(argument)
    if isinstance(allowed, Range):
        return annotated(annotation or ANY, [allowed])
    return literal(list(allowed)) if allowed else annotation


@cache
def _arguments(place: str) -> dict[str, Range | tuple[Any, ...]]:
    return next((found for pattern, found in ARGUMENTS.items() if fnmatch(place, pattern)), {})
