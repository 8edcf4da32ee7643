"""What a request brings: read within its limits of bytes and seconds, then taken apart into image files."""

import asyncio
import binascii
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import Message
from typing import Any

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError

from kindling.inference.serving.limits import Gone, Limits, Refused, busy

# Bodies of the largest size that memory has room for at a time.
HELD = 16
# Parts of a form that are no file.
MAX_OTHER_PARTS = 16
# Bytes of the headers of a part.
MOST_HEADER_BYTES = 4096
# Reading a Content-Type takes the square of its length.
MOST_TYPE_LETTERS = 256
# JSON's parser lets nobody else compute; each value costs 50 bytes.
MOST_VALUES = 10_000
# To the end if it is not closed, so that each byte is read once.
QUOTED = re.compile(rb'"(?:\\.|[^"\\])*+"?')
FILE_NAME = re.compile(rb";\s*filename\*?\s*=", re.IGNORECASE)
# A browser's canvas gives such an address.
DATA_URL = re.compile(r"data:[^,]{0,100};base64,")
KINDS = "multipart/form-data with files, or application/json with base64 under images"


class Bodies:
    """Reads bodies, and bounds the memory of all that are not yet answered."""

    def __init__(self, limits: Limits):
        self.limits = limits
        self.room = HELD * limits.max_body_bytes

    @contextmanager
    def holding(self) -> Iterator["Body"]:
        """A body, whose memory is free again afterwards."""
        body = Body(self)
        try:
            yield body
        finally:
            self.room += body.held


class Body:
    """One request's."""

    def __init__(self, bodies: Bodies):
        self.bodies = bodies
        self.held = 0

    async def read(self, receive: Any, content_length: str | None) -> bytes:
        """
        Raises:
            Refused: 413 too large, 408 too slow, 503 no memory for it.
            Gone: its client has.
        """
        limits = self.bodies.limits
        if content_length and content_length.isdecimal() and int(content_length[:20]) > limits.max_body_bytes:
            raise self._too_large()
        chunks = []
        try:
            async with asyncio.timeout(limits.timeout_s):
                while True:
                    message = await receive()
                    if message["type"] != "http.request":
                        raise Gone
                    chunk = message.get("body", b"")
                    self._hold(len(chunk))
                    chunks.append(chunk)
                    if not message.get("more_body", False):
                        return b"".join(chunks)
        except TimeoutError:
            allowed = f"a request that arrives within {limits.timeout_s:g} s"
            raise Refused(408, "body_too_slow", f"given an unfinished body; allowed: {allowed}") from None

    def _hold(self, num_bytes: int) -> None:
        self.held += num_bytes
        self.bodies.room -= num_bytes
        if self.held > self.bodies.limits.max_body_bytes:
            raise self._too_large()
        if self.bodies.room < 0:
            raise busy("busy", "too many large requests at a time")

    def _too_large(self) -> Refused:
        allowed = f"{self.bodies.limits.max_body_bytes} bytes"
        return Refused(413, "body_too_large", f"given a larger body; allowed: {allowed}")


def refuse_encoded(content_encoding: str) -> None:
    """
    Raises:
        Refused: 415 the body is compressed.
    """
    if content_encoding.strip().lower() not in ("", "identity"):
        given = f"given a body in the Content-Encoding {content_encoding[:20]!r}"
        raise Refused(415, "unsupported_encoding", f"{given}; allowed: none, the body as it is")


def image_files(content_type: str, body: bytes, limits: Limits) -> list[bytes]:
    """The image files that a body holds.

    Raises:
        Refused: 400 it cannot be read, 413 too many, 415 of another kind, 422 none.
    """
    kind, boundary = kind_of(content_type)
    if kind == "multipart/form-data":
        files, others = _of_form(boundary, body, limits)
        if others and not files:
            given = f"given a form with {others} fields, none with a filename"
            raise Refused(422, "no_image", f"{given}; allowed: 1 to {limits.max_images}, as curl -F image=@digit.png")
    elif kind == "application/json":
        files = _of_json(body, limits)
    else:
        raise Refused(415, "unsupported_media_type", f"given another Content-Type; allowed: {KINDS}")
    if not files:
        raise Refused(422, "no_image", f"given no image; allowed: 1 to {limits.max_images}")
    return files


def kind_of(content_type: str) -> tuple[str, bytes]:
    """The type, and the boundary that parts the files of a form."""
    if content_type.startswith("multipart/form-data; boundary=") and content_type[30:].isalnum():
        # Nearly all clients write it so.
        return "multipart/form-data", content_type[30:].encode()
    if len(content_type) > MOST_TYPE_LETTERS:
        return "", b""
    message = Message()
    message["content-type"] = content_type.replace("\r", " ").replace("\n", " ")
    try:
        boundary = message.get_boundary("").encode("latin-1")
    except (ValueError, TypeError, AttributeError):
        boundary = b""
    return message.get_content_type() if content_type else "", boundary


class _Form:
    """The files of a form, as a parser comes upon them."""

    def __init__(self, limits: Limits):
        self.limits = limits
        self.files: list[bytes] = []
        self.others = 0
        self.is_ended = False

    def on_part_begin(self) -> None:
        self.chunks: list[bytes] = []
        self.header = b""
        self.is_file = False

    def on_header_begin(self) -> None:
        self.header, self.value = b"", b""

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self.header += data[start:end]

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self.value += data[start:end]

    def on_header_end(self) -> None:
        if self.header.lower() == b"content-disposition":
            if len(self.value) > MOST_HEADER_BYTES:
                raise FormParserError(f"a header has more than {MOST_HEADER_BYTES} bytes")
            self.is_file = bool(FILE_NAME.search(QUOTED.sub(b"", self.value)))

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self.is_file:
            self.chunks.append(data[start:end])

    def on_part_end(self) -> None:
        if not self.is_file:
            self.others += 1
            if self.others > MAX_OTHER_PARTS:
                allowed = f"{MAX_OTHER_PARTS} beside the images"
                raise Refused(413, "too_many_parts", f"given more parts; allowed: {allowed}")
            return
        self.files.append(b"".join(self.chunks))
        _count(self.files, self.limits)

    def on_end(self) -> None:
        self.is_ended = True


def _of_form(boundary: bytes, body: bytes, limits: Limits) -> tuple[list[bytes], int]:
    """Its files, and how many other fields it has."""
    form = _Form(limits)
    names = [name for name in dir(form) if name.startswith("on_")]
    try:
        if not boundary:
            raise FormParserError("its Content-Type names no boundary")
        parser = MultipartParser(boundary, {name: getattr(form, name) for name in names})  # pyright: ignore
        parser.write(body)
        parser.finalize()
        if not form.is_ended:
            raise FormParserError("it ends before its last boundary")
    except FormParserError as error:
        raise Refused(400, "bad_form", f"given a form that cannot be read ({error})") from error
    return form.files, form.others


def _of_json(body: bytes, limits: Limits) -> list[bytes]:
    wrong = Refused(422, "bad_images", 'given other JSON; allowed: {"images": ["<base64>", ...]}')
    if sum(map(body.count, (b"[", b"{", b","))) > MOST_VALUES:
        raise wrong
    try:
        given = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Refused(400, "bad_json", "given a body that is no JSON") from error
    images = given.get("images") if isinstance(given, dict) else None
    if not isinstance(images, list) or not all(isinstance(each, str) for each in images):
        raise wrong
    _count(images, limits)
    return [_decoded(text, f"images[{index}]") for index, text in enumerate(images)]


def _decoded(text: str, name: str) -> bytes:
    """Of base64, in one line or many, or of a data URL."""
    url = DATA_URL.match(text)
    lines = text[url.end() :] if url else text
    try:
        return binascii.a2b_base64(lines.replace("\n", "").replace("\r", ""), strict_mode=True)
    except ValueError as error:
        message = f"{name}: given no base64 ({str(error).lower()}); allowed: an image file in base64, or as a data URL"
        raise Refused(422, "bad_base64", message) from error


def _count(images: list[Any], limits: Limits) -> None:
    if len(images) > limits.max_images:
        raise Refused(413, "too_many_images", f"given more images; allowed: {limits.max_images} a request")
