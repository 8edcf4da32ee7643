"""The model that answers: opened, verified and warmed before it does, and swapped for a newer one."""

import logging
import threading
from collections.abc import Callable
from dataclasses import replace

from kindling.data.processor import Processor
from kindling.errors import KindlingError, one_line
from kindling.images.processor import classifies
from kindling.inference.serving.model import Served, warm
from kindling.inference.serving.source import Source

log = logging.getLogger(__name__)
LOOKS_EVERY_S = 1.0


class Models:
    """The model that answers now, and the thread that loads it and its successors.

    Args:
        source: where it lies.
        threads: of the model.
        max_batch: that it is warmed for.
        timeout_s: that it may compute one input for.
        watches: whether a newer one is taken over as soon as it is written.
        report: is called with what happened to a model: "loaded", "kept".
    """

    def __init__(
        self,
        source: Source,
        threads: int | None,
        max_batch: int,
        timeout_s: float = 10.0,
        *,
        watches: bool,
        report: Callable[[str], object],
    ):
        self.source = source
        self.threads = threads
        self.max_batch, self.timeout_s = max_batch, timeout_s
        self.watches = watches
        self.report = report
        self.current: Served | None = None
        # Why the first model failed.
        self.failure: Exception | None = None
        self._asked = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def start(self, failed: Callable[[], object]) -> None:
        """Load the model; `failed` is called, in the loading thread, if that cannot be done."""
        self._failed = failed
        self._thread.start()

    def reload(self) -> None:
        """Look for a newer model, whether or not its files have changed."""
        self._asked.set()

    def _work(self) -> None:
        state = self.source.state()
        try:
            self._load()
        except Exception as error:
            self.failure = error
            self._failed()
            return
        while True:
            asked = self._asked.wait(LOOKS_EVERY_S if self.watches else None)
            self._asked.clear()
            now = self.source.state()
            if asked or now != state:
                state = now
                self._try()

    def _load(self) -> None:
        model = self.source.open(self.threads)
        if self.current and (self.current.id, self.current.described) == (model.id, model.described):
            return
        warm(model, self.max_batch, self.timeout_s)
        # If its folder is gone later, no checkpoint takes its place.
        if model.described:
            self.source = replace(self.source, folder=self.source.exported())
        self.current = model
        self.report("loaded")
        log.info("model %s: %s, %s", model.id, model.format, _in_words(model.processor))

    def _try(self) -> None:
        try:
            self._load()
        except Exception as error:
            self.report("kept")
            reason = (
                one_line(error) if isinstance(error, KindlingError) else f"{type(error).__name__}: {one_line(error)}"
            )
            log.warning("warning: model %s stays, as the newer one fails: %s", self.current and self.current.id, reason)


def _in_words(processor: Processor) -> str:
    if classifies(processor):
        size = f"{processor.image_size} x {processor.image_size} x {processor.channels}"
        return f"{len(processor.classes)} classes, images of {size}"
    if processor.kind == "image":
        return f"images, answers of {len(processor.outputs)}"
    if processor.kind == "rows":
        return f"rows of {len(processor.inputs)} columns, answers of {len(processor.outputs)}"
    return "texts that go on"
