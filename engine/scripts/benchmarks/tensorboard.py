"""What it costs to show more in TensorBoard than curves: each callback's share of a whole run of experiment=cnn."""

import tempfile
import time
from contextlib import ExitStack
from typing import Any

from lightning.pytorch import Callback

from benchmarks.resume import timed
from benchmarks.table import Row
from kindling.callbacks.gradient_norm import GradientNorm
from kindling.callbacks.graph import Graph
from kindling.callbacks.histograms import Histograms
from kindling.cli.entry import compose
from kindling.images.doctor.callback import Doctor
from kindling.images.doctor.fetching import Fetching
from kindling.images.training_images import TrainingImages
from kindling.images.validation_pictures import ValidationPictures
from kindling.train import train

CALLBACKS: dict[str, type[Any]] = {
    "training_images": TrainingImages,
    "validation_pictures": ValidationPictures,
    "histograms": Histograms,
    "graph": Graph,
    "gradient_norm": GradientNorm,
}
# On by default in each run, so not in the total.
DEFAULT: dict[str, type[Any]] = {"doctor": Doctor, "doctor's clock": Fetching}
# All epochs of experiment=cnn, unless it stops early.
NUM_EPOCHS, ROUNDS = 25, 3


def tensorboard() -> list[Row]:
    """The seconds within each one's hooks, as a share of those of the rest of the same run; the least of rounds."""
    runs = [seconds_of_run() for _ in range(ROUNDS)]
    rest = [seconds - sum(within.values()) for seconds, within in runs]
    names = [*CALLBACKS, *DEFAULT]
    shares = {name: [100 * run[1][name] / without for run, without in zip(runs, rest, strict=True)] for name in names}
    together = [sum(each[i] for name, each in shares.items() if name in CALLBACKS) for i in range(ROUNDS)]
    return [
        Row("a run of experiment=cnn without them", min(rest), "s"),
        *(Row(f"callbacks.{name}", min(each), "% more") for name, each in shares.items()),
        Row("all of callbacks=tensorboard", min(together), "% more", "<= 3"),
    ]


def seconds_of_run() -> tuple[float, dict[str, float]]:
    """Of a run with all of them, and of that within the hooks of each."""
    with tempfile.TemporaryDirectory() as logs, ExitStack() as stack:
        cfg = compose(
            ["experiment=cnn", "callbacks=tensorboard", f"trainer.max_epochs={NUM_EPOCHS}", f"paths.logs={logs}"]
        )
        kinds = CALLBACKS | DEFAULT
        within = {
            name: [stack.enter_context(timed(kind, hook)) for hook in hooks(kind)] for name, kind in kinds.items()
        }
        started = time.perf_counter()
        train(cfg)
        seconds = time.perf_counter() - started
    return seconds, {name: sum(map(sum, calls)) for name, calls in within.items()}


def hooks(kind: type[Any]) -> list[str]:
    """Those that a callback has, its base's included; or what the doctor calls at each fetch."""
    if not issubclass(kind, Callback):
        return ["start", "stop"]
    return [
        name for name in vars(Callback) if name.startswith("on_") and getattr(kind, name) != getattr(Callback, name)
    ]
