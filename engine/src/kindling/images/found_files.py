"""The images below a folder, listed once and known again by the times of its folders. Imports nothing heavy."""

import hashlib
import json
import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kindling.files.whole_file import write_whole
from kindling.images.listing import LeftOut, ending_of

# A folder that has changed within these seconds may change again and keep its time.
SETTLED_S = 2.0
FORMAT = 1
# Of a list that is kept: below, listing anew is as quick.
FEWEST_KEPT = 2000
# No name has it.
END = b"\0"


@dataclass
class Found:
    """What lies below a folder.

    Attributes:
        names: of the images, from that folder on, sorted folder by folder, with END between them.
        left_out: what else lies there.
        folders: the time of each folder, by its path.
        is_sure: whether a change of the list would change the time of a folder.
    """

    names: bytes = b""
    left_out: LeftOut = field(default_factory=LeftOut)
    folders: dict[str, int] = field(default_factory=dict)
    is_sure: bool = True

    @property
    def num(self) -> int:
        return self.names.count(END) + 1 if self.names else 0

    def is_still_so(self) -> bool:
        try:
            return self.is_sure and all(os.stat(path).st_mtime_ns == at for path, at in self.folders.items())
        except OSError:
            return False


class Below(Sequence[Path]):
    """The paths of names below a folder, made when they are asked for."""

    def __init__(self, folder: Path, names: bytes):
        self._folder, self._names = folder, names.split(END) if names else []

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: Any) -> Any:
        found = self._names[index]
        if isinstance(index, slice):
            return [self._folder / os.fsdecode(name) for name in found]
        return self._folder / os.fsdecode(found)


class Listing(Sequence[tuple[Path, int]]):
    """Paths of images and their labels, without an object for each.

    Args:
        parts: label, folder, and names as `Found` has them.
    """

    def __init__(self, parts: Sequence[tuple[int, Path, bytes]]):
        self._parts = [(label, folder, names) for label, folder, names in parts if names]
        self.counts = [(label, names.count(END) + 1) for label, _, names in self._parts]

    def __len__(self) -> int:
        return sum(num for _, num in self.counts)

    def __iter__(self) -> Iterator[tuple[Path, int]]:
        for label, folder, names in self._parts:
            yield from ((folder / os.fsdecode(name), label) for name in names.split(END))

    def __getitem__(self, index: Any) -> Any:
        return list(self)[index]

    def joined(self) -> bytes:
        """All paths, with END between them."""
        starts = [(os.fsencode(folder) + b"/", names) for _, folder, names in self._parts]
        return END.join(start + names.replace(END, END + start) for start, names in starts)


_known: dict[str, Found] = {}


def images_below(folder: Path, cache_dir: Path | None = None) -> Found:
    """The images below a folder, at any depth.

    Args:
        folder: of a class.
        cache_dir: keeps the lists of large folders from process to process.
    """
    place = os.path.abspath(folder)
    found = _known.get(place) or _kept(place, cache_dir)
    if found is None or not found.is_still_so():
        found = _listed(place)
        if cache_dir and found.is_sure and found.num >= FEWEST_KEPT:
            _keep(place, found, cache_dir)
    _known[place] = found
    return found


def _listed(place: str) -> Found:
    found, started = Found(), time.time_ns()
    names: list[str] = []
    seen: set[str] = set()
    waiting = [""]
    for inner in waiting:
        folder = f"{place}/{inner}" if inner else place
        real = os.path.realpath(folder)
        # A link may lead back to a folder above.
        if real in seen:
            continue
        seen.add(real)
        try:
            changed, entries = os.stat(folder).st_mtime_ns, _entries(folder)
        except OSError as error:
            found.left_out.note_error(error)
            continue
        found.folders[folder] = changed
        found.is_sure = found.is_sure and started - changed > SETTLED_S * 1e9
        for name in found.left_out.own(entries):
            below = f"{inner}/{name}" if inner else name
            if entries[name]:
                waiting.append(below)
                continue
            # What has no ending is known by its bytes, which may change.
            found.is_sure = found.is_sure and bool(ending_of(name))
            if found.left_out.is_image(f"{folder}/{name}"):
                names.append(below)
    found.is_sure = found.is_sure and not found.left_out.unreadable
    names.sort(key=lambda name: name.split("/"))
    found.names = os.fsencode(END.decode().join(names))
    return found


def _entries(folder: str) -> dict[str, bool]:
    """Names, and whether each is a folder."""
    with os.scandir(folder) as entries:
        return {entry.name: _is_folder(entry) for entry in entries}


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        # A link to itself.
        return False


def _file_of(place: str, cache_dir: Path) -> Path:
    return cache_dir / f"{hashlib.blake2b(os.fsencode(place), digest_size=16).hexdigest()}-list"


def _keep(place: str, found: Found, cache_dir: Path) -> None:
    left_out = [found.left_out.num_foreign, dict(found.left_out.endings)]
    header = {"format": FORMAT, "place": place, "folders": found.folders, "left_out": left_out}
    # A cache that cannot be written only costs time.
    with suppress(OSError):
        cache_dir.mkdir(parents=True, exist_ok=True)
        with write_whole(_file_of(place, cache_dir), "wb") as stream:
            stream.write(json.dumps(header).encode() + b"\n" + found.names)


def _kept(place: str, cache_dir: Path | None) -> Found | None:
    if cache_dir is None:
        return None
    try:
        header, _, names = _file_of(place, cache_dir).read_bytes().partition(b"\n")
        told = json.loads(header)
        num_foreign, endings = told["left_out"]
        is_ours = told["format"] == FORMAT and told["place"] == place
        return Found(names, LeftOut(num_foreign, Counter(endings)), dict(told["folders"])) if is_ours else None
    except (OSError, ValueError, LookupError, TypeError):
        # A damaged list is made anew.
        return None
