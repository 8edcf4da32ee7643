"""Predict what a trained model says of images, of rows or of a prompt: into a table, or a text."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig

from kindling.checkpoints import checkpoint
from kindling.checkpoints.described import blamed_on
from kindling.config.check.command_line import refuse
from kindling.config.composition import to_plain
from kindling.config.extras import optional
from kindling.console import set_up_logging, shown
from kindling.errors import CheckpointError, ConfigError, DataError
from kindling.files.whole_file import write_whole
from kindling.inference.image_predictor import ImagePredictor
from kindling.inference.model_folder import sha256_of
from kindling.inference.predicting.batches import Batches
from kindling.inference.predicting.image_names import STDIN
from kindling.inference.predicting.journal import Journal, is_of
from kindling.inference.predicting.rules import DEFAULT_OUTPUT, faults, faults_of_kind
from kindling.inference.predicting.sources import ClassifiedImages, Rows, Source, WrittenImages
from kindling.inference.predicting.tables import ENDINGS, STDOUT, ClassColumns, Row, Tally, write_csv, write_table
from kindling.inference.predictor import TextPredictor, load
from kindling.process.streams import stdout_for_a_result

log = logging.getLogger(__name__)
# Settings of a text; those that are null are the processor's defaults.
OF_TEXT = ("length", "temperature", "top_k", "seed")
# Characters of the name of a file.
LONGEST_NAME = 4096


def predict(cfg: DictConfig) -> None:
    """Predict what cfg.input holds into the file cfg.output.

    Raises:
        KindlingError: the checkpoint, or not a single input, can be read.
    """
    set_up_logging()
    config = to_plain(cfg)
    refuse([*faults(config)])
    if str(cfg.output).lower().endswith(".parquet"):
        optional("pyarrow")
    file = checkpoint.find(str(cfg.run or cfg.ckpt))
    with blamed_on(file):
        predictor = load(file, cfg.device)
        kind = predictor.processor.kind
        refuse([*faults_of_kind(config, kind)])
        output = str(cfg.output or DEFAULT_OUTPUT[kind])
        if isinstance(predictor, TextPredictor):
            write_text(predictor, output, cfg)
        else:
            write_predictions(predictor, file, output, cfg)


def write_text(predictor: TextPredictor, output: str, cfg: DictConfig) -> None:
    """The prompt and what follows it."""
    prompt = prompt_of(str(cfg.input))
    settings = {name: cfg[name] for name in OF_TEXT if cfg[name] is not None}
    pieces = predictor.stream(prompt, **settings)
    if output != STDOUT:
        with write_whole(Path(output).expanduser()) as stream:
            stream.write(prompt + "".join(pieces))
        log.info("%s: written", output)
        return
    stdout = stdout_for_a_result()
    stdout.write(prompt)
    for piece in pieces:
        stdout.write(piece)
        stdout.flush()
    stdout.write("\n")


def prompt_of(given: str) -> str:
    """What is on stdin or in a file of that name; else the text itself.

    Raises:
        DataError: the file is no text.
    """
    path = os.path.expanduser(given)
    try:
        if given == STDIN:
            return sys.stdin.read()
        # A long prompt is no name of a file.
        return Path(path).read_text(encoding="utf-8") if len(given) < LONGEST_NAME and os.path.isfile(path) else given
    except (UnicodeDecodeError, OSError) as error:
        raise DataError(f"input: given {given}: {error}; allowed: a text in UTF-8") from error


def write_predictions(predictor: Any, file: Path, output: str, cfg: DictConfig) -> None:
    source = source_of(predictor, file, output, cfg)
    items = source.items()
    batches, tally = Batches(source, cfg.batch_size), Tally()
    if output == STDOUT:
        _to_stdout(batches, items, tally)
    else:
        target = Path(output).expanduser()
        options = {"views": cfg.views or "none", "batch_size": cfg.batch_size, "top_k": cfg.top_k}
        header = {"format": 2, "checkpoint": sha256_of(file), "device": str(predictor.device), **options}
        header["columns"] = source.columns.names
        with closing(Journal(target, header, cfg.batch_size, tally, source.identity)) as journal:
            _to_file(batches, items, journal, target, overwrite=cfg.overwrite)
    errors = f", {tally.num_errors} of which could not be read: see the column error" if tally.num_errors else ""
    if source.left_out():
        errors += f"; left out: {source.left_out()}"
    log.info(
        "%s: %d %s%s", "stdout" if output == STDOUT else Path(output).expanduser(), tally.num_rows, source.noun, errors
    )
    if tally.num_errors == tally.num_rows:
        raise DataError(f"input: given {cfg.input}, of whose {tally.num_rows} {source.noun} none could be read")


def source_of(predictor: Any, file: Path, output: str, cfg: DictConfig) -> Source:
    """
    Raises:
        CheckpointError: the names of the classes do not fit the model.
        ConfigError: a setting does not fit it.
    """
    if isinstance(predictor, ImagePredictor):
        return ClassifiedImages(predictor, _columns(predictor, file, cfg.top_k), cfg.input, cfg.views or "none")
    folder = folder_of_pictures(predictor, output)
    if predictor.processor.kind == "rows":
        return Rows(predictor, cfg.input, folder)
    for name in ("views", "top_k"):
        if cfg[name] is not None:
            given = f"{cfg[name]} for {type(predictor.processor).__name__}, which writes in a way of its own"
            raise ConfigError(f"{name}: given {given}; allowed: null")
    return WrittenImages(predictor, cfg.input, folder)


def folder_of_pictures(predictor: Any, output: str) -> Path | None:
    """Where images go that are predicted: a folder named as the table; None of stdout.

    Raises:
        ConfigError: a table on stdout cannot hold them.
    """
    if output != STDOUT:
        return Path(output).expanduser().with_suffix("")
    names = [column.name for column in predictor.processor.outputs if column.type == "image"]
    if names:
        given = f"{STDOUT}, for a model that gives images as {', '.join(names)}"
        raise ConfigError(f"output: given {given}; allowed: a file, in whose folder they lie")
    return None


def _columns(predictor: ImagePredictor, file: Path, top_k: int | None) -> ClassColumns:
    size, channels = predictor.image_size, predictor.channels
    num_classes = predictor.probabilities(np.zeros((1, size, size, channels), np.uint8)).shape[1]
    if len(predictor.classes) != num_classes:
        raise CheckpointError(f"{file}: does not say the names of the {num_classes} classes of its model")
    if top_k is not None and top_k > num_classes:
        raise ConfigError(f"top_k: given {top_k}; allowed: 1 to {num_classes}, the number of classes; or null")
    return ClassColumns(predictor.classes, top_k)


def _to_stdout(batches: Batches, items: Iterator[Any], tally: Tally) -> None:
    stdout = stdout_for_a_result()

    def rows() -> Iterator[Row]:
        for found, _ in batches.of(items):
            yield from found
            stdout.flush()
            tally.add(found)

    write_csv(stdout, batches.source.columns.names, rows())


def _to_file(batches: Batches, items: Iterator[Any], journal: Journal, output: Path, *, overwrite: bool) -> None:
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
    items = journal.go_on(items)
    if fits is False:
        log.info("%s is of another model or other options: starting over", shown(journal.file))
    elif fits:
        done = f"{journal.tally.num_rows} {batches.source.noun} are done"
        log.info("%s already, by %s: going on with the rest", done, shown(journal.file))
    try:
        for rows, stamps in batches.of(items, journal.tally.num_rows):
            journal.append(rows, stamps)
        ending = output.suffix.lower()
        with write_whole(output, ENDINGS[ending], durable=True) as stream:
            write_table(ending, stream, batches.source.columns, journal.rows())
            stream.flush()
            if not overwrite:
                _refuse_existing(output)
            journal.finish(sha256_of(Path(stream.name)))
    except BaseException:
        # Also at Ctrl-C.
        if journal.is_there():
            done = f"{journal.tally.num_rows} {batches.source.noun} are done"
            log.info("%s, and kept; the same command goes on with the rest", done)
        raise
    journal.remove()


def _refuse_existing(output: Path) -> None:
    """
    Raises:
        ConfigError: it was written by somebody else meanwhile.
    """
    if os.path.lexists(output):
        raise ConfigError(f"output: given {output}, which exists; allowed: another name, or overwrite=true")
