"""The only reader and writer of what a checkpoint holds beyond Lightning's own entries."""

import logging
import platform
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from torch import nn

from kindling.checkpoints import trained_on
from kindling.checkpoints.archive import damaged_record, refuse_archive, refuse_parts, way_out
from kindling.checkpoints.content import problems, with_own_files
from kindling.checkpoints.pretrained import refuse_other_kinds
from kindling.checkpoints.values import faults_of_values
from kindling.checkpoints.writable import keep_plain_arguments, os_error, refuse_objects
from kindling.config.renames import FORMAT
from kindling.config.targets import absolute, relative
from kindling.config.upgrade import upgrade, upgrade_states
from kindling.errors import CheckpointError, one_line
from kindling.files.whole_file import write_whole
from kindling.lightning_internals import spawned
from kindling.run_folders.best import best_file

DESCRIPTION = "description"
# Where training goes on; only resume checkpoints have it.
PROGRESS = "progress"
# Asks for a checkpoint without what only training needs.
WEIGHTS_ALONE = "weights_alone"
OF_TRAINING = (
    *("loops", "callbacks", "optimizer_states", "lr_schedulers", "MixedPrecision", "native_amp_scaling_state"),
    *("train_sums", "rollbacks", "averaging_state", "current_model_state"),
)
log = logging.getLogger(__name__)


class Saved(NamedTuple):
    """A checkpoint and its file."""

    path: Path
    content: dict[str, Any]

    @property
    def config(self) -> dict[str, Any]:
        """The plain config as the run was given it, without what was found in the data."""
        description = self.content[DESCRIPTION]
        config = description["config"]
        for key in description.get("found", []):
            config = _without(config, key.split("."))
        return config


def _without(config: dict[str, Any], keys: list[str]) -> dict[str, Any]:
    first, *rest = keys
    inner = config.get(first)
    return config | {first: _without(inner, rest) if rest and isinstance(inner, dict) else None}


def describe(
    saved: dict[str, Any], config: dict[str, Any], facts: Mapping[str, Any], found: Sequence[str] = ()
) -> None:
    """Write into a checkpoint what it takes to rebuild its model and data.

    Args:
        saved: the checkpoint.
        config: plain; what it leaves open of the data is filled from the facts of the same names.
        facts: what is known of the data beyond the config, such as the names of the classes.
        found: dotted keys of the config that were null until the data was read.
    """
    data = config.get("data") or {}
    of_config = {key: value for key, value in facts.items() if key in data}
    saved[DESCRIPTION] = {
        "format": FORMAT,
        "config": relative({**config, "data": data | of_config}),
        "facts": dict(facts),
        "found": [*found],
        "versions": {"torch": str(torch.__version__), "python": platform.python_version()},
    }


def read(path: Path) -> Any:
    """What a file holds that torch wrote, on the CPU; runs no code from it.

    Raises:
        CheckpointError: it is missing or damaged, or its values are not what they seem.
    """
    try:
        num_bytes = refuse_archive(path)
        saved = torch.load(path, map_location="cpu", weights_only=True)
    except CheckpointError:
        raise
    except Exception as error:
        # Errors have no common class; torch's advice is cut off.
        reason = f"({one_line(error).partition('. ')[0]}){way_out(path, error)}"
        raise CheckpointError(f"ckpt: given {path}, which is no whole checkpoint {reason}") from error
    for problem in faults_of_values(saved, num_bytes) if isinstance(saved, dict) else ():
        raise CheckpointError(f"ckpt: given {path}, {problem}")
    return saved


def load(path: Path) -> dict[str, Any]:
    """A checkpoint on the CPU, its description's targets absolute; runs no code from the file.

    Raises:
        CheckpointError: the file is missing, damaged, or was not written by this project.
    """
    return understood(read(path), path)


def understood(saved: Any, path: Path) -> dict[str, Any]:
    """What a file holds with its description as it would be written today, its targets absolute.

    Raises:
        CheckpointError: it was not written by this project.
    """
    description = saved.get(DESCRIPTION) if isinstance(saved, dict) else None
    if not isinstance(description, dict) or "state_dict" not in saved:
        raise CheckpointError(f"ckpt: given {path}, which lacks a description; allowed: checkpoints of train.py")
    version = description.get("format")
    if type(version) is not int or version not in range(1, FORMAT + 1):
        raise CheckpointError(
            f"ckpt: given {path}, of format {version!r}; allowed: format {FORMAT} and older; "
            "use it with the version that wrote it"
        )
    for problem in problems(saved):
        raise CheckpointError(f"ckpt: given {path}, {problem}")
    description["config"] = absolute(upgrade(description["config"], version))
    description.setdefault("facts", {"classes": description.get("classes")})
    return upgrade_states(saved, version)


def load_file(path: Path) -> Saved:
    """
    Raises:
        CheckpointError: as `load`.
    """
    return Saved(path, load(path))


def find(given: str) -> Path:
    """The checkpoint that a path means: the file itself, or a run folder's best.

    Raises:
        CheckpointError: there is none.
    """
    if (path := Path(given).expanduser()).is_file():
        return path
    if not path.is_dir():
        what = "is no file" if path.exists() else "does not exist"
        raise CheckpointError(f"given {path}, which {what}; allowed: a run folder or a checkpoint file")
    refuse_parts(path)
    file = best_file(path)
    if not file.is_file():
        others = sorted(map(str, path.glob("checkpoints/*.ckpt")))
        meant = f"give a file: {', '.join(others)}" if others else "give a run folder"
        raise CheckpointError(f"given the folder {path}, which lacks checkpoints/best.ckpt; {meant}")
    return file


def load_weights(module: nn.Module, weights: dict[str, torch.Tensor], path: Path) -> None:
    """Load a state_dict that must fit to the last key.

    Raises:
        CheckpointError: it is of another model.
    """
    refuse_other_kinds(module, weights, path)
    try:
        module.load_state_dict(weights)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(f"{path}: a checkpoint of another model ({reason}); set the model it was of") from error


def origin_of(config: dict[str, Any]) -> Path | None:
    """The checkpoint whose weights a run began with; None if there is none, or none any more."""
    origin = config.get("fork") or config.get("weights")
    with suppress(CheckpointError):
        return find(origin) if origin else None


class WholeCheckpointIO(TorchCheckpointIO):
    """Saves a checkpoint whole or not at all, with its description, and runs no code from one that it loads.

    Args:
        config: of the run, plain; None if there is nothing to describe.
        data: whose `facts`, if it has any, are described.
        found: dotted keys of the config that were null until the data was read.
    """

    def __init__(self, config: dict[str, Any] | None = None, data: Any = None, found: Sequence[str] = ()):
        self.config = config
        self.data = data
        self.found = found
        # A file of this process has been read back.
        self._was_read = False
        self._are_described: set[Path] = set()

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        if spawned.is_handed_over(Path(path)):
            return torch.load(path, weights_only=True, map_location="cpu")
        saved = load(Path(path))
        for key, state in saved.get("callbacks", {}).items():
            if isinstance(state, dict) and "best_model_path" in state:
                saved["callbacks"][key] = with_own_files(state, Path(path).parent)
        return saved

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        target = Path(path)
        if checkpoint.pop(WEIGHTS_ALONE, False):
            checkpoint = {key: value for key, value in checkpoint.items() if key not in OF_TRAINING}
        if self.config is not None:
            describe(checkpoint, self.config, getattr(self.data, "facts", {}), self.found)
            keep_plain_arguments(checkpoint)
        try:
            self._refuse_removed_folder(target)
            target.parent.mkdir(parents=True, exist_ok=True)
            with write_whole(target, "wb", durable=True) as stream:
                torch.save(checkpoint, stream)
                stream.flush()
                damaged = damaged_record(stream.name)
                if not self._was_read:
                    refuse_objects(stream.name, checkpoint)
                    self._was_read = True
                if damaged:
                    raise CheckpointError(f"{target}: reads back damaged at {damaged}; look at the disk")
            # A finder keeps hidden ones for a while.
            is_kept = not target.name.startswith(".")
            if self.config is not None and is_kept and target.parent not in self._are_described:
                self._are_described.add(target.parent)
                trained_on.keep(target, self.data, origin_of(self.config))
        except (OSError, RuntimeError) as error:
            # Torch's writer wraps the error of the disk.
            reason = os_error(error)
            if reason is None:
                raise
            raise CheckpointError(f"{target}: cannot be written ({reason}); free space or set paths.logs") from error

    def _refuse_removed_folder(self, target: Path) -> None:
        run = Path(((self.config or {}).get("paths") or {}).get("run") or "/").absolute()
        if target.absolute().is_relative_to(run) and not run.is_dir():
            raise CheckpointError(f"{run}: the run folder was removed while the run trained; it ends here")


def config_of(trainer: Any) -> dict[str, Any]:
    """The plain config of the run that a trainer belongs to; {} if it belongs to none."""
    return getattr(trainer.strategy.checkpoint_io, "config", None) or {}
