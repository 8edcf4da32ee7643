"""What a task starts with: weights, and learning rates that differ from what a checkpoint says."""

from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule

from kindling.checkpoints import checkpoint
from kindling.checkpoints.checkpoint import Saved
from kindling.checkpoints.foreign_weights import load_foreign, read_foreign, warn_of_no_numbers
from kindling.checkpoints.pretrained import load_all_but_head, refuse_other_kinds
from kindling.console import report, shown
from kindling.errors import CheckpointError
from kindling.training.bookkeeping import Bookkeeping
from kindling.training.fork import lr_factor
from kindling.training.other_names import Origin
from kindling.training.parts import Rollbacks
from kindling.training.start import as_config_error
from kindling.training.task import Task, bookkeeping_of


def load_start(task: LightningModule, config: dict[str, Any], start: Saved | None, rollbacks: Rollbacks) -> Bookkeeping:
    """Load the state that training starts from, as far as it is not Lightning's to restore; returns the rest of it.

    Raises:
        CheckpointError: the weights are damaged or of another model.
    """
    factor, origin = 1.0, None
    if start:
        checkpoint.load_weights(task, start.content["state_dict"], start.path)
        factor = lr_factor(start.config, config)
        origin = Origin(start.path, start.content[checkpoint.DESCRIPTION].get("facts", {}))
    elif config["weights"]:
        with as_config_error("weights"):
            origin = begin_with(task, checkpoint.find(config["weights"]), config["train"])
    if rollbacks:
        since_start = len(rollbacks) - len(start.content["rollbacks"] if start else [])
        factor *= config["rollback"]["lr_factor"] ** since_start
    skips = config["rollback"]["skip_batch"]
    return bookkeeping_of(task)(
        config["seed"], rollbacks=rollbacks, skips_batches=skips, lr_factor=factor, origin=origin
    )


def begin_with(task: LightningModule, path: Path, trains: bool) -> Origin | None:
    """Load the weights of any file of weights; returns what they were trained with, if the file says so.

    Raises:
        CheckpointError: it is none, or of another model.
    """
    weights, origin = read_foreign(path), None
    if weights is None:
        saved = checkpoint.load_file(path)
        has_new_head = load_initial_weights(task, saved, trains)
        facts = saved.content[checkpoint.DESCRIPTION]["facts"]
        origin = Origin(path, facts | {"classes": None} if has_new_head else facts)
    else:
        load_foreign(task.net if isinstance(task, Task) else task, weights, path, whole=not trains)
    warn_of_no_numbers(task, path)
    return origin


def load_initial_weights(task: LightningModule, given: Saved, trains: bool) -> bool:
    """Load the weights of a checkpoint; returns whether the last layer is new, as it has another shape.

    Raises:
        CheckpointError: they are of another model.
    """
    weights: dict[str, Any] = given.content["state_dict"]
    refuse_other_kinds(task, weights, given.path)
    net, start = (task.net, "net.") if isinstance(task, Task) else (task, "")
    if not trains:
        # A task may keep more than its net, such as a loss.
        own = {key: value for key, value in task.state_dict().items() if not key.startswith(start)}
        checkpoint.load_weights(task, own | {k: v for k, v in weights.items() if k.startswith(start)}, given.path)
        return False
    try:
        own = {key.removeprefix(start): value for key, value in weights.items() if key.startswith(start)}
        is_new = load_all_but_head(net, own)
    except CheckpointError as error:
        raise CheckpointError(
            f"{given.path}: a checkpoint of another model; {error}; set the model it was of"
        ) from error
    if is_new:
        report("weights: the last layer is new, as it has another shape in %s", shown(given.path))
    return is_new
