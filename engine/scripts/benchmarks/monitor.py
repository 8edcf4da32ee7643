"""What callbacks=monitor costs."""

from pathlib import Path
from typing import Any

from benchmarks.fitting import EpochClock, defaults, fit
from benchmarks.loop import cnn_parts
from benchmarks.resume import timed
from benchmarks.table import Row
from kindling.callbacks import activations
from kindling.callbacks.monitor import LayerMonitor

# Epochs, and steps in each, of experiment=cnn.
NUM_EPOCHS, STEPS = 8, 27
# Steps between two looks, as in configs/callbacks/monitor.yaml.
EVERY = 100


def monitor() -> list[Row]:
    """In experiment=cnn with all defaults: its own hooks, and what it records in the forward pass of a look."""
    make, data = cnn_parts()
    epochs = EpochClock()
    watch = LayerMonitor(every_n_steps=EVERY, vanishing=1e-7, exploding=1e3, dead=0.5)

    def settings(folder: Path) -> dict[str, Any]:
        chosen = defaults(folder)
        return chosen | {"callbacks": [*chosen["callbacks"], watch]}

    with (
        timed(LayerMonitor, "on_train_batch_start") as starts,
        timed(LayerMonitor, "on_before_optimizer_step") as ends,
        timed(activations, "mean_and_std") as means,
        timed(activations, "dead_share") as shares,
    ):
        fit(make(), *data(), settings, max_epochs=NUM_EPOCHS, further=epochs)
    whole = epochs.instants[NUM_EPOCHS] - epochs.instants[0]
    num_looks = -(-NUM_EPOCHS * STEPS // EVERY)
    own = sum(starts) + sum(ends) + sum(means) + sum(shares)
    quiet = sorted(starts)[len(starts) // 2] + sorted(ends)[len(ends) // 2]
    return [
        Row("a step that is not looked at", 1e6 * quiet, "µs"),
        Row("a step that is looked at", 1e3 * (own - quiet * len(starts)) / num_looks, "ms"),
        Row(f"all of it, with a look at each {EVERY} steps", 100 * own / whole, "% of the run", "<= 3"),
    ]
