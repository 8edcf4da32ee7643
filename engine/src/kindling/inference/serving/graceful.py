"""How a server starts and stops: no client that has connected is left without an answer."""

import asyncio
import errno
import logging
import resource
import signal
import socket
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
