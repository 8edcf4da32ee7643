"""One client's connection, which may be slow neither with its headers nor at reading; and how a server stops."""

import asyncio
import errno
import logging
import resource
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import h11
from uvicorn import Config, Server
from uvicorn.protocols.http.h11_impl import H11Protocol

from kindling.inference.serving.gate import Gate, error_body
from kindling.process.signals import leave_terminal, terminal_is_gone

MOST_CONNECTIONS = 1000
# Connections that the system holds until they are accepted.
BACKLOG = 2048
# Connections accepted before those that are too many are refused.
ACCEPTED_AT_ONCE = 8
# Seconds for requests that are on their way already.
STOPS_IN_S = 0.5
log = logging.getLogger(__name__)
# They log each wrong client; the gate logs our own faults.
for each in ("uvicorn", "python_multipart"):
    logging.getLogger(each).setLevel(logging.CRITICAL)


class Connection(H11Protocol):
    """Uvicorn's, with a limit of seconds for the headers, for a body that nobody reads, and for who reads no answer."""

    timeout_s = 10.0
    most = MOST_CONNECTIONS
    _deadline: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        # Writing pauses as soon as the client does not keep up.
        transport.set_write_buffer_limits(high=0)
        if len(self.connections) > self.most:
            self._refuse(503, "too_many_connections", "given one connection more; ask again in a second")
            return
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unread = self.loop.call_later(self.timeout_s, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._unread is not None:
            self._unread.cancel()

    def shutdown(self) -> None:
        """Not at once: closing while a request arrives would reset it."""
        self.loop.call_later(STOPS_IN_S, super().shutdown)

    def connection_lost(self, exc: Exception | None) -> None:
        self._unwatch()
        self.resume_writing()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch()

    def _watch(self) -> None:
        """Time runs while no request is in work, but for the quiet between two, which uvicorn limits."""
        is_quiet = self.timeout_keep_alive_task is not None and self.conn.their_state is not h11.SEND_BODY
        if is_quiet or not (self.cycle is None or self.cycle.response_complete):
            self._unwatch()
        elif self._deadline is None and not self.transport.is_closing():
            self._deadline = self.loop.call_later(self.timeout_s, self.transport.abort)

    def _unwatch(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def send_400_response(self, msg: str) -> None:
        self._refuse(400, "bad_request", "given what is no HTTP request")

    def _refuse(self, status: int, code: str, message: str) -> None:
        """Answer what is no request of the application, and close."""
        # Its body turned out to be no HTTP.
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            assert isinstance(self.app, Gate)
            request_id = self.app.note_unread(status)
            content = error_body(code, message, request_id)
            names = {"content-type": "application/json", "content-length": str(len(content)), "connection": "close"}
            names["x-request-id"] = request_id
            names |= {"retry-after": "1"} if status == 503 else {}
            response = h11.Response(status_code=status, headers=list(names.items()), reason=b"")
            for event in (response, h11.Data(data=content), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()


class GracefulServer(Server):
    """Ends well when a signal asks for it, and looks for a newer model at SIGHUP.

    Args:
        config: uvicorn's.
        ready: is called once signals are heeded and clients accepted.
        reload: what SIGHUP does.
    """

    def __init__(self, config: Config, ready: Callable[[], object], reload: Callable[[], object]):
        super().__init__(config)
        self.ready = ready
        self.reload = reload

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(_log_exception)
        await super().startup(sockets)
        for each in sockets or []:
            # Asyncio's backlog is also how many it accepts at once.
            each.listen(BACKLOG)
        self.ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close the listening sockets, whose waiting connections the system would reset: they are accepted before."""
        assert isinstance(self.config.loaded_app, Gate)
        self.config.loaded_app.is_closing = True
        loop = asyncio.get_running_loop()
        for each in sockets or []:
            loop.remove_reader(each)
        late = [connection for each in sockets or [] for connection in _waiting_at(each)]
        for server in self.servers:
            server.close()
        for connection in late:
            # The client may have left.
            with suppress(OSError):
                await loop.connect_accepted_socket(self._protocol, connection)
        await super().shutdown(sockets)

    def _protocol(self) -> asyncio.Protocol:
        kind: Any = self.config.http_protocol_class
        return kind(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        handlers = {signal.SIGTERM: self._stop, signal.SIGINT: self._stop, signal.SIGHUP: self._hang_up}
        before = {signum: signal.getsignal(signum) for signum in handlers}
        for signum, handler in handlers.items():
            loop.add_signal_handler(signum, handler)
        try:
            yield
        finally:
            for signum, handler in before.items():
                loop.remove_signal_handler(signum)
                signal.signal(signum, handler)

    def _stop(self) -> None:
        """Finish what there is; asked again, drop it."""
        self.force_exit = self.should_exit
        self.should_exit = True

    def _hang_up(self) -> None:
        if terminal_is_gone():
            leave_terminal()
            self._stop()
        else:
            self.reload()


def most_connections() -> int:
    """That this process has open files for, as many of which as it may have it lets itself have."""
    wanted, unlimited = 2 * MOST_CONNECTIONS, resource.RLIM_INFINITY
    soft, hard = (
        wanted if each == unlimited else min(each, wanted) for each in resource.getrlimit(resource.RLIMIT_NOFILE)
    )
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    return hard // 2


def _log_exception(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log as asyncio does, without its many traces of a connection that finds no open file."""
    if getattr(context.get("exception"), "errno", None) in (errno.EMFILE, errno.ENFILE):
        log.debug("a connection waits for an open file")
    else:
        loop.default_exception_handler(context)


def _waiting_at(listening: socket.socket) -> Iterator[socket.socket]:
    # It may be gone already.
    with suppress(OSError):
        while True:
            connection, _ = listening.accept()
            connection.setblocking(False)
            yield connection
