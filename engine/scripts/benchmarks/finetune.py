"""experiment=finetune against the same training from scratch: four digits, ten images of each, over three seeds."""

import tempfile
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from PIL import Image

import benchmarks.measured  # noqa: F401
from benchmarks.table import Row
from kindling.cli.entry import compose
from kindling.config.composition import instantiate
from kindling.train import train

# The digits that the first run learns; the others are new.
NUM_KNOWN = 6
# Images of each new digit.
FEW = {"train": 10, "val": 10, "test": 80}
SEEDS = (0, 1, 2)
EPOCHS_BEFORE = 15
SCRATCH = ["callbacks.finetuning=null", "layer_lr_decay=1.0"]
QUIET = ["logger=none", "trainer=cpu", "callbacks.early_stopping=null"]


def finetune() -> list[Row]:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        data: Any = instantiate(compose(["data=mnist_5k"]).data, "data")
        write_trees(data.splits.train, folder)
        logs = f"paths.logs={folder}/logs"
        shape = ["data=image_folder", f"data.root={folder}/known", "data.image_size=28", "data.channels=1"]
        first = compose(["experiment=cnn", *shape, f"trainer.max_epochs={EPOCHS_BEFORE}", *QUIET, logs])
        known = train(first)["test/accuracy"]
        given = ["experiment=finetune", f"data.root={folder}/new", f"data.cache_dir={folder}/cache", *QUIET, logs]
        ways = {"the first run's net": [f"weights={first.paths.run}"], "from scratch": SCRATCH}
        # Both get the epochs and the rate of the recipe, and that rate times three.
        found = {
            (way, lr): accuracies([*given, *lines, f"optimizer.lr={lr}"])
            for way, lines in ways.items()
            for lr in (0.001, 0.003)
        }
    rows = [Row(f"first run: accuracy on {NUM_KNOWN} digits", known)]
    for (way, lr), values in found.items():
        rows += [
            Row(f"{way}, lr {lr}: accuracy on the other digits, mean of {len(SEEDS)} seeds", mean(values)),
            Row(f"{way}, lr {lr}: standard deviation", stdev(values)),
        ]
    best = {way: max(mean(values) for (each, _), values in found.items() if each == way) for way in ways}
    ours, scratch = best.values()
    return [*rows, Row("points gained, each at its better rate", 100 * (ours - scratch), "points", ">= 0")]


def accuracies(lines: list[str]) -> list[float]:
    return [train(compose([*lines, f"seed={seed}"]))["test/accuracy"] for seed in SEEDS]


def write_trees(images: Any, folder: Path) -> None:
    """The known digits without splits, and a few of the new ones with them."""
    for label in range(10):
        places = (images.labels == label).nonzero().flatten().tolist()
        if label < NUM_KNOWN:
            write(images, places, folder / "known" / str(label))
            continue
        for split, num in FEW.items():
            write(images, places[:num], folder / "new" / split / str(label))
            places = places[num:]


def write(images: Any, places: list[int], folder: Path) -> None:
    folder.mkdir(parents=True)
    for place in places:
        Image.fromarray(images.images[place, :, :, 0].numpy()).save(folder / f"{place}.png")
