"""Randomly changed image files through the decoder of training: each is read, or refused by its name.

python engine/tests/changed_images.py                10,000 files, in minutes
python engine/tests/changed_images.py --number 300   a few
"""

import argparse
import faulthandler
import io
import struct
import sys
import tempfile
import time
import warnings
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random
from typing import NamedTuple

from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo

from kindling.errors import DataError
from kindling.images.decoding import Decoding, readable_formats
from odd_files import encoded, odd_files, photograph, turned

# Seconds that one file may take; a decoder that hangs ends the process.
MOST_S, HANGS_S = 10, 60
# Of one image; most headers that are changed ask for more.
MOST_PIXELS = 4_000_000
HEADER = 256


class Result(NamedTuple):
    """What became of one file: read, refused, or a fault in words."""

    kind: str
    ended: str
    fault: str = ""


def originals() -> dict[str, list[bytes]]:
    """Files of each format that Pillow reads, by format."""
    found: dict[str, list[bytes]] = defaultdict(list)
    for content in [*odd_files().values(), *of_a_camera()]:
        with Image.open(io.BytesIO(content), formats=readable_formats()) as image:
            found[str(image.format)].append(content)
    return dict(sorted(found.items()))


def of_a_camera() -> list[bytes]:
    """With a long block of EXIF."""
    exif = turned(6)
    for tag, value in {0x010F: "a camera", 0x0132: "2026:01:01 00:00:00", 0x011A: 72.0, 0x9202: (-1, 1)}.items():
        exif[tag] = value
    exif.get_ifd(0x8769).update({0x829A: 0.01, 0x9003: "2026:01:01 00:00:00", 0x9286: b"ASCII\0\0\0text"})
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    text = PngInfo()
    text.add_text("Comment", "a text", zip=True)
    text.add_itxt("Title", "a title")
    files = [encoded(photograph(), kind, exif=exif) for kind in ("JPEG", "PNG", "WEBP", "TIFF", "AVIF")]
    return [*files, encoded(photograph("P"), "PNG", exif=exif, icc_profile=profile, pnginfo=text, dpi=(72, 72))]


def some_bytes(content: bytearray, rng: Random, start: int = 0, end: int | None = None) -> None:
    end = len(content) if end is None else min(end, len(content))
    for _ in range(rng.choice([1, 1, 2, 4, 16])):
        content[rng.randrange(start, end)] = rng.choice([0, 1, 127, 128, 255, rng.randrange(256)])


def end_of_header(content: bytearray) -> int:
    # A change of packed pixels leaves nothing of them.
    pixels = content.find(b"IDAT") if content.startswith(b"\x89PNG") else -1
    return min(len(content), HEADER if pixels < 0 else pixels)


def header(content: bytearray, rng: Random) -> None:
    some_bytes(content, rng, end=end_of_header(content))


def block_of_exif(content: bytearray, rng: Random) -> None:
    place = max(content.find(b"Exif"), content.find(b"eXIf"), content.find(b"EXIF"), 0)
    some_bytes(content, rng, place, place + HEADER)


def number(content: bytearray, rng: Random) -> None:
    """A count, a size or an offset becomes another."""
    place = rng.randrange(end_of_header(content)) & ~1
    value = rng.choice([0, 1, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, rng.getrandbits(32)])
    width = rng.choice([2, 4])
    content[place : place + width] = struct.pack(rng.choice("<>") + "I", value)[:width]


def shorter(content: bytearray, rng: Random) -> None:
    del content[rng.randrange(len(content)) :]


def a_piece_less(content: bytearray, rng: Random) -> None:
    place = rng.randrange(len(content))
    del content[place : place + rng.choice([1, 4, 64])]


def a_piece_twice(content: bytearray, rng: Random) -> None:
    place = rng.randrange(len(content))
    content[place:place] = content[place : place + rng.choice([1, 4, 64, 1024])]


def right_checksums(content: bytearray) -> None:
    """A PNG's, or what follows would hardly ever be read."""
    place = 8
    while place + 12 <= len(content):
        end = place + 8 + int.from_bytes(content[place : place + 4])
        content[end : end + 4] = struct.pack(">I", zlib.crc32(content[place + 4 : end]))
        place = end + 4


CHANGES: tuple[Callable[[bytearray, Random], None], ...] = (
    header, header, block_of_exif, block_of_exif, number, number, some_bytes, shorter, a_piece_less,
    a_piece_twice,
)  # fmt: skip


def changed(contents: list[bytes], rng: Random) -> bytes:
    content = bytearray(rng.choice(contents))
    for _ in range(rng.choice([1, 1, 2])):
        if content:
            rng.choice(CHANGES)(content, rng)
    if content.startswith(b"\x89PNG") and rng.random() < 0.8:
        right_checksums(content)
    return bytes(content)


def attempt(kind: str, file: Path, decoding: Decoding) -> Result:
    started = time.monotonic()
    outcomes = []
    for source in (file, io.BytesIO(file.read_bytes())):
        try:
            outcomes.append(decoding.file(source, str(file)).tobytes())
        except DataError as error:
            if not str(error).startswith(f"{file}: ") or "\n" in str(error):
                return Result(kind, "fault", f"an error that does not begin with its file: {error}")
            outcomes.append(str(error))
        except BaseException as error:
            return Result(kind, "fault", f"{type(error).__name__}: {error}")
    if outcomes[0] != outcomes[1]:
        return Result(kind, "fault", f"a path and bytes differ: {outcomes[0][:200]} {outcomes[1][:200]}")
    if time.monotonic() - started > MOST_S:
        return Result(kind, "fault", f"took {time.monotonic() - started:.0f} s")
    return Result(kind, "refused" if isinstance(outcomes[0], str) else "read")


def attempts(number: int, seed: int, folder: Path) -> Mapping[str, list[Result]]:
    """So many changed files, as many of each format; what is a fault is kept in the folder."""
    contents, found = originals(), defaultdict(list)
    kinds = list(contents)
    for each in range(number):
        kind, rng = kinds[each % len(kinds)], Random(f"{seed} {each}")
        file = folder / f"{each}.{kind.lower()}"
        file.write_bytes(changed(contents[kind], rng))
        faulthandler.dump_traceback_later(HANGS_S, exit=True)
        decoding = Decoding(32, rng.choice([1, 3]), white=rng.choice([None, 4095]), max_pixels=MOST_PIXELS)
        found[kind].append(attempt(kind, file, decoding))
        faulthandler.cancel_dump_traceback_later()
        if not found[kind][-1].fault:
            file.unlink()
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--number", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    found = attempts(given.number, given.seed, Path(tempfile.mkdtemp()))
    print("| format | files | read | refused by name | faults |\n|---|---|---|---|---|")
    for kind, results in found.items():
        ended = Counter(each.ended for each in results)
        print(f"| {kind} | {len(results)} | {ended['read']} | {ended['refused']} | {ended['fault']} |")
    faults = [f"{each.kind}: {each.fault[:300]}" for results in found.values() for each in results if each.fault]
    print(*faults, sep="\n")
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
