"""One client's connection, which may neither be slow with its headers nor send without end; and how a server stops."""

import asyncio
import logging
import secrets
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import h11
from uvicorn import Config, Server
from uvicorn.protocols.http.h11_impl import H11Protocol

from kindling.serving.gate import error_body
from kindling.signals import leave_terminal, terminal_is_gone

MOST_CONNECTIONS = 1000  # open files of a process are often 1,024
logging.getLogger("uvicorn").setLevel(logging.ERROR)  # it warns of each client that is wrong


class Connection(H11Protocol):
    """Uvicorn's, with a limit of seconds for the headers, and for a body that nobody reads."""

    timeout_s = 10.0
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        if len(self.connections) > MOST_CONNECTIONS:
            self._refuse(503, "too_many_connections", "given one connection more; ask again in a second")
            return
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._unwatch()
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
        if self.cycle is not None and not self.cycle.response_complete:  # its body turned out to be no HTTP
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            content = error_body(code, message, secrets.token_hex(8))
            names = {"content-type": "application/json", "content-length": str(len(content)), "connection": "close"}
            names |= {"retry-after": "1"} if status == 503 else {}
            response = h11.Response(status_code=status, headers=list(names.items()), reason=b"")
            for event in (response, h11.Data(data=content), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()


class GracefulServer(Server):
    """Ends well when a signal asks for it, and looks for a newer model at SIGHUP.

    Args:
        config: uvicorn's.
        reload: what SIGHUP does.
    """

    def __init__(self, config: Config, reload: Callable[[], object]):
        super().__init__(config)
        self.reload = reload

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
