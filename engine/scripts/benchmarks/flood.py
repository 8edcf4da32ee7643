"""How long good clients wait for serve.py while hostile ones send bodies in chunks of one byte, as fast as they can."""

import json
import multiprocessing
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from statistics import quantiles

import numpy as np

from benchmarks.measured import PROJECT
from benchmarks.serving import _free_port, _started
from benchmarks.table import Row
from kindling.errors import ConfigError

HOSTILE, GOOD = 20, 4
SECONDS = float(os.environ.get("FLOOD_SECONDS", "10"))
HEAD = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 200_000


def flood(overrides: list[str]) -> list[Row]:
    """Of an exported model: model=<exported folder>"""
    given = dict(each.split("=", 1) for each in overrides)
    if "model" not in given:
        raise ConfigError("flood: takes model=<exported folder>")
    body = _body(Path(given["model"]))
    port = _free_port()
    command = [str(PROJECT / "serve.py"), f"model={given['model']}", f"port={port}"]
    with _started(command, f"http://127.0.0.1:{port}", "/health"):
        quiet = _seconds(port, body)
        with _flooded(port):
            hostile = _seconds(port, body)
    return [*_rows("alone", quiet, ""), *_rows(f"beside {HOSTILE} hostile ones", hostile, "<= 1000")]


def _rows(name: str, seconds: list[float], aim: str) -> list[Row]:
    shares = quantiles(seconds, n=100)
    return [
        Row(f"{GOOD} good clients {name}", len(seconds) / SECONDS, "requests/s"),
        Row("  p50", shares[49] * 1000, "ms"),
        Row("  p99", shares[98] * 1000, "ms", aim),
    ]


def _body(folder: Path) -> bytes:
    """What the model takes: an image, a row or a prompt."""
    from kindling.inference.model_folder import read
    from kindling.inference.serving.model import _example

    processor = read(folder).make_processor()
    if processor.kind != "image":
        raise ConfigError("flood: given a model of another kind; allowed: one of images")
    from base64 import b64encode
    from io import BytesIO

    from PIL import Image

    example, png = _example(processor, 1), BytesIO()
    assert example is not None
    Image.fromarray(np.asarray(example)[0].squeeze()).save(png, "PNG")
    return json.dumps({"images": [b64encode(png.getvalue()).decode()]}).encode()


def _seconds(port: int, body: bytes) -> list[float]:
    """That each request of the good clients took, which ask one after the other over connections that stay open."""
    with multiprocessing.get_context("fork").Pool(GOOD) as pool:
        found = pool.starmap(_ask, [(port, body)] * GOOD)
    return [each for seconds in found for each in seconds]


def _ask(port: int, body: bytes) -> list[float]:
    found, ends = [], time.monotonic() + SECONDS
    connection = HTTPConnection("127.0.0.1", port, timeout=120)
    while time.monotonic() < ends:
        started = time.perf_counter()
        connection.request("POST", "/predict", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 200
        found.append(time.perf_counter() - started)
        time.sleep(0.02)
    return found


@contextmanager
def _flooded(port: int) -> Iterator[None]:
    processes = [multiprocessing.get_context("fork").Process(target=_send, args=(port,)) for _ in range(HOSTILE)]
    for each in processes:
        each.start()
    try:
        yield
    finally:
        for each in processes:
            each.terminate()
            each.join()


def _send(port: int) -> None:
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=120) as connection:
                connection.sendall(CHUNKED)
                connection.recv(65536)
        except OSError:
            continue
