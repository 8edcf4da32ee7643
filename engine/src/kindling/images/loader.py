"""Batches of images whose order and augmentation depend on (seed, epoch, position) alone."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from kindling.data.loader import OrderedLoader
from kindling.data.seeds import mix_seeds, seed_all
from kindling.images.augment import FLIP_DRAW, NUM_DRAWS, Augment, Normalize
from kindling.images.images import ImageFiles, Images, ImageTensors
from kindling.images.pictures import Cut
from kindling.images.transform import transformed

# Images (B, C, H, W) and labels (B,).
Batch = tuple[Tensor, Tensor]


class EpochLoader(OrderedLoader):
    """Normalised batches (B, C, H, W) float32 and labels (B,), on the device.

    Images in memory cost one gather a batch; files are decoded by worker processes. Both give bit-identical batches.

    Args:
        images: in memory or on disk.
        normalize: what each batch ends with.
        augment: changes a batch by numbers that are drawn for each position.
        transform: changes an image before that.
        cut: what is seen of a whole picture, if images are files; None for the image as they give it.
        settings: those of OrderedLoader.
    """

    def __init__(
        self,
        images: Images,
        *,
        normalize: Normalize,
        augment: Augment | None = None,
        transform: nn.Module | None = None,
        cut: Cut | None = None,
        **settings: Any,
    ):
        self.transform, self.cut = transform, cut
        super().__init__(images, augment=augment, collate_fn=torch.stack, **settings)
        self.normalize = normalize.to(self.device)

    @property
    def images(self) -> Images:
        return self.examples

    def _held(self, examples: Images) -> Images:
        if isinstance(examples, ImageTensors):
            return ImageTensors(self._send(examples.images), examples.labels)
        return examples

    def _read_one_by_one(self) -> Dataset:
        return _Transformed(self.images, self.transform, self.cut)

    def _batches(self, slices: Sequence[slice]) -> Iterator[tuple[Tensor, Tensor]]:
        indices, draws, seeds = self._share(*self.draw())
        labels, draws = self._send(self.images.labels[indices]), self._send(draws)
        for part, images in zip(slices, self._read(indices, seeds, slices), strict=True):
            if self.augment:
                images = self.augment(images, draws[part])
            yield self.normalize(images), labels[part]

    def draw(self) -> tuple[Tensor, Tensor, Tensor]:
        """Indices (N,), uniform draws (N, NUM_DRAWS) and seeds (N,) of the current epoch."""
        indices, generator = self.order.draw()
        draws = torch.rand(len(indices), NUM_DRAWS, generator=generator)
        if self.augment and self.augment.alternating_flip:
            draws[:, FLIP_DRAW] = alternating_draws(len(indices), self.order.seed, self.order.epoch)[indices]
        return indices, draws, self.order.draw_seeds(generator)

    def _read(self, indices: Tensor, seeds: Tensor, slices: Sequence[slice]) -> Iterator[Tensor]:
        if not isinstance(self.images, ImageTensors):
            yield from super()._read(indices, seeds, slices)
            return
        indices = self._send(indices)
        for part in slices:
            # Ten times quicker than indexing with [].
            images = self.images.images.index_select(0, indices[part])
            yield self._transform(images, seeds[part]) if self.transform else images

    def _transform(self, images: Tensor, seeds: Tensor) -> Tensor:
        assert self.transform
        each = []
        for image, seed in zip(images, seeds.tolist(), strict=True):
            # Each step seeds them anew, so dropout is unaffected.
            seed_all(seed, image.device)
            each.append(transformed(self.transform, image))
        return torch.stack(each)


def alternating_draws(num_images: int, seed: int, epoch: int) -> Tensor:
    """A draw (N,) for each image, which lies in the other half of [0, 1) in each following epoch."""
    # Three numbers, unlike the seed of any epoch.
    generator = torch.Generator().manual_seed(mix_seeds(seed, 0, 1))
    # Subtracted, since adding could round.
    return (torch.rand(num_images, generator=generator) - 0.5 * (epoch % 2)) % 1


class _Transformed(Dataset):
    """Images by their indices, each cut and changed by a transform."""

    def __init__(self, images: Images, transform: nn.Module | None, cut: Cut | None):
        self.images, self.transform, self.cut = images, transform, cut

    def __getitem__(self, index: int) -> Tensor:
        if self.cut and isinstance(self.images, ImageFiles):
            image = self.cut(self.images.picture(index))
        else:
            image = self.images[index]
        return transformed(self.transform, image) if self.transform else image
