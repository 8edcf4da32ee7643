"""The model that answers: opened, verified and warmed before it does, and swapped for a newer one."""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from kindling.errors import CheckpointError, KindlingError, one_line
from kindling.inference import model_folder
from kindling.inference.model_folder import DESCRIPTION, FILES, ModelFolder
from kindling.inference.runtimes import Runtime, open_model

log = logging.getLogger(__name__)
# Digits of a checksum.
ID_LENGTH = 12
LOOKS_EVERY_S = 1.0
# What the sum of probabilities may be off.
TOLERANCE = 1e-3


@dataclass(frozen=True, eq=False)
class Served:
    """A model in memory.

    Args:
        id: the first digits of its file's checksum.
        format: one of model_folder.FILES, or "checkpoint".
        described: what else decides on an answer.
    """

    id: str
    format: str
    classes: list[str]
    image_size: int
    channels: int
    run: Runtime
    described: ModelFolder | None = None


@dataclass(frozen=True)
class Source:
    """Where the model lies: one of a run folder, a checkpoint and an exported folder."""

    run: Path | None
    ckpt: Path | None
    folder: Path | None

    def exported(self) -> Path | None:
        """The exported folder that is to be served, if it is one."""
        if self.folder:
            return self.folder
        folder = self.run / "export" / "onnx" if self.run else None
        return folder if folder and (folder / DESCRIPTION).is_file() else None

    def state(self) -> tuple[object, ...]:
        """What changes when a newer model is written."""
        folder = self.exported()
        if folder:
            files = [folder / DESCRIPTION, *(folder / name for name in sorted(set(FILES.values())))]
        else:
            files = [self.run / "checkpoints" / "best.ckpt"] if self.run else [self.ckpt] if self.ckpt else []
        return tuple(_state(file) for file in files)

    def open(self, threads: int | None) -> Served:
        """
        Raises:
            KindlingError: there is no model, or it is damaged.
        """
        folder = self.exported()
        if not folder:
            return _open_checkpoint(str(self.ckpt or self.run), threads)
        described, run = open_model(folder, threads)
        if FILES[described.format] != "model.onnx":
            _limit_torch(threads)
        self._warn_of_another_checkpoint(folder, described.about.get("checkpoint_sha256"))
        facts = described.format, described.classes, described.image_size, described.channels
        return Served(described.sha256[:ID_LENGTH], *facts, run, replace(described, about={}))

    def refuse_missing(self) -> None:
        """
        Raises:
            CheckpointError: there is nothing at that path.
        """
        for name, path in (("run", self.run), ("ckpt", self.ckpt), ("model", self.folder)):
            if path and not path.exists():
                raise CheckpointError(f"{name}: given {path}, which does not exist; allowed: the path of one that does")

    def _warn_of_another_checkpoint(self, folder: Path, exported: object) -> None:
        best = self.run / "checkpoints" / "best.ckpt" if self.run else None
        if best and best.is_file() and exported and model_folder.sha256_of(best) != exported:
            log.warning("warning: %s was exported from another checkpoint than %s; export it anew", folder, best)


def _state(file: Path) -> tuple[object, ...]:
    try:
        found = file.stat()
    except OSError:
        return (str(file),)
    return str(file), found.st_mtime_ns, found.st_size, found.st_ino


def _limit_torch(threads: int | None) -> None:
    import torch

    if threads:
        torch.set_num_threads(threads)


def _open_checkpoint(given: str, threads: int | None) -> Served:
    from kindling.process.start_and_end import importing

    with importing():
        from kindling.checkpoints import checkpoint
        from kindling.inference import predictor

    _limit_torch(threads)
    path = checkpoint.find(given)
    identity = model_folder.sha256_of(path)[:ID_LENGTH]
    found = predictor.load(path)

    def run(pixels: np.ndarray) -> np.ndarray:
        return found.probabilities(pixels).numpy()

    return Served(identity, "checkpoint", found.classes, found.image_size, found.channels, run)


def warm(model: Served, max_batch: int) -> None:
    """Compute the smallest and the largest batch, which the first client then need not wait for.

    Raises:
        CheckpointError: what the model gives are no probabilities of its classes.
    """
    for size in sorted({1, max_batch}):
        try:
            found = model.run(np.zeros((size, model.image_size, model.image_size, model.channels), dtype=np.uint8))
        except Exception as error:
            # Each runtime has errors of its own.
            raise CheckpointError(
                f"model: given {model.id}, which fails ({one_line(error)}); export it anew"
            ) from error
        sums = found.sum(1) if found.shape == (size, len(model.classes)) else np.array(np.nan)
        if not np.all(np.abs(sums - 1) < TOLERANCE):
            given = f"model: given {model.id}, whose output is no probabilities of its {len(model.classes)} classes"
            raise CheckpointError(f"{given}; export it anew")


class Models:
    """The model that answers now, and the thread that loads it and its successors.

    Args:
        source: where it lies.
        threads: of the model.
        max_batch: that it is warmed for.
        watches: whether a newer one is taken over as soon as it is written.
        report: is called with what happened to a model: "loaded", "kept".
    """

    def __init__(
        self, source: Source, threads: int | None, max_batch: int, *, watches: bool, report: Callable[[str], object]
    ):
        self.source = source
        self.threads = threads
        self.max_batch = max_batch
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
        warm(model, self.max_batch)
        # If its folder is gone later, no checkpoint takes its place.
        if model.described:
            self.source = replace(self.source, folder=self.source.exported())
        self.current = model
        self.report("loaded")
        size = f"{model.image_size} x {model.image_size} x {model.channels}"
        log.info("model %s: %s, %d classes, images of %s", model.id, model.format, len(model.classes), size)

    def _try(self) -> None:
        try:
            self._load()
        except Exception as error:
            self.report("kept")
            reason = (
                one_line(error) if isinstance(error, KindlingError) else f"{type(error).__name__}: {one_line(error)}"
            )
            log.warning("warning: model %s stays, as the newer one fails: %s", self.current and self.current.id, reason)
