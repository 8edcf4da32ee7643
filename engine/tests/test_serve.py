"""serve.py: what it answers, what it refuses, how it shares batches, takes over a newer model, and ends."""

import asyncio
import base64
import io
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx
import numpy as np
import pytest
import torch
from PIL import Image

import kindling
from kindling.cli.arguments import check_command_line
from kindling.cli.entry import compose
from kindling.errors import CheckpointError, ConfigError
from kindling.files.redaction import redact_text
from kindling.images.decoding import Decoding
from kindling.images.processor import ImageProcessor
from kindling.inference.model_folder import sha256_of
from kindling.inference.runtimes import open_model
from kindling.inference.serving.batching import Batcher
from kindling.inference.serving.limits import Refused
from kindling.inference.serving.model import Served, warm
from kindling.inference.serving.pixels import pixels_of
from kindling.inference.serving.served import Models
from kindling.inference.serving.source import Source
from kindling.serve import _key, _listen
from model_folders import ABOUT, CLASSES, SIZE, write_model
from serving import LIMITS, PROJECT, base64_of, files, png, serving

KEY = "a key of this test alone"


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("serve")


@pytest.fixture(scope="module")
def folder(home):
    return write_model(home / "model")


@pytest.fixture(scope="module")
def server(home, folder):
    with serving(home / "log", f"model={folder}", "host=127.0.0.1", KINDLING_MARK="1") as found:
        yield found


@pytest.fixture(scope="module")
def strict(home):
    """A server with a key and with little patience, which takes over newer models."""
    own = write_model(home / "watched")
    given = ["reload=true", "timeout_s=1", "top_k=2", "max_body_bytes=20000", "max_pixels=1000", "max_images=3"]
    with serving(home / "strict.log", f"model={own}", *given, KINDLING_API_KEY=KEY) as found:
        found.client.headers["x-api-key"] = KEY
        yield found


def images_of(classes: list[str]) -> ImageProcessor:
    return ImageProcessor(classes, SIZE, 1, [0.5], [0.5])


def told(answer) -> tuple[int, str]:
    """The status and code of an error, which has an id and a message."""
    body = answer.json()
    assert body["request_id"] == answer.headers["x-request-id"]
    assert body["error"]["message"]
    return answer.status_code, body["error"]["code"]


def encoded(image: Image.Image, kind: str, **settings) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **settings)
    return stream.getvalue()


def png_of_size(width: int, height: int) -> bytes:
    """A file that promises many pixels in few bytes."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    data = zlib.compress(bytes(10_000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def test_a_prediction_is_that_of_the_model_to_the_bit(server, folder):
    _, run = open_model(folder)
    pixels = np.array(Image.open(io.BytesIO(png(3)))).reshape(1, SIZE, SIZE, 1)
    expected = dict(zip(CLASSES, run(pixels)[0].tolist(), strict=True))
    answer = server.predict(png(3)).json()
    (prediction,) = answer["predictions"]
    assert prediction["probabilities"] == expected
    assert prediction["probability"] == max(expected.values()) == expected[prediction["class"]]
    assert list(prediction["probabilities"].values()) == sorted(expected.values(), reverse=True)
    assert answer["version"] == 1
    assert answer["model"] == server.get("/model").json()["model"]
    assert answer["latency_ms"] > 0


def test_an_image_is_given_back_as_the_net_sees_it_if_that_is_asked_for(server):
    coloured = np.arange(16, dtype=np.uint8).reshape(4, 4, 1).repeat(3, 2)
    Image.fromarray(coloured).save(file := io.BytesIO(), "png")
    answer = server.client.post("/predict?seen=true", files=files(file.getvalue())).json()
    seen = Image.open(io.BytesIO(base64.b64decode(answer["predictions"][0]["seen"])))
    assert np.array_equal(np.array(seen), coloured[..., 0]), "in the one channel that it takes"
    assert "seen" not in server.predict(png(3)).json()["predictions"][0]


def test_examples_are_images_of_the_evaluation_of_the_run_and_nothing_else(tmp_path, server):
    folder = tmp_path / "run" / "evaluation" / "test"
    folder.mkdir(parents=True)
    (folder / "example_01.png").write_bytes(png(1))
    (folder / "example_00.png").write_bytes(png(0))
    (folder / "example_02.png").write_bytes(b"no picture")
    (tmp_path / "secret").write_bytes(png(2))
    (folder / "example_03.png").symlink_to(tmp_path / "secret")
    assert Source(tmp_path / "run", None, None).examples() == [png(0), png(1)]
    assert server.get("/examples").json() == {"images": []}, "an exported model alone has none"


def test_the_model_says_its_name_and_what_it_is_worth(server):
    assert {key: server.get("/model").json()[key] for key in ABOUT} == ABOUT


def test_a_form_and_json_give_the_same_answers_in_the_order_of_the_images(server):
    images = [png(value) for value in (0, 60, 120)]
    alone = [server.probabilities(image)[0] for image in images]
    assert [pytest.approx(each) for each in server.probabilities(*images)] == alone
    answer = server.client.post("/predict", json={"images": [base64_of(image) for image in images]})
    assert [pytest.approx(each["probabilities"]) for each in answer.json()["predictions"]] == alone
    assert alone[0] != alone[1] != alone[2]


def test_a_form_may_hold_other_fields_and_quoted_boundaries(server):
    expected = server.probabilities(png())
    answer = server.client.post("/predict", data={"note": "a digit"}, files=files(png()))
    assert answer.json()["predictions"][0]["probabilities"] == expected[0]
    body = b'--a b\r\nContent-Disposition: form-data; name="x"; filename="y"\r\n\r\n' + png() + b"\r\n--a b--\r\n"
    answer = server.client.post(
        "/predict", content=body, headers={"content-type": 'multipart/form-data; boundary="a b"'}
    )
    assert answer.json()["predictions"][0]["probabilities"] == expected[0]


def test_a_lone_client_waits_for_no_receipt_and_no_other_client(server):
    def seconds() -> float:
        started = time.perf_counter()
        server.predict(png())
        return time.perf_counter() - started

    assert min(seconds() for _ in range(20)) < 0.035  # 40 ms with Nagle's algorithm


def test_no_torch_is_imported_for_an_exported_model(server):
    maps = Path(f"/proc/{server.process.pid}/maps").read_text()
    assert "onnxruntime" in maps
    assert "libtorch" not in maps


def test_a_request_id_is_kept_if_it_is_one_and_made_otherwise(server):
    assert server.get("/health", headers={"x-request-id": "mine-1.2"}).headers["x-request-id"] == "mine-1.2"
    for bad in ("a" * 65, "a b", '"', "\u00e9".encode()):
        made = server.get("/health", headers={"x-request-id": bad}).headers["x-request-id"]
        assert re.fullmatch(r"[0-9a-f]{16}", made)


def test_each_request_is_a_json_line_in_the_log(server):
    server.predict(png(), png(), headers={"x-request-id": "line"})
    server.get("/%0Aforged\u2028" + "x" * 1000, headers={"x-request-id": "long"})
    lines = {line["request_id"]: line for line in server.lines()}
    assert lines["line"].items() >= {"method": "POST", "path": "/predict", "status": 200, "images": 2}.items()
    assert lines["line"]["ms"] > 0
    assert lines["long"]["path"].startswith("/\nforged")
    assert len(lines["long"]["path"]) == 200


def test_metrics_count_requests_batches_and_the_queue(server):
    before = server.metric('kindling_requests_total{path="/predict",status="200"}')
    images = server.metric("kindling_batch_images_sum")
    server.predict(png(), png())
    server.get("/some/path")
    assert server.metric('kindling_requests_total{path="/predict",status="200"}') == before + 1
    assert server.metric("kindling_batch_images_sum") == images + 2
    assert server.metric("kindling_queue_requests") == 0
    assert server.metric('kindling_request_seconds_count{path="/predict"}') >= before + 1
    text = server.get("/metrics").text
    assert "/some/path" not in text
    assert 'path="other",status="404"' in text
    assert "python" not in text


def test_nothing_tells_versions_paths_or_traces(server, home):
    for path in ("/", "/docs", "/openapi.json", "/health", "/model", "/metrics", "/nothing", "/predict"):
        answer = server.get(path)
        text = f"{dict(answer.headers)} {answer.text}".lower()
        for secret in ("uvicorn", "fastapi 0", "traceback", str(home), str(PROJECT), "starlette", "site-packages"):
            assert secret not in text, path
        assert "server" not in answer.headers


def test_pages_load_nothing_from_elsewhere(server):
    for path in ("/", "/docs"):
        answer = server.get(path)
        assert answer.status_code == 200
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert not re.findall(r"""(?:src|href)=["']?(?:https?:|//)""", answer.text)
    for path in server.get("/openapi.json").json()["paths"]:
        assert f" {path}</code>" in server.get("/docs").text
    assert f"curl -F image=@digit.png {server.address}/predict" in server.get("/docs").text, "to be copied"
    assert "&quot;class&quot;: &quot;zero&quot;" in server.get("/docs").text


@pytest.mark.parametrize(
    ("content", "kind", "error"),
    [
        (b"", "", (415, "unsupported_media_type")),
        (b"x", "text/plain", (415, "unsupported_media_type")),
        (b"", "application/json", (400, "bad_json")),
        (b"[" * 9000, "application/json", (400, "bad_json")),
        (b'{"images": ["aaaa"], "x": [' + b"[]," * 10_000 + b"[]]}", "application/json", (422, "bad_images")),
        (b'{"images": 1' + b"0" * 5000 + b"}", "application/json", (400, "bad_json")),
        (b"\xff\xfe{", "application/json", (400, "bad_json")),
        (b"[]", "application/json", (422, "bad_images")),
        (b'{"images": "aaaa"}', "application/json", (422, "bad_images")),
        (b'{"images": [1]}', "application/json", (422, "bad_images")),
        (b'{"images": []}', "application/json", (422, "no_image")),
        (b'{"images": ["\\ud800"]}', "application/json", (422, "bad_base64")),
        (b'{"images": ["aaa"]}', "application/json", (422, "bad_base64")),
        (b'{"images": ["aaaa"]}', "application/json", (422, "bad_image")),
        (b'{"images": [""]}', "application/json", (422, "bad_image")),
        (b'{"images": [' + b'"",' * 16 + b'""]}', "application/json", (413, "too_many_images")),
        (b"", "multipart/form-data", (400, "bad_form")),
        (b"", "multipart/form-data; boundary=a", (400, "bad_form")),
        (b"--a\r\n", "multipart/form-data; boundary=" + "a" * 300, (400, "bad_form")),
        (
            b"--a\r\nContent-Disposition: form-data; filename=x\r\n\r\nxyz",
            "multipart/form-data; boundary=a",
            (400, "bad_form"),
        ),
        (
            b"--a\r\nContent-Disposition: form-data; filename=" + b"x" * 4096 + b"\r\n\r\nx\r\n--a--\r\n",
            "multipart/form-data; boundary=a",
            (400, "bad_form"),
        ),
        (b"--a--\r\n", "multipart/form-data; boundary=a", (422, "no_image")),
        (b"--a--\r\n", "multipart/form-data; x=" + ";" * 60_000 + "; boundary=a", (415, "unsupported_media_type")),
    ],
)
def test_what_is_no_request_for_a_prediction_is_told_why(server, content, kind, error):
    headers = {"content-type": kind} if kind else {}
    assert told(server.client.post("/predict", content=content, headers=headers)) == error


def test_other_paths_and_methods_are_told_in_the_same_form(server):
    assert told(server.get("/nothing")) == (404, "not_found")
    assert told(server.get("/predict/")) == (404, "not_found")
    answer = server.client.delete("/predict")
    assert told(answer) == (405, "method_not_allowed")
    assert answer.headers["allow"] == "OPTIONS, POST"


def test_an_image_of_many_pixels_is_refused_before_it_is_decoded(server):
    large = Image.new("1", (6000, 5000))
    bombs = [png_of_size(60_000, 60_000), png_of_size(9500, 9500), png_of_size(2**31 - 1, 1)]
    bombs += [encoded(large, "GIF"), encoded(large, "TIFF", compression="group4"), encoded(large, "WEBP")]
    for bomb in bombs:
        assert told(server.predict(bomb)) == (413, "image_too_large")


def test_a_tile_of_many_pixels_is_refused_in_a_small_tiff(server):
    side = 65536
    tags = {256: 4, 257: 4, 258: 8, 259: 8, 262: 1, 277: 1, 322: side, 323: side, 324: 8, 325: 40}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    data = zlib.compress(bytes(10_000))[:40]
    file = b"II*\0" + struct.pack("<I", 48) + data.ljust(40) + struct.pack("<H", len(tags)) + entries + bytes(4)
    assert Image.open(io.BytesIO(file)).size == (4, 4)
    assert told(server.predict(file)) == (413, "image_too_large")


def many_scans(number: int) -> bytes:
    """A progressive JPEG whose last pass over the image comes again and again."""
    whole = encoded(Image.new("L", (64, 64)), "JPEG", progressive=True)
    last = whole.rindex(b"\xff\xda")
    return whole[:last] + whole[last:-2] * number + whole[-2:]


def jpeg_in_tiff(more: bytes = b"", height: int = 64) -> bytes:
    """With a strip for each eight rows."""
    return encoded(Image.new("L", (64, height)), "TIFF", compression="jpeg", tiffinfo={278: 8}) + more


def bmp_in_runs(width: int, height: int) -> bytes:
    """A pixel of each row, and the end of the row, which Pillow fills by a loop."""
    rows, palette = b"\1\1\0\0" * height + b"\0\1", bytes(1024)
    start = 54 + len(palette)
    head = struct.pack("<IHHI", start + len(rows), 0, 0, start)
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(rows), 0, 0, 256, 0)
    return b"BM" + head + info + palette + rows


def test_a_bmp_in_runs_costs_no_time_if_it_has_many_pixels():
    """This one of 3 KB took 4 s."""
    started = time.thread_time()
    with pytest.raises(Refused, match="takes too long to be decoded; allowed: one that is decoded in"):
        pixels_of(bmp_in_runs(60_000, 400), Decoding(16, 1).opened, 25_000_000, "images[0]")
    assert time.thread_time() - started < 0.5


def test_an_image_of_very_many_rows_is_refused():
    """Each row takes memory of its own: this one of 3 KB took 200 MB."""
    with pytest.raises(Refused, match=r"given more pixels; allowed: 25000000, of them 65535 a side") as raised:
        pixels_of(encoded(Image.new("1", (1, 5_000_000)), "PNG"), Decoding(16, 1).opened, 25_000_000, "images[0]")
    assert (raised.value.status, raised.value.code) == (413, "image_too_large")
    assert pixels_of(
        encoded(Image.new("1", (1, 65_535)), "PNG"), Decoding(16, 1).opened, 25_000_000, "images[0]"
    ).shape == (
        16,
        16,
        1,
    )


@pytest.mark.parametrize(
    "image",
    [
        many_scans(101),
        jpeg_in_tiff(b"\xff\xda" * 1000),
        b"P3\n10 10\n255\n" + b"#\n" * 1000,
        b"GIF89a" + bytes([10, 0, 10, 0, 128, 0, 0, *bytes(6), 33, 254]) + b"\1a" * 1_000_000 + b"\0",
        b"\xff\xd8" + b"\xff\xfe\0\2" * 1_000_000,
    ],
    ids=["scans", "scans of a TIFF", "text", "comments", "markers"],
)
def test_an_image_that_is_made_to_be_decoded_slowly_is_refused(image, monkeypatch):
    monkeypatch.setattr("kindling.inference.serving.pixels.MOST_DECODING_S", 0.05)
    with pytest.raises(Refused, match="takes too long to be decoded; allowed: one that is decoded in") as raised:
        pixels_of(image, Decoding(16, 1).opened, 1_000_000, "images[0]")
    assert (raised.value.status, raised.value.code) == (413, "image_too_slow")


@pytest.mark.parametrize(
    "image",
    [
        bmp_in_runs(100, 25),
        many_scans(1),
        many_scans(1) + b"\0\2" + b"\xff\xda\0\2" * 1000,
        many_scans(1)[:-2] + b"\xff" * 500_000 + b"\0\xff\xd9",
        jpeg_in_tiff(height=2048),
        b"P2\n2 2\n255\n# four\n1 2 3 4",
    ],
    ids=["runs", "progressive", "a film behind it", "padding", "TIFF of many strips", "numbers as text"],
)
def test_an_image_that_only_looks_slow_is_decoded(image):
    assert pixels_of(image, Decoding(16, 1).opened, 1_000_000, "images[0]").shape == (16, 16, 1)


@pytest.mark.parametrize("form", ["{}", "data:image/png;base64,{}"])
@pytest.mark.parametrize("encode", [base64.b64encode, base64.encodebytes])
def test_base64_may_have_lines_and_be_a_data_url(server, form, encode):
    answer = server.client.post("/predict", json={"images": [form.format(encode(png(3)).decode())]})
    assert [answer.json()["predictions"][0]["probabilities"]] == server.probabilities(png(3))


def test_what_is_no_base64_is_told_of_which_image(server):
    answer = server.client.post("/predict", json={"images": [base64.b64encode(png()).decode(), "aaa"]})
    assert "images[1]: given no base64 (incorrect padding); allowed: " in answer.text


def test_a_field_without_a_file_is_no_image(server):
    fields = {"filename": "a.png", "x; filename=b": "c"}
    assert server.client.post("/predict", files={"image": png()}, data=fields).status_code == 200


def test_a_damaged_image_is_refused_and_the_next_is_answered_alike(server):
    expected = server.probabilities(png())
    for file in (png()[:-20], b"GIF89a", b"not an image", b"", png().replace(b"IDAT", b"IDXT"), png()[:40] + png()):
        assert told(server.predict(file)) == (422, "bad_image")
    assert server.probabilities(png()) == expected


def test_a_key_is_asked_for_but_not_for_health_and_pages(strict):
    for given in ({"x-api-key": ""}, {"x-api-key": KEY[:-1]}, {"x-api-key": "", "authorization": f"Basic {KEY}"}):
        for path in ("/model", "/metrics", "/predict", "/nothing"):
            answer = strict.get(path, headers=given)
            assert told(answer) == (401, "unauthorized")
            assert answer.headers["www-authenticate"] == "Bearer"
    assert strict.get("/model", headers={"x-api-key": "", "authorization": f"Bearer {KEY}"}).status_code == 200
    assert strict.get("/model", headers={"x-api-key": "\u00e9".encode()}).status_code == 401
    for path in ("/health", "/", "/docs", "/openapi.json"):
        assert strict.get(path, headers={"x-api-key": ""}).status_code == 200


@pytest.mark.slow
def test_connections_beyond_what_there_are_open_files_for_are_refused(home, folder):
    with serving(home / "connections.log", f"model.folder={folder}", open_files=160) as server, ExitStack() as clients:
        server.process.send_signal(signal.SIGSTOP)  # so that all wait at once
        for _ in range(400):
            clients.enter_context(socket.create_connection(("127.0.0.1", server.port)))
        server.process.send_signal(signal.SIGCONT)
        answer = server.raw(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 20)
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"too_many_connections" in answer
        clients.close()
        server.client.close()
        server.client = httpx.Client(base_url=server.address, timeout=30, trust_env=False)
        assert server.predict(png()).status_code == 200
        assert {line["status"] for line in server.lines()} == {200, 503}
        assert "Traceback" not in server.log.read_text()


def test_a_body_is_counted_while_it_comes_with_and_without_its_length(strict):
    assert told(strict.predict(bytes(30_000))) == (413, "body_too_large")
    sent = 0

    def endless():
        nonlocal sent
        while sent < 500_000_000:
            sent += 10_000
            yield bytes(10_000)

    answer = None
    try:
        answer = strict.client.post("/predict", content=endless(), headers={"content-type": "application/json"})
    except Exception:  # the server closed the connection while this one wrote
        assert sent < 500_000_000
    assert answer is None or told(answer) == (413, "body_too_large")


def test_limits_of_images_pixels_and_classes_are_those_of_the_config(strict):
    assert told(strict.predict(*[png()] * 4)) == (413, "too_many_images")
    assert told(strict.predict(encoded(Image.new("L", (40, 26)), "PNG"))) == (413, "image_too_large")
    (found,) = strict.probabilities(encoded(Image.new("L", (40, 25)), "PNG"))
    assert len(found) == 2


def test_slow_clients_lose_their_connection_or_are_told(strict):
    head = f"POST /predict HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {KEY}\r\nContent-Type: application/json\r\n"
    started = time.monotonic()
    with ThreadPoolExecutor(4) as pool:
        body = pool.submit(strict.raw, f"{head}Content-Length: 100\r\n\r\n{{".encode())
        headers = pool.submit(strict.raw, head.encode())
        nothing = pool.submit(strict.raw, b"")
        assert b"408" in body.result()[:20]
        assert b"body_too_slow" in body.result()
        assert headers.result() == nothing.result() == b""
    assert time.monotonic() - started < 4.5


def test_a_client_that_reads_no_answer_loses_its_connection(strict):
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        connection.connect(("127.0.0.1", strict.port))
        connection.settimeout(10)
        with pytest.raises(ConnectionError):  # noqa: PT012
            while True:
                connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * 100)
                time.sleep(0.01)
    assert strict.get("/health").status_code == 200


def test_what_is_no_http_is_told_and_closed(strict):
    for data in (
        b"\x16\x03\x01\x00\xa5" + bytes(100),
        b"GET /" + b"a" * 100_000,
        b"\r\n\r\n\r\nx\r\n\r\n",
    ):
        answer = strict.raw(data)
        assert b'"bad_request"' in answer
        found = re.search(rb"x-request-id: (\w+)\r\n", answer)
        assert found
        assert f'"request_id": "{found[1].decode()}"'.encode() in answer
        assert [line["status"] for line in strict.lines() if line["request_id"] == found[1].decode()] == [400]


def test_a_newer_model_answers_without_a_dropped_request(strict, home):
    watched, before = home / "watched", strict.get("/model").json()["model"]
    statuses, models, stop = [], set(), threading.Event()

    def ask():
        while not stop.is_set():
            answer = strict.predict(png())
            statuses.append(answer.status_code)
            models.add(answer.json().get("model"))

    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(ask)
        newer = write_model(home / "newer", seed=1)
        (newer / "model.onnx").replace(watched / "model.onnx")
        (newer / "model.json").replace(watched / "model.json")
        deadline = time.monotonic() + 20
        while len(models) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        stop.set()
        asking.result()
    assert set(statuses) == {200}
    assert models == {before, strict.get("/model").json()["model"]}


@pytest.mark.slow
def test_a_broken_newer_model_leaves_the_old_one(strict, home):
    before = strict.get("/model").json()["model"], strict.probabilities(png())
    (home / "watched" / "model.onnx").write_bytes(b"broken")
    strict.wait_for_log(f"model {before[0]} stays, as the newer one fails")
    assert (strict.get("/model").json()["model"], strict.probabilities(png())) == before
    other = write_model(home / "other", seed=3)
    told = json.loads((other / "model.json").read_text())
    told["processor"]["classes"] = CLASSES[:2]
    (other / "model.json").write_text(json.dumps(told))
    for name in ("model.onnx", "model.json"):
        (other / name).replace(home / "watched" / name)
    strict.wait_for_log("no probabilities of its 2 classes")
    assert (strict.get("/model").json()["model"], strict.probabilities(png())) == before
    assert strict.metric('kindling_models_total{outcome="kept"}') >= 2


def test_sighup_takes_over_a_newer_model_once(server, folder, home):
    before, kept = server.get("/model").json()["model"], shutil.copytree(folder, home / "kept")
    for source in (write_model(home / "second", seed=2), kept):
        for name in ("model.onnx", "model.json"):
            shutil.copy(source / name, folder / name)
        assert server.get("/model").json()["model"] == before
        server.process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + 20
        while server.get("/model").json()["model"] == before and time.monotonic() < deadline:
            time.sleep(0.02)
        before = server.get("/model").json()["model"]
    assert server.log.read_text().count("model ") >= 3


def test_a_signal_ends_it_with_success_after_the_requests_that_it_has(home, folder):
    with serving(home / "ending.log", f"model={folder}") as found:
        body = b'{"images": ["' + base64_of(png()).encode() + b'"]}'
        head = "POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        head += f"Content-Length: {len(body)}\r\n\r\n"
        with socket.create_connection(("127.0.0.1", found.port), timeout=20) as connection:
            connection.sendall(head.encode() + body[:5])
            time.sleep(0.2)
            found.process.send_signal(signal.SIGTERM)
            time.sleep(0.5)
            connection.sendall(body[5:])
            assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        assert found.process.wait(timeout=20) == 0
        assert "Traceback" not in found.log.read_text()


@pytest.mark.slow
def test_no_client_that_has_connected_is_dropped_at_the_end(home, folder):
    body = b'{"images": ["' + base64_of(png()).encode() + b'"]}'
    request = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    request += b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
    answers = []

    def ask(port: int, hesitates_s: float) -> None:
        """New connections until there are none any more."""
        while True:
            try:
                connection = socket.create_connection(("127.0.0.1", port), timeout=20)
            except ConnectionRefusedError:
                return
            with connection:
                time.sleep(hesitates_s)
                connection.sendall(request)
                answers.append(connection.recv(65536)[:12])

    with serving(home / "busy.log", f"model={folder}") as found, ThreadPoolExecutor(8) as pool:
        # A busy machine lets a client wait between its connection and its request.
        asking = [pool.submit(ask, found.port, hesitates_s) for hesitates_s in (1.6, 1.6, 0, 0, 0, 0, 0, 0)]
        time.sleep(0.5)
        found.process.send_signal(signal.SIGTERM)
        for each in asking:
            each.result()
        assert found.process.wait(timeout=20) == 0
    assert set(answers) == {b"HTTP/1.1 200"}


@pytest.mark.slow
def test_a_signal_right_after_its_address_is_told_ends_it_with_success(home, folder):
    with serving(home / "short.log", f"model={folder}", ready=False) as found:
        assert found.stop() == 0
        assert "Traceback" not in found.log.read_text()


@pytest.mark.slow
def test_a_missing_model_and_a_used_port_are_one_line(home, server):
    for given, code, line in (
        ([f"model={home}/nowhere"], 1, "which does not exist"),
        ([f"model={home}"], 1, "which lacks model.json"),
        ([f"model={home}", f"port={server.port}"], 2, "Address already in use"),
        ([f"model={home}", f"run={home}"], 2, "run: given run and model.folder; allowed: run=<run folder>"),
        ([], 2, "run: given none of run, ckpt, model.folder"),
    ):
        environment = {**os.environ, "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
        command = [
            sys.executable,
            str(PROJECT / "serve.py"),
            *(given or []),
            *([] if "port" in str(given) else ["port=0"]),
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment, check=False)
        assert done.returncode == code, done.stderr
        errors = [each for each in done.stderr.splitlines() if each.startswith("error: ")]
        assert len(errors) == 1
        assert line in errors[0]


def test_settings_out_of_range_are_refused():
    for wrong in ("port=70000", "max_batch=0", "timeout_s=0", "threads=0", "max_pixels=1000000000", "top_k=0"):
        with pytest.raises(ConfigError, match=wrong.partition("=")[0]):
            check_command_line("serve", [wrong])
    assert compose(["model=some/folder"], "serve").model.folder == "some/folder"
    with pytest.raises(ConfigError, match="a path on this machine"):
        compose(["model=https://models.org/x"], "serve")


def test_a_runs_checkpoint_answers_as_in_python(trained):
    found = Source(trained.folder, None, None).open(threads=None)
    pixels = np.random.default_rng(0).integers(0, 256, (3, 16, 16, found.processor.channels), dtype=np.uint8)
    expected = kindling.load(trained.folder).probabilities(pixels)
    assert torch.equal(torch.from_numpy(found.run(pixels)), expected)
    warm(found, 4)


def test_a_runs_export_is_taken_before_its_checkpoint(finished):
    write_model(finished.folder / "export" / "onnx")
    assert Source(finished.folder, None, None).open(threads=1).format == "onnx"


def models_of(source: Source) -> Models:
    found = Models(source, 1, 2, watches=False, report=lambda what: None)
    found._load()
    return found


def test_other_classes_of_the_same_weights_are_taken_over(tmp_path):
    models = models_of(Source(None, None, write_model(tmp_path / "model")))
    file = tmp_path / "model" / "model.json"
    described = json.loads(file.read_text())
    described["processor"]["classes"] = ["a", "b", "c"]
    file.write_text(json.dumps(described))
    models._try()
    assert models.current
    assert models.current.processor.classes == ("a", "b", "c")


def test_an_export_that_is_gone_for_a_moment_is_not_replaced_by_the_checkpoint(finished):
    write_model(finished.folder / "export" / "onnx")
    models = models_of(Source(finished.folder, None, None))
    before = models.current
    (finished.folder / "export").rename(finished.folder / "away")
    models._try()
    assert models.current is before


def test_an_export_of_another_checkpoint_is_served_with_a_warning(finished, caplog):
    folder = write_model(finished.folder / "export" / "onnx")
    best, told = finished.folder / "checkpoints" / "best.ckpt", folder / "model.json"
    description = json.loads(told.read_text())
    for checksum, warned in ((sha256_of(best), False), ("0" * 64, True)):
        told.write_text(json.dumps(description | {"about": {"checkpoint_sha256": checksum}}))
        best.touch()
        models_of(Source(finished.folder, None, None))
        assert ("was exported from another checkpoint than" in caplog.text) == warned


def test_a_host_that_is_none_is_told():
    with pytest.raises(ConfigError, match=r"host: given 'nope\.invalid', which is none; allowed: a name or an address"):
        _listen("nope.invalid", 0)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.0.2", "::1", "localhost", "0.0.0.0", "example.com"])
def test_who_can_ask_without_a_key_is_told(monkeypatch, caplog, host):
    monkeypatch.delenv("KINDLING_API_KEY", raising=False)
    _key(host)
    assert ("lets anybody ask" in caplog.text) == (host in ("0.0.0.0", "example.com"))


@pytest.mark.parametrize("key", ["", " x", "\u00e9"])
def test_a_key_that_no_header_can_hold_is_told_without_it(monkeypatch, key):
    monkeypatch.setenv("KINDLING_API_KEY", key)
    with pytest.raises(ConfigError) as raised:
        _key("127.0.0.1")
    assert "no header can hold; allowed: letters, digits, signs, or unset" in redact_text(str(raised.value))


def test_a_model_that_gives_no_probabilities_is_refused():
    for run in (lambda pixels: np.ones((len(pixels), 3)), lambda pixels: np.full((len(pixels), 3), np.nan)):
        with pytest.raises(CheckpointError, match="no probabilities of its 3 classes"):
            warm(Served("id", "onnx", images_of(CLASSES), run), 2)


class Slow:
    """A model that waits until it is let go, and remembers its batches."""

    def __init__(self):
        self.go, self.batches = threading.Event(), []

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        self.batches.append(len(pixels))
        assert self.go.wait(20)
        return pixels.reshape(len(pixels), -1)[:, :1].astype(np.float32)


def test_what_waits_shares_a_batch_and_each_gets_its_own_answer():
    slow, seen = Slow(), []
    model = Served("id", "onnx", images_of(["a"]), slow)

    async def ask() -> list[list[list[float]]]:
        batcher = Batcher(LIMITS, lambda num, kind: seen.append(num))
        batcher.start()
        form = [b'{"images": ["' + base64_of(png(value)).encode() + b'"]}' for value in range(3)]
        jobs = [batcher.submit(model, "application/json", form[0])]
        while not slow.batches:
            await asyncio.sleep(0.001)
        jobs += [batcher.submit(model, "application/json", body) for body in form[1:]]
        with pytest.raises(Refused, match="3 requests wait already") as refused:
            batcher.submit(model, "application/json", form[0])
        assert (refused.value.status, refused.value.headers) == (503, {"retry-after": "1"})
        await asyncio.sleep(0.2)  # until both are decoded
        slow.go.set()
        found = [(await job.answer).tolist() for job in jobs]
        assert batcher.waiting == 0
        batcher.stop()
        return found

    assert asyncio.run(ask()) == [[[0.0]], [[1.0]], [[2.0]]]
    assert slow.batches == seen == [1, 2]


def test_a_request_that_nobody_waits_for_is_not_computed():
    slow = Slow()
    slow.go.set()
    model = Served("id", "onnx", images_of(["a"]), slow)

    async def ask() -> int:
        batcher = Batcher(LIMITS, lambda num, kind: None)
        job = None
        batcher.start()
        batcher.submit(model, "application/json", b'{"images": []}').answer.add_done_callback(
            lambda each: each.exception()
        )
        job = batcher.submit(model, "application/json", b'{"images": ["' + base64_of(png()).encode() + b'"]}')
        job.given_up = True
        while batcher.waiting:
            await asyncio.sleep(0.001)
        batcher.stop()
        return len(slow.batches)

    assert asyncio.run(ask()) == 0
