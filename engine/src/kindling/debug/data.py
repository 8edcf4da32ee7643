"""What a set of data holds, before anything is trained on it: data.json, data.png and tables."""

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from PIL import Image
from rich.table import Table
from rich.text import Text
from torch import Tensor

from kindling.console import as_text, plain_table, shown
from kindling.data.contents import Contents, contents_of
from kindling.data.examples import in_memory, labels_of, num_examples, several_labels_of, tensors_of
from kindling.errors import DataError, printable
from kindling.files.picture import save
from kindling.files.whole_file import write_whole
from kindling.images.datamodule import ImageDataModule
from kindling.images.images import ImageFiles, Images, ImageTensors
from kindling.images.plots import plot_grid
from kindling.images.training_images import pixels
from kindling.lightning_internals.batches import end_fit
from kindling.ranges import PositiveInt
from kindling.training.observer import Observer

log = logging.getLogger(__name__)
# Rows of a table.
MAX_ROWS = 20
# Files that are opened for their sizes, and images that are decoded for mean and std.
NUM_FILES, NUM_DECODED = 1000, 500
CHUNK = 1000
COLUMNS = 8


class DataReport(Observer):
    """Counts, compares and draws the splits, and ends the fit before its first step.

    Args:
        folder: of the run.
        num_images: that are drawn, as they are and as training has them.
    """

    def __init__(self, folder: str, num_images: PositiveInt):
        self.folder, self.num_images = Path(folder), num_images

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero:
            data: Any = trainer.datamodule  # pyright: ignore[reportAttributeAccessIssue]
            self.report(data)
            if isinstance(data, ImageDataModule):
                self._draw(trainer, data)
        end_fit()

    def report(self, data: Any) -> None:
        """
        Raises:
            DataError: the data does not show its examples.
        """
        splits = splits_of(data)
        classes = list(getattr(data, "facts", {}).get("classes") or ())
        found = {"splits": described(splits), "classes": counts_of(splits, classes)}
        if isinstance(data, ImageDataModule):
            found["images"] = {name: sizes_and_pixels(images) for name, images in splits.items()}
            found["given"] = {"mean": data.mean, "std": data.std}
        else:
            found["columns"] = columns_of(splits["train"], list(getattr(data, "facts", {}).get("columns") or ()))
        with write_whole(self.folder / "data.json") as stream:
            json.dump(found, stream, indent=2, ensure_ascii=False)
        for table in tables_of(found):
            log.info("%s", as_text(table).rstrip())

    def _draw(self, trainer: Trainer, data: ImageDataModule) -> None:
        loader: Any = data.train_dataloader()
        # Those of this process.
        indices = loader.draw()[0][loader.rank :: loader.world_size][: self.num_images].tolist()
        batch, labels = next(iter(loader))
        changed = pixels(trainer, batch[: len(indices)]).permute(0, 2, 3, 1)
        names = [names_of(each, data.splits.classes) for each in labels[: len(indices)]]
        cells: list[tuple[Tensor, str]] = []
        for start in range(0, len(changed), COLUMNS):
            row = range(start, min(start + COLUMNS, len(changed)))
            blank = [(torch.full((1, 1, 3), 255, dtype=torch.uint8), "")] * (COLUMNS - len(row))
            cells += [(data.splits.train[indices[place]].cpu(), names[place]) for place in row] + blank
            cells += [(changed[place], "as trained on") for place in row] + blank
        save(plot_grid(cells, "training images: as they are, and below as training has them", COLUMNS), self.picture)
        log.info("images before and after augmentation: %s", shown(self.picture))

    @property
    def picture(self) -> Path:
        return self.folder / "data.png"


def names_of(label: Tensor, classes: Sequence[str]) -> str:
    """Of a label (), or of labels (K,) bool."""
    places = label.nonzero().flatten() if label.ndim else label[None]
    return ", ".join(printable(classes[int(place)]) for place in places)


def splits_of(data: Any) -> dict[str, Any]:
    """
    Raises:
        DataError: there are none.
    """
    if not hasattr(data, "present"):
        name = type(data).__name__
        raise DataError(f"data: given {name}, which shows no splits; allowed for debug=data: a DataModule of kindling")
    return dict(data.present())


def described(splits: Mapping[str, Any]) -> dict[str, dict[str, int | None]]:
    """Of each split its examples, those that it has twice, and those that an earlier split has too; None: unknown."""
    found: dict[str, dict[str, int | None]] = {}
    before: list[Contents] = []
    for name, examples in splits.items():
        contents = contents_of(examples)
        alike = [each for each in before if contents and each.kind == contents.kind]
        shared = sum(contents.among(each.hashes) for each in alike) if contents and alike else None
        found[name] = {
            "examples": num_examples(examples),
            "duplicates": len(contents.hashes) - len(contents.hashes.unique()) if contents else None,
            "in_earlier_splits": int(torch.as_tensor(shared).bool().sum()) if shared is not None else None,
        }
        before += [contents] if contents else []
    return found


def counts_of(splits: Mapping[str, Any], classes: Sequence[str]) -> dict[str, dict[str, int]]:
    """Examples of each class, or with each label, in each split; nothing if they have no labels."""
    labels = {name: found for name, examples in splits.items() if (found := labels_of(examples)) is not None}
    several = {name: found for name, examples in splits.items() if (found := several_labels_of(examples)) is not None}
    if not classes or not (labels or several):
        return {}
    counts = {name: each[each >= 0].bincount(minlength=len(classes)).tolist() for name, each in labels.items()}
    counts |= {name: each.sum(0).tolist() for name, each in several.items()}
    return {each: {name: counts[name][place] for name in counts} for place, each in enumerate(classes)}


def sizes_and_pixels(images: Images) -> dict[str, Any]:
    """Sizes of the images, of files before they are made alike, and mean and std of their pixels in [0, 1]."""
    chosen = evenly(len(images), NUM_DECODED) if isinstance(images, ImageFiles) else list(range(len(images)))
    total, squares, num = torch.zeros(()), torch.zeros(()), 0
    for start in range(0, len(chosen), CHUNK):
        part = chosen[start : start + CHUNK]
        held = images.images[part[0] : part[-1] + 1] if isinstance(images, ImageTensors) else None
        batch = held if held is not None else torch.stack([images[index] for index in part])
        values = batch.cpu().double().flatten(0, 2) / 255
        total, squares, num = total + values.sum(0), squares + values.square().sum(0), num + len(values)
    mean = total / num
    std = (squares / num - mean.square()).clamp_min(0).sqrt()
    found = {"mean": mean.tolist(), "std": std.tolist(), "of": len(chosen)}
    return found | (sizes_of(images.paths) if images.paths else {})


def sizes_of(paths: Sequence[Path]) -> dict[str, Any]:
    """Widths and heights of files, from their headers: the least, the middle and the largest."""
    chosen = [paths[index] for index in evenly(len(paths), NUM_FILES)]
    sizes = []
    for path in chosen:
        with Image.open(path) as image:
            sizes.append(image.size)
    widths, heights = (sorted(each) for each in zip(*sizes, strict=True))
    middle = len(chosen) // 2
    return {
        "widths": [widths[0], widths[middle], widths[-1]],
        "heights": [heights[0], heights[middle], heights[-1]],
        "files": len(chosen),
    }


def evenly(length: int, most: int) -> list[int]:
    """Places spread over a list."""
    return torch.linspace(0, length - 1, min(length, most)).long().tolist()


def columns_of(examples: Any, names: Sequence[str]) -> dict[str, dict[str, float]]:
    """Of numbers (N, C) the mean, std, least and largest of each column."""
    if not in_memory(examples):
        return {}
    found: dict[str, dict[str, float]] = {}
    for place, tensor in tensors_of(examples):
        values = (tensor if tensor.ndim > 1 else tensor[:, None]).double()
        num, is_named = values.shape[-1], len(names) == values.shape[-1]
        # Characters of texts are no columns.
        if values.ndim != 2 or not (is_named or num == 1 or tensor.is_floating_point()):
            continue
        known = names if is_named else [place] if num == 1 else [f"{place}[{i}]" for i in range(num)]
        for name, column in zip(known, values.T, strict=True):
            mean, std, least, most = column.mean(), column.std(correction=0), column.min(), column.max()
            found[name] = {"mean": mean.item(), "std": std.item(), "min": least.item(), "max": most.item()}
    return found


def tables_of(found: Mapping[str, Any]) -> list[Table]:
    tables = [table("", found["splits"], "splits")]
    counts = found["classes"]
    if counts:
        rarest = sorted(counts, key=lambda name: next(iter(counts[name].values())))
        tables.append(table("class", {name: counts[name] for name in rarest}, "classes, rarest first"))
    if found.get("images"):
        rows = {name: {key: words(value) for key, value in each.items()} for name, each in found["images"].items()}
        title = "pixels in [0, 1]"
        tables.append(table("", rows | {"config": {key: words(each) for key, each in found["given"].items()}}, title))
    if found.get("columns"):
        rows = {name: {key: f"{each:.4g}" for key, each in row.items()} for name, row in found["columns"].items()}
        tables.append(table("column", rows, "columns of train"))
    return tables


def words(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(f"{each:.3f}" if isinstance(each, float) else str(each) for each in value)
    return str(value)


def table(first: str, rows: Mapping[str, Mapping[str, Any]], title: str) -> Table:
    names = list(dict.fromkeys(name for row in rows.values() for name in row))
    found = plain_table(first, *(name.replace("_", " ") for name in names), title=title)
    for name, row in list(rows.items())[:MAX_ROWS]:
        cells = ["" if row.get(key) is None else str(row[key]) for key in names]
        found.add_row(*map(Text, [printable(name), *cells]))
    if len(rows) > MAX_ROWS:
        found.caption = f"{MAX_ROWS} of {len(rows)}; data.json has them all"
    return found
