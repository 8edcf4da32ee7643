"""A server in a process of its own, a small model for it, and what is sent to it."""

import base64
import io
import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image

from bench_root import PROJECT
from kindling.inference.serving.limits import Limits
from model_folders import SIZE

# Small ones, which a test reaches.
LIMITS = Limits(
    max_batch=4,
    max_queue=3,
    max_images=2,
    max_body_bytes=10_000,
    max_pixels=1000,
    timeout_s=5.0,
    max_rows=3,
    max_length=20,
    max_text_s=5.0,
)


def png(value: int = 128, size: int = SIZE, mode: str = "L") -> bytes:
    """A picture with a gradient, so that no two values give the same answer."""
    pixels = (np.arange(size * size).reshape(size, size) * 7 + value) % 256
    stream = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).convert(mode).save(stream, "PNG")
    return stream.getvalue()


def files(*images: bytes) -> list[tuple[str, tuple[str, bytes]]]:
    return [("image", ("image.png", each)) for each in images]


def base64_of(image: bytes) -> str:
    return base64.b64encode(image).decode()


class Server:
    """A running one."""

    def __init__(self, process: subprocess.Popen[str], log: Path):
        self.process = process
        self.log = log
        self.address = self._address()
        self.client = httpx.Client(base_url=self.address, timeout=30, trust_env=False)

    def _address(self) -> str:
        assert self.process.stdout
        line = self.process.stdout.readline()
        found = re.search(r"http://\S+", line)
        assert found, f"{line}{self.log.read_text()}"
        return found[0]

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])

    def get(self, path: str, **settings: Any) -> httpx.Response:
        return self.client.get(path, **settings)

    def predict(self, *images: bytes, **settings: Any) -> httpx.Response:
        return self.client.post("/predict", files=files(*images), **settings)

    def probabilities(self, *images: bytes) -> list[dict[str, float]]:
        return [each["probabilities"] for each in self.predict(*images).json()["predictions"]]

    def raw(self, data: bytes, timeout_s: float = 5, *, wait: bool = True) -> bytes:
        """What comes back over a connection of its own until it is closed."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=timeout_s) as connection:
            found = b""
            try:
                connection.sendall(data)
                while wait and (part := connection.recv(65536)):
                    found += part
            except OSError:
                pass
            return found

    def metric(self, name: str) -> float:
        found = re.search(rf"^{re.escape(name)} (\S+)$", self.get("/metrics").text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    def lines(self) -> list[dict[str, Any]]:
        """The log's lines of requests."""
        time.sleep(0.2)  # they are written together
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + 60
        while self.get("/health").status_code != 200:
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def wait_for_log(self, text: str) -> None:
        deadline = time.monotonic() + 20
        while text not in self.log.read_text():
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.02)

    def stop(self, signum: int = signal.SIGTERM) -> int:
        self.client.close()
        self.process.send_signal(signum)
        return self.process.wait(timeout=30)


@contextmanager
def serving(
    log: Path, *overrides: str, ready: bool = True, open_files: int | None = None, **environment: str
) -> Iterator[Server]:
    """A server that runs as long as the context, with so many open files at most."""
    command = [sys.executable, str(PROJECT / "serve.py"), "port=0", *overrides]
    with log.open("w") as stderr:
        environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", **environment}
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=stderr, env=environment, cwd=log.parent, text=True
        )
    if open_files:
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (open_files, open_files))
    try:
        server = Server(process, log)
        if ready:
            server.wait_until_ready()
        yield server
        server.client.close()
    finally:
        process.kill()
        process.wait()
        assert process.stdout
        process.stdout.close()
