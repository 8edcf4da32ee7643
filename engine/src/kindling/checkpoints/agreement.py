"""What several processes agree to do at the next batch boundary; every few steps, since that costs time."""

import time

import torch
from lightning.pytorch import Trainer

from kindling.errors import Interrupted

# Reasons to end; of several, the last one counts.
REASONS = (None, "max_time", "SIGUSR1", "SIGHUP", "SIGTERM", "SIGINT")
POLL_STEPS = 10
# Longest time between two polls, unless a step takes longer.
POLL_S = 1.0


class Agreement:
    """The same for all processes, as each of them asks at the same steps."""

    def __init__(self) -> None:
        self._next_step = 0
        self._asked_step, self._asked_at = 0, time.monotonic()

    def is_due(self, step: int) -> bool:
        return step >= self._next_step

    def ask(self, trainer: Trainer, stop: Interrupted | None, save: bool) -> tuple[Interrupted | None, bool]:
        """Whether to end and whether to save, since at least one process wants to."""
        step, now = trainer.global_step, time.monotonic()
        step_s = (now - self._asked_at) / max(1, step - self._asked_step)
        wish = torch.tensor([REASONS.index(stop and str(stop)), save, step_s], device=trainer.strategy.root_device)
        reason, any_saves, slowest_s = trainer.strategy.reduce(wish, reduce_op="max").tolist()
        self._next_step = step + max(1, min(POLL_STEPS, int(POLL_S / max(slowest_s, 1e-6))))
        self._asked_step, self._asked_at = step, now
        name = REASONS[int(reason)]
        return name and Interrupted(name), bool(any_saves)
