"""The same few batches again and again: what is left of a step is the loop itself."""

import time
from collections.abc import Iterator
from itertools import pairwise

import torch

from benchmarks import bare
from benchmarks.measured import DEVICE, wait_for_device

# Steps in one round.
NUM_STEPS = 310
# Steps before the clock starts.
UNTIMED = 30
# Steps that are timed together; two of them are logged.
WINDOW = 40


class Repeated:
    """The same few batches again and again, and the instant at which each is asked for."""

    def __init__(self, num_steps: int = NUM_STEPS):
        self.num_steps = num_steps
        self.batches = [
            (torch.randn(64, 1, 28, 28, device=DEVICE), torch.randint(0, 10, (64,), device=DEVICE)) for _ in range(20)
        ]
        self.instants: list[float] = []
        # By it a loader says that it can be resumed.
        self.batches_done = 0

    def __len__(self) -> int:
        return self.num_steps

    def __iter__(self) -> Iterator[bare.Batch]:
        self.instants = []
        for index in range(self.num_steps):
            if index % WINDOW == UNTIMED:
                wait_for_device()
            self.instants.append(time.perf_counter())
            yield self.batches[index % len(self.batches)]

    def state_dict(self) -> dict[str, int]:
        return {"epoch": 0, "batches_done": self.batches_done}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.batches_done = state["batches_done"]

    @property
    def micros(self) -> float:
        """Of one step, in the quickest of several windows: a shared machine is seldom quiet for long."""
        ends = self.instants[UNTIMED::WINDOW]
        return min(end - start for start, end in pairwise(ends)) / WINDOW * 1e6


class Plain:
    """The same batches from an iterable that knows nothing of resuming."""

    def __init__(self, batches: Repeated):
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[bare.Batch]:
        return iter(self.batches)
