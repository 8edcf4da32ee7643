"""Which of the files and folders that lie in a folder are images, and what is said of the others.

Imports nothing heavy.
"""

import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal
from unicodedata import normalize

from kindling.errors import printable

# The endings of each of decoding.FORMATS.
ENDINGS = {
    ending: kind
    for kind, endings in {
        "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
        "PNG": (".png", ".apng"),
        "BMP": (".bmp",),
        "GIF": (".gif",),
        "PPM": (".ppm", ".pgm", ".pbm", ".pnm", ".pfm"),
        "TIFF": (".tif", ".tiff"),
        "WEBP": (".webp",),
        "AVIF": (".avif", ".avifs"),
        "HEIF": (".heic", ".heif", ".hif"),
    }.items()
    for ending in endings
}
# Not every Pillow reads them.
OPTIONAL = ("AVIF", "HEIF")
READ_BY_ALL = sorted(ending for ending, kind in ENDINGS.items() if kind not in OPTIONAL)
# What systems and storage servers leave in a folder, in lower case; other such names begin with a dot.
FOREIGN = ("__macosx", "@eadir", "#recycle", "$recycle.bin", "system volume information", "lost+found", "thumbs.db")
FOREIGN += ("desktop.ini", "__pycache__", "network trash folder")
# What becomes of files and rows that cannot be used.
Faulty = Literal["refuse", "skip"]
# Names that a message holds.
SHOWN = 3


def is_foreign(name: str) -> bool:
    """Whether it is hidden, or of a program that leaves files where images are."""
    return name.startswith(".") or name.lower() in FOREIGN


def is_image(path: str) -> bool:
    """Whether its ending says so; of a name without one, whether it begins as an image does."""
    ending = ending_of(path)
    if not ending:
        return _begins_as_image(path)
    kind = ENDINGS.get(ending)
    return kind is not None and (kind not in OPTIONAL or kind in _readable())


def leads_nowhere(path: str) -> bool:
    """Whether it is a link that an image or a folder of images may be lost behind."""
    if ending_of(path) and ending_of(path) not in ENDINGS:
        return False
    try:
        os.stat(path)
    except FileNotFoundError:
        return os.path.islink(path)
    except OSError:
        # A link to itself hides nothing.
        pass
    return False


def ending_of(path: str) -> str:
    return os.path.splitext(path)[1].lower()


def same(name: str) -> str:
    """One form of names that look alike: an accent may be a letter's part, or a letter of its own."""
    return normalize("NFC", name)


def nearly_same(names: Iterable[str]) -> list[str]:
    """Those that differ from another in case or blanks alone, as `'Cat' and 'cat'`."""
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault("".join(name.casefold().split()), []).append(name)
    return [" and ".join(map(repr, each)) for each in found.values() if len(each) > 1]


def existing(path: str) -> str:
    """The path as the disk spells it, if only its accents are written in another way."""
    if os.path.lexists(path):
        return path
    head, tail = os.path.split(path.rstrip(os.sep))
    if not tail:
        return path
    head = existing(head) if head else head
    try:
        names = os.listdir(head or os.curdir)
    except OSError:
        return path
    return next((os.path.join(head, name) for name in names if same(name) == same(tail)), path)


def _readable() -> tuple[str, ...]:
    from kindling.images.decoding import readable_formats

    return readable_formats()


def _begins_as_image(path: str) -> bool:
    from PIL import Image

    try:
        # A pipe would wait for its writer.
        if os.path.isfile(path):
            Image.open(path, formats=_readable()).close()
            return True
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        return True
    except Exception:
        # Decoders have errors of many classes.
        return False
    return False


@dataclass
class LeftOut:
    """What lies among images and is not read, and what cannot be."""

    num_foreign: int = 0
    endings: Counter[str] = field(default_factory=Counter)
    # Beside the folders that are read.
    beside: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)

    def own(self, names: Iterable[str]) -> list[str]:
        """Those that are not foreign, the others counted."""
        names = list(names)
        kept = [name for name in names if not is_foreign(name)]
        self.num_foreign += len(names) - len(kept)
        return kept

    def is_image(self, path: str) -> bool:
        """Whether it is one, else it is counted."""
        if is_image(path):
            return True
        if leads_nowhere(path):
            self.unreadable.append(f"{path} (a link that leads nowhere)")
        else:
            self.endings[ending_of(path)] += 1
        return False

    def note_error(self, error: OSError) -> None:
        self.unreadable.append(f"{error.filename} ({error.strerror})")

    def add(self, other: "LeftOut") -> None:
        """Count what has been left out elsewhere."""
        self.num_foreign += other.num_foreign
        self.endings.update(other.endings)
        self.beside += other.beside
        self.unreadable += other.unreadable

    def words(self) -> str:
        """`3 hidden or of other programs, 2 ending in .txt`; "" if there is none."""
        parts = [f"{self.num_foreign} hidden or of other programs"] if self.num_foreign else []
        for ending, num in sorted(self.endings.items(), key=lambda each: (-each[1], each[0])):
            hint = " (pip install -e './engine[heic]' reads them)" if ENDINGS.get(ending) == "HEIF" else ""
            parts.append(f"{num} ending in {ending}{hint}" if ending else f"{num} without an ending")
        if self.beside:
            parts.append(f"{len(self.beside)} beside the folders ({shortened(self.beside)})")
        return ", ".join(parts)


def shortened(names: list[str]) -> str:
    return ", ".join(map(printable, names[:SHOWN])) + (", ..." if len(names) > SHOWN else "")
