"""What a server counts, as Prometheus reads it: https://prometheus.io/docs/instrumenting/exposition_formats/"""

from collections.abc import Callable
from functools import cache

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from kindling.data.processor import Kind

CONTENT_TYPE = CONTENT_TYPE_LATEST
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
AT_A_TIME = (1, 2, 4, 8, 16, 32, 64, 128, 256)
PIECES = (1, 10, 100, 1000, 10_000)


class Metrics:
    """One server's, in a registry of its own: that of the process would show versions.

    Args:
        waiting: the number of requests in the queue, whenever it is asked for.
    """

    def __init__(self, waiting: Callable[[], int]):
        self._registry = CollectorRegistry()
        of_requests = ("path", "status")
        requests = self._new(Counter, "kindling_requests", "Answers by path and HTTP status", of_requests)
        seconds = self._new(Histogram, "kindling_request_seconds", "From a request to its answer", ["path"], SECONDS)
        reloads = self._new(Counter, "kindling_models", "Models loaded, or kept as a newer one failed", ["outcome"])
        batches = {
            kind: self._new(Histogram, f"kindling_batch_{noun}", f"{noun.title()} computed at a time", [], AT_A_TIME)
            for kind, noun in (("image", "images"), ("rows", "rows"))
        }
        texts = self._new(Histogram, "kindling_text_pieces", "Pieces of a text until it ended or broke off", [], PIECES)
        queue = self._new(Gauge, "kindling_queue_requests", "Requests that are decoded, wait or are computed")
        queue.set_function(waiting)
        self.batch: Callable[[int, Kind], None] = lambda num, kind: batches[kind].observe(num)
        self.text_pieces: Callable[[int], None] = texts.observe
        self._requests = cache(lambda path, status: requests.labels(path, str(status)).inc)
        # Looked up once, not for each request.
        self._seconds = cache(lambda path: seconds.labels(path).observe)
        self._reloads = reloads

    def _new(self, kind: type, name: str, text: str, labels: tuple[str, ...] | list[str] = (), buckets=None):
        more = {"buckets": buckets} if buckets else {}
        return kind(name, text, labels, registry=self._registry, **more)

    def request(self, path: str, status: int, seconds: float) -> None:
        self._requests(path, status)()
        self._seconds(path)(seconds)

    def model(self, outcome: str) -> None:
        self._reloads.labels(outcome).inc()

    def text(self) -> bytes:
        return generate_latest(self._registry)
