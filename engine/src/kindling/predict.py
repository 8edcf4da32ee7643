"""Predict the classes of images: a table of probabilities, in which an image that cannot be read has its error."""

import logging
import os
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from omegaconf import DictConfig
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from kindling.checkpoints import checkpoint
from kindling.config.check.command_line import refuse
from kindling.config.composition import to_plain
from kindling.config.extras import optional
from kindling.console import set_up_logging
from kindling.errors import CheckpointError, ConfigError, DataError, one_line
from kindling.files.whole_file import write_whole
from kindling.images.decoding import read_image
from kindling.images.views import Views
from kindling.inference.model_folder import sha256_of
from kindling.inference.predicting.image_names import ALLOWED, STDIN, list_images, shown
from kindling.inference.predicting.journal import Journal, is_of, stamp_of
from kindling.inference.predicting.rules import faults
from kindling.inference.predicting.tables import ENDINGS, STDOUT, Columns, Row, Tally, write_csv
from kindling.inference.predictor import Predictor, load
from kindling.process.cores import available_cores

log = logging.getLogger(__name__)


class Image(NamedTuple):
    """A decoded image (H, W, C), or the error of one that cannot be; the stamp is that of its file before."""

    name: str
    stamp: str
    pixels: np.ndarray | None
    error: str = ""


def predict(cfg: DictConfig) -> None:
    """Predict all images of cfg.input into the file cfg.output.

    Raises:
        KindlingError: the checkpoint, or not a single image, can be read.
    """
    set_up_logging()
    refuse([*faults(to_plain(cfg))])
    output = Path(cfg.output).expanduser()
    if output.suffix.lower() == ".parquet":
        optional("pyarrow")
    names = _not_empty(list_images(cfg.input))
    file = checkpoint.find(str(cfg.run or cfg.ckpt))
    predictor = load(file, cfg.device)
    columns = _columns(predictor, file, cfg.top_k)
    batches, tally = Batches(predictor, columns, cfg), Tally()
    if cfg.output == STDOUT:
        _to_stdout(batches, names, tally)
    else:
        options = {"views": batches.views, "batch_size": cfg.batch_size, "top_k": cfg.top_k}
        header = {"format": 2, "checkpoint": sha256_of(file), "device": str(predictor.device), **options}
        with closing(Journal(output, header | {"columns": columns.names}, cfg.batch_size, tally)) as journal:
            _to_file(batches, names, journal, output, overwrite=cfg.overwrite)
    errors = f", {tally.num_errors} of which could not be read: see the column error" if tally.num_errors else ""
    log.info("%s: %d images%s", "stdout" if cfg.output == STDOUT else output, tally.num_images, errors)
    if tally.num_errors == tally.num_images:
        raise DataError(f"input: given {cfg.input}, of whose {tally.num_images} images none could be read")


class Batches:
    """Rows of images, a batch at a time."""

    def __init__(self, predictor: Predictor, columns: Columns, cfg: DictConfig):
        self.predictor, self.columns = predictor, columns
        self.batch_size: int = cfg.batch_size
        self.views: Views = cfg.views or "none"
        self.input: str = cfg.input

    def of(self, names: Iterator[str], num_done: int = 0) -> Iterator[tuple[list[Row], list[str]]]:
        """Rows, and stamps of the files. While one batch is computed, the next one is decoded."""
        threads = available_cores()
        with (
            closing(decoded(names, self._read, threads, self.batch_size + 2 * threads)) as images,
            _progress(self.input, num_done) as advance,
        ):
            while batch := list(islice(images, self.batch_size)):
                yield self._rows(batch), [image.stamp for image in batch]
                advance(len(batch))

    def _read(self, name: str) -> Image:
        stamp = stamp_of(name)
        try:
            if os.path.isdir(name):
                # A folder that may not be listed would look empty.
                os.scandir(name).close()
            return Image(name, stamp, read_image(Path(name), self.predictor.image_size, self.predictor.channels, name))
        except Exception as error:
            # Decoders have errors of many classes.
            return Image(name, stamp, None, one_line(error).removeprefix(f"{name}: "))

    def _rows(self, batch: list[Image]) -> list[Row]:
        pixels = [image.pixels for image in batch if image.pixels is not None]
        found = iter(self.predictor.probabilities(np.stack(pixels), self.views).numpy() if pixels else [])
        return [
            self.columns.without(shown(image.name), image.error)
            if image.pixels is None
            else self.columns.row(shown(image.name), next(found))
            for image in batch
        ]


def decoded(
    names: Iterable[str], read: Callable[[str], Image], threads: int, ahead: int
) -> Generator[Image, None, None]:
    """Images in the order of their names, of which at most `ahead` are held."""
    pool = ThreadPoolExecutor(threads)
    waiting: deque[Future[Image]] = deque()
    try:
        for name in names:
            waiting.append(pool.submit(read, name))
            if len(waiting) >= ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _not_empty(names: Iterator[str]) -> Iterator[str]:
    """
    Raises:
        ConfigError: there is no name.
    """
    first = next(names, None)
    if first is None:
        raise ConfigError(f"input: given {STDIN}, and no name on stdin; allowed: {ALLOWED}")
    return chain([first], names)


def _columns(predictor: Predictor, file: Path, top_k: int | None) -> Columns:
    size, channels = predictor.image_size, predictor.channels
    num_classes = predictor.probabilities(np.zeros((1, size, size, channels), np.uint8)).shape[1]
    if not isinstance(predictor.classes, list) or len(predictor.classes) != num_classes:
        raise CheckpointError(f"{file}: does not say the names of the {num_classes} classes of its model")
    if top_k is not None and top_k > num_classes:
        raise ConfigError(f"top_k: given {top_k}; allowed: 1 to {num_classes}, the number of classes; or null")
    return Columns(predictor.classes, top_k)


def _to_stdout(batches: Batches, names: Iterator[str], tally: Tally) -> None:
    def rows() -> Iterator[Row]:
        for found, _ in batches.of(names):
            yield from found
            sys.stdout.flush()
            tally.add(found)

    sys.stdout.reconfigure(encoding="utf-8", newline="")  # pyright: ignore[reportAttributeAccessIssue]
    write_csv(sys.stdout, batches.columns.names, rows())


def _to_file(batches: Batches, names: Iterator[str], journal: Journal, output: Path, *, overwrite: bool) -> None:
    fits = journal.fits()
    # It was killed after the output was there.
    if not overwrite and fits and is_of(output):
        journal.count()
        journal.remove()
        return
    if not overwrite:
        _refuse_existing(output)
    if not fits:
        journal.start_over()
    names = journal.go_on(names)
    if fits is False:
        log.info("%s is of another model or other options: starting over", journal.file)
    elif fits:
        log.info("%d images are done already, by %s: going on with the rest", journal.tally.num_images, journal.file)
    try:
        for rows, stamps in batches.of(names, journal.tally.num_images):
            journal.append(rows, stamps)
        mode, write = ENDINGS[output.suffix.lower()]
        with write_whole(output, mode, durable=True) as stream:
            write(stream, batches.columns.names, journal.rows())
            stream.flush()
            if not overwrite:
                _refuse_existing(output)
            journal.finish(sha256_of(Path(stream.name)))
    except BaseException:
        # Also at Ctrl-C.
        if journal.is_there():
            log.info("%d images are done, and kept; the same command goes on with the rest", journal.tally.num_images)
        raise
    journal.remove()


def _refuse_existing(output: Path) -> None:
    """
    Raises:
        ConfigError: it was written by somebody else meanwhile.
    """
    if os.path.lexists(output):
        raise ConfigError(f"output: given {output}, which exists; allowed: another name, or overwrite=true")


@contextmanager
def _progress(given: str, num_done: int) -> Iterator[Callable[[int], object]]:
    """A bar on a terminal; how many images there are is not known of names on stdin."""
    if not sys.stderr.isatty():
        yield lambda number: None
        return
    columns = (TextColumn("predicting"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        total = None if given == STDIN else sum(1 for _ in list_images(given))
        task = bar.add_task("", total=total, completed=num_done)
        yield lambda number: bar.advance(task, number)
