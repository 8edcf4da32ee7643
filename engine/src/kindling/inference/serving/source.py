"""Where the model lies that is to be served, and how it is opened."""

import logging
from dataclasses import dataclass, replace
from pathlib import Path

from kindling.errors import CheckpointError
from kindling.files.foreign_file import read_bytes
from kindling.inference import model_folder
from kindling.inference.model_folder import DESCRIPTION, FILES
from kindling.inference.origin import shown, source
from kindling.inference.processors import refuse_without_processor
from kindling.inference.runtimes import open_model
from kindling.inference.serving.model import Served
from kindling.run_folders.best import best_file

log = logging.getLogger(__name__)
MOST_EXAMPLES, MOST_OF_EXAMPLE = 12, 1_000_000
PNG = b"\x89PNG\r\n\x1a\n"
# Digits of a checksum.
ID_LENGTH = 12


@dataclass(frozen=True)
class Source:
    """Where the model lies: one of a run folder, a checkpoint and an exported folder.

    Args:
        run: of which `export/onnx` is taken before its best checkpoint.
        ckpt: a file.
        folder: that export.py wrote.
        trust: whether the folder may hold a program; what lies in a run never may.
    """

    run: Path | None
    ckpt: Path | None
    folder: Path | None
    trust: bool = False

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
            files = [best_file(self.run)] if self.run else [self.ckpt] if self.ckpt else []
        return tuple(_state(file) for file in files)

    def open(self, threads: int | None) -> Served:
        """
        Raises:
            KindlingError: there is no model, or it is damaged.
        """
        folder = self.exported()
        if not folder:
            return _open_checkpoint(str(self.ckpt or self.run), threads)
        described, run = open_model(folder, threads, trust=self.trust and self.run is None)
        if FILES[described.format] != "model.onnx":
            _limit_torch(threads)
        self._warn_of_another_checkpoint(folder, described.about.get("checkpoint_sha256"))
        identity = described.sha256[:ID_LENGTH]
        processor, (name, metrics) = described.make_processor(), shown(described.about)
        return Served(identity, described.format, processor, run, replace(described, about={}), name, metrics)

    def refuse_missing(self) -> None:
        """
        Raises:
            CheckpointError: there is nothing at that path.
            ConfigError: the task of the run has no processor.
        """
        for name, path in (("run", self.run), ("ckpt", self.ckpt), ("model", self.folder)):
            if path and not path.exists():
                raise CheckpointError(f"{name}: given {path}, which does not exist; allowed: the path of one that does")
        run = self.run or (self.ckpt and self.ckpt.absolute().parent.parent)
        if run and not self.exported():
            refuse_without_processor(run)

    def examples(self) -> list[bytes]:
        """Images of the run's own evaluation, as PNG, to try the model on; none before `evaluate.py run=`."""
        if self.run is None:
            return []
        home = self.run.resolve()
        files = sorted(self.run.glob("evaluation/*/example_*.png"))[:MOST_EXAMPLES]
        found = [read_bytes(file, MOST_OF_EXAMPLE) for file in files if file.resolve().is_relative_to(home)]
        return [each for each in found if each.startswith(PNG)]

    def _warn_of_another_checkpoint(self, folder: Path, exported: object) -> None:
        best = best_file(self.run) if self.run else None
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
        from kindling.checkpoints.described import blamed_on
        from kindling.inference.predictor import device_of
        from kindling.inference.processors import needed_processor_of
        from kindling.inference.serving.by_torch import runtime_of
        from kindling.training.rebuild import net_of, rebuild

    _limit_torch(threads)
    path = checkpoint.find(given)
    with blamed_on(path):
        saved = checkpoint.load(path)
        task = rebuild(saved, path)
        processor = needed_processor_of(task, path)
        about = source(path, saved[checkpoint.DESCRIPTION]["config"])
        runtime = runtime_of(net_of(task, path), processor, device_of("auto"))
        name, metrics = shown(about)
        identity = about["checkpoint_sha256"][:ID_LENGTH]
        return Served(identity, "checkpoint", processor, runtime, name=name, metrics=metrics)
