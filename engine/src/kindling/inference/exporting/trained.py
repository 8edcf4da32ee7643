"""A trained task and its data: what is exported, and what the exported model is compared with."""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from kindling.data.processor import Processor, classes_of
from kindling.data.text_processor import TextProcessor
from kindling.errors import ConfigError
from kindling.images.augment import Normalize
from kindling.images.processor import ImageProcessor, classifies
from kindling.inference.exporting import made_up
from kindling.inference.exporting.exported_graph import exported_graph
from kindling.inference.exporting.parity import Batch
from kindling.training.task import Task


class Trained:
    """What is exported, and what it is compared with.

    Args:
        task: whose net is put into evaluation mode, in float32.
        processor: of the task.
        data: whose validation they are compared on; None for inputs that are made up.
        preprocessing: of images, whether the exported model takes pixels.
    """

    def __init__(self, task: Task, processor: Processor, data: Any = None, *, preprocessing: bool):
        self.task = task.float().eval().requires_grad_(False)
        self.net: nn.Module = task.net
        self.processor = processor
        self.data = data
        self.classes = classes_of(processor)
        self.normalize = Normalize(processor.mean, processor.std) if preprocessing and classifies(processor) else None

    @property
    def graph(self) -> nn.Module:
        if isinstance(self.processor, ImageProcessor) and self.normalize:
            return exported_graph(self.net, self.processor.mean, self.processor.std, preprocessing=True)
        return exported_graph(self.net, [], [], preprocessing=False)

    @torch.inference_mode()
    def compute(self, inputs: np.ndarray) -> np.ndarray:
        """What the net makes of what the exported model takes."""
        given = torch.from_numpy(inputs)
        found = self.net(self.normalize(given) if self.normalize else given)
        if not isinstance(found, Tensor):
            raise ConfigError(
                f"model: given {type(self.net).__name__}, which gives {type(found).__name__}; allowed for an export: a "
                "net that gives one tensor"
            )
        return found.numpy()

    def validation(self) -> Iterator[Batch]:
        """What both models are given."""
        if self.data is not None:
            yield from self.batches(self.data.val_dataloader())
            return
        for inputs in made_up.batches(self.processor, preprocessing=self.normalize is not None):
            yield inputs, None

    @torch.inference_mode()
    def batches(self, loader: Any) -> Iterator[Batch]:
        """What the exported model takes, as the steps of the task give it to the net, and labels (B,)."""
        seen: list[tuple[Any, ...]] = []
        hook = self.net.register_forward_pre_hook(lambda net, given: seen.append(given))
        try:
            for batch in loader:
                seen.clear()
                targets = self.task.step(batch, "val").targets
                for given in tuple(seen):
                    inputs = self._input(given)
                    yield inputs, self._labels(targets, inputs)
        finally:
            hook.remove()

    def _input(self, given: tuple[Any, ...]) -> np.ndarray:
        """
        Raises:
            ConfigError: it is something that the exported model does not take.
        """
        if len(given) != 1 or not isinstance(given[0], Tensor):
            names = ", ".join(type(each).__name__ for each in given)
            raise ConfigError(
                f"model: given {type(self.net).__name__}, which takes ({names}); allowed for an export: a net that "
                "takes one tensor"
            )
        return self._pixels(given[0]) if self.normalize else given[0].contiguous().numpy()

    def _pixels(self, images: Tensor) -> np.ndarray:
        """Normalised images (B, C, H, W) -> (B, H, W, C) uint8, as they were."""
        assert isinstance(self.processor, ImageProcessor)
        size, channels = self.processor.image_size, self.processor.channels
        if images.shape[1:] != (channels, size, size):
            raise ConfigError(
                f"preprocessing: given true for a net that takes {tuple(images.shape)}; allowed: one that takes images "
                f"(B, {channels}, {size}, {size}), or preprocessing=false"
            )
        mean, std = (torch.tensor(each).view(-1, 1, 1) for each in (self.processor.mean, self.processor.std))
        pixels = ((images.float() * std + mean) * 255).round().clamp(0, 255).to(torch.uint8)
        return pixels.permute(0, 2, 3, 1).contiguous().numpy()

    def _labels(self, targets: Any, inputs: np.ndarray) -> np.ndarray | None:
        is_label = isinstance(targets, Tensor) and targets.shape == (len(inputs),) and not targets.is_floating_point()
        return targets.numpy() if self.classes and is_label else None

    def example(self) -> Tensor:
        """Two inputs of the exported model; texts are as long as can be."""
        inputs, _ = next(self.validation())
        longest = self.processor.block if isinstance(self.processor, TextProcessor) else None
        if longest:
            return torch.from_numpy(np.resize(inputs, (2, longest)))
        return torch.from_numpy(inputs[np.arange(2) % len(inputs)])

    def in_pytorch(self) -> Callable[[np.ndarray], Tensor]:
        """What PyTorch does for the same: the net with channels last, as it was trained."""
        net = copy.deepcopy(self.net).to(memory_format=torch.channels_last)

        @torch.inference_mode()
        def run(inputs: np.ndarray) -> Tensor:
            given = torch.from_numpy(inputs)
            return net(self.normalize(given)).softmax(1) if self.normalize else net(given)

        return run
