"""Any class-per-folder tree of images."""

from contextlib import suppress
from typing import Any

from kindling.console import warn
from kindling.data.splits import hold_out
from kindling.errors import DataError
from kindling.images.datamodule import Splits
from kindling.images.folder import class_folders, class_names, list_images, names_in, split_folders
from kindling.images.image_files import ImageFilesModule
from kindling.images.listing import LeftOut, nearly_same, shortened
from kindling.images.looks import looks_of
from kindling.images.paths import LabelledPaths
from kindling.images.wrong_root import all_hold
from kindling.ranges import Fraction


class ImageFolder(ImageFilesModule):
    """A tree with one folder a class, with or without train/, val/ and test/ above them.

    A split that the tree lacks is cut from train, of each class the same share, independent of the seed.

    Args:
        val_fraction: share of each class cut from train for validation.
        test_fraction: share of each class cut from train for test.
        settings: those of ImageFilesModule.
    """

    def __init__(self, *, val_fraction: Fraction, test_fraction: Fraction, **settings: Any):
        super().__init__(**settings)
        self.fractions = {"val": val_fraction, "test": test_fraction}

    def read(self) -> Splits:
        is_evaluated = "classes" in self.known
        listed, classes = self.listing(is_evaluated=is_evaluated)
        self.unread = []
        listed = {split: self.undamaged(each) for split, each in listed.items()}
        self.cut = [split for split in ("test", "val") if "train" in listed and split not in listed]
        for split in self.cut:
            train = listed["train"]
            kept, held = hold_out(train.labels, self.fractions[split])
            listed[split], listed["train"] = train.take(held), train.take(kept)
        empty = [split for split, images in listed.items() if not images]
        if empty and not is_evaluated:
            skipped = "; ".join(filter(None, [self.skipped(), *self.unread]))
            left_out = f"; left out: {skipped}" if skipped else ""
            raise DataError(f"{self.source()}, too few images for a {empty[0]} split{left_out}; add images")
        return self.splits_of(listed, classes)

    def source(self) -> str:
        """The setting that names the images, for messages."""
        return f"data.root: given {self.root}"

    def skipped(self) -> str:
        """What the listing left out; "" if that is nothing."""
        return self.left_out.words()

    def listing(self, *, is_evaluated: bool) -> tuple[dict[str, LabelledPaths], list[str]]:
        """The images of each split that is there with their labels, and the names of the classes."""
        version, self.left_out = self.decoding.version, LeftOut()
        folders = split_folders(self.root, version, self.left_out, without_train=is_evaluated)
        classes = names_in(*folders.values(), version=version) if is_evaluated else class_names(self.root, version)
        settings: dict[str, Any] = {"may_be_empty": is_evaluated, "cache_dir": self.cache_dir}
        listed = {
            split: list_images(folder, classes, version, self.left_out, **settings) for split, folder in folders.items()
        }
        return {split: LabelledPaths.of(each) for split, each in listed.items()}, classes

    def described(self) -> list[str]:
        lines, more = super().described(), []
        if self.decoding.version > 1:
            # What is guessed from them is refused before.
            with suppress(DataError):
                more.append(
                    looks_of(
                        self.root, max_pixels=self.decoding.max_pixels, cache_dir=self.cache_dir, faulty=self.faulty
                    ).words()
                )
                if inner := all_hold(class_folders(self.root)):
                    warn(
                        f"data.root: given {self.root}, whose class folders all hold the same folders, "
                        f"{shortened(inner)}; usual: images; if those are the classes, put the images of each into one "
                        "folder"
                    )
            if words := self.left_out.words():
                more.append(f"left out: {words}")
        if alike := nearly_same(self.splits.classes):
            warn(
                f"data: classes whose names differ in case or blanks alone: {shortened(alike)}; usual: one folder each"
            )
        if unreadable := sorted(self.left_out.unreadable):
            warn(f"data: {len(unreadable)} left out that cannot be read: {shortened(unreadable)}")
        return [*lines, f"data: {'; '.join(more)}"] if more else lines
