"""A trained model in Python: `kindling.load(run).predict(...)` of images, rows or prompts, as its task takes them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from kindling.checkpoints import checkpoint
from kindling.config import project
from kindling.data.processor import Processor
from kindling.data.text_processor import TextProcessor
from kindling.errors import ConfigError
from kindling.images.processor import ImageProcessor
from kindling.inference import weights_folder
from kindling.inference.computing import compute_by
from kindling.inference.image_predictor import ImagePredictor
from kindling.inference.processors import needed_processor_of
from kindling.training.rebuild import net_of, rebuild


class Predictor:
    """A trained model in evaluation mode.

    Args:
        net: with its weights.
        processor: how its inputs are read and its outputs written.
        device: where it computes.
    """

    def __init__(self, net: nn.Module, processor: Processor, device: torch.device):
        self.compute = compute_by(net, device)
        self.net = net
        self.processor = processor
        self.device = device

    def predict(self, inputs: Any, *, batch_size: int = 64) -> Any:
        """What the processor writes of each input, values by name.

        Args:
            inputs: what the processor reads, such as a row as a mapping; one, or any iterable of them.
            batch_size: inputs that are computed at a time.

        Raises:
            DataError: an input cannot be read.
            ConfigError: the batch size is none.
        """
        refuse_batch_size(batch_size)
        if not self._several(inputs):
            return self.written([self.processor.read(inputs)])[0]
        read = (self.processor.read(each, f"inputs[{place}]") for place, each in enumerate(inputs))
        found: list[dict[str, Any]] = []
        while batch := list(islice(read, batch_size)):
            found += self.written(batch)
        return found

    def written(self, examples: Sequence[Any]) -> list[dict[str, Any]]:
        """What the processor writes of each of a batch of examples."""
        outputs = self.compute(*stacked(examples))
        return [self.processor.write(taken(outputs, place)) for place in range(len(examples))]

    def _several(self, inputs: Any) -> bool:
        if isinstance(inputs, np.ndarray):
            return inputs.ndim > (3 if self.processor.kind == "image" else 1)
        if isinstance(inputs, Sequence) and len(inputs):
            # A row may be its numbers in order.
            return not isinstance(inputs, str | bytes) and not isinstance(inputs[0], int | float | np.number)
        return isinstance(inputs, Iterable) and not isinstance(inputs, str | bytes | Mapping)


class TextPredictor(Predictor):
    """A trained model that goes on with a text."""

    def predict(self, inputs: Any, **settings: Any) -> Any:
        """The text that follows a prompt, or a list of them for several.

        Args:
            inputs: a prompt, or any iterable of them.
            settings: of `TextProcessor.answer`: length, temperature, top_k, seed.

        Raises:
            DataError: a prompt has a character that the model does not know.
            ConfigError: a setting is not allowed.
        """
        if isinstance(inputs, str) or not isinstance(inputs, Iterable):
            return "".join(self.stream(inputs, **settings))
        return ["".join(self.stream(each, **settings)) for each in inputs]

    def stream(self, prompt: Any, **settings: Any) -> Iterator[str]:
        """The same, piece by piece."""
        return self.processor.answer(self.compute, prompt, **settings)


def stacked(examples: Sequence[Any]) -> list[np.ndarray]:
    """A batch for each input of the net."""
    parts = zip(*examples, strict=True) if isinstance(examples[0], tuple) else [examples]
    return [np.stack(part) for part in parts]


def taken(outputs: Any, place: int) -> Any:
    """Those of one example of a batch, also in tuples and mappings."""
    if isinstance(outputs, Mapping):
        return {name: taken(each, place) for name, each in outputs.items()}
    return tuple(taken(each, place) for each in outputs) if isinstance(outputs, tuple) else outputs[place]


def load(run: str | PathLike[str], device: str | torch.device = "auto", *, root: str | Path | None = None) -> Any:
    """The trained model of a run: an ImagePredictor, TextPredictor or Predictor, by the processor of its task.

    Args:
        run: a run folder, whose best checkpoint is taken, a checkpoint file, or a folder of export.py
            format=safetensors.
        device: "auto" takes the best there is.
        root: the folder of the project, from then on that of this process; by default the installed one.

    Raises:
        CheckpointError: there is no checkpoint, it is damaged, or it does not say what inputs it takes.
        ConfigError: the device is not there, or the task has no processor.
    """
    if root is not None:
        project.use_own(root)
    if (folder := Path(run).expanduser()) and (folder / weights_folder.CONFIG).is_file():
        (task, net), path = weights_folder.read(folder), folder
    else:
        path = checkpoint.find(str(run))
        task = rebuild(checkpoint.load(path), path)
        net = net_of(task, path)
    processor = needed_processor_of(task, path)
    if isinstance(processor, ImageProcessor) and processor.is_ready_made:
        return ImagePredictor(net, processor, device_of(device))
    kind = TextPredictor if isinstance(processor, TextProcessor) or processor.kind == "text" else Predictor
    return kind(net, processor, device_of(device))


def refuse_batch_size(given: Any) -> None:
    """
    Raises:
        ConfigError: it is no number above 0.
    """
    if not isinstance(given, int) or isinstance(given, bool) or given < 1:
        raise ConfigError(f"batch_size: given {given!r}; allowed: 1 or more")


def device_of(given: str | torch.device) -> torch.device:
    """
    Raises:
        ConfigError: there is no such device.
    """
    if given == "auto":
        accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        return accelerator or torch.device("cpu")
    try:
        device = torch.device(given)
        torch.empty(0, device=device).cpu()
    except Exception as error:
        # Each backend says in its own way that it is not there.
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f"device: given {given}; allowed: auto, cpu, or an accelerator that is here ({reason})"
        ) from error
    return device
