"""How long an epoch waits for its batches."""

import time

# In a shorter epoch the share means little.
MIN_BATCHES, MIN_S = 5, 2.0


class Fetching:
    """Seconds between the two calls by which Lightning's loop has its profiler measure the same."""

    def __init__(self) -> None:
        self.start_epoch()

    def start_epoch(self) -> None:
        self.num_batches = 0
        self.seconds = 0.0
        self._first: float | None = None

    def start(self) -> None:
        self._started = time.perf_counter()
        if self._first is None:
            self._first = self._started

    def stop(self) -> None:
        self._stopped = time.perf_counter()
        self.seconds += self._stopped - self._started
        self.num_batches += 1

    @property
    def share(self) -> float | None:
        """Of the time up to the last batch; None if the epoch is too short to say."""
        if self._first is None or self.num_batches <= MIN_BATCHES:
            return None
        total = self._stopped - self._first
        return self.seconds / total if total > MIN_S else None
