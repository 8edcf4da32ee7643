"""Requests that somebody hostile, or a broken program, might send: each of them made from a number."""

import base64
import io
import json
import random
import struct
import zlib
from collections.abc import Callable, Iterator

from PIL import Image

from serving import png

HEAD = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
KINDS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM")


def picture(kind: str, size: int = 16, mode: str = "RGB") -> bytes:
    stream = io.BytesIO()
    Image.frombytes("RGB", (size, size), bytes(range(256)) * (size * size * 3 // 256)).convert(mode).save(stream, kind)
    return stream.getvalue()


def form(*images: bytes, boundary: bytes = b"bound") -> bytes:
    part = b'--%s\r\nContent-Disposition: form-data; name="image"; filename="x"\r\n\r\n%s\r\n'
    body = b"".join(part % (boundary, each) for each in images) + b"--%s--\r\n" % boundary
    return posted(body, b"multipart/form-data; boundary=" + boundary)


def posted(body: bytes, kind: bytes, head: bytes = HEAD) -> bytes:
    return head + b"Content-Type: %s\r\nContent-Length: %d\r\n\r\n%s" % (kind, len(body), body)


def as_json(content: object) -> bytes:
    return posted(json.dumps(content).encode(), b"application/json")


def bomb(rng: random.Random) -> bytes:
    """Many pixels in few bytes, in the header alone or in truth."""
    width, height = rng.choice([(50_000, 50_000), (2**31 - 1, 2**31 - 1), (1, 2**31 - 1), (30_000, 1000), (0, 0)])

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    ihdr = chunk(
        b"IHDR", struct.pack(">IIBBBBB", width, height, rng.choice([1, 8, 16]), rng.choice([0, 2, 3]), 0, 0, 0)
    )
    text = chunk(rng.choice([b"zTXt", b"iCCP"]), b"x\0\0" + zlib.compress(bytes(5_000_000)))
    return form(
        b"\x89PNG\r\n\x1a\n" + ihdr + text + chunk(b"IDAT", zlib.compress(bytes(100_000))) + chunk(b"IEND", b"")
    )


def truncated(rng: random.Random) -> bytes:
    whole = picture(rng.choice(KINDS))
    return form(whole[: rng.randrange(len(whole))])


def flipped(rng: random.Random) -> bytes:
    """A few bytes changed, so that any part of any decoder meets what it does not expect."""
    data = bytearray(picture(rng.choice(KINDS), mode=rng.choice(["RGB", "L"])))
    for _ in range(rng.randrange(1, 8)):
        data[rng.randrange(min(len(data), 400))] = rng.randrange(256)
    return form(bytes(data))


def polyglot(rng: random.Random) -> bytes:
    first, second = (picture(rng.choice(KINDS)) for _ in range(2))
    others = [b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(x) run", b"<svg/>", b"PK\3\4", b"#!/bin/sh\n", second]
    return form(rng.choice(others) + first, first[:20] + rng.choice(others))


def bad_form(rng: random.Random) -> bytes:
    whole = form(png())
    _, _, body = whole.partition(b"\r\n\r\n")
    changes: list[Callable[[], bytes]] = [
        lambda: body.replace(b"\r\n", b"\n"),
        lambda: body[: rng.randrange(len(body))],
        lambda: body.replace(b"form-data", b"form-data" + b"; a=b" * rng.randrange(2000)),
        lambda: body.replace(b"Content-Disposition", b"X" * rng.randrange(1, 9000)),
        lambda: b"\r\n--boun" * rng.randrange(1, 20_000),
        lambda: body * rng.randrange(2, 40),
        lambda: rng.randbytes(rng.randrange(2000)),
        lambda: b"--bound\r\n\r\n" * 3000 + b"--bound--",
    ]
    kinds = [
        b"bound",
        b'"bound',
        b"",
        b"\xff\xfe",
        b"b" * 5000,
        b"bound; boundary=other",
        b"bound; charset*=utf-8''%ff",
    ]
    return posted(rng.choice(changes)(), b"multipart/form-data; boundary=" + rng.choice([b"bound", *kinds]))


def bad_json(rng: random.Random) -> bytes:
    deep = rng.choice([b"[", b'{"images":', b'{"a":[']) * rng.choice([1000, 100_000])
    texts = [
        *(deep, b'{"images": [' + b"9" * 10_000 + b"]}", b"\xff\xfe\x00", b'{"images": ["\\ud800"]}', b"NaN", b"null"),
        *(b'{"images": ["' + b"A" * rng.randrange(5000) + b'"]}', b'{"images": {"a": 1}}', b'{"images": [null]}'),
        *(b'{"images": [""], "images": [1e999]}', b"[" + b"0," * 50_000 + b"0]", b'{"images": [[["x"]]]}'),
    ]
    return posted(rng.choice(texts), rng.choice([b"application/json", b"application/json; charset=utf-32"]))


def bad_base64(rng: random.Random) -> bytes:
    text = base64.b64encode(picture(rng.choice(KINDS))).decode()
    at = rng.randrange(len(text))
    strange = rng.choice(["=", "\u20ac", "\0", " ", "-_", "====", "\n"])
    return as_json({"images": [text[:at] + strange + text[at:]]})


def wrong_type(rng: random.Random) -> bytes:
    given = rng.choice(["x", 1, 1.5, True, None, [1], ["a", None], {"0": "a"}, [["a"]], [""] * 17, [{}]])
    return as_json(rng.choice([given, {"images": given}, {"image": given}, {"images": ["AAAA"], "top_k": given}]))


def other_method(rng: random.Random) -> bytes:
    method = rng.choice(
        [b"GET", b"PUT", b"DELETE", b"HEAD", b"OPTIONS", b"TRACE", b"CONNECT", b"PATCH", b"get", b"A" * 99]
    )
    paths = [b"/predict", b"/../../etc/passwd", b"/%00", b"//", b"/%ff%fe", b"*", b"http://evil/", b"/" + b"a" * 3000]
    return (
        method
        + b" "
        + rng.choice([*paths, b"/model?" + b"a=b&" * 500])
        + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )


def bad_headers(rng: random.Random) -> bytes:
    lines = [
        *(
            b"Content-Length: -1",
            b"Content-Length: 1e9",
            b"Content-Length: 99999999999999999999999",
            b"Content-Length: 5, 6",
        ),
        *(
            b"Transfer-Encoding: chunked, gzip",
            b"Transfer-Encoding: chunked\r\nContent-Length: 3",
            b"X: " + b"a" * 70_000,
        ),
        *(b"X\0: a", b": a", b"no colon", b" folded", b"Expect: 200-ok", b"Upgrade: websocket\r\nConnection: Upgrade"),
        *(b"X-Request-Id: " + b"\xff" * 50, b"Content-Type: \xff", b"Host: a\r\nHost: b", b"A: b\r\n" * 3000),
        *(b"Content-Encoding: gzip\r\nContent-Length: 0", b"Authorization: Bearer \xff", b"X-API-Key: \xe9"),
    ]
    return HEAD + rng.choice(lines) + b"\r\n\r\n" + rng.randbytes(rng.randrange(20))


def bad_chunks(rng: random.Random) -> bytes:
    bodies = [
        b"zz\r\n",
        b"-1\r\n",
        b"fffffffffffffffff\r\n",
        b"5\r\nab",
        b"5\r\nabcdefgh\r\n0\r\n\r\n",
        b"1;" + b"x" * 9000,
        b"0\r\n\r\n",
    ]
    return HEAD + b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n" + rng.choice(bodies)


def chunked(body: bytes, size: int, head: bytes = b"POST /predict HTTP/1.1\r\nHost: localhost\r\n") -> bytes:
    parts = [body[start : start + size] for start in range(0, len(body), size)]
    sent = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)
    return head + b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n" + sent + b"0\r\n\r\n"


def _after_post(lines: bytes) -> bytes:
    return b"POST /predict HTTP/1.1\r\nHost: localhost\r\n" + lines


# Each could be read as one request by a proxy and as another by what is behind it.
SMUGGLED = {
    "a length and chunks": _after_post(b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    "chunks and a length": _after_post(b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"),
    "two lengths": _after_post(b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nxy"),
    "a length twice": _after_post(b"Content-Length: 1\r\nContent-Length: 1\r\n\r\nx"),
    "a list of lengths": _after_post(b"Content-Length: 1, 1\r\n\r\nx"),
    "a length with a sign": _after_post(b"Content-Length: +1\r\n\r\nx"),
    "a length below zero": _after_post(b"Content-Length: -1\r\n\r\nx"),
    "a length in another base": _after_post(b"Content-Length: 0x1\r\n\r\nx"),
    "a length beyond 64 bits": _after_post(b"Content-Length: 18446744073709551617\r\n\r\nx"),
    "an empty length": _after_post(b"Content-Length: \r\n\r\nx"),
    "an unknown encoding": _after_post(b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
    "two encodings": _after_post(b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    "two encodings, chunks first": _after_post(b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n"),
    "two headers of encodings": _after_post(
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n"
    ),
    "an encoding after a vertical tab": _after_post(b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n"),
    "an encoding with a comma": _after_post(b"Transfer-Encoding: chunked,\r\n\r\n0\r\n\r\n"),
    "a space before a colon": _after_post(b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n"),
    "an encoding on the next line": _after_post(b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n"),
    "a folded header": _after_post(b"X: a\r\n b\r\nContent-Length: 1\r\n\r\nx"),
    "chunks in HTTP/1.0": b"POST /predict HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "lines that end in LF": b"POST /predict HTTP/1.1\nHost: localhost\nContent-Length: 1\n\nx",
    "headers that end in LF": _after_post(b"Content-Length: 1\r\n\nx"),
    "a CR in a header": _after_post(b"X: a\rb\r\nContent-Length: 1\r\n\r\nx"),
    "a zero byte in a header": _after_post(b"X: a\0b\r\nContent-Length: 1\r\n\r\nx"),
    "a chunk whose size ends in LF": _after_post(b"Transfer-Encoding: chunked\r\n\r\n1\nx\r\n0\r\n\r\n"),
    "a chunk that ends in LF": _after_post(b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\n0\r\n\r\n"),
    "a chunk that is longer than it says": _after_post(b"Transfer-Encoding: chunked\r\n\r\n1\r\nxx0\r\n\r\n"),
    "a chunk in another base": _after_post(b"Transfer-Encoding: chunked\r\n\r\n0x1\r\nx\r\n0\r\n\r\n"),
    "a chunk beyond 64 bits": _after_post(b"Transfer-Encoding: chunked\r\n\r\n10000000000000001\r\nx\r\n"),
    "an extension that ends in LF": _after_post(b"Transfer-Encoding: chunked\r\n\r\n1;a\nb\r\nx\r\n0\r\n\r\n"),
    "a length behind the chunks": _after_post(b"Transfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 4\r\n\r\n"),
    "no host": b"GET /health HTTP/1.1\r\n\r\n",
    "two hosts": _after_post(b"Host: a\r\nContent-Length: 0\r\n\r\n"),
    "another version": b"GET /health HTTP/2.0\r\nHost: localhost\r\n\r\n",
}


def smuggled(rng: random.Random) -> bytes:
    return rng.choice(list(SMUGGLED.values()))


def in_chunks(rng: random.Random) -> bytes:
    return chunked(b"[" * rng.randrange(50_000), rng.choice([1, 2, 100]), HEAD)


def no_http(rng: random.Random) -> bytes:
    return rng.choice(
        [
            rng.randbytes(rng.randrange(1, 3000)),
            b"\x16\x03\x01" + rng.randbytes(100),
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        ]
    )


def pipelined(rng: random.Random) -> bytes:
    one = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
    return one * rng.randrange(1, 20) + rng.choice([bad_json, other_method, no_http])(rng)


def large(rng: random.Random) -> bytes:
    promised = HEAD + b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % rng.choice(
        [10**8, 10**12, 2**63]
    )
    return rng.choice(
        [promised, form(*[b"x"] * 100), form(bytes(3_000_000)), posted(b" " * 11_000_000, b"application/json")]
    )


ATTACKS = (
    *(bomb, truncated, flipped, polyglot, bad_form, bad_json, bad_base64, wrong_type, other_method, bad_headers),
    *(bad_chunks, no_http, pipelined, large, smuggled, in_chunks),
)


def requests(number: int, seed: int = 0) -> Iterator[tuple[str, bytes]]:
    """The name of an attack and what it sends, the attacks in turn."""
    for index in range(number):
        attack = ATTACKS[index % len(ATTACKS)]
        yield f"{attack.__name__} {index}", attack(random.Random(f"{seed} {index}"))
