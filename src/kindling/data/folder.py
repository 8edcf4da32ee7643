"""What lies in a class-per-folder tree of images, found without opening more than one of them.

Imports nothing heavy: a config asks here for its number of classes while it is composed.
"""

import os
from pathlib import Path

from kindling.errors import DataError

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".gif"}
SPLIT_NAMES = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
LARGEST_AUTO_SIZE = 224


def split_folders(root: str | Path) -> dict[str, Path]:
    """The folders of the splits, by name; a tree without its own split is all "train".

    Raises:
        DataError: the root is missing, a file, or holds no class folder.
    """
    root = Path(root).expanduser()
    allowed = "allowed: a folder with one folder a class, or train/, val/ and test/ with them"
    if not root.exists():
        raise DataError(f"data.root: given {root}, which does not exist; {allowed}")
    if not root.is_dir():
        raise DataError(f"data.root: given {root}, which is a file; {allowed}")
    inside = {folder.name.lower(): folder for folder in _folders(root)}
    found = {split: inside[name] for split, names in SPLIT_NAMES.items() for name in names if name in inside}
    if "train" not in found:
        found = {"train": root}
    if not _folders(found["train"]):
        raise DataError(f"data.root: given {root}, which holds no class folder; {allowed}")
    return found


def class_names(root: str | Path) -> list[str]:
    """The names of the class folders, sorted; their positions are the labels."""
    return [folder.name for folder in _folders(split_folders(root)["train"])]


def list_images(folder: Path, classes: list[str]) -> list[tuple[Path, int]]:
    """The images below each class folder with their labels, sorted by path.

    Raises:
        DataError: a class has no image, or the folder has a class that training lacks.
    """
    unknown = sorted({found.name for found in _folders(folder)} - set(classes))
    if unknown:
        raise DataError(f"{folder}: given the class folder {unknown[0]!r}; allowed: those of training, {classes}")
    return [(path, label) for label, name in enumerate(classes) for path in _image_paths(folder / name)]


def first_image(root: str | Path) -> tuple[int, int]:
    """(channels, image size) of the first image: 1 or 3, and its shorter side, at most LARGEST_AUTO_SIZE.

    Raises:
        DataError: it cannot be read as an image.
    """
    from PIL import Image, UnidentifiedImageError

    path = _image_paths(_folders(split_folders(root)["train"])[0])[0]
    try:
        with Image.open(path) as image:
            grey = image.mode in ("1", "L", "LA", "I", "F") or image.mode.startswith("I;16")
            return 1 if grey else 3, min(*image.size, LARGEST_AUTO_SIZE)
    except (UnidentifiedImageError, OSError) as error:
        raise DataError(f"{path}: cannot be read as an image ({error}); replace or remove the file") from error


def _folders(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _image_paths(class_folder: Path) -> list[Path]:
    paths = sorted(
        Path(parent, file)
        for parent, _, files in os.walk(class_folder, followlinks=True)
        for file in files
        if Path(file).suffix.lower() in IMAGE_SUFFIXES and not file.startswith(".")
    )
    if not paths:
        raise DataError(
            f"{class_folder}: given a class without an image; allowed: at least one file ending in "
            f"{', '.join(sorted(IMAGE_SUFFIXES))}; add images or remove the folder"
        )
    return paths
