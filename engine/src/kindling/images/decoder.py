"""The files of a data set into pixels, and what is to be said of them once, whichever process decodes them."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from kindling.images import jpeg
from kindling.images.decoding import (
    CLIPPED,
    DEEP_COLOUR,
    MOST_TIMES_AS_LONG,
    OF_WHOLE_PICTURES,
    SEVERAL_FRAMES,
    Decoding,
)
from kindling.images.pictures import evaluation_cut, with_shorter_side

log = logging.getLogger(__name__)

TOO_LONG = "too long"
BITS = {CLIPPED: 1, SEVERAL_FRAMES: 2, DEEP_COLOUR: 4, TOO_LONG: 8}
SAID = {
    CLIPPED: "hold values outside of what is black and white, which were clipped; say what is white with data.white",
    SEVERAL_FRAMES: "have several frames or pages, of which the first is taken",
    DEEP_COLOUR: "hold colours of 16 bits, of which the upper 8 are taken",
    TOO_LONG: f"are more than {MOST_TIMES_AS_LONG} times as long as wide, of which the middle is taken",
}
SHOWN = 3


class Decoder:
    """A path -> (H, W, C) uint8, as evaluation sees it; remembers what is to be said of which file, for all workers.

    Args:
        decoding: of the data set.
        paths: all that it may be given.
        clip: values beyond white are clipped and counted; else they are refused.
    """

    def __init__(self, decoding: Decoding, paths: Sequence[Path], *, clip: bool):
        self.decoding = replace(decoding, note=self._note, clip=clip)
        self.paths = paths
        self.cut = evaluation_cut(decoding)
        self.noted = torch.zeros(len(paths), dtype=torch.uint8).share_memory_()

    def __call__(self, path: Path) -> Tensor:
        """
        Raises:
            DataError: as `Decoding.file`.
        """
        if self.decoding.version < OF_WHOLE_PICTURES:
            return torch.from_numpy(self.decoding.file(path))
        return self.cut(self.whole(path))

    def whole(self, path: Path) -> Tensor:
        """All of the picture, in its own size.

        Raises:
            DataError: as `Decoding.file`.
        """
        return self._whole(path, self.decoding)

    def _whole(self, path: Path, decoding: Decoding) -> Tensor:
        pixels = jpeg.decoded(path, decoding.channels, decoding.max_pixels)
        return torch.from_numpy(decoding.whole_file(path, str(path)) if pixels is None else pixels)

    def stored(self, path: Path) -> tuple[Tensor, int]:
        """All of the picture, resized as evaluation does it, and what is to be said of it.

        Raises:
            DataError: as `Decoding.file`.
        """
        noted: list[str] = []
        picture = self._whole(path, replace(self.decoding, note=lambda kind, name: noted.append(kind)))
        if max(picture.shape[:2]) > MOST_TIMES_AS_LONG * min(picture.shape[:2]):
            noted.append(TOO_LONG)
        resized = with_shorter_side(picture, self.cut.resize, self.cut.interpolation)
        return resized.contiguous(), sum(BITS[kind] for kind in set(noted))

    def _note(self, kind: str, name: str) -> None:
        self.noted[self._places[name]] |= BITS[kind]

    @cached_property
    def _places(self) -> dict[str, int]:
        return {str(path): place for place, path in enumerate(self.paths)}

    def say(self) -> None:
        """Log how many files are to be spoken of, and the names of the first."""
        for kind, bit in BITS.items():
            found = [self.paths[place] for place in (self.noted & bit).nonzero().flatten().tolist()]
            if found:
                names = ", ".join(map(str, found[:SHOWN])) + (", ..." if len(found) > SHOWN else "")
                log.warning("data: %d of %d images %s: %s", len(found), len(self.paths), SAID[kind], names)
