"""Whether the folders of a root are classes, and which root was likely meant if they are not."""

import os
import re
from pathlib import Path

from kindling.errors import DataError
from kindling.images.listing import ENDINGS, ending_of, is_foreign, shortened

SPLIT_NAMES = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
LIKE_A_SPLIT = re.compile(rf"({'|'.join(name for names in SPLIT_NAMES.values() for name in names)})[\W\d_]*", re.I)
# `train_images`, `test set`.
NAMED_AS_SPLIT = re.compile(
    rf"((images?|imgs?|data|dataset|set)[\W_]*)?{LIKE_A_SPLIT.pattern}(images?|imgs?|data|dataset|set)?", re.I
)
# Inputs and targets of other tasks than classification.
INPUTS = {"images", "image", "imgs", "img", "jpegimages", "photos", "inputs", "input", "pngimages"}
TARGETS = {"masks", "mask", "labels", "label", "annotations", "annotation", "segmentations", "segmentation"}
TARGETS |= {"bboxes", "boxes", "targets", "target", "groundtruth", "gt", "depth", "trimaps", "segmentationclass"}
ALLOWED = "allowed: a folder with one folder a class, or train/, val/ and test/ with them"
# Folders that are looked at for the root that was meant.
MOST_FOLDERS = 200


def refuse_what_are_no_classes(root: Path, classes: list[Path], version: int) -> None:
    """
    Raises:
        DataError: they are one, or are splits, or hold splits, so the root is likely another.
    """
    if len(classes) == 1:
        raise DataError(
            f"data.root: given {root}, which holds one class folder, {classes[0].name}; allowed: two or more"
            f"{meant(root)}"
        )
    names = shortened([f"{folder.name}/" for folder in classes])
    if all(LIKE_A_SPLIT.fullmatch(folder.name) for folder in classes):
        raise DataError(
            f"data.root: given {root} with {names}, which are named like splits and hold no class folders; {ALLOWED}"
            f"{meant(root)}"
        )
    # Runs that began with an older version read it.
    if version > 2:
        _refuse_names_of_something_else(root, classes, names)
    if all(map(_holds_splits, classes)):
        raise DataError(
            f"data.root: given {root}, whose class folders hold splits, such as "
            f"{shortened([f'{each.parent.name}/{each.name}/' for each in folders_in(classes[0])])}; {ALLOWED}, so "
            "train/CLASS and not CLASS/train"
        )
    for folder in classes:
        if _has_train(folder):
            raise DataError(
                f"data.root: given {root}, whose folder {folder.name} is a data set of its own, with train/; "
                f"{ALLOWED}; did you mean data.root={folder}?"
            )


def _refuse_names_of_something_else(root: Path, classes: list[Path], names: str) -> None:
    if all(NAMED_AS_SPLIT.fullmatch(folder.name) for folder in classes):
        raise DataError(
            f"data.root: given {root} with {names}, which are named like splits; {ALLOWED}; rename them train/, val/ "
            "and test/"
        )
    plain = {re.sub(r"[\W\d_]", "", folder.name.lower()) for folder in classes}
    if plain & INPUTS and plain & TARGETS and plain <= INPUTS | TARGETS:
        raise DataError(
            f"data.root: given {root} with {names}, which are named like the inputs and targets of another task; "
            f"{ALLOWED}; if they are classes, rename them{meant(root)}"
        )


def all_hold(classes: list[Path]) -> list[str]:
    """The folders of images that each of some class folders holds, if they hold nothing else that is read."""

    def names_in(folder: Path) -> list[str]:
        return sorted(each.name for each in folders_in(folder) if _holds_an_image(each))

    first = names_in(classes[0]) if len(classes) > 1 else []
    # Most sets end here, and their other folders are not listed.
    is_alike = len(first) > 1 and all(names_in(folder) == first for folder in classes[1:])
    return first if is_alike and not any(map(_holds_an_image, classes)) else []


def meant(root: Path) -> str:
    """The first tree below a folder, as a question; "" if none is found."""
    level, num = folders_in(root), 0
    while level and num < MOST_FOLDERS:
        below: list[Path] = []
        for folder in level[:MOST_FOLDERS]:
            num += 1
            if _has_train(folder) or _has_classes(folder):
                return f"; did you mean data.root={folder}?"
            below += folders_in(folder)
        level = below
    return ""


def _holds_splits(folder: Path) -> bool:
    below = folders_in(folder)
    return len(below) > 1 and all(LIKE_A_SPLIT.fullmatch(each.name) for each in below)


def _has_train(folder: Path) -> bool:
    # Cheap, as it is asked of each class.
    spelled = (form for name in SPLIT_NAMES["train"] for form in (name, name.title(), name.upper()))
    train = next((folder / form for form in spelled if (folder / form).is_dir()), None)
    if train is None or len(folders_in(train)) < 2:
        return False
    # A class may hold folders of its kinds, a train among them.
    return all(LIKE_A_SPLIT.fullmatch(each.name) for each in folders_in(folder))


def _has_classes(folder: Path) -> bool:
    below = [each for each in folders_in(folder) if not LIKE_A_SPLIT.fullmatch(each.name)]
    return sum(map(_holds_an_image, below)) > 1


def folders_in(folder: Path) -> list[Path]:
    return sorted(folder / name for name, is_dir in _entries(folder) if is_dir and not is_foreign(name))


def _holds_an_image(folder: Path) -> bool:
    return any(ending_of(name) in ENDINGS and not is_foreign(name) for name, _ in _entries(folder))


def _entries(folder: Path) -> list[tuple[str, bool]]:
    """Names, and whether each is a folder; nothing of a folder that cannot be listed."""
    try:
        with os.scandir(folder) as entries:
            return [(entry.name, entry.is_dir()) for entry in entries]
    except OSError:
        return []
