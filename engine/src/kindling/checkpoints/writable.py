"""What a checkpoint can hold, asked before a run relies on it, and why one could not be written."""

import io
import pickle
import re
from collections.abc import Mapping
from typing import Any

import torch

from kindling.config.foreign import is_plain
from kindling.errors import LONGEST, ConfigError, one_line


def keep_plain_arguments(checkpoint: dict[str, Any]) -> None:
    """Of what `save_hyperparameters` keeps, leave out nets and functions: the config describes them."""
    for key in ("hyper_parameters", "datamodule_hyper_parameters"):
        if isinstance(checkpoint.get(key), Mapping):
            items = dict(checkpoint[key]).items()
            checkpoint[key] = {name: value for name, value in items if is_plain({str(name): value})}


def refuse_objects(file: str, checkpoint: dict[str, Any]) -> None:
    """
    Raises:
        ConfigError: the file holds objects whose classes no checkpoint may load.
    """
    try:
        torch.load(file, map_location="meta", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL (\S+)", str(error))
        kind = named[1] if named else one_line(error)
        keys = [key for key, value in checkpoint.items() if kind.rpartition(".")[2] in repr(value)[:LONGEST]]
        raise ConfigError(
            f"task: given {kind} for a checkpoint{' as ' + keys[0] if keys else ''}; allowed: tensors, numbers, texts, "
            "lists and dicts; mend on_save_checkpoint or state_dict"
        ) from error


def refuse_facts(facts: Any) -> None:
    """
    Raises:
        ConfigError: a checkpoint cannot hold what a data module knows.
    """
    if not isinstance(facts, Mapping):
        raise ConfigError(f"data.facts: given {type(facts).__name__}; allowed: a dict, {{}} if there are none")
    for name, value in facts.items():
        try:
            with io.BytesIO() as stream:
                torch.save(value, stream)
                stream.seek(0)
                torch.load(stream, weights_only=True)
        except Exception as error:
            # Each kind of object has an error of its own.
            raise ConfigError(
                f"data.facts: given {type(value).__name__} as {name}, which no checkpoint can hold; allowed: tensors, "
                "numbers, texts, lists and dicts"
            ) from error


def os_error(error: BaseException | None) -> str | None:
    """What the system said, however it was wrapped."""
    while error is not None:
        if isinstance(error, OSError):
            return error.strerror or str(error)
        error = error.__cause__ or error.__context__
    return None
