"""Batches in memory against what torchvision's data sets do: PIL and transforms, image by image, in a DataLoader."""

import time
from collections.abc import Callable, Iterable
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from torchvision.transforms import functional

from benchmarks.measured import DEVICE, wait_for_device
from benchmarks.table import Row, least
from kindling.images.augment import Augment, Normalize
from kindling.images.images import ImageTensors
from kindling.images.loader import EpochLoader

BATCH_SIZE = 128
# Mean and std of each channel.
MNIST = ([0.1307], [0.3081])
CIFAR10 = ([0.4914, 0.4822, 0.4465], [0.2470, 0.2435, 0.2616])
CROP_PADDING = 4
NUM_IMAGES = 50_000
# Images in an epoch of theirs, which takes longer.
NUM_THEIRS = 4_000

Statistics = tuple[list[float], list[float]]


def data() -> list[Row]:
    """Images a second: MNIST as it is, CIFAR-10 with random crop and flip. One thread, or two workers."""
    torch.set_num_threads(1)
    grey, colour = random_images(28, 1), random_images(32, 3)
    crop_and_flip = [transforms.RandomCrop(32, padding=CROP_PADDING), transforms.RandomHorizontalFlip()]
    augment = Augment(
        crop_padding=CROP_PADDING,
        padding_mode="constant",
        horizontal_flip=0.5,
        alternating_flip=False,
        rotation=0,
        random_erasing=0.0,
    )
    return [
        *compared("MNIST", grey, MNIST, [], None, ">= 50"),
        *compared("CIFAR-10 with crop and flip", colour, CIFAR10, crop_and_flip, augment, ">= 18"),
    ]


class PILImages(Dataset):
    """An image a call, by the steps of torchvision.datasets.MNIST and CIFAR10."""

    def __init__(self, images: ImageTensors, transform: Callable[[Any], Tensor]):
        self.pixels = images.images.squeeze(-1).numpy()
        self.labels = images.labels
        self.transform = transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.pixels[index])), int(self.labels[index])


def compared(
    name: str, images: ImageTensors, statistics: Statistics, steps: list, augment: Augment | None, bar: str
) -> list[Row]:
    transform: Any = transforms.Compose([*steps, transforms.ToTensor(), transforms.Normalize(*statistics)])
    few = images.take(torch.arange(NUM_THEIRS))
    normalize = Normalize(*statistics)
    ours = EpochLoader(
        images, batch_size=BATCH_SIZE, normalize=normalize, train=True, shuffle=True, augment=augment, device=DEVICE
    )
    check_each_image(ours, images, statistics, augment)

    def theirs(num_workers: int) -> DataLoader:
        return DataLoader(
            PILImages(few, transform),
            BATCH_SIZE,
            shuffle=True,
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
        )

    alone, helped = theirs(0), theirs(2)
    # Starts the workers before the clock does.
    next(iter(helped))
    seconds = least(
        {
            "ours": lambda: seconds_an_image(ours),
            "alone": lambda: seconds_an_image(alone),
            "two workers": lambda: seconds_an_image(helped),
        }
    )
    return [
        Row(f"{name}: Kindling", 1 / seconds["ours"], "images/s"),
        Row(f"{name}: torchvision and PIL", 1 / seconds["alone"], "images/s"),
        Row(f"{name}: the same with two workers", 1 / seconds["two workers"], "images/s"),
        Row(f"{name}: Kindling against torchvision and PIL", seconds["alone"] / seconds["ours"], "times", bar),
        Row(f"{name}: Kindling against two workers", seconds["two workers"] / seconds["ours"], "times"),
    ]


def seconds_an_image(batches: Iterable[tuple[Tensor, Tensor]]) -> float:
    started, num_images = time.perf_counter(), 0
    for images, _ in batches:
        num_images += len(images.to(DEVICE))
    wait_for_device()
    return (time.perf_counter() - started) / num_images


def check_each_image(
    loader: EpochLoader, images: ImageTensors, statistics: Statistics, augment: Augment | None
) -> None:
    """The first batch holds the bits that torchvision's functions give image by image."""
    indices, draws, _ = loader.draw()
    batch = next(iter(loader))[0].cpu()
    for position, found in enumerate(batch):
        image = images.images[indices[position]].permute(2, 0, 1)
        if augment:
            top, left = (int(draw * (2 * CROP_PADDING + 1)) for draw in draws[position, :2])
            image = functional.crop(functional.pad(image, [CROP_PADDING]), top, left, *image.shape[1:])
            image = functional.hflip(image) if draws[position, 2] < augment.horizontal_flip else image
        expected = functional.normalize(functional.convert_image_dtype(image), *statistics)
        assert torch.equal(found, expected), f"image {position} differs from torchvision's"


def random_images(image_size: int, channels: int) -> ImageTensors:
    pixels = torch.randint(0, 256, (NUM_IMAGES, image_size, image_size, channels), dtype=torch.uint8)
    return ImageTensors(pixels, torch.randint(0, 10, (len(pixels),)))
