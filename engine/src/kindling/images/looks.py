"""How large and how coloured the images of a tree are, by the headers of a few."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from kindling.errors import DataError
from kindling.images.folder import TODAY, class_folders, image_paths
from kindling.images.listing import Faulty

if TYPE_CHECKING:
    from kindling.images.decoding import Decoding

Item = TypeVar("Item")
LARGEST_AUTO_SIZE = 224
# Classes, and files of all of them together.
LOOKED_AT, MOST_FILES = 16, 64


class Looks(NamedTuple):
    """Of the images that were looked at: how many are grey, and the shorter side of each in pixels, sorted."""

    num_grey: int
    sides: list[int]

    @property
    def channels(self) -> int:
        """3 if any is in colour."""
        return 1 if self.num_grey == len(self.sides) else 3

    @property
    def image_size(self) -> int:
        """The median, at most LARGEST_AUTO_SIZE."""
        return min(self.sides[len(self.sides) // 2], LARGEST_AUTO_SIZE)

    def words(self) -> str:
        """`64 of the images looked at: 12 grey, 52 in colour, shorter sides of 20 to 300 pixels`."""
        num = len(self.sides)
        colours = {"grey": self.num_grey, "in colour": num - self.num_grey}
        said = " and ".join(f"{count if count < num else 'all'} {colour}" for colour, count in colours.items() if count)
        low, high = self.sides[0], self.sides[-1]
        sides = f"{low}" if low == high else f"{low} to {high}"
        return f"{num} of the images looked at: {said}, shorter sides of {sides} pixels"


def looks_of(
    root: str | Path,
    version: int = TODAY,
    max_pixels: int | None = None,
    cache_dir: Path | None = None,
    faulty: Faulty = "refuse",
) -> Looks:
    """Of a sample that is spread over the classes and each class; in version 1 the first image of each class.

    Raises:
        DataError: one cannot be read as an image, or is larger than `max_pixels`.
    """
    folders = spread(class_folders(root, version), LOOKED_AT)
    return looks_at([image_paths(folder, version, cache_dir) for folder in folders], version, max_pixels, faulty)


def looks_at(
    by_class: Sequence[Sequence[Path]],
    version: int = TODAY,
    max_pixels: int | None = None,
    faulty: Faulty = "refuse",
) -> Looks:
    """The same, of the images of each class.

    Raises:
        DataError: as `looks_of`.
    """
    by_class = spread(by_class, LOOKED_AT)
    num_each = 1 if version == 1 else -(-MOST_FILES // len(by_class))
    paths = [path for each in by_class for path in spread(each, num_each)]
    seen = _headers(paths, max_pixels, faulty)
    return Looks(sum(grey for grey, _ in seen), sorted(side for _, side in seen))


def spread(items: Sequence[Item], num: int) -> Sequence[Item]:
    """At most `num` of them, evenly apart, with the first."""
    return items[:: -(-len(items) // num)] if len(items) > num else items


class Brightest(NamedTuple):
    """The largest value of an image of more than 8 bits, the one that is white, and whether a setting may change it."""

    value: float
    white: float
    is_set: bool = True


def brightest(path: Path, decoding: "Decoding") -> Brightest | None:
    """None of an image of 8 bits, and of a PGM, which says itself what is white."""
    from kindling.images.decoding import is_deep_colour

    with decoding.header(path, str(path)) as image:
        if is_deep_colour(image):
            most = max(high for _, high in image.convert("RGB").getextrema())  # pyright: ignore
            return Brightest(most * 257, 65_535, is_set=False)
        is_deep = image.mode in ("I", "F") or image.mode.startswith("I;16")
        if not is_deep or image.format == "PPM":
            return None
        return Brightest(float(image.getextrema()[1]), decoding.white_of(image, str(path)))  # pyright: ignore[reportArgumentType]


def _headers(paths: Sequence[Path], max_pixels: int | None, faulty: Faulty) -> list[tuple[bool, int]]:
    """Of those that can be read, if the others are left out."""
    found, first_error = [], None
    for path in paths:
        try:
            found.append(_header(path, max_pixels))
        except DataError as error:
            if faulty == "refuse":
                raise
            first_error = first_error or error
    if first_error and not found:
        raise first_error
    return found


def _header(path: Path, max_pixels: int | None) -> tuple[bool, int]:
    """Whether it is grey, and its shorter side."""
    from kindling.images.decoding import Decoding

    decoding = Decoding(1, 1) if max_pixels is None else Decoding(1, 1, max_pixels=max_pixels)
    with decoding.header(path, str(path)) as image:
        grey = image.mode in ("1", "L", "LA", "I", "F") or image.mode.startswith("I;16")
        return grey, min(image.size)
