"""Requests per second of serve.py, against an endpoint that computes each request by itself; memory after many.

The load is wrk's (apt-get install wrk): a form with one PNG of 28 x 28 pixels, over connections that stay open.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.measured import PROJECT
from benchmarks.table import Row
from kindling.errors import ConfigError

CLIENTS = (1, 16, 64)
# Seconds under each number of clients.
SECONDS = int(os.environ.get("SERVING_SECONDS", "10"))
# Requests between two looks at the memory.
REQUESTS = int(os.environ.get("SERVING_REQUESTS", "100000"))
# What the documentation of FastAPI leads one to write.
PLAIN = """
import io, sys
import numpy as np, torch, uvicorn
from fastapi import FastAPI, UploadFile
from PIL import Image
import kindling
model = kindling.load(sys.argv[1], device="cpu")
torch.set_num_threads(1)
app = FastAPI()

@app.post("/predict")
def predict(image: UploadFile):
    pixels = np.array(Image.open(io.BytesIO(image.file.read())).convert("L" if model.channels == 1 else "RGB"))
    pixels = pixels.reshape(1, model.image_size, model.image_size, model.channels)
    row = model.probabilities(pixels)[0].tolist()
    return {"class": model.classes[int(np.argmax(row))], "probabilities": dict(zip(model.classes, row))}

uvicorn.run(app, port=int(sys.argv[2]), log_level="warning")
"""
BOUNDARY = "kindlingkindling"
LUA = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "multipart/form-data; boundary={boundary}"
local file = io.open("{file}", "rb")
wrk.body = file:read("*a")
"""


def serving(overrides: list[str]) -> list[Row]:
    """Of a run and, if it is given, an exported model of it: run=<run folder> [model=<exported folder>]"""
    given = dict(each.split("=", 1) for each in overrides)
    if "run" not in given or not shutil.which("wrk"):
        raise ConfigError("serving: takes run=<run folder> [model=<exported folder>], and wrk (apt-get install wrk)")
    run, model = given["run"], given.get("model")
    ours = [f"model={model}" if model else f"run={run}", "port=0"]
    with tempfile.TemporaryDirectory() as folder:
        script = _script(Path(folder), run)
        port = _free_port()
        with _started(["-c", PLAIN, run, str(port)], f"http://127.0.0.1:{port}", "/openapi.json"):
            plain = {n: _load(f"http://127.0.0.1:{port}", script, n) for n in CLIENTS}
        port = _free_port()
        command = [str(PROJECT / "serve.py"), *ours[:1], f"port={port}"]
        with _started(command, f"http://127.0.0.1:{port}", "/health") as pid:
            found = {n: _load(f"http://127.0.0.1:{port}", script, n) for n in CLIENTS}
            rows = [row for n in CLIENTS for row in _rows(n, plain[n], found[n])]
            return rows + _memory(pid, f"http://127.0.0.1:{port}", script, found[16][0])


def _rows(clients: int, plain: tuple[float, ...], ours: tuple[float, ...]) -> list[Row]:
    return [
        Row(f"plain endpoint, {clients} clients", plain[0], "requests/s"),
        Row(f"  p50 {plain[1]:.1f} ms; p99", plain[2], "ms"),
        Row(f"serve.py, {clients} clients", ours[0], "requests/s"),
        Row(f"  p50 {ours[1]:.1f} ms; p99", ours[2], "ms"),
        Row("  times the plain endpoint", ours[0] / plain[0], "", ">= 2.5" if clients == 16 else ""),
    ]


def _memory(pid: int, address: str, script: Path, rate: float) -> list[Row]:
    before, asked = _megabytes(pid), 0.0
    while asked < REQUESTS:
        seconds = min(60, max(1, round((REQUESTS - asked) / rate)))
        asked += _load(address, script, 16, seconds)[0] * seconds
    grown = _megabytes(pid) - before
    return [Row("memory", before, "MB"), Row(f"growth after {asked:,.0f} more requests", grown, "MB", "<= 50")]


def _megabytes(pid: int) -> float:
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) / 1024


def _script(folder: Path, run: str) -> Path:
    """What wrk sends: an image of the run's own size."""
    import kindling

    model = kindling.load(run, device="cpu")
    shape = (model.image_size, model.image_size, model.channels)
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    png = BytesIO()
    Image.fromarray(pixels.squeeze()).save(png, "PNG")
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="image"; filename="image.png"\r\n\r\n'
    (folder / "body").write_bytes(head.encode() + png.getvalue() + f"\r\n--{BOUNDARY}--\r\n".encode())
    script = folder / "load.lua"
    script.write_text(LUA.format(boundary=BOUNDARY, file=folder / "body"))
    return script


def _load(address: str, script: Path, clients: int, seconds: int = SECONDS) -> tuple[float, float, float]:
    """Requests per second, p50 and p99 in milliseconds."""
    command = ["wrk", "-t1", f"-c{clients}", f"-d{seconds}s", "--latency", "-s", str(script), f"{address}/predict"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "Non-2xx" not in text, text
    rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
    shares = [re.search(rf"{share}%\s+([\d.]+)(us|ms|s)", text) for share in (50, 99)]
    assert rate, text
    scale = {"us": 0.001, "ms": 1.0, "s": 1000.0}
    p50, p99 = (float(each[1]) * scale[each[2]] for each in shares if each)
    return float(rate[1]), p50, p99


def _free_port() -> int:
    import socket

    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@contextmanager
def _started(command: list[str], address: str, path: str) -> Iterator[int]:
    """The pid of a server that answers."""
    import httpx

    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen([sys.executable, *command], stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + 120
            while True:
                try:
                    if httpx.get(address + path, trust_env=False).status_code == 200:
                        break
                except httpx.HTTPError:
                    pass
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.1)
            yield process.pid
        finally:
            process.terminate()
            process.wait()
