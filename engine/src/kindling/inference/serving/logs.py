"""One JSON line a request, written by a thread: a reader that is slow holds up no request."""

import json
import sys
import threading
import time
from collections import deque
from typing import TextIO

# Lines that wait for a slow reader; then the oldest go.
MOST_LINES = 10_000
# A wake-up for each line would cost more than the line.
EVERY_S = 0.05
# Characters of a text that a client sent.
LONGEST = 200


class RequestLog:
    """Lines to a stream, standard error if none is given."""

    def __init__(self, stream: TextIO | None = None):
        self.stream = stream
        self._lines: deque[dict[str, object]] = deque(maxlen=MOST_LINES)
        self._wanted = threading.Event()
        self._is_over = False
        self._thread = threading.Thread(target=self._work, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Write what waits."""
        self._is_over = True
        self._wanted.set()
        self._thread.join(timeout=1.0)

    def write(self, **entry: object) -> None:
        entry["time"] = time.time()
        self._lines.append(entry)
        if not self._wanted.is_set():
            self._wanted.set()

    def _work(self) -> None:
        while not self._is_over:
            self._wanted.wait()
            if not self._is_over:
                time.sleep(EVERY_S)
            self._wanted.clear()
            text = "".join(self._taken())
            try:
                stream = self.stream or sys.stderr
                stream.write(text)
                stream.flush()
            except (OSError, ValueError):
                # The terminal may be closed.
                continue

    def _taken(self) -> list[str]:
        lines = []
        while self._lines:
            entry = self._lines.popleft()
            entry["time"] = round(float(str(entry["time"])), 3)
            cut = {key: value[:LONGEST] if key in ("path", "method") else value for key, value in entry.items()}  # pyright: ignore
            lines.append(json.dumps(cut, separators=(",", ":")) + "\n")
        return lines
