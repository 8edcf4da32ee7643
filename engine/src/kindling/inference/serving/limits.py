"""How much a client may ask for, and what it is answered when that is too much."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """As configs/serve.yaml has them."""

    max_batch: int
    max_queue: int
    max_images: int
    max_body_bytes: int
    max_pixels: int
    timeout_s: float
    max_rows: int
    max_length: int
    max_text_s: float


class Refused(Exception):  # noqa: N818
    """A request that gets no answer but an error, and why.

    Args:
        status: of HTTP.
        code: of the error, which programs compare.
        message: which people read: what was given, what is allowed.
        headers: beside the usual ones.
    """

    def __init__(self, status: int, code: str, message: str, headers: dict[str, str] | None = None):
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = headers or {}


def busy(code: str, message: str) -> Refused:
    """503, to be asked again."""
    return Refused(503, code, f"{message}; ask again in a second", {"retry-after": "1"})


class Gone(Exception):  # noqa: N818
    """A client that closed its connection before its request was whole."""
