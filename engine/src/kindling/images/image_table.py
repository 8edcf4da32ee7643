"""Any images whose paths and labels are in a table."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from kindling.console import warn
from kindling.errors import counted
from kindling.images.datamodule import ImageDataModule, Splits
from kindling.images.image_folder import ImageFolder
from kindling.images.listing import nearly_same, shortened
from kindling.images.looks import looks_at
from kindling.images.paths import LabelledPaths, Paths
from kindling.images.table import columns_of, unnamed
from kindling.images.table_listing import Listed, left_out_words, list_table, spread_of_classes


class ImageTable(ImageFolder):
    """Images that a CSV or Parquet file names, each with its label or labels, and perhaps its split.

    They come in the order of a tree with a folder a class, so that the same images give the same batches. A split that
    the table lacks is cut from train, as ImageFolder does.

    Args:
        table: the file.
        root: that its paths start from; None for its own folder.
        path_column: of the paths; None for one that is found by its name, like the two below.
        label_column: of the labels; several hold 0 or 1 each, and labels are then (N, K) bool.
        label_separator: of several labels in a cell; labels are then (N, K) bool.
        split_column: of the names of splits, if there are any.
        settings: those of ImageFolder; `faulty` is also of rows: of a missing file, without a label, with one that
            training lacks, or of a file that another row has named.
    """

    def __init__(
        self,
        *,
        table: str,
        root: str | None,
        path_column: str | None,
        label_column: str | Sequence[str] | None,
        split_column: str | None,
        # Older checkpoints lack it, hence the default.
        label_separator: str | None = None,
        **settings: Any,
    ):
        super().__init__(root=root or str(Path(table).expanduser().parent), **settings)
        self.table = table
        self.columns = columns_of(path_column, label_column, split_column, label_separator)
        self._listed: Listed | None = None
        self._num_labels = torch.zeros(0)

    def read(self) -> Splits:
        splits = super().read()
        if self.columns.has_several_labels:
            parts = filter(None, (splits.train, splits.val, splits.test))
            self._num_labels = torch.cat([each.labels.sum(1) for each in parts])
        return splits

    def listing(self, *, is_evaluated: bool) -> tuple[dict[str, LabelledPaths], list[str]]:
        found = list_table(self.table, self.root, self.columns, self.faulty, without_train=is_evaluated)
        self._listed = found
        several = len(found.classes) if self.columns.has_several_labels else None
        return {split: labelled(each, several) for split, each in found.splits.items()}, found.classes

    def source(self) -> str:
        return f"data.table: given {self.table}"

    def skipped(self) -> str:
        return self._listed.faults.words() if self._listed else ""

    def described(self) -> list[str]:
        # Those of ImageFolder look at its folders.
        lines, found = ImageDataModule.described(self), self._listed
        if found is None:
            return lines
        if by_class := spread_of_classes(found):
            lines.append(f"data: {looks_at(by_class, max_pixels=self.decoding.max_pixels, faulty=self.faulty).words()}")
        if self.columns.has_several_labels:
            lines += self._spread()
        if alike := nearly_same(self.splits.classes):
            warn(f"data: labels that differ in case or blanks alone: {shortened(alike)}; usual: one spelling each")
        if words := left_out_words(found.faults):
            warn(f"data: {words}")
        return lines

    def _spread(self) -> list[str]:
        """How many labels images have; what has none is counted."""
        for name, each in self.present().items():
            without = [self.splits.classes[place] for place in (~each.labels.any(0)).nonzero().flatten().tolist()]
            if without:
                labels = counted(len(without), "label")
                warn(f"data: {labels} without an image in {name}: {shortened(without)}; usual: images of each")
        if (gone := unnamed(self.columns, self.splits.classes)) and not self.known:
            columns = counted(len(gone), "label column")
            warn(f"data: left out: {columns} without a 1 in training: {shortened(gone)}")
        num, num_without = self._num_labels, int((self._num_labels == 0).sum())
        return [f"data: {num.double().mean():.2f} labels an image; {num_without} of {len(num)} have none"]


def labelled(listed: Sequence[tuple[Path, tuple[int, ...]]], num_classes: int | None) -> LabelledPaths:
    """Paths with their label (N,) int64; or, of so many classes, with their labels (N, K) bool."""
    if num_classes is None:
        return LabelledPaths.of((path, label) for path, (label,) in listed)
    rows = [row for row, (_, each) in enumerate(listed) for _ in each]
    labels = torch.zeros(len(listed), num_classes, dtype=torch.bool)
    labels[rows, [label for _, each in listed for label in each]] = True
    return LabelledPaths(Paths.of(path for path, _ in listed), labels)
