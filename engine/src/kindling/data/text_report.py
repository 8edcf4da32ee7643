"""What an evaluation of a text says beyond its metrics."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from kindling.data.processor import Evaluated
from kindling.files.whole_file import write_whole

# Characters of the split that the sample goes on from.
PROMPT_LENGTH = 32


def report(evaluated: Evaluated, vocabulary: str, answer: Callable[..., Iterator[str]], folder: Path) -> dict[str, Any]:
    """The share of characters that were the likeliest, and a text that goes on from the split's first ones."""
    likeliest, targets = np.asarray(evaluated.outputs), np.asarray(evaluated.targets)
    # Others mark places that do not count.
    counted = (targets >= 0) & (targets < len(vocabulary))
    hits = (likeliest == targets)[counted]
    first = targets[counted][:PROMPT_LENGTH]
    found: dict[str, Any] = {f"{evaluated.split}/accuracy": float(hits.mean())} if len(hits) else {}
    if not len(first):
        return found
    prompt = "".join(vocabulary[each] for each in first)
    sample = "".join(answer(evaluated.compute, prompt))
    with write_whole(folder / "sample.txt") as stream:
        stream.write(prompt + sample)
    return found | {"sample": {"prompt": prompt, "text": sample}}
