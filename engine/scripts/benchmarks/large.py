"""Large nets on a GPU, in bfloat16, channels last and compiled: against a loop by hand, and fed from photographs."""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn
from torch.optim import AdamW
from torchvision.io import ImageReadMode, decode_jpeg, read_file

from benchmarks import bare
from benchmarks.fitting import EpochClock, defaults, fit
from benchmarks.folder import data_of, write_photos
from benchmarks.measured import DEVICE, wait_for_device
from benchmarks.table import Row
from kindling.images.augment import Normalize
from kindling.images.images import ImageTensors
from kindling.images.loader import EpochLoader
from kindling.process.cores import available_cores
from kindling.training.optimization import cosine, parameter_groups

NETS = {"resnet50": 128, "vit_b_16": 128}  # images of a batch
SIZE, NUM_CLASSES, NUM_STEPS, NUM_ROUNDS = 224, 1000, 20, 3
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
MODE: str | None = "default"  # of torch.compile


def large() -> list[Row]:
    """A step on random pixels that lie on the device; then photographs, decoded by all cores and by the GPU."""
    torch.set_float32_matmul_precision("high")
    rows = []
    for name, batch in NETS.items():
        rows += compared(name, batch)
    return [*rows, *photographs()]


def compared(name: str, batch: int) -> list[Row]:
    """The quickest epoch of each; what is compiled first is not in it."""
    pixels = torch.randint(0, 256, (batch * NUM_STEPS, SIZE, SIZE, 3), dtype=torch.uint8)
    images = ImageTensors(pixels, torch.randint(0, NUM_CLASSES, (len(pixels),)))
    settings = {"batch_size": batch, "normalize": Normalize(MEAN, STD), "device": DEVICE}
    train, val = EpochLoader(images, train=True, shuffle=True, **settings), EpochLoader(images, **settings)
    nets = {kind: made(name) for kind in ("bare", "Kindling")}
    seconds: dict[str, list[float]] = {kind: [] for kind in nets}
    ready = pixels.to(DEVICE), images.labels.to(DEVICE)
    for _ in range(NUM_ROUNDS):
        seconds["bare"] += bare_epochs(nets["bare"], *ready, batch)
        seconds["Kindling"] += epochs(nets["Kindling"], train, val)
    least = {kind: min(each) for kind, each in seconds.items()}
    return [
        Row(f"{name}: a step of {batch} images by hand", 1000 * least["bare"] / NUM_STEPS, "ms"),
        Row(f"{name}: the same", batch * NUM_STEPS / least["bare"], "images/s"),
        Row(f"{name}: Kindling, all defaults, against it", least["Kindling"] / least["bare"], "times", "<= 1.03"),
    ]


def made(name: str) -> nn.Module:
    net = torchvision.models.get_model(name, num_classes=NUM_CLASSES).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    net.to(DEVICE)
    if MODE:
        net.compile(mode=MODE)
    return net


def bare_epochs(net: nn.Module, pixels: Tensor, labels: Tensor, batch: int) -> list[float]:
    """Seconds of two epochs of gathered and normalised batches."""
    net.to(DEVICE).train()
    optimizer, normalize = AdamW(parameter_groups(net), lr=0.001, fused=True), Normalize(MEAN, STD).to(DEVICE)
    scheduler, seconds = cosine(optimizer, 2 * NUM_STEPS, warmup=0.05, final=0.0), []
    for _ in range(2):
        wait_for_device()
        started, sums = time.perf_counter(), bare.Sums()
        for indices in torch.randperm(len(labels), device=DEVICE).split(batch):
            images, targets = normalize(pixels.index_select(0, indices)), labels[indices]
            with torch.autocast(DEVICE.type, torch.bfloat16):
                logits = net(images)
                loss = F.cross_entropy(logits, targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
            sums.add(loss, logits, targets)
        wait_for_device()
        seconds.append(time.perf_counter() - started)
    return seconds


def epochs(net: nn.Module, train: EpochLoader, val: Any) -> list[float]:
    """Seconds of two epochs by Kindling, from the first batch to the metrics of the epoch."""
    clock = EpochClock()
    fit(net, train, val, without_validation, max_epochs=2, further=clock)
    return [end - start for start, end in zip(clock.instants, clock.instants[1:], strict=False)]


def without_validation(folder: Path) -> dict[str, Any]:
    return defaults(folder) | {"precision": "bf16-mixed", "check_val_every_n_epoch": 100, "num_sanity_val_steps": 0}


def photographs() -> list[Row]:
    """JPEG of 500 x 375, random crops to 224: by our workers, and decoded by the GPU; beside a step of resnet50."""
    with tempfile.TemporaryDirectory() as place:
        data = data_of(write_photos(Path(place) / "photos"), "none")
        workers = max(1, available_cores() - 1)
        augment: Any = data.augment
        loader = EpochLoader(
            data.splits.train,
            train=True,
            shuffle=True,
            batch_size=64,
            normalize=Normalize(MEAN, STD),
            augment=augment,
            transform=data.transform,
            cut=data.train_dataloader().cut,
            num_workers=workers,
            device=DEVICE,
        )
        rows = [Row(f"photographs: Kindling with {workers} workers", images_a_second(loader), "images/s")]
        if DEVICE.type == "cuda":
            paths = [str(path) for path in data.splits.train.paths or ()]
            rows.append(Row("photographs: decode_jpeg on the GPU alone", decoded_a_second(paths), "images/s"))
        return rows


def images_a_second(batches: Any) -> float:
    """Of the last of several epochs, since workers start in the first."""
    rate = 0.0
    for _ in range(8):
        wait_for_device()
        started, num_images = time.perf_counter(), 0
        for images, _ in batches:
            num_images += len(images)
        wait_for_device()
        rate = num_images / (time.perf_counter() - started)
    return rate


def decoded_a_second(paths: list[str]) -> float:
    """Batches of 64 through nvJPEG, read from the page cache."""

    def batches() -> Iterator[tuple[list[Tensor], None]]:
        for start in range(0, len(paths), 64):
            files = [read_file(path) for path in paths[start : start + 64]]
            yield decode_jpeg(files, mode=ImageReadMode.RGB, device=str(DEVICE)), None  # pyright: ignore[reportReturnType, reportArgumentType]

    return images_a_second(Repeatedly(batches))


class Repeatedly:
    """What a function yields, each time anew."""

    def __init__(self, make: Any):
        self.make = make

    def __iter__(self) -> Iterator[Any]:
        return self.make()
