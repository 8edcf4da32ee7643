"""Mistakes in the data, seen before training: one small function a rule, which yields what is to be reported.

Add yours to `AT_START`.
"""

import hashlib
from collections.abc import Iterator
from itertools import combinations
from typing import Any

import torch

from kindling.config.fault import MOST_NAMES
from kindling.images.doctor.seen import Rule, Seen
from kindling.images.images import ImageFiles, Images, ImageTensors
from kindling.stages import STAGES

# Hashing more files would take seconds.
MOST_FILES = 5000
# A share, since well-known sets repeat a few images.
LEAKED = 0.01
# Images in memory that statistics are taken from.
SAMPLE = 1024
# Fewer from disk, at some milliseconds an image.
DECODED_SAMPLE = 32
# Standard deviations by which the mean may be off.
FAR = 1.0
# Factor between the given and the found deviation.
SPREAD = 3.0


def splits_have_no_image_in_common(seen: Seen) -> Iterator[str]:
    splits = {name: getattr(seen.data.splits, name) for name in STAGES}
    num_files = sum(len(images) for images in splits.values() if isinstance(images, ImageFiles))
    if num_files > MOST_FILES:
        return
    hashes = {name: image_hashes(images) for name, images in splits.items()}
    for first, second in combinations(splits, 2):
        there = set(hashes[first])
        num_common = sum(each in there for each in hashes[second])
        if num_common > LEAKED * len(hashes[second]):
            yield (
                f"data: {num_common} of {len(hashes[second])} {second} images are in {first} too; usual: none; "
                f"take them out of one, or {second}/accuracy is too good"
            )


def image_hashes(images: Images) -> list[int | bytes]:
    """A hash of each image's pixels, or of its file."""
    if isinstance(images, ImageTensors):
        return [hash(pixels.tobytes()) for pixels in images.images.flatten(1).numpy()]
    return [hashlib.blake2b(path.read_bytes(), digest_size=16).digest() for path in images.paths]


def each_class_is_trained(seen: Seen) -> Iterator[str]:
    trained = set(seen.data.splits.train.labels.unique().tolist())
    for name in ("val", "test"):
        images: Images = getattr(seen.data.splits, name)
        missing = sorted(set(images.labels.unique().tolist()) - trained)
        if missing:
            names = class_names(seen, missing)
            yield f"data: train lacks {names} of {name}; usual: images of each class; add some, or drop the class"


def class_names(seen: Seen, labels: list[int]) -> str:
    """`class '3'`, or several of them."""
    names = [repr(seen.data.splits.classes[label]) for label in labels[:MOST_NAMES]]
    more = f" and {len(labels) - MOST_NAMES} more" if len(labels) > MOST_NAMES else ""
    return f"{'classes' if len(labels) > 1 else 'class'} {', '.join(names)}{more}"


def normalization_fits_the_pixels(seen: Seen) -> Iterator[str]:
    # With mean=null they are found in the images.
    config: Any = getattr(seen.task, "config", {})
    if (config.get("data") or {}).get("mean", 0) is None:
        return
    images = seen.data.splits.train
    if isinstance(images, ImageTensors):
        pixels = images.images[:: max(1, len(images) // SAMPLE)]
    else:
        step = max(1, len(images) // DECODED_SAMPLE)
        pixels = torch.stack([images[index] for index in range(0, len(images), step)])
    pixels = pixels.flatten(0, 2).float().div_(255)  # (pixels, C)

    std, mean = torch.std_mean(pixels, 0, correction=0)
    given_mean, given_std = torch.tensor(seen.data.mean), torch.tensor(seen.data.std)
    far = ((mean - given_mean) / given_std).abs().max().item()
    # A channel of one value has no spread.
    ratio = torch.where(std > 0, std / given_std, 1.0)
    if far > FAR or ratio.max() > SPREAD or ratio.min() < 1 / SPREAD:
        yield (
            f"data.mean, data.std: given {seen.data.mean}, {seen.data.std}; the training pixels have "
            f"{rounded(mean)}, {rounded(std)}; set them so"
        )


def rounded(values: torch.Tensor) -> list[float]:
    return [round(value, 4) for value in values.tolist()]


AT_START: tuple[Rule, ...] = (
    splits_have_no_image_in_common,
    each_class_is_trained,
    normalization_fits_the_pixels,
)
