"""What serve.py reads off a connection: nothing that another server could read otherwise, no more than it needs."""

import json
import re
import socket
import time

import pytest
from uvicorn.protocols.http import httptools_impl

from hostile_requests import SMUGGLED, chunked, posted
from kindling.inference.serving.connection import MOST_CHUNKS, MOST_HEAD_BYTES, MOST_WAITING, Connection
from kindling.inference.serving.visitors import Hosts
from model_folders import write_model
from serving import base64_of, png, serving

HEALTH = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
POST = b"POST /predict HTTP/1.1\r\nHost: localhost\r\n"
IMAGE = json.dumps({"images": [base64_of(png())]}).encode()
GOOD = posted(IMAGE, b"application/json", POST)
ORIGIN = "https://page.example"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    home = tmp_path_factory.mktemp("connection")
    given = ["timeout_s=2", "keep_alive_s=0.5", "hosts=[model.example]", f"origins=[{ORIGIN}]"]
    with serving(home / "log", f"model={write_model(home / 'model')}", *given, "max_body_bytes=300000") as found:
        yield found


def answers(received: bytes) -> list[tuple[int, str]]:
    """The status of each answer, and the code of an error."""
    parts = re.split(rb"HTTP/1\.1 (?=\d{3} )", received)[1:]
    codes = [re.search(rb'"code": "(\w+)"', part) for part in parts]
    return [(int(part[:3]), code[1].decode() if code else "") for part, code in zip(parts, codes, strict=True)]


@pytest.mark.parametrize("name", SMUGGLED)
def test_what_two_servers_could_read_otherwise_is_refused_and_closed(server, name):
    assert answers(server.raw(SMUGGLED[name] + HEALTH, 5)) == [(400, "bad_request")]


def test_what_is_refused_comes_after_the_answers_before_it(server):
    for broken in (b"no HTTP at all\r\n\r\n", POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"):
        assert answers(server.raw(GOOD + HEALTH + broken, 5)) == [(200, ""), (200, ""), (400, "bad_request")]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (chunked(b"[" * (MOST_CHUNKS + 1), 1), (413, "too_many_chunks")),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n1;" + b"x" * 2_000_000, (413, "body_too_large")),
        (POST + b"Content-Length: 10000000\r\n\r\n" + bytes(2_000_000), (413, "body_too_large")),
        (b"GET /" + b"a" * (MOST_HEAD_BYTES + 1), (400, "bad_request")),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * (MOST_HEAD_BYTES + 1), (400, "bad_request")),
        (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * MOST_HEAD_BYTES, (400, "bad_request")),
    ],
    ids=["chunks", "extensions", "body", "address", "header", "headers"],
)
def test_no_request_may_have_more_bytes_or_chunks_than_it_can_need(server, data, code):
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        received = b""
        try:
            connection.sendall(data)
            while part := connection.recv(65536):
                received += part
        except ConnectionError:
            pass
    assert answers(received)[:1] in ([code], []), "it may be cut off before its answer is read"
    assert server.predict(png()).status_code == 200


def test_bodies_in_chunks_of_one_byte_do_not_hold_up_others(server):
    sent = chunked(b"[" * 300_000, 1)
    started = time.monotonic()
    for _ in range(20):
        server.raw(sent, wait=False)
    assert server.get("/health").status_code == 200
    assert time.monotonic() - started < 10
    assert answers(server.raw(chunked(IMAGE, 100), 10))[0] == (200, "")


def test_a_client_may_send_requests_before_their_answers_but_not_without_end(server):
    last = HEALTH.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    assert answers(server.raw(HEALTH * (MOST_WAITING - 1) + last, 5)) == [(200, "")] * MOST_WAITING
    assert answers(server.raw(HEALTH * 3 * MOST_WAITING, 5)) == [(200, "")] * MOST_WAITING + [(400, "bad_request")]


def test_a_client_that_has_closed_its_own_side_gets_its_answer(server):
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(GOOD)
        connection.shutdown(socket.SHUT_WR)
        received = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answers(received) == [(200, "")]


def test_headers_behind_a_body_are_not_read(server):
    body = chunked(IMAGE, 1000)[:-2] + b"X-Request-Id: mine\r\n\r\n"
    found = server.raw(body.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1), 5)
    assert answers(found) == [(200, "")]
    assert b"mine" not in found


def test_an_upgrade_is_answered_as_http_and_closed(server):
    upgrade = HEALTH.replace(b"\r\n\r\n", b"\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
    found = server.raw(upgrade + HEALTH, 5)
    assert answers(found) == [(200, "")]
    assert b"connection: close\r\n" in found


def test_a_connection_stays_open_for_the_seconds_of_the_config(server):
    started = time.monotonic()
    assert answers(server.raw(HEALTH, 5)) == [(200, "")]
    assert 0.4 < time.monotonic() - started < 1.9


def test_uvicorn_has_the_parts_that_a_connection_is_built_on():
    """If one is gone, connection.py has to be written anew for this version."""
    names = "data_received on_message_begin on_url on_header on_headers_complete on_message_complete"
    names += (
        " on_response_complete eof_received pause_writing resume_writing shutdown connection_lost send_400_response"
    )
    missing = [name for name in names.split() if name not in vars(httptools_impl.HttpToolsProtocol)]
    assert missing == []
    assert set(names.split()) <= vars(Connection).keys()
    cycle = httptools_impl.RequestResponseCycle.__init__.__code__.co_names
    assert {"disconnected", "message_event", "keep_alive", "response_started", "response_complete"} <= set(cycle)
    of_protocol = httptools_impl.HttpToolsProtocol.__init__.__code__.co_names
    assert {"pipeline", "cycle", "timeout_keep_alive_task", "connections", "headers", "parser"} <= set(of_protocol)


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LOCALHOST:80", 200),
        ("127.8.0.2:8000", 200),
        ("[::1]:8000", 200),
        ("model.example", 200),
        ("Model.example:443", 200),
        ("evil.example", 421),
        ("localhost.evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("192.168.0.1", 421),
        ("", 421),
    ],
)
def test_only_names_of_this_machine_and_of_the_config_are_answered(server, host, status):
    for path in ("/", "/health", "/model"):
        answer = server.get(path, headers={"host": host})
        assert answer.status_code == status
    if status == 421:
        assert answer.json()["error"] == {
            "code": "another_host",
            "message": f"given the Host {host!r}; allowed: localhost, 127.0.0.1 and what the setting hosts names",
        }


def test_a_server_for_others_is_asked_by_any_name_unless_the_config_names_some():
    assert Hosts(None).answer("anything.example")
    assert Hosts(["a.example"]).answer("a.example")
    assert not Hosts(["a.example"]).answer("b.example")


def test_pages_of_the_origins_of_the_config_may_ask_and_no_others(server):
    asked = {"origin": ORIGIN, "access-control-request-method": "POST"}
    answer = server.client.request("OPTIONS", "/predict", headers=asked)
    assert answer.status_code == 204
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert "POST" in answer.headers["access-control-allow-methods"]
    assert "content-type" in answer.headers["access-control-allow-headers"]
    for path in ("/model", "/nowhere"):
        assert server.get(path, headers={"origin": ORIGIN}).headers["access-control-allow-origin"] == ORIGIN
    for origin in (None, "https://evil.example", f"{ORIGIN}.evil.example", "null"):
        for method, path in (("OPTIONS", "/predict"), ("GET", "/model")):
            answer = server.client.request(method, path, headers={"origin": origin} if origin else {})
            assert not [name for name in answer.headers if name.startswith("access-control")]


def test_a_load_balancer_may_ask_by_head_and_options(server):
    for path in ("/", "/health", "/model", "/metrics", "/docs", "/openapi.json"):
        asked, found = server.client.head(path), server.get(path)
        assert (asked.status_code, asked.content) == (200, b"")
        assert asked.headers["content-type"] == found.headers["content-type"]
        assert server.client.options(path).headers["allow"] == "GET, HEAD, OPTIONS"
    for asked in (server.client.head("/predict"), server.client.delete("/predict")):
        assert (asked.status_code, asked.headers["allow"]) == (405, "OPTIONS, POST")
    assert server.client.head("/nothing").status_code == server.client.options("/nothing").status_code == 404


def test_a_compressed_body_is_told(server):
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    answer = server.client.post("/predict", content=b"\x1f\x8b\x08", headers=headers)
    assert answer.status_code == 415
    assert answer.json()["error"] == {
        "code": "unsupported_encoding",
        "message": "given a body in the Content-Encoding 'gzip'; allowed: none, the body as it is",
    }
    assert server.client.post("/predict", content=IMAGE, headers=headers | {"content-encoding": "identity"}).is_success


def test_a_form_whose_image_has_no_filename_is_told(server):
    answer = server.client.post("/predict", files={"image": (None, png())})
    assert answer.status_code == 422
    assert answer.json()["error"] == {
        "code": "no_image",
        "message": "given a form with 1 fields, none with a filename; allowed: 1 to 16, as curl -F image=@digit.png",
    }
