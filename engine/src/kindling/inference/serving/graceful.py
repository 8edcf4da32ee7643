"""How a server starts and stops: no client that has connected is left without an answer."""

import asyncio
import ctypes
import errno
import logging
import resource
import signal
import socket
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from uvicorn import Config, Server

from kindling.inference.serving.connection import MOST_CONNECTIONS
from kindling.inference.serving.gate import Gate
from kindling.process.signals import leave_terminal, terminal_is_gone

# Connections that the system holds until they are accepted.
BACKLOG = 2048
# Connections accepted before those that are too many are refused.
ACCEPTED_AT_ONCE = 8
# Linux's filter of packets: byte 13 of a TCP header, of which bit 2 (SYN) is set, drop it; else keep all of it.
SO_ATTACH_FILTER = 26
NO_NEW = ((0x30, 0, 0, 13), (0x45, 0, 1, 2), (0x06, 0, 0, 0), (0x06, 0, 0, 2**32 - 1))
SHAKES_HANDS_S = 0.1
log = logging.getLogger(__name__)


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
            _take_no_more(each)
        # Those who were let in before may have said so just now.
        await asyncio.sleep(SHAKES_HANDS_S)
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


def _take_no_more(listening: socket.socket) -> None:
    """Let the system drop what would open a connection: nobody can then come after the last look at those that wait."""
    if sys.platform != "linux":
        return
    with suppress(OSError):
        program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in NO_NEW))
        given = struct.pack("HP", len(NO_NEW), ctypes.addressof(program))
        listening.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, given)


def _waiting_at(listening: socket.socket) -> Iterator[socket.socket]:
    # It may be gone already.
    with suppress(OSError):
        while True:
            connection, _ = listening.accept()
            connection.setblocking(False)
            yield connection
