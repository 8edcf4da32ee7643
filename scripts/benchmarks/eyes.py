"""What it costs to show more in TensorBoard than curves: each callback's share of a whole run of experiment=cnn."""

import tempfile
import time
from contextlib import ExitStack

from benchmarks.resume import timed
from benchmarks.table import Row
from lightning.pytorch import Callback
from omegaconf import DictConfig

from kindling.callbacks.gradient_norm import GradientNorm
from kindling.callbacks.graph import Graph
from kindling.callbacks.histograms import Histograms
from kindling.callbacks.training_images import TrainingImages
from kindling.callbacks.validation_pictures import ValidationPictures
from kindling.config.entry import compose
from kindling.train import train

EYES: dict[str, type[Callback]] = {
    "training_images": TrainingImages,
    "validation_pictures": ValidationPictures,
    "histograms": Histograms,
    "graph": Graph,
    "gradient_norm": GradientNorm,
}
NUM_EPOCHS, ROUNDS = 25, 3  # the whole of experiment=cnn, unless it stops early


def eyes() -> list[Row]:
    """Each of callbacks=tensorboard in turn: the seconds within its hooks, of those of the run; the least of rounds."""
    without: list[float] = []
    shares: dict[str, list[float]] = {name: [] for name in EYES}
    for _ in range(ROUNDS):
        without.append(share_of(None)[0])
        for name in EYES:
            seconds, within = share_of(name)
            shares[name].append(100 * within / seconds)
    least = {name: min(found) for name, found in shares.items()}
    return [
        Row("a run of experiment=cnn with all defaults", min(without), "s"),
        *(Row(f"and callbacks.{name}", share, "% of the run") for name, share in least.items()),
        Row("all of them together", sum(least.values()), "% of the run", "<= 3"),
    ]


def share_of(eye: str | None) -> tuple[float, float]:
    """Seconds of a run with one of them, or with none, and those within its hooks."""
    with tempfile.TemporaryDirectory() as logs, ExitStack() as stack:
        cfg = config(eye, logs)
        kind = EYES[eye] if eye else Callback
        within = [stack.enter_context(timed(kind, name)) for name in hooks(kind)]
        started = time.perf_counter()
        train(cfg)
        return time.perf_counter() - started, sum(map(sum, within))


def hooks(kind: type[Callback]) -> list[str]:
    """The hooks that a callback has, its base's included."""
    return [
        name for name in vars(Callback) if name.startswith("on_") and getattr(kind, name) != getattr(Callback, name)
    ]


def config(eye: str | None, logs: str) -> DictConfig:
    off = [f"callbacks.{name}=null" for name in EYES if name != eye]
    recipe = ["experiment=cnn", "callbacks=tensorboard", f"trainer.max_epochs={NUM_EPOCHS}"]
    return compose([*recipe, *off, f"paths.logs={logs}"])
