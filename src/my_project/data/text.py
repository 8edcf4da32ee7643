"""A text as blocks of characters: three plays of Shakespeare, or a file of yours."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kindling.console import warn
from kindling.data.datamodule import DataModule
from kindling.errors import ConfigError, DataError
from kindling.ranges import PositiveInt
from my_project.tasks.language import NOT_COUNTED

BYTE_ORDER_MARK = "\ufeff"


class Text(DataModule):
    """Ids (T,) of characters and those that follow them (T,); train, val and test are 80, 10 and 10 % of the text.

    Args:
        file: a text in UTF-8; None for the one that is here.
        vocab_size: the number of different characters; None if it is to be found.
        block_size: T. Evaluation counts each character once, after at least half a block of others.
        stride: characters from the start of a training block to that of the next.
        settings: what every data module takes.
    """

    cut = ("val", "test")

    def __init__(
        self, *, file: str | None, vocab_size: int | None, block_size: PositiveInt, stride: PositiveInt, **settings: Any
    ):
        super().__init__(**settings)
        if self.fold is not None:
            raise ConfigError(f"data.fold: given {self.fold}; allowed: null, since blocks of a text overlap")
        self.file = Path(file or Path(__file__).parent / "texts" / "shakespeare.txt").expanduser()
        self.vocab_size, self.block_size, self.stride = vocab_size, block_size, stride

    @cached_property
    def text(self) -> str:
        try:
            return self.file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"data.file: given {self.file}: {error}; allowed: a text file in UTF-8") from error

    @property
    def facts(self) -> Mapping[str, Any]:
        vocabulary = "".join(sorted(set(self.text)))
        return {"vocabulary": vocabulary, "vocab_size": len(vocabulary)}

    def contents(self, examples: Any) -> None:
        """Blocks begin anywhere in a text, so their hashes would tell nothing."""

    def read(self) -> dict[str, tuple[Tensor, Tensor]]:
        if self.text.startswith(BYTE_ORDER_MARK):
            warn(f"data.file: {self.file} begins with a byte order mark, which counts as a character; save it without")
        vocabulary, found = self.facts.values()
        if self.vocab_size not in (None, found):
            raise DataError(f"data.vocab_size: given {self.vocab_size}; the text has {found}; set it to null")
        if len(self.text) < 10 * (self.block_size + 1):
            raise DataError(
                f"data.block_size: given {self.block_size}; allowed: under a tenth of {len(self.text)}, the text"
            )
        id_of = {character: i for i, character in enumerate(vocabulary)}
        ids = torch.tensor([id_of[character] for character in self.text])
        train, val, test = ids.tensor_split([len(ids) * 8 // 10, len(ids) * 9 // 10])
        return {
            "train": blocks(train, self.block_size, self.stride),
            "val": blocks(val, self.block_size, (self.block_size + 1) // 2, once=True),
            "test": blocks(test, self.block_size, (self.block_size + 1) // 2, once=True),
        }


def blocks(ids: Tensor, size: int, stride: int, *, once: bool = False) -> tuple[Tensor, Tensor]:
    """Blocks of ids (N, size) and those that follow; with `once`, one that the block before has is not counted."""
    last = len(ids) - size - 1
    starts = torch.tensor([*range(0, last, stride), last])
    places = starts[:, None] + torch.arange(size)
    following = ids[places + 1]
    if once:
        following[1:][places[1:] <= places[:-1, -1:]] = NOT_COUNTED
    return ids[places], following
