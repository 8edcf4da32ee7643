"""Which names a server is asked by, and pages of which other origins may ask it."""

import ipaddress
from collections.abc import Collection, Iterable
from contextlib import suppress

Header = tuple[bytes, bytes]
# Of a page of another origin, https://fetch.spec.whatwg.org/#http-cors-protocol
MAY_ASK = [
    (b"access-control-allow-methods", b"GET, HEAD, POST"),
    (b"access-control-allow-headers", b"authorization, content-type, x-api-key, x-request-id"),
    (b"access-control-max-age", b"600"),
]


def is_own(name: str) -> bool:
    """Whether only this machine reaches what is at a name or an address."""
    with suppress(ValueError):
        return ipaddress.ip_address(name).is_loopback
    return name == "localhost"


class Hosts:
    """The names in a Host header that are answered: another one is that of a page that was led to this machine.

    Args:
        names: beside those of this machine; None for all there are.
    """

    def __init__(self, names: Collection[str] | None = None):
        self.names = None if names is None else {name.lower() for name in names}

    def answer(self, header: str | None) -> bool:
        """Also a client of HTTP/1.0, which names none."""
        if self.names is None or header is None:
            return True
        name = header.rpartition(":")[0] if header.rpartition(":")[2].isdecimal() else header
        name = name.lower().removeprefix("[").removesuffix("]")
        return name in self.names or is_own(name)


def headers_for(origin: str | None, allowed: Iterable[str]) -> list[Header]:
    """What lets a page of that origin read an answer, if it may."""
    if origin is None or origin not in allowed:
        return []
    exposed = (b"access-control-expose-headers", b"retry-after, x-request-id")
    return [(b"access-control-allow-origin", origin.encode("latin-1")), (b"vary", b"origin"), exposed]
