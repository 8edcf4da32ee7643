"""A trained model that takes images of any kind and gives labels or probabilities."""

from collections.abc import Iterable, Iterator, Mapping, Set
from itertools import islice
from numbers import Number
from os import PathLike
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from kindling.errors import ConfigError, DataError
from kindling.images.augment import Normalize
from kindling.images.decoding import ALLOWED_SHAPES, CHANNELS
from kindling.images.processor import ImageProcessor
from kindling.images.views import VIEWS, Views, average_logits

Output = Literal["labels", "probabilities"]


class ImagePredictor:
    """A trained model in evaluation mode, whose images are normalised on its device.

    Args:
        net: with its weights.
        processor: the classes, and size, channels and statistics of the images.
        device: where it computes.
    """

    def __init__(self, net: nn.Module, processor: ImageProcessor, device: torch.device):
        self.net = net.eval().requires_grad_(False).to(device)
        self.processor = processor
        self.classes = list(processor.classes)
        self.image_size, self.channels = processor.image_size, processor.channels
        self.mean, self.std = processor.mean, processor.std
        self.device = device
        self._normalize = Normalize(self.mean, self.std).to(device)

    def predict(
        self, images: Any, output: Output = "labels", *, views: Views = "none", batch_size: int = 64
    ) -> str | list[str] | Tensor:
        """The class of each image, or the probability of each class.

        Args:
            images: paths, bytes of image files, PIL images, arrays, tensors or nested lists of numbers: one, or any
                iterable of them. Arrays, tensors and lists hold what `Decoding.array` takes, such as uint8 or floats
                from 0 to 1, of shape (H, W), (H, W, C) or (C, H, W), several as (N, H, W, C) or (N, C, H, W); of any
                size, as they are resized like the images of the training.
            output: "labels" gives names of classes, "probabilities" a tensor (K,), or (N, K) if given several.
            views: of each image whose logits are averaged.
            batch_size: images that are computed at a time.

        Raises:
            DataError: an image cannot be read, or is of another kind.
            ConfigError: an argument is none of those allowed.
        """
        if output not in ("labels", "probabilities"):
            raise ConfigError(f"output: given {output!r}; allowed: 'labels' or 'probabilities'")
        if views not in VIEWS:
            raise ConfigError(f"views: given {views!r}; allowed: {', '.join(VIEWS)}")
        if not isinstance(batch_size, int) or isinstance(batch_size, bool) or batch_size < 1:
            raise ConfigError(f"batch_size: given {batch_size!r}; allowed: 1 or more")
        images = _array_of_numbers(images)
        several = _several(images)
        each = self._each(images) if several else iter([self.pixels(images)])
        found = [torch.empty(0, len(self.classes))]
        while batch := list(islice(each, batch_size)):
            found.append(self.probabilities(np.stack(batch), views))
        probabilities = torch.cat(found)
        if output == "probabilities":
            return probabilities if several else probabilities[0]
        names = [self.classes[label] for label in probabilities.argmax(1).tolist()]
        return names if several else names[0]

    @torch.inference_mode()
    def probabilities(self, pixels: np.ndarray, views: Views = "none") -> Tensor:
        """Pixels (N, H, W, C) uint8 of the model's own size -> (N, K) float32, on the CPU."""
        images = self._normalize(torch.from_numpy(pixels).to(self.device))
        return average_logits(self.net, images, views).float().softmax(1).cpu()

    def pixels(self, image: Any, name: str = "image") -> np.ndarray:
        """One image as the model takes it: (H, W, C) uint8; paths and bytes exactly as an image of the validation.

        Raises:
            DataError: it cannot be read, or is of another kind.
        """
        if isinstance(image, Tensor):
            return self.processor.decoding.array(_array_of(image, name), name, channels_first=True)
        return self.processor.pixels(image, name)

    def _each(self, images: Iterable[Any]) -> Iterator[np.ndarray]:
        for index, image in enumerate(images):
            yield self.pixels(image, f"images[{index}]")


def _array_of(tensor: Tensor, name: str) -> np.ndarray:
    try:
        array = tensor.detach().cpu()
        # NumPy has no bfloat16.
        return (array.float() if array.is_floating_point() else array).numpy()
    except (TypeError, RuntimeError) as error:
        # NotImplementedError is a RuntimeError too.
        given = f"{name}: given a tensor of {tensor.layout}, {tensor.dtype} on {tensor.device}"
        raise DataError(f"{given}; allowed: a dense one of numbers; give its to_dense() or dequantize()") from error


def _array_of_numbers(images: Any) -> Any:
    """Nested lists of numbers as the array that they are; anything else as it is."""
    innermost = images
    while isinstance(innermost, list | tuple) and innermost:
        innermost = innermost[0]
    if innermost is images or not isinstance(innermost, Number):
        return images
    try:
        array = np.array(images)
    except ValueError as error:
        raise DataError(f"image: given rows of different lengths; allowed: {ALLOWED_SHAPES}") from error
    # A list of lists of rows is several images.
    return list(array) if array.ndim == 3 and array.shape[-1] not in CHANNELS else array


def _several(images: Any) -> bool:
    """Whether it holds several images: an array has a dimension for them."""
    if isinstance(images, np.ndarray | Tensor):
        return images.ndim > 3
    one = str | PathLike | bytes | bytearray | memoryview | Image.Image | Mapping | Set
    if isinstance(images, one) or hasattr(images, "read"):
        return False
    return isinstance(images, Iterable)
