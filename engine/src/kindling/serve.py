"""Answer requests over HTTP with a trained model: a queue, one thread that computes, limits on all that comes in."""

import asyncio
import logging
import os
import socket
import warnings
from pathlib import Path

import uvicorn
from omegaconf import DictConfig
from PIL import Image

from kindling.config.check.command_line import refuse
from kindling.config.composition import in_sweep, to_plain
from kindling.config.rules.run_rules import one_model_is_named
from kindling.errors import ConfigError
from kindling.inference.serving.app import make_app
from kindling.inference.serving.batching import Batcher
from kindling.inference.serving.connection import MORE_BYTES, Connection
from kindling.inference.serving.gate import Gate
from kindling.inference.serving.graceful import ACCEPTED_AT_ONCE, BACKLOG, GracefulServer, most_connections
from kindling.inference.serving.limits import Limits
from kindling.inference.serving.logs import RequestLog
from kindling.inference.serving.metrics import Metrics
from kindling.inference.serving.served import Models
from kindling.inference.serving.source import Source
from kindling.inference.serving.texts import Writer
from kindling.inference.serving.visitors import Hosts, is_own

log = logging.getLogger(__name__)
KEY = "KINDLING_API_KEY"
LIMITS = (
    *("max_batch", "max_queue", "max_body_bytes", "timeout_s"),
    *("max_images", "max_pixels", "max_rows", "max_length", "max_text_s"),
)


def serve(cfg: DictConfig) -> None:
    """Serve until a signal asks for the end, then finish what there is.

    Raises:
        KindlingError: there is no model, or no such address.
    """
    refuse([*one_model_is_named(to_plain(cfg))])
    if in_sweep():
        raise ConfigError("--multirun: given to a server, which does not end; allowed: one server a command")
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    _quiet_decoders()
    key = _key(cfg.host)
    limits = Limits(**{name: cfg[name] for name in LIMITS})
    metrics = Metrics(waiting=lambda: batcher.waiting + writer.waiting)
    batcher, writer = Batcher(limits, metrics.batch), Writer(limits, metrics.text_pieces)
    source = _source(cfg)
    source.refuse_missing()
    models = Models(source, cfg.threads, cfg.max_batch, cfg.timeout_s, watches=cfg.reload, report=metrics.model)
    requests = RequestLog()
    hosts = Hosts(cfg.hosts if cfg.hosts or is_own(cfg.host) else None)
    routes = make_app(models, batcher, writer, metrics, limits, cfg.top_k)
    app = Gate(routes, key, metrics, requests, hosts, cfg.origins)
    listening = _listen(cfg.host, cfg.port)
    server = make_server(app, models, limits, _address(listening), cfg.keep_alive_s)
    try:
        requests.start()
        models.start(failed=lambda: setattr(server, "should_exit", True))
        run(server, (batcher, writer), listening)
    finally:
        requests.stop()
    if models.failure:
        raise models.failure


def make_server(app: Gate, models: Models, limits: Limits, address: str, keep_alive_s: float) -> GracefulServer:
    most_bytes = limits.max_body_bytes + MORE_BYTES
    bounds = {"timeout_s": limits.timeout_s, "most": most_connections(), "most_bytes": most_bytes}
    connection = type("LimitedConnection", (Connection,), bounds)
    config = uvicorn.Config(
        app,
        http=connection,
        loop="asyncio",
        ws="none",
        lifespan="off",
        backlog=ACCEPTED_AT_ONCE,
        log_config=None,
        # Our own says more.
        access_log=False,
        server_header=False,
        proxy_headers=False,
        # Seconds, as whole ones or not.
        timeout_keep_alive=keep_alive_s,  # pyright: ignore[reportArgumentType]
        timeout_graceful_shutdown=int(limits.timeout_s + max(limits.timeout_s, limits.max_text_s)) + 1,
    )
    return GracefulServer(
        config, lambda: print(f"serving at http://{address} (Ctrl-C ends it)", flush=True), models.reload
    )


def run(server: GracefulServer, workers: tuple[Batcher | Writer, ...], listening: socket.socket) -> None:
    async def whole() -> None:
        for worker in workers:
            worker.start()
        try:
            await server.serve(sockets=[listening])
        finally:
            for worker in workers:
                worker.stop()

    asyncio.run(whole())


def _quiet_decoders() -> None:
    """Pillow warns of each strange file; a bomb is an error, that of a client."""
    warnings.filterwarnings("ignore", module="PIL")
    warnings.filterwarnings("error", category=Image.DecompressionBombWarning)


def _key(host: str) -> str | None:
    """The API key, if there is one.

    Raises:
        ConfigError: it is one that no client could send.
    """
    key = os.environ.get(KEY)
    if key is not None and not (key.isascii() and key.isprintable() and key.strip() == key and key):
        raise ConfigError(
            f"{KEY} was given as a text that no header can hold; allowed: letters, digits, signs, or unset"
        )
    if key is None and not is_own(host):
        log.warning("warning: host=%s lets anybody ask who can reach it; set %s", host, KEY)
    return key


def _source(cfg: DictConfig) -> Source:
    run, ckpt, folder = (Path(each).expanduser() if each else None for each in (cfg.run, cfg.ckpt, cfg.model.folder))
    return Source(run, ckpt, folder, cfg.trust)


def _listen(host: str, port: int) -> socket.socket:
    """
    Raises:
        ConfigError: nothing can be listened to there.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.create_server(address[:2], family=family, backlog=BACKLOG)
        # Headers and body are two writes: the second would wait 40 ms for a receipt of the first.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listening
    except (socket.gaierror, UnicodeError) as error:
        allowed = "a name or an address of this machine, such as 127.0.0.1, or 0.0.0.0 for all of them"
        raise ConfigError(f"host: given {host!r}, which is none; allowed: {allowed}") from error
    except OSError as error:
        reason = error.strerror or str(error)
        allowed = "an address of this machine and a port that is free, or port=0"
        raise ConfigError(f"port: given {host}:{port}, which cannot be used ({reason}); allowed: {allowed}") from error


def _address(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
