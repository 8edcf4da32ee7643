"""Any images whose paths and labels are in a table."""

from pathlib import Path
from typing import Any

from kindling.console import warn
from kindling.images.datamodule import ImageDataModule
from kindling.images.image_folder import ImageFolder
from kindling.images.listing import nearly_same, shortened
from kindling.images.looks import looks_at
from kindling.images.paths import LabelledPaths
from kindling.images.table_listing import Listed, left_out_words, list_table, spread_of_classes


class ImageTable(ImageFolder):
    """Images that a CSV or Parquet file names, each with its label and perhaps its split.

    They come in the order of a tree with a folder a class, so that the same images give the same batches. A split that
    the table lacks is cut from train, as ImageFolder does.

    Args:
        table: the file.
        root: that its paths start from; None for its own folder.
        path_column: of the paths; None for one that is found by its name, like the two below.
        label_column: of the labels.
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
        label_column: str | None,
        split_column: str | None,
        **settings: Any,
    ):
        super().__init__(root=root or str(Path(table).expanduser().parent), **settings)
        self.table = table
        self.columns = {"path": path_column, "label": label_column, "split": split_column}
        self._listed: Listed | None = None

    def listing(self, *, is_evaluated: bool) -> tuple[dict[str, LabelledPaths], list[str]]:
        found = list_table(self.table, self.root, self.columns, self.faulty, without_train=is_evaluated)
        self._listed = found
        return {split: LabelledPaths.of(each) for split, each in found.splits.items()}, found.classes

    def described(self) -> list[str]:
        # Those of ImageFolder look at its folders.
        lines, found = ImageDataModule.described(self), self._listed
        if found is None:
            return lines
        if by_class := [paths for paths in spread_of_classes(found) if paths]:
            lines.append(f"data: {looks_at(by_class, max_pixels=self.decoding.max_pixels, faulty=self.faulty).words()}")
        if alike := nearly_same(self.splits.classes):
            warn(f"data: labels that differ in case or blanks alone: {shortened(alike)}; usual: one spelling each")
        if words := left_out_words(found.faults):
            warn(f"data: {words}")
        return lines
