"""What lies in a class-per-folder tree of images, found while opening only a few of them.

Imports nothing heavy: a config asks here for its number of classes while it is composed.
"""

import os
from pathlib import Path
from typing import Any

from kindling.errors import DataError
from kindling.files.names import shown
from kindling.images.found_files import END, Below, Found, Listing, images_below
from kindling.images.listing import READ_BY_ALL, LeftOut, existing, is_foreign, same, shortened
from kindling.images.wrong_root import ALLOWED, LIKE_A_SPLIT, SPLIT_NAMES, folders_in, meant, refuse_what_are_no_classes

# As decoding.VERSIONS: runs that began with 1 keep its list of files.
VERSIONS = (1, 2, 3, 4)
TODAY = VERSIONS[-1]
SPLITS = ", ".join(name for names in SPLIT_NAMES.values() for name in names)
ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar")
# All that version 1 reads.
IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".gif"}


def split_folders(
    root: str | Path, version: int = TODAY, left_out: LeftOut | None = None, *, without_train: bool = False
) -> dict[str, Path]:
    """The folders of the splits, by name; a tree without its own split is all "train".

    Args:
        root: of the tree.
        without_train: whether it may have other splits alone.

    Raises:
        DataError: the root is missing, a file, or holds no class folder, or a single one.
    """
    root = _root(root)
    found: dict[str, Path] = {}
    for folder in _folders(root, version):
        split = next((split for split, names in SPLIT_NAMES.items() if folder.name.lower() in names), None)
        if split in found:
            raise DataError(
                f"data.root: given {root} with {found[split].name}/ and {folder.name}/; allowed: one of them"
            )
        # A class of this name holds no folders.
        if split and _folders(folder, version):
            found[split] = folder

    if found and "train" not in found and not without_train:
        raise DataError(f"data.root: given {root}, which has {min(found)}/ and no train/; {ALLOWED}")
    if found and version > 1 and left_out is not None:
        _note_beside(root, list(found.values()), left_out)
    found = found or {"train": root}
    classes = [
        each for name, folder in found.items() if name == "train" or without_train for each in _folders(folder, version)
    ]
    if not classes:
        raise DataError(
            f"data.root: given {root}, which holds no class folder; {ALLOWED}{meant(root) if version > 1 else ''}"
        )
    if version > 1 and not without_train:
        refuse_what_are_no_classes(root, classes, version)
    return found


def class_names(root: str | Path, version: int = TODAY) -> list[str]:
    """The names of the class folders of training, sorted; their positions are the labels.

    Raises:
        DataError: two folders have names that look alike.
    """
    return [_name(folder, version) for folder in class_folders(root, version)]


def names_in(*folders: Path, version: int = TODAY) -> list[str]:
    """The names of the class folders in any of these, sorted."""
    return sorted({_name(found, version) for folder in folders for found in _folders(folder, version)})


def class_folders(root: str | Path, version: int = TODAY) -> list[Path]:
    """Those of training, in the order of their labels.

    Raises:
        DataError: two have names that look alike.
    """
    folders = _folders(split_folders(root, version)["train"], version)
    return folders if version == 1 else [folder for _, folder in sorted(_by_name(folders).items())]


def list_images(
    folder: Path,
    classes: list[str],
    version: int = TODAY,
    left_out: LeftOut | None = None,
    *,
    may_be_empty: bool = False,
    cache_dir: Path | None = None,
) -> Listing:
    """The images below each class folder with their labels, sorted by path; a folder may lack a class.

    Args:
        folder: of the class folders.
        classes: by label.
        version: of `decoding`.
        left_out: is told what lies among the images.
        cache_dir: keeps the lists of large folders.

    Raises:
        DataError: a class folder has no image and may not be empty, or is not one of `classes`.
    """
    left_out = LeftOut() if left_out is None else left_out
    folders = _folders(folder, version)
    found = {_name(each, version): each for each in folders} if version == 1 else _by_name(folders)
    if version > 1:
        _note_beside(folder, folders, left_out)
    unknown = sorted(set(found) - set(classes))
    if unknown:
        raise DataError(f"{folder}: given the class folder {unknown[0]!r}; allowed: those of training, {classes}")
    there = [(label, found[name]) for label, name in enumerate(classes) if name in found]
    rest: Any = {"may_be_empty": may_be_empty, "cache_dir": cache_dir}
    return Listing([(label, each, image_names(each, version, left_out, **rest)) for label, each in there])


def image_paths(class_folder: Path, version: int = TODAY, cache_dir: Path | None = None) -> Below:
    """All below a class folder, sorted.

    Raises:
        DataError: there is none.
    """
    return Below(class_folder, image_names(class_folder, version, cache_dir=cache_dir))


def image_names(
    class_folder: Path,
    version: int = TODAY,
    left_out: LeftOut | None = None,
    *,
    may_be_empty: bool = False,
    cache_dir: Path | None = None,
) -> bytes:
    """Those of all images below a class folder, as `Found` has them.

    Raises:
        DataError: there is none, and it may not be empty.
    """
    found = _found_in_version_1(class_folder) if version == 1 else images_below(class_folder, cache_dir)
    if left_out is not None:
        left_out.add(found.left_out)
    if not found.names and not may_be_empty:
        unreadable = found.left_out.unreadable
        why = f", as {shortened(unreadable)} cannot be read" if unreadable else ""
        endings = READ_BY_ALL if version > 1 else sorted(IMAGE_SUFFIXES)
        raise DataError(
            f"{class_folder}: given a class without an image{why}; allowed: at least one file ending in "
            f"{', '.join(endings)}; add images or remove the folder"
        )
    return found.names


def _found_in_version_1(class_folder: Path) -> Found:
    found, names, seen = Found(), [], set()
    for parent, folders, files in os.walk(class_folder, followlinks=True, onerror=found.left_out.note_error):
        real = os.path.realpath(parent)
        # A link may lead back to a folder above.
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        names += [Path(parent, file).relative_to(class_folder) for file in files if _is_image_of_version_1(file)]
    found.names = END.join(map(os.fsencode, sorted(names)))
    return found


def _root(root: str | Path) -> Path:
    """
    Raises:
        DataError: it is no folder.
    """
    if not str(root).strip():
        raise DataError(f"data.root: given nothing; {ALLOWED}")
    root = Path(existing(str(Path(root).expanduser())))
    if not root.exists():
        raise DataError(f"data.root: given {root}, which does not exist; {ALLOWED}")
    if not root.is_dir():
        is_packed = root.suffix.lower() in ARCHIVES
        raise DataError(
            f"data.root: given {root}, which is {'an archive; unpack it' if is_packed else 'a file'}; {ALLOWED}"
        )
    return root


def _folders(folder: Path, version: int) -> list[Path]:
    """Those that may be splits or classes, sorted.

    Raises:
        DataError: it cannot be listed, or holds a link that leads nowhere.
    """
    if version == 1:
        return sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    try:
        entries = sorted(entry for entry in folder.iterdir() if not is_foreign(entry.name))
    except OSError as error:
        raise DataError(f"{folder}: cannot be listed ({error.strerror}); mend it, or remove it") from error
    for entry in entries:
        if entry.is_symlink() and not os.path.exists(entry):
            raise DataError(
                f"{entry}: is a link that leads nowhere; allowed: one to a folder of images, as a class or a split "
                "would be lost; mend or remove it"
            )
    return [entry for entry in entries if os.path.isdir(entry)]


def _name(folder: Path, version: int) -> str:
    return shown(folder.name) if version == 1 else same(shown(folder.name))


def _by_name(folders: list[Path]) -> dict[str, Path]:
    """
    Raises:
        DataError: two have names that look alike.
    """
    found: dict[str, Path] = {}
    for folder in folders:
        other = found.setdefault(_name(folder, TODAY), folder)
        if other != folder:
            raise DataError(
                f"{folder.parent}: given {other.name!a} and {folder.name!a}, two names that look alike; allowed: one "
                "folder a class; put their images into one"
            )
    return found


def _note_beside(root: Path, read: list[Path], left_out: LeftOut) -> None:
    """What lies in the root beside the folders that are read."""
    names = left_out.own(sorted(os.listdir(root)))
    for name in names:
        if root / name not in read:
            left_out.beside.append(name + _why_beside(root / name, read))


def _why_beside(path: Path, read: list[Path]) -> str:
    below = {each.name for each in folders_in(path)}
    # Beside splits, which hold the classes themselves.
    if below and any(below & {each.name for each in folders_in(folder)} for folder in read):
        return f", which holds class folders and is named like no split; names of splits: {SPLITS}"
    return ", which holds no class folder" if LIKE_A_SPLIT.fullmatch(path.name) and path.is_dir() else ""


def _is_image_of_version_1(file: str) -> bool:
    return Path(file).suffix.lower() in IMAGE_SUFFIXES and not file.startswith(".")
