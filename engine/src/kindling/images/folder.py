"""What lies in a class-per-folder tree of images, found while opening only a few of them.

Imports nothing heavy: a config asks here for its number of classes while it is composed.
"""

import os
from pathlib import Path

from kindling.errors import DataError
from kindling.files.names import shown

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".gif"}
SPLIT_NAMES = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
LARGEST_AUTO_SIZE = 224
LOOKED_AT = 16


def split_folders(root: str | Path, *, without_train: bool = False) -> dict[str, Path]:
    """The folders of the splits, by name; a tree without its own split is all "train".

    Args:
        root: of the tree.
        without_train: whether it may have other splits alone.

    Raises:
        DataError: the root is missing, a file, or holds no class folder.
    """
    allowed = "allowed: a folder with one folder a class, or train/, val/ and test/ with them"
    if not str(root).strip():
        raise DataError(f"data.root: given nothing; {allowed}")
    root = Path(root).expanduser()
    if not root.exists():
        raise DataError(f"data.root: given {root}, which does not exist; {allowed}")
    if not root.is_dir():
        raise DataError(f"data.root: given {root}, which is a file; {allowed}")

    found: dict[str, Path] = {}
    for folder in _folders(root):
        split = next((split for split, names in SPLIT_NAMES.items() if folder.name.lower() in names), None)
        if split in found:
            raise DataError(
                f"data.root: given {root} with {found[split].name}/ and {folder.name}/; allowed: one of them"
            )
        # A class of this name holds no folders.
        if split and _folders(folder):
            found[split] = folder

    if found and "train" not in found and not without_train:
        raise DataError(f"data.root: given {root}, which has {min(found)}/ and no train/; {allowed}")
    found = found or {"train": root}
    if not any(_folders(folder) for name, folder in found.items() if name == "train" or without_train):
        raise DataError(f"data.root: given {root}, which holds no class folder; {allowed}")
    return found


def class_names(root: str | Path) -> list[str]:
    """The names of the class folders of training, sorted; their positions are the labels."""
    return names_in(split_folders(root)["train"])


def names_in(*folders: Path) -> list[str]:
    """The names of the class folders in any of these, sorted."""
    return sorted({shown(found.name) for folder in folders for found in _folders(folder)})


def list_images(folder: Path, classes: list[str], *, may_be_empty: bool = False) -> list[tuple[Path, int]]:
    """The images below each class folder with their labels, sorted by path; a folder may lack a class.

    Raises:
        DataError: a class folder has no image and may not be empty, or is not one of `classes`.
    """
    folders = {shown(found.name): found for found in _folders(folder)}
    unknown = sorted(folders.keys() - set(classes))
    if unknown:
        raise DataError(f"{folder}: given the class folder {unknown[0]!r}; allowed: those of training, {classes}")
    return [
        (path, label)
        for label, name in enumerate(classes)
        if name in folders
        for path in _image_paths(folders[name], may_be_empty=may_be_empty)
    ]


def shape_of(root: str | Path) -> tuple[int, int]:
    """(channels, image size) that suits the first image of each class, of at most LOOKED_AT classes.

    3 channels if any of them is in colour, else 1; the median of their shorter sides, at most LARGEST_AUTO_SIZE.

    Raises:
        DataError: one cannot be read as an image.
    """
    from PIL import Image, UnidentifiedImageError

    from kindling.images.decoding import readable_formats

    folders = _folders(split_folders(root)["train"])
    grey, sides = True, []
    for folder in folders[:: -(-len(folders) // LOOKED_AT)]:
        path = _image_paths(folder)[0]
        try:
            with Image.open(path, formats=readable_formats()) as image:
                grey = grey and (image.mode in ("1", "L", "LA", "I", "F") or image.mode.startswith("I;16"))
                sides.append(min(image.size))
        except (UnidentifiedImageError, OSError) as error:
            raise DataError(f"{path}: cannot be read as an image ({error}); replace or remove the file") from error
    return 1 if grey else 3, min(sorted(sides)[len(sides) // 2], LARGEST_AUTO_SIZE)


def _folders(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _image_paths(class_folder: Path, *, may_be_empty: bool = False) -> list[Path]:
    paths, seen = [], set()
    for parent, folders, files in os.walk(class_folder, followlinks=True):
        real = os.path.realpath(parent)
        # A link may lead back to a folder above.
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        paths += [Path(parent, file) for file in files if _is_image(file)]
    if not paths and not may_be_empty:
        raise DataError(
            f"{class_folder}: given a class without an image; allowed: at least one file ending in "
            f"{', '.join(sorted(IMAGE_SUFFIXES))}; add images or remove the folder"
        )
    return sorted(paths)


def _is_image(file: str) -> bool:
    return Path(file).suffix.lower() in IMAGE_SUFFIXES and not file.startswith(".")
