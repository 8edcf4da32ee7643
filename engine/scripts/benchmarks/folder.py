"""Batches of photographs in files against the usual ways of torchvision and timm, in one process on one thread."""

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.io import ImageReadMode, decode_jpeg, read_file
from torchvision.transforms import v2

from benchmarks.table import Row, least
from kindling.data.seeds import seed_all
from kindling.images import jpeg
from kindling.images.augment import Augment, Normalize
from kindling.images.image_folder import ImageFolder

NUM_PHOTOS, BATCH_SIZE, SIZE, RESIZE = 256, 64, 224, 256
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
# Colour pictures of the two wheels, of which photographs are cut.
PICTURES = {
    "sklearn": ("datasets/images", ["china.jpg", "flower.jpg"]),
    "skimage": (
        "data",
        ["astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "motorcycle_left.png", "retina.jpg"],
    ),
}
CROP = v2.RandomResizedCrop(SIZE)


def folder() -> list[Row]:
    """Milliseconds an image of random crops with flips and of evaluation, normalised; and how far pixels are off."""
    torch.set_num_threads(1)
    rows = [Row("JPEG by simplejpeg, else by Pillow", float(jpeg.decoder() is not None))]
    with tempfile.TemporaryDirectory() as place:
        photos = write_photos(Path(place) / "photos")
        ours = data_of(photos, "none")
        for stage, bars in (("training", (">= 1.8", ">= 1.25")), ("evaluation", (">= 2", ">= 1.25"))):
            variants = {name: make(ours, stage) for name, make in WAYS.items() if name != "timm, uint8" or has_timm()}
            rows += compared(stage, variants, bars)
        return [*rows, *cached(ours, data_of(photos, "disk")), *pixels_off(ours)]


def write_photos(root: Path) -> Path:
    """JPEG of 500 x 375 in two classes, each a random part of a real picture."""
    rng, sources = np.random.default_rng(0), [Image.open(each).convert("RGB") for each in found_pictures()]
    for number in range(NUM_PHOTOS):
        source = sources[number % len(sources)]
        width = min(source.width, source.height * 4 / 3) * rng.uniform(0.6, 1)
        left, top = rng.uniform(0, source.width - width), rng.uniform(0, source.height - width * 3 / 4)
        box = (left, top, left + width, top + width * 3 / 4)
        folder = root / ("a", "b")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        source.resize((500, 375), Image.Resampling.LANCZOS, box=box).save(folder / f"{number:04}.jpg", quality=90)
    return root


def found_pictures() -> Iterator[Path]:
    for package, (folder, names) in PICTURES.items():
        spec = find_spec(package)
        if spec and spec.origin:
            yield from (Path(spec.origin).parent / folder / name for name in names)


def data_of(root: Path, cache: Any) -> ImageFolder:
    data = ImageFolder(
        root=str(root),
        cache_dir=str(root.parent / "cache"),
        val_fraction=0.01,
        test_fraction=0.01,
        num_classes=2,
        channels=3,
        image_size=SIZE,
        resize=RESIZE,
        cache=cache,
        mean=MEAN,
        std=STD,
        transform=CROP,
        augment=Augment(0, "constant", 0.5, False, 0, 0.0),
        batch_size=BATCH_SIZE,
        num_workers=0,
        seed=0,
    )
    data.setup("fit")
    return data


class Files(Dataset):
    """Whatever `read` makes of each file of the training split, with its label."""

    def __init__(self, data: ImageFolder, read: Callable[[str], Any]):
        self.paths, self.labels, self.read = (
            list(map(str, data.splits.train.paths or ())),
            data.splits.train.labels,
            read,
        )

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return self.read(self.paths[index]), int(self.labels[index])


def by_pil(data: ImageFolder, stage: str) -> Iterable:
    steps = [CROP, v2.RandomHorizontalFlip()] if stage == "training" else [v2.Resize(RESIZE), v2.CenterCrop(SIZE)]
    change = v2.Compose([*steps, v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)])

    def read(path: str) -> Tensor:
        with Image.open(path) as opened:
            return change(opened.convert("RGB"))

    return DataLoader(Files(data, read), BATCH_SIZE, shuffle=stage == "training", drop_last=True)


def by_tensors(data: ImageFolder, stage: str) -> Iterable:
    """Of torchvision too, with the batch made float and normalised."""
    steps = [CROP, v2.RandomHorizontalFlip()] if stage == "training" else [v2.Resize(RESIZE), v2.CenterCrop(SIZE)]
    change = v2.Compose(steps)

    def read(path: str) -> Tensor:
        return change(decode_jpeg(read_file(path), mode=ImageReadMode.RGB))

    loader = DataLoader(Files(data, read), BATCH_SIZE, shuffle=stage == "training", drop_last=True)
    finish = v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD, inplace=True)])
    return Finished(loader, finish)


def by_timm(data: ImageFolder, stage: str) -> Iterable:
    """PIL into uint8, which its prefetcher makes float and normalises as a batch."""
    from timm.data import create_transform  # pyright: ignore[reportMissingImports]
    from timm.data.loader import fast_collate  # pyright: ignore[reportMissingImports]

    change: Any = create_transform(
        SIZE,
        is_training=stage == "training",
        use_prefetcher=True,
        color_jitter=None,
        interpolation="bilinear",
        crop_pct=SIZE / RESIZE,
    )

    def read(path: str) -> Any:
        with Image.open(path) as opened:
            return change(opened.convert("RGB"))

    files = Files(data, read)
    loader = DataLoader(files, BATCH_SIZE, shuffle=stage == "training", drop_last=True, collate_fn=fast_collate)
    mean, std = (torch.tensor([255 * value for value in each]).view(1, 3, 1, 1) for each in (MEAN, STD))
    return Finished(loader, lambda images: images.float().sub_(mean).div_(std))


def by_us(data: ImageFolder, stage: str) -> Any:
    if stage == "training":
        return data.train_dataloader()
    return data.loader("train")


class Finished:
    """Batches of a loader, finished as a whole."""

    def __init__(self, loader: Iterable, finish: Callable[[Tensor], Tensor]):
        self.loader, self.finish = loader, finish

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for images, labels in self.loader:
            yield self.finish(images), labels


WAYS: dict[str, Callable[[ImageFolder, str], Iterable]] = {
    "PIL + v2": by_pil,
    "timm, uint8": by_timm,
    "decode_jpeg + v2": by_tensors,
    "Kindling": by_us,
}


def has_timm() -> bool:
    return find_spec("timm") is not None


def compared(stage: str, variants: dict[str, Iterable], bars: tuple[str, str]) -> list[Row]:
    seconds = least({name: lambda each=each: cpu_seconds_an_image(each) for name, each in variants.items()})
    rows = [Row(f"{stage}: {name}", 1000 * each, "CPU ms an image") for name, each in seconds.items()]
    for name, each in seconds.items():
        if name != "Kindling":
            bar = bars[name != "PIL + v2"]
            rows.append(Row(f"{stage}: Kindling against {name}", each / seconds["Kindling"], "times", bar))
    return rows


def cpu_seconds_an_image(batches: Iterable[tuple[Tensor, Tensor]]) -> float:
    """Of this process, so that others beside it count less."""
    started, num_images = time.process_time(), 0
    for images, _ in batches:
        num_images += len(images)
    return (time.process_time() - started) / num_images


def cached(ours: ImageFolder, disk: ImageFolder) -> list[Row]:
    """Batches as they are read, uint8, and as they are given, normalised; all pictures are in the page cache."""
    stored: Any = disk.splits.train
    rows = [Row("cache: size", stored.store.file.stat().st_size / NUM_PHOTOS / 1000, "KB an image")]
    for stage, bar in (("training", ">= 3"), ("evaluation", ">= 20")):
        loaders = {name: by_us(data, stage) for name, data in (("decoding", ours), ("disk", disk))}
        given = least({name: lambda each=each: cpu_seconds_an_image(each) for name, each in loaders.items()})
        for loader in loaders.values():
            loader.augment, loader.normalize = None, lambda images: images
        read = least({name: lambda each=each: cpu_seconds_an_image(each) for name, each in loaders.items()})
        rows += [
            Row(f"cache, {stage}: read by decoding", 1000 * read["decoding"], "CPU ms an image"),
            Row(f"cache, {stage}: read from the cache", 1000 * read["disk"], "CPU ms an image"),
            Row(f"cache, {stage}: cache against decoding", read["decoding"] / read["disk"], "times", bar),
            Row(f"cache, {stage}: the same, normalised", given["decoding"] / given["disk"], "times"),
        ]
    return [*rows, random_reads(disk)]


def random_reads(disk: ImageFolder) -> Row:
    """What a set that is larger than memory waits for: pictures that are not in the page cache."""
    train: Any = disk.splits.train
    # Pages that are mapped would stay.
    copy = shutil.copy(train.store.file, train.store.file.with_suffix(".copy"))
    descriptor = os.open(copy, os.O_RDONLY)
    os.fsync(descriptor)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    ends, num_bytes, started = train.store._ends, 0, time.perf_counter()
    for place in np.random.default_rng(0).permutation(len(train)):
        num_bytes += len(os.pread(descriptor, int(ends[place + 1] - ends[place]), int(ends[place])))
    seconds = time.perf_counter() - started
    os.close(descriptor)
    return Row("cache: the disk's random reads", num_bytes / seconds / 1e6, "MB/s")


def pixels_off(data: ImageFolder) -> list[Row]:
    """Grey levels between ours and what torchvision makes of the same pictures of Pillow."""
    data.augment = None
    train, normalize = data.splits.train, Normalize(MEAN, STD)
    indices, _, seeds = data.train_dataloader().draw()
    found = {"training": data.train_dataloader(), "evaluation": data.loader("train")}
    centre = v2.Compose([v2.Resize(RESIZE), v2.CenterCrop(SIZE)])
    rows = []
    for stage, loader in found.items():
        images = torch.cat([images for images, _ in loader])
        places = indices.tolist() if stage == "training" else range(len(train))
        expected = []
        for place, seed in zip(places, seeds.tolist(), strict=True):
            seed_all(seed, torch.device("cpu"))
            with Image.open((train.paths or ())[place]) as opened:
                changed = (CROP if stage == "training" else centre)(opened.convert("RGB"))
            expected.append(torch.from_numpy(np.array(changed)))
        apart = (images - normalize(torch.stack(expected[: len(images)]))).abs()
        levels = apart * torch.tensor(STD).view(3, 1, 1) * 255
        rows.append(Row(f"{stage}: most grey levels off", round(levels.max().item(), 3), "", "<= 2"))
        rows.append(Row(f"{stage}: grey levels off in the mean", levels.mean().item(), "", "<= 0.5"))
    return rows
