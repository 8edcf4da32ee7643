"""Mistakes in the data, seen before training: one small function a rule, which yields what is to be reported.

Add yours to `AT_START`.
"""

import math
from collections import defaultdict
from collections.abc import Iterator
from itertools import combinations
from typing import Any

import torch

from kindling.config.fault import MOST_NAMES
from kindling.images.doctor.seen import DECODED_SAMPLE, Rule, Seen
from kindling.images.images import Images, ImageTensors
from kindling.images.looks import brightest, spread

# A share, since well-known sets repeat a few images.
LEAKED = 0.01
# Images in memory that statistics are taken from.
SAMPLE = 1024
# Standard deviations by which the mean may be off.
FAR = 1.0
# Factor between the given and the found deviation.
SPREAD = 3.0


def training_images_differ(seen: Seen) -> Iterator[str]:
    if seen.is_alike:
        low, high = (limit(seen.few).item() for limit in (torch.min, torch.max))
        yield (
            f"data: the training images are all alike, with pixels from {low} to {high} of 255, so "
            "nothing can be learnt; usual: different ones; look at the files, and at data.white if they have more "
            "than 8 bits"
        )


def training_images_reach_white(seen: Seen) -> Iterator[str]:
    """Of those of more than 8 bits; what a file holds is not what its type allows, such as 12 bits in 16."""
    decoding, files = seen.data.decoding, getattr(seen.data, "training_files", ())
    if decoding.version == 1:
        return
    found = [each for path in spread(files, DECODED_SAMPLE) if (each := brightest(path, decoding))]
    high, white = max((each.value for each in found), default=0), min((each.white for each in found), default=0)
    if 0 < high < white / 4:
        likely = 2 ** math.ceil(math.log2(high + 1)) - 1 if white > 1 else high
        to_do = f"set data.white={likely:g}" if all(each.is_set for each in found) else "make the colours brighter"
        yield (
            f"data.white: the training images of more than 8 bits stay below {high:g} of {white:g}, and so are nearly "
            f"black; usual: up to white; {to_do}"
        )


def splits_have_no_image_in_common(seen: Seen) -> Iterator[str]:
    for first, second in combinations(seen.hashes, 2):
        there = set(seen.hashes[first])
        num_common = sum(each in there for each in seen.hashes[second])
        if num_common > LEAKED * len(seen.hashes[second]):
            yield (
                f"data: {num_common} of {len(seen.hashes[second])} {second} images are in {first} too; usual: none; "
                f"take them out of one, or {second}/accuracy is too good"
            )


def each_image_has_one_class(seen: Seen) -> Iterator[str]:
    labels: dict[int | bytes, set[int]] = defaultdict(set)
    images = [pair for name in seen.hashes for pair in zip(seen.hashes[name], labels_of(seen, name), strict=True)]
    for content, label in images:
        labels[content].add(label)
    doubtful = [content for content, _ in images if len(labels[content]) > 1]
    if len(doubtful) > LEAKED * len(images):
        yield (
            f"data: {len(doubtful)} of {len(images)} images are in several classes, such as "
            f"{class_names(seen, sorted(labels[doubtful[0]]))}; usual: one; take them out of all but one"
        )


def labels_of(seen: Seen, split: str) -> list[int]:
    return getattr(seen.data.splits, split).labels.tolist()


def each_class_is_trained(seen: Seen) -> Iterator[str]:
    trained = set(seen.data.splits.train.labels.unique().tolist())
    for name in ("val", "test"):
        images: Images = getattr(seen.data.splits, name)
        missing = sorted(set(images.labels.unique().tolist()) - trained)
        if missing:
            names = class_names(seen, missing)
            yield f"data: train lacks {names} of {name}; usual: images of each class; add some, or drop the class"


def each_trained_class_is_held_out(seen: Seen) -> Iterator[str]:
    trained = set(seen.data.splits.train.labels.unique().tolist())
    for name in ("val", "test"):
        images: Images = getattr(seen.data.splits, name)
        missing = sorted(trained - set(images.labels.unique().tolist()))
        if missing:
            yield (
                f"data: {name} lacks {class_names(seen, missing)} of train; usual: images of each class; add some, as "
                f"{name}/accuracy says nothing of {'it' if len(missing) == 1 else 'them'}"
            )


def class_names(seen: Seen, labels: list[int]) -> str:
    """`class '3'`, or several of them."""
    names = [repr(seen.data.splits.classes[label]) for label in labels[:MOST_NAMES]]
    more = f" and {len(labels) - MOST_NAMES} more" if len(labels) > MOST_NAMES else ""
    return f"{'classes' if len(labels) > 1 else 'class'} {', '.join(names)}{more}"


def normalization_fits_the_pixels(seen: Seen) -> Iterator[str]:
    # With mean=null they are found in the images.
    config: Any = getattr(seen.task, "config", {})
    images = seen.data.splits.train
    if (config.get("data") or {}).get("mean", 0) is None or seen.is_alike:
        return
    in_memory = isinstance(images, ImageTensors)
    pixels = images.images[:: max(1, len(images) // SAMPLE)] if in_memory else seen.few
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
    training_images_differ,
    training_images_reach_white,
    splits_have_no_image_in_common,
    each_image_has_one_class,
    each_class_is_trained,
    each_trained_class_is_held_out,
    normalization_fits_the_pixels,
)
