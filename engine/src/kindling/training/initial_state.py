"""What a task starts with: weights, and learning rates that differ from what a checkpoint says."""

from typing import Any

from kindling.checkpoints import checkpoint
from kindling.checkpoints.checkpoint import Saved
from kindling.checkpoints.pretrained import load_all_but_head
from kindling.console import report
from kindling.errors import CheckpointError
from kindling.training.fork import lr_factor
from kindling.training.parts import Rollbacks
from kindling.training.start import as_config_error
from kindling.training.task import Task


def load_start(classifier: Task, start: Saved | None, rollbacks: Rollbacks) -> None:
    """Load the state that training starts from, as far as it is not Lightning's to restore.

    Raises:
        CheckpointError: the weights are damaged or of another model.
    """
    config = classifier.config
    if start:
        checkpoint.load_weights(classifier, start.content["state_dict"], start.path)
        classifier.lr_factor = lr_factor(start.config, config)
    elif config["weights"]:
        with as_config_error("weights"):
            load_initial_weights(classifier, checkpoint.load_file(checkpoint.find(config["weights"])), config["train"])
    if rollbacks:
        since_start = len(rollbacks) - len(start.content["rollbacks"] if start else [])
        classifier.lr_factor *= config["rollback"]["lr_factor"] ** since_start
        classifier.rollbacks = rollbacks
    classifier.skips_batches = config["rollback"]["skip_batch"]


def load_initial_weights(classifier: Task, given: Saved, trains: bool) -> None:
    """Load the weights of a checkpoint; the last layer is new if it is trained for other classes.

    Raises:
        CheckpointError: they are of another model.
    """
    weights: dict[str, Any] = given.content["state_dict"]
    if not trains:
        own = {key: value for key, value in classifier.state_dict().items() if key.startswith("criterion.")}
        checkpoint.load_weights(
            classifier, {k: v for k, v in weights.items() if k.startswith("net.")} | own, given.path
        )
        return
    try:
        net = {key.removeprefix("net."): value for key, value in weights.items() if key.startswith("net.")}
        is_new = load_all_but_head(classifier.net, net)
    except CheckpointError as error:
        raise CheckpointError(
            f"{given.path}: a checkpoint of another model; {error}; set the model it was of"
        ) from error
    if is_new:
        report("weights: the last layer is new, as it has another shape in %s", given.path)
