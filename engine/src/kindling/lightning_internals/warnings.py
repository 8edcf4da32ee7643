"""Lightning's warnings that mean nothing here."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

# A step returns None for a batch that a rollback leaves out.
SKIPPED_BATCH = "`training_step` returned `None`"
# A replay leaves out callbacks that the checkpoint is of.
MISSING_CALLBACKS = "Be aware that when using `ckpt_path`"
# Of torchmetrics: another process has had all the batches.
NOT_UPDATED = "The ``compute`` method of metric"

# The hook of ours that it is about is meant to run once a step.
ONCE_A_STEP = r"When using `Trainer\(accumulate_grad_batches != 1\)` and overriding"

# We say it with our own setting.
RARE_LOGS = r"The number of training batches \(\d+\) is smaller than the logging interval"


@contextmanager
def ignored(*messages: str) -> Iterator[None]:
    """Let warnings that begin so pass."""
    with warnings.catch_warnings():
        for message in messages:
            warnings.filterwarnings("ignore", message)
        yield
