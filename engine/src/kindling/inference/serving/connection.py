"""One client's connection: bounded in what it sends for an answer, and slow neither with its headers nor at reading."""

import asyncio
import logging
from collections import deque
from http import HTTPStatus
from typing import Any, NoReturn

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from kindling.inference.serving.gate import Gate, error_body
from kindling.inference.serving.limits import Refused

MOST_CONNECTIONS = 1000
MOST_HEAD_BYTES = 64 * 1024
# Clients send chunks of some KB; each costs a call, however small it is.
MOST_CHUNKS = 4096
# Requests that a client sends before it has read an answer.
MOST_WAITING = 128
# What chunks and headers add to a body.
MORE_BYTES = 2**19
# Seconds for requests that are on their way already, and of a client that has just connected.
STOPS_IN_S, NEW_FOR_S = 0.5, 3.0
# They log each wrong client; the gate logs our own faults.
for each in ("uvicorn", "python_multipart"):
    logging.getLogger(each).setLevel(logging.CRITICAL)


class Connection(HttpToolsProtocol):
    """Uvicorn's, with a limit of bytes and chunks of a request, and of seconds for what nobody reads or ends."""

    timeout_s = 10.0
    most = MOST_CONNECTIONS
    most_bytes = 2**24
    parser: Any
    _deadline: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None
    # Why the rest of what comes is not looked at.
    _refused: Refused | None = None
    _is_refused = False
    # Of the request that is arriving.
    _is_whole = True
    _is_in_head = False
    _num_bytes = _num_chunks = 0

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._unanswered: deque[RequestResponseCycle] = deque()
        self._opened_at = self.loop.time()
        # Writing pauses as soon as the client does not keep up.
        transport.set_write_buffer_limits(high=0)
        if len(self.connections) > self.most:
            self._refuse(Refused(503, "too_many_connections", "given one connection more; ask again in a second"))
            return
        self._watch()

    def data_received(self, data: bytes) -> None:
        if self._is_refused:
            return
        self._num_bytes += len(data)
        super().data_received(data)
        if not self._is_whole and self._num_bytes > (MOST_HEAD_BYTES if self._is_in_head else self.most_bytes):
            self._refuse(_too_long(self._is_in_head))
        self._watch()

    def on_message_begin(self) -> None:
        if len(self._unanswered) >= MOST_WAITING:
            self._stop(Refused(400, "bad_request", f"given more than {MOST_WAITING} requests before the first answer"))
        super().on_message_begin()
        self._is_whole, self._is_in_head = False, True
        self._num_bytes = self._num_chunks = self._num_head_bytes = 0

    def on_url(self, url: bytes) -> None:
        self._count_head(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count_head(len(name) + len(value) + 4)
        # What follows a body is no header that anybody has looked at.
        if self._is_in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._is_in_head = False
        if wrong := self._wrong():
            self._stop(Refused(400, "bad_request", f"given {wrong}"))
        super().on_headers_complete()
        self._unanswered.append(self.cycle)
        if self.parser.should_upgrade():
            # Nothing after it can be read as HTTP.
            self.cycle.keep_alive = False

    def on_chunk_header(self) -> None:
        self._num_chunks += 1
        if self._num_chunks > MOST_CHUNKS:
            allowed = f"allowed: {MOST_CHUNKS}; send larger ones, or a Content-Length"
            self._stop(Refused(413, "too_many_chunks", f"given a body in more chunks; {allowed}"))

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._is_whole = True

    def on_response_complete(self) -> None:
        self._unanswered.popleft()
        super().on_response_complete()
        if self._is_refused:
            self._close_refused()
        self._watch()

    def eof_received(self) -> bool | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Stay open for an answer: a client that has sent all may still listen."""
        if self._unanswered and self._is_whole:
            self._unanswered[-1].keep_alive = False
            return True
        return None

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unread = self.loop.call_later(self.timeout_s, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._unread is not None:
            self._unread.cancel()

    def shutdown(self) -> None:
        """Not at once: closing while a request arrives would reset it."""
        is_new = self.cycle is None
        left = self._opened_at + NEW_FOR_S - self.loop.time() if is_new else 0.0
        self.loop.call_later(max(STOPS_IN_S, left), super().shutdown)

    def connection_lost(self, exc: Exception | None) -> None:
        self._unwatch()
        self.resume_writing()
        for cycle in self._unanswered:
            _end(cycle)
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        self._refuse(self._refused or Refused(400, "bad_request", "given what is no HTTP request"))

    def _watch(self) -> None:
        """Time runs while no request is in work, but for the quiet between two, which uvicorn limits."""
        is_quiet = self.timeout_keep_alive_task is not None and self._is_whole
        if is_quiet or self._unanswered:
            self._unwatch()
        elif self._deadline is None and not self.transport.is_closing():
            self._deadline = self.loop.call_later(self.timeout_s, self.transport.abort)

    def _unwatch(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _count_head(self, num_bytes: int) -> None:
        self._num_head_bytes += num_bytes
        if self._num_head_bytes > MOST_HEAD_BYTES:
            self._stop(_too_long(True))

    def _wrong(self) -> str:
        """What another server on the way might read otherwise: then a request could hide in a request."""
        version, hosts = self.parser.get_http_version(), 0
        for name, value in self.headers:
            hosts += name == b"host"
            if name == b"transfer-encoding" and (value.lower() != b"chunked" or version == "1.0"):
                return "another Transfer-Encoding; allowed: chunked, in HTTP/1.1"
        if version not in ("1.0", "1.1"):
            return "another version of HTTP; allowed: HTTP/1.1"
        return "" if hosts == 1 or (hosts == 0 and version == "1.0") else f"{hosts} Host headers; allowed: one"

    def _stop(self, refused: Refused) -> NoReturn:
        """End the parsing, which then comes to `send_400_response`."""
        self._refused = refused
        raise refused

    def _refuse(self, refused: Refused) -> None:
        """Answer what is no request of the application after those before it, and close."""
        self._refused, self._is_refused = refused, True
        if not (self._is_whole or self._is_in_head) and self.cycle is not None:
            if self.cycle.response_started:
                self._refused = None
            elif self._unanswered and self._unanswered[-1] is self.cycle:
                # Its body turned out to be no HTTP, or too much.
                _end(self._unanswered.pop())
                if self.pipeline and self.pipeline[0][0] is self.cycle:
                    self.pipeline.popleft()
        self._close_refused()

    def _close_refused(self) -> None:
        if self._unanswered:
            return
        if self._refused and not self.transport.is_closing():
            assert isinstance(self.app, Gate)
            request_id = self.app.note_unread(self._refused.status)
            self.transport.write(_answer(self._refused, request_id))
        self.transport.close()


def _too_long(is_head: bool) -> Refused:
    if is_head:
        return Refused(400, "bad_request", f"given longer headers; allowed: {MOST_HEAD_BYTES} bytes")
    return Refused(413, "body_too_large", "given a body of more bytes on the wire than it may have")


def _end(cycle: RequestResponseCycle) -> None:
    """Let its request know that nobody waits for the answer."""
    cycle.disconnected = True
    cycle.message_event.set()


def _answer(refused: Refused, request_id: str) -> bytes:
    content = error_body(refused.code, refused.message, request_id)
    lines = [
        f"HTTP/1.1 {refused.status} {HTTPStatus(refused.status).phrase}",
        "content-type: application/json",
        f"content-length: {len(content)}",
        "connection: close",
        f"x-request-id: {request_id}",
        *(["retry-after: 1"] if refused.status == 503 else []),
    ]
    return "\r\n".join([*lines, "", ""]).encode() + content
