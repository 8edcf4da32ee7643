"""Requests share batches: one thread computes whatever waits, so that a lone client never waits for others."""

import asyncio
import ctypes
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from queue import Empty, SimpleQueue

import numpy as np

from kindling.data.processor import Kind
from kindling.inference.serving.body import image_files
from kindling.inference.serving.limits import Limits, Refused, busy
from kindling.inference.serving.model import Served
from kindling.inference.serving.pixels import image_of
from kindling.inference.serving.rows import read_rows
from kindling.process.cores import available_cores

log = logging.getLogger(__name__)
# Threads that read images and rows.
MOST_DECODERS = 4
PAUSE_S = 0.5


@dataclass(eq=False)
class Job:
    """One request's images or rows on their way to what the model gives."""

    model: Served
    content_type: str
    body: bytes
    answer: asyncio.Future[np.ndarray]  # (N, K) float32 of images, (N, ...) of rows
    inputs: np.ndarray | None = None  # (N, H, W, C) uint8 of images, (N, ...) of rows
    # Nobody waits for the answer any more.
    given_up: bool = False


class Batcher:
    """From a body to outputs: threads that read, and one that computes.

    Args:
        limits: of a batch and of the queue.
        seen: is called with the number of images or rows of each batch, and which of these they are.
    """

    def __init__(self, limits: Limits, seen: Callable[[int, Kind], object]):
        self.limits = limits
        self.seen = seen
        # Requests, in the event loop's view.
        self.waiting = 0
        self._bodies: SimpleQueue[Job | None] = SimpleQueue()
        self._is_tidy = True
        self._ready: SimpleQueue[Job | None] = SimpleQueue()
        self._decoders = max(2, min(MOST_DECODERS, available_cores()))
        targets = [*[self._decode] * self._decoders, self._compute]
        self._threads = [threading.Thread(target=target, daemon=True) for target in targets]

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Let the threads end, once nothing waits."""
        for _ in range(self._decoders):
            self._bodies.put(None)
        self._ready.put(None)

    def submit(self, model: Served, content_type: str, body: bytes) -> Job:
        """
        Raises:
            Refused: 503 as the queue is full.
        """
        if self.waiting >= self.limits.max_queue:
            raise busy("queue_full", f"{self.limits.max_queue} requests wait already")
        self.waiting += 1
        job = Job(model, content_type, body, self._loop.create_future())
        self._bodies.put(job)
        return job

    def _decode(self) -> None:
        while job := self._next():
            try:
                if not job.given_up:
                    job.inputs = self._inputs(job)
            except Exception as error:
                self._settle([(job, error)])
            else:
                self._ready.put(job)
            finally:
                job.body = b""
            # While this thread waits, it holds nothing.
            del job

    def _next(self) -> Job | None:
        """The next body; before a pause the system gets back the memory of large images, which glibc would keep."""
        self._is_tidy = False
        while True:
            try:
                return self._bodies.get(timeout=None if self._is_tidy else PAUSE_S)
            except Empty:
                self._is_tidy = True
                getattr(ctypes.CDLL(None), "malloc_trim", lambda pad: None)(0)

    def _inputs(self, job: Job) -> np.ndarray:
        processor = job.model.processor
        if processor.kind != "image":
            return read_rows(job.content_type, job.body, processor, self.limits)
        found = []
        for index, file in enumerate(image_files(job.content_type, job.body, self.limits)):
            if job.given_up:
                raise Refused(504, "too_slow", "given up")
            found.append(image_of(file, processor, self.limits.max_pixels, f"images[{index}]"))
        return np.stack(found)

    def _compute(self) -> None:
        held: Job | None = None
        while first := held or self._ready.get():
            batch, held = self._with_what_waits(first)
            self._settle(self._answers(batch))
            del first, batch

    def _with_what_waits(self, first: Job) -> tuple[list[Job], Job | None]:
        """As many jobs as share a batch, and the next one if it does not fit in."""
        batch, room = [first], self.limits.max_batch - _size(first)
        while room > 0:
            try:
                job = self._ready.get_nowait()
            except Empty:
                break
            if job is None:
                # The end comes after this batch.
                self._ready.put(None)
                break
            if job.model is not first.model or _size(job) > room:
                return batch, job
            batch.append(job)
            room -= _size(job)
        return batch, None

    def _answers(self, batch: list[Job]) -> list[tuple[Job, np.ndarray | Exception | None]]:
        wanted = [job for job in batch if job.inputs is not None and not job.given_up]
        unwanted: list[tuple[Job, np.ndarray | Exception | None]] = [(job, None) for job in batch if job not in wanted]
        if not wanted:
            return unwanted
        inputs = [job.inputs for job in wanted if job.inputs is not None]
        try:
            found = self._run(batch[0].model, inputs[0] if len(inputs) == 1 else np.concatenate(inputs))
        except Exception as error:
            return unwanted + [(job, error) for job in wanted]
        ends = np.cumsum([len(each) for each in inputs])
        return unwanted + list(zip(wanted, np.split(found, ends[:-1]), strict=True))

    def _run(self, model: Served, inputs: np.ndarray) -> np.ndarray:
        most = self.limits.max_batch
        parts = [inputs[start : start + most] for start in range(0, len(inputs), most)]
        for part in parts:
            self.seen(len(part), model.kind)
        return model.run(inputs) if len(parts) == 1 else np.concatenate([model.run(part) for part in parts])

    def _settle(self, answers: list[tuple[Job, np.ndarray | Exception | None]]) -> None:
        try:
            self._loop.call_soon_threadsafe(self._deliver, answers)
        except RuntimeError:
            # The loop has ended before its requests.
            log.debug("an answer that nobody waits for")

    def _deliver(self, answers: list[tuple[Job, np.ndarray | Exception | None]]) -> None:
        """Give the answers to whoever waits for them, in the event loop."""
        self.waiting -= len(answers)
        for job, answer in answers:
            if job.answer.done():
                continue
            if isinstance(answer, Exception):
                job.answer.set_exception(answer)
            elif answer is not None:
                job.answer.set_result(answer)


def _size(job: Job) -> int:
    return 0 if job.inputs is None else len(job.inputs)
