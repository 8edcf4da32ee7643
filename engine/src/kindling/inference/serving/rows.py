"""Rows of strangers as numbers, and what the model gives for them as rows."""

import base64
import math
from typing import Any

import numpy as np

from kindling.data.processor import Column, Processor
from kindling.errors import DataError
from kindling.images.png import png_of
from kindling.inference.serving.described import NOUNS
from kindling.inference.serving.json_body import bad, json_of
from kindling.inference.serving.limits import Limits, Refused

ALLOWED = 'allowed: {"rows": [{"<column>": <value>, ...}, ...]}, or one such row'


def read_rows(content_type: str, body: bytes, processor: Processor, limits: Limits) -> np.ndarray:
    """The rows of a body as the model takes them, (N, ...).

    Raises:
        Refused: 400 a row lacks a column or holds what is not allowed, 413 too many, 415 no JSON.
    """
    given = json_of(content_type, body, limits.max_rows * (len(processor.inputs) + 2) + 16)
    several = given["rows"] if isinstance(given, dict) and isinstance(given.get("rows"), list) else [given]
    if not several or not all(isinstance(row, dict) for row in several):
        raise bad("bad_rows", f"given other JSON; {ALLOWED}")
    if len(several) > limits.max_rows:
        raise Refused(413, "too_many_rows", f"given {len(several)} rows; allowed: {limits.max_rows} a request")
    columns = {column.name: column for column in processor.inputs}
    return np.stack([_read(row, f"rows[{index}]", columns, processor) for index, row in enumerate(several)])


def _read(row: dict[str, Any], name: str, columns: dict[str, Column], processor: Processor) -> np.ndarray:
    others = [other for other in row if other not in columns]
    if others:
        shown = ", ".join(map(repr, others[:3]))
        raise bad("bad_row", f"{name}: given the column {shown}; allowed: {', '.join(columns)}")
    for key, value in row.items():
        column = columns[key]
        # A CSV has texts alone; JSON has numbers.
        if isinstance(value, str) and column.type != "text" and not column.choices:
            raise bad("bad_row", f"{name}: column {key}: given {value!r}; allowed: {column.allowed()}, not as a text")
    try:
        with np.errstate(all="ignore"):
            found: Any = processor.read(row, name)
    except DataError as error:
        raise bad("bad_row", str(error)) from error
    if not np.all(np.isfinite(found)):
        raise bad("bad_row", f"{name}: given numbers that are too large; allowed: such as those of the training")
    return found


def written(outputs: np.ndarray, processor: Processor) -> list[dict[str, Any]]:
    """Each input's answer by name, images as PNG.

    Raises:
        Refused: 422 the model gives NaN or infinity, which JSON does not know.
    """
    with np.errstate(all="ignore"):
        rows = [processor.write(output) for output in outputs]
    noun = NOUNS[processor.kind]
    pictures = [column.name for column in processor.outputs if column.type == "image"]
    rows = [row | {name: png_of(row[name], name) for name in pictures} for row in rows]
    for index, row in enumerate(rows):
        for name, value in row.items():
            if isinstance(value, float) and not math.isfinite(value):
                raise Refused(
                    422,
                    "no_answer",
                    f"{noun}[{index}]: the model gives {value} as {name}; allowed: {noun} it has learnt of",
                )
    return rows


def only_picture(answers: list[dict[str, Any]]) -> bytes | None:
    """The image of an answer that has one; None of several answers or images."""
    found = [value for answer in answers for value in answer.values() if isinstance(value, bytes)]
    return found[0] if len(answers) == len(found) == 1 else None


def in_json(answers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Images in base64."""
    return [{name: _in_base64(value) for name, value in answer.items()} for answer in answers]


def _in_base64(value: Any) -> Any:
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value
