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
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from bench.own_processors import Masks
from bench_root import PROJECT
from kindling.data.processor import Column, Processor
from kindling.data.rows_processor import RowsProcessor
from kindling.data.text_processor import TextProcessor
from kindling.images.processor import ImageProcessor
from kindling.inference.model_folder import ModelFolder, sha256_of
from kindling.inference.serving.limits import Limits

CLASSES = ["zero", "one", "two"]
SIZE = 4
ABOUT = {"name": "small", "metrics": {"test/loss": 0.5, "test/accuracy": 0.875}}
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


def write_model(folder: Path, seed: int = 0, channels: int = 1, size: int = SIZE) -> Path:
    """An exported folder: a linear model of the mean pixel value of each row, made without torch."""
    rng = np.random.default_rng(seed)
    weights = rng.normal(size=(size * size * channels, len(CLASSES))).astype(np.float32)
    shape = np.array([-1, size * size * channels], dtype=np.int64)
    nodes = [
        helper.make_node("Cast", ["pixels"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["floats", "scale"], ["scaled"]),
        helper.make_node("Reshape", ["scaled", "shape"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    constants = {"scale": np.array(255, dtype=np.float32), "shape": shape, "weights": weights}
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["n", size, size, channels])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", len(CLASSES)])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(model, folder / "model.onnx")
    numbers = [0.5] * channels
    return describe(folder, ImageProcessor(CLASSES, size, channels, numbers, numbers), preprocessing=True)


def describe(folder: Path, processor: Processor, *, preprocessing: bool = False) -> Path:
    checksum = sha256_of(folder / "model.onnx")
    ModelFolder("onnx", processor.as_dict(), preprocessing, checksum, ABOUT | {"path": str(folder)}).write(folder)
    return folder


ROWS = RowsProcessor(
    [
        Column("age", "integer", "years", low=0, high=120),
        Column("bmi", unit="kg / m²"),
        Column("smoker", choices=("no", "yes")),
    ],
    ["progression"],
    mean=[50.0, 20.0, 0.0],
    std=[10.0, 5.0, 1.0],
)
TEXT = TextProcessor("abcd\n", block=6)


def write_masks(folder: Path) -> Path:
    """An exported folder of a processor of the project: images (N, 1, S, S) -> logits of two classes (N, 2, S, S)."""
    nodes = [
        helper.make_node("Neg", ["images"], ["less"]),
        helper.make_node("Concat", ["images", "less"], ["outputs"], axis=1),
    ]
    takes, gives = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", channels, SIZE, SIZE])
        for name, channels in (("images", 1), ("outputs", 2))
    )
    graph = helper.make_graph(nodes, "masks", [takes], [gives])
    folder.mkdir(parents=True, exist_ok=True)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, folder / "model.onnx")
    return describe(folder, Masks(["light", "dark"], SIZE, 1, [0.5], [0.5]))


def write_lookup(folder: Path, processor: Processor, operator: str, weights: np.ndarray) -> Path:
    """An exported folder of one operation: rows times weights, or a row of weights for each id."""
    is_text = processor.kind == "text"
    takes, gives = ("ids", "logits") if is_text else ("rows", "outputs")
    shape = ["n", "t"] if is_text else ["n", weights.shape[0]]
    kind = TensorProto.INT64 if is_text else TensorProto.FLOAT
    named = ["weights", takes] if is_text else [takes, "weights"]
    graph = helper.make_graph(
        [helper.make_node(operator, named, [gives])],
        "small",
        [helper.make_tensor_value_info(takes, kind, shape)],
        [helper.make_tensor_value_info(gives, TensorProto.FLOAT, None)],
        [numpy_helper.from_array(weights, "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(model, folder / "model.onnx")
    return describe(folder, processor)


def write_rows(folder: Path) -> Path:
    """One that gives 1 * age + 10 * bmi + 4 * smoker, each scaled."""
    return write_lookup(folder, ROWS, "MatMul", np.array([[1], [10], [4]], dtype=np.float32))


def write_text(folder: Path) -> Path:
    """One that goes on by the last character alone."""
    rng = np.random.default_rng(0)
    return write_lookup(folder, TEXT, "Gather", rng.normal(size=(5, 5)).astype(np.float32))


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
