"""What a training step's wall time goes to: a clock that each region hands on to the ones within it."""

import re
import time
from collections.abc import Callable
from contextlib import suppress

REST = "everything else"
PHASES = ("loader", "forward", "loss and metrics", "backward", "optimizer", "callbacks", "logging", REST)
# Our own regions; all others are Lightning's actions.
FORWARD, LOGGING, END = (
    "forward",
    "logging: ",
    "logging: update_train_step_metrics",
)

RULES = (
    (r"train_dataloader_next|batch_to_device|_batch_transfer", "loader"),
    (r"\.on_.*train_batch|\.on_before_|\.on_after_|save_checkpoint", "callbacks"),
    (f"^{FORWARD}$", "forward"),
    # The net within it has a phase of its own.
    (r"\.training_step$", "loss and metrics"),
    (r"backward$", "backward"),
    (r"optimizer_step$|optimizer_zero_grad$|lr_scheduler_step$|configure_gradient_clipping$", "optimizer"),
    (f"^{LOGGING}", "logging"),
)
_patterns = [(re.compile(pattern), phase) for pattern, phase in RULES]


def phase_of(region: str) -> str | None:
    """The phase that a region counts for; None if it counts for what it lies in."""
    return next((phase for pattern, phase in _patterns if pattern.search(region)), None)


class PhaseClock:
    """Seconds of each phase, without what other phases within it take, so that they add up to the steps' time.

    Args:
        wait: lets the device finish its work, so that what it does counts where it was asked for.
    """

    def __init__(self, wait: Callable[[], None] = lambda: None):
        self.wait = wait
        self.seconds: dict[str, float] = dict.fromkeys(PHASES, 0.0)
        self.num_steps = 0
        # Phases that are going on, the outermost first.
        self._open: list[str] = []
        # When the last count ended; None between two steps.
        self._since: float | None = None

    def start_step(self) -> None:
        self.wait()
        self._open, self._since = [REST], time.perf_counter()

    def end_step(self) -> None:
        if self._since is not None:
            self._count()
            self._since, self.num_steps = None, self.num_steps + 1

    def enter(self, region: str) -> None:
        if self._since is not None:
            self._count()
            self._open.append(phase_of(region) or self._open[-1])

    def leave(self) -> None:
        if self._since is not None:
            self._count()
            # A region entered before the step is not open.
            with suppress(IndexError):
                self._open.pop()

    def _count(self) -> None:
        assert self._since is not None
        self.wait()
        now = time.perf_counter()
        self.seconds[self._open[-1] if self._open else REST] += now - self._since
        self._since = now
