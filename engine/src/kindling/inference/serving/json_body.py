"""A body that is JSON: rows, or a prompt."""

import json
from typing import Any

from kindling.inference.serving.body import kind_of
from kindling.inference.serving.limits import Refused

# Of a message that says what was given.
LONGEST = 600


def json_of(content_type: str, body: bytes, most_values: int) -> Any:
    """
    Raises:
        Refused: 400 it is no JSON, 413 it has too many values, 415 it is of another kind.
    """
    if kind_of(content_type)[0] != "application/json":
        raise Refused(415, "unsupported_media_type", "given another Content-Type; allowed: application/json")
    # The parser lets nobody else compute.
    if sum(map(body.count, (b"[", b"{", b","))) > most_values:
        raise Refused(413, "too_many_values", f"given more values; allowed: {most_values}")
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Refused(400, "bad_json", "given a body that is no JSON") from error


def bad(code: str, message: str) -> Refused:
    """400; strangers may give long names and values, of which the beginning says enough."""
    return Refused(400, code, message if len(message) <= LONGEST else f"{message[:LONGEST]} …")
