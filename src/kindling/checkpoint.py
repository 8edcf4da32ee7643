"""The only reader and writer of what a checkpoint holds beyond Lightning's own entries."""

import zipfile
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from torch import nn

from kindling.config.targets import absolute, relative
from kindling.errors import CheckpointError
from kindling.whole_file import write_whole

FORMAT = 1
DESCRIPTION = "description"


def describe(saved: dict[str, Any], config: dict[str, Any], facts: Any) -> None:
    """Write into a checkpoint what it takes to rebuild its model and data: plain config and class names."""
    found = {key: value for key, value in facts.items() if key != "classes"}
    saved[DESCRIPTION] = {
        "format": FORMAT,
        "config": relative({**config, "data": config.get("data", {}) | found}),
        "classes": facts.get("classes"),
    }


def load(path: Path) -> dict[str, Any]:
    """A checkpoint on the CPU, its description's targets absolute; runs no code from the file.

    Raises:
        CheckpointError: the file is missing, damaged, or was not written by this project.
    """
    try:
        with zipfile.ZipFile(path) as records:
            damaged = records.testzip()  # torch itself never checks the checksums
        if damaged:
            raise CheckpointError(f"ckpt: given {path}, which is damaged at {damaged}; use another checkpoint")
        saved = torch.load(path, map_location="cpu", weights_only=True)
    except CheckpointError:
        raise
    except Exception as error:  # the unpickler's errors have no common class
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"ckpt: given {path}, which is no whole checkpoint ({reason})") from error
    description = saved.get(DESCRIPTION) if isinstance(saved, dict) else None
    if not description or "state_dict" not in saved:
        raise CheckpointError(f"ckpt: given {path}, which lacks a description; allowed: checkpoints of train.py")
    if description["format"] != FORMAT:
        raise CheckpointError(
            f"ckpt: given {path}, of format {description['format']}; allowed: format {FORMAT}; "
            "evaluate it with the version that wrote it"
        )
    description["config"] = absolute(description["config"])
    return saved


def find(given: str, prefer: str) -> Path:
    """The checkpoint that a path means: the file itself, or a run folder's best or last.

    Raises:
        CheckpointError: there is none.
    """
    path = Path(given).expanduser()
    if path.is_file():
        return path
    if not path.is_dir():
        raise CheckpointError(f"given {path}, which does not exist; allowed: a run folder or a checkpoint file")
    file = path / "checkpoints" / f"{prefer}.ckpt"
    if not file.is_file():
        others = sorted(map(str, path.glob("checkpoints/*.ckpt")))
        meant = f"give a file: {', '.join(others)}" if others else "give a run folder"
        raise CheckpointError(f"given the folder {path}, which lacks checkpoints/{prefer}.ckpt; {meant}")
    return file


def load_weights(module: nn.Module, weights: dict[str, torch.Tensor], path: Path) -> None:
    """Load a state_dict that must fit to the last key.

    Raises:
        CheckpointError: it is of another model.
    """
    try:
        module.load_state_dict(weights)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(f"{path}: a checkpoint of another model ({reason}); set the model it was of") from error


class WholeCheckpointIO(TorchCheckpointIO):
    """Saves a checkpoint whole or not at all, and runs no code from one that it loads."""

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        saved = super().load_checkpoint(path, map_location, weights_only=True)
        # In a run that was moved, the best checkpoint lies beside this one.
        folder = Path(path).parent
        for state in saved.get("callbacks", {}).values():
            if Path(state.get("dirpath") or ".").name == folder.name == "checkpoints":
                for key in ("best_model_path", "kth_best_model_path", "last_model_path"):
                    state[key] = str(folder / Path(state[key]).name) if state[key] else state[key]
                state["best_k_models"] = {str(folder / Path(k).name): v for k, v in state["best_k_models"].items()}
                state["dirpath"] = str(folder)
        return saved

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        target = Path(path)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with write_whole(target, "wb", durable=True) as stream:
                torch.save(checkpoint, stream)
        except OSError as error:
            reason = error.strerror or error
            raise CheckpointError(f"{target}: cannot be written ({reason}); free space or set paths.logs") from error
