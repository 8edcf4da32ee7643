"""Rows of predictions, a batch at a time: while one is computed, the next is read."""

import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from itertools import islice
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from kindling.inference.predicting.sources import Read, Source
from kindling.inference.predicting.tables import Row
from kindling.process.cores import available_cores


class Batches:
    """Rows of the items of a source, a batch at a time."""

    def __init__(self, source: Source, batch_size: int):
        self.source, self.batch_size = source, batch_size

    def of(self, items: Iterator[Any], num_done: int = 0) -> Iterator[tuple[list[Row], list[str]]]:
        """Rows, and stamps of the items."""
        with closing(self._read(items)) as read, _progress(self.source, num_done) as advance:
            while batch := list(islice(read, self.batch_size)):
                yield self._rows(batch), [each.stamp for each in batch]
                advance(len(batch))

    def _read(self, items: Iterator[Any]) -> Generator[Read, None, None]:
        if not self.source.reads_files:
            return (self.source.read(item) for item in items)
        threads = available_cores()
        return decoded(items, self.source.read, threads, self.batch_size + 2 * threads)

    def _rows(self, batch: list[Read]) -> list[Row]:
        right = [each for each in batch if each.example is not None]
        names, examples = [each.name for each in right], [each.example for each in right]
        found = iter(self.source.rows(names, examples) if right else [])
        columns = self.source.columns
        return [columns.without(each.name, each.error) if each.example is None else next(found) for each in batch]


def decoded(items: Iterable[Any], read: Callable[[Any], Any], threads: int, ahead: int) -> Generator[Any, None, None]:
    """What is read of the items, in their order, of which at most `ahead` are held."""
    pool = ThreadPoolExecutor(threads)
    waiting: deque[Future[Any]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(read, item))
            if len(waiting) >= ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _progress(source: Source, num_done: int) -> Iterator[Callable[[int], object]]:
    """A bar on a terminal; how many there are is not known of stdin."""
    if not sys.stderr.isatty():
        yield lambda number: None
        return
    columns = (TextColumn("predicting"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=source.total(), completed=num_done)
        yield lambda number: bar.advance(task, number)
