"""serve.py for rows and for texts: what it answers and refuses, and that nobody's text is drawn for nobody."""

import asyncio
import base64
import html
import json
import re
import signal
import socket
import threading
import time
from contextlib import nullcontext
from dataclasses import replace
from io import BytesIO

import httpx
import jsonschema
import numpy as np
import pytest
from PIL import Image

from kindling.cli.entry import compose
from kindling.config.renames import FORMAT
from kindling.errors import CheckpointError, ConfigError
from kindling.inference.processors import refuse_without_processor
from kindling.inference.runtimes import open_model
from kindling.inference.serving.limits import Refused
from kindling.inference.serving.model import Served, warm
from kindling.inference.serving.pixels import image_of
from kindling.inference.serving.rows import in_json, only_picture, written
from kindling.inference.serving.source import Source
from kindling.inference.serving.texts import AT_ONCE, Writer, read_prompt
from kindling.serve import serve
from model_folders import ROWS, SIZE, TEXT, write_lookup, write_masks, write_rows, write_text
from serving import LIMITS, serving

ROW = {"age": 60, "bmi": 25.0, "smoker": "yes"}
OF_TEXTS = replace(LIMITS, max_queue=20, max_length=50)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("kinds")


@pytest.fixture(scope="module")
def of_rows(home):
    """A model folder."""
    return write_rows(home / "rows")


@pytest.fixture(scope="module")
def of_text(home):
    """A model folder."""
    return write_text(home / "text")


@pytest.fixture(scope="module")
def rows(home, of_rows):
    with serving(home / "rows.log", f"model={of_rows}", "max_rows=50") as found:
        yield found


@pytest.fixture(scope="module")
def texts(home, of_text):
    with serving(home / "texts.log", f"model={of_text}", "max_length=60000") as found:
        yield found


def told(answer: httpx.Response) -> tuple[int, str, str]:
    body = answer.json()
    assert body["request_id"] == answer.headers["x-request-id"]
    return answer.status_code, body["error"]["code"], body["error"]["message"]


def post(server, content) -> httpx.Response:
    return server.client.post("/predict", json=content)


def events_of(text: str) -> list[tuple[str, dict]]:
    """The kind and content of each event of a stream."""
    found = []
    for each in text.split("\n\n")[:-1]:
        lines = dict(line.split(": ", 1) for line in each.split("\n"))
        found.append((lines.get("event", "text"), json.loads(lines["data"])))
    return found


def text_of(answer: httpx.Response) -> str:
    assert answer.status_code == 200, answer.text
    *pieces, (last, _) = events_of(answer.text)
    assert last == "end"
    assert all(kind == "text" for kind, _ in pieces)
    return "".join(content["text"] for _, content in pieces)


def test_rows_are_answered_by_name_in_their_order(rows):
    answer = post(rows, {"rows": [ROW, ROW | {"age": 50, "smoker": "no"}]}).json()
    assert answer["predictions"] == [{"progression": 15.0}, {"progression": 10.0}]
    assert answer["model"] == rows.get("/model").json()["model"]
    assert answer["latency_ms"] > 0
    assert post(rows, ROW).json()["predictions"] == [{"progression": 15.0}], "one row alone"


@pytest.mark.slow
def test_more_rows_than_a_batch_are_computed_in_several(home, of_rows):
    with serving(home / "batches.log", f"model={of_rows}", "max_batch=2") as server:
        ages = [0, 10, 20, 30, 40]
        answer = post(server, {"rows": [ROW | {"age": age} for age in ages]}).json()
        assert [each["progression"] for each in answer["predictions"]] == [9.0, 10.0, 11.0, 12.0, 13.0]
        assert server.metric("kindling_batch_rows_count") == 3
        assert server.metric("kindling_batch_rows_sum") == 5
        assert [line["rows"] for line in server.lines() if line["path"] == "/predict"] == [5]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            {"age": 60, "bmi": 25.0},
            "rows[1]: given age, bmi, without smoker; allowed: a value for each of age",
        ),
        (ROW | {"height": 1}, "rows[1]: given the column 'height'; allowed: age, bmi, smoker"),
        (ROW | {"age": "60"}, "rows[1]: column age: given '60'; allowed: a whole number from 0 up to 120, not as a t"),
        (ROW | {"age": 60.5}, "rows[1]: column age: given 60.5; allowed: a whole number from 0 up to 120"),
        (ROW | {"age": 121}, "rows[1]: column age: given 121; allowed: a whole number from 0 up to 120"),
        (ROW | {"bmi": None}, "rows[1]: column bmi: given None; allowed: a number"),
        (ROW | {"bmi": True}, "rows[1]: column bmi: given True; allowed: a number"),
        (ROW | {"bmi": [1]}, "rows[1]: column bmi: given [1]; allowed: a number"),
        (ROW | {"bmi": 10**400}, "rows[1]: column bmi: given 1000"),
        (ROW | {"bmi": 1e39}, "rows[1]: column bmi: given 1e+39; allowed: a number"),
        (ROW | {"smoker": "perhaps"}, "rows[1]: column smoker: given 'perhaps'; allowed: 'no' or 'yes'"),
        (ROW | {"x" * 10_000: 1}, "rows[1]: given the column 'xxx"),
        ({}, "rows[1]: given nothing, without age, bmi, smoker"),
    ],
)
def test_a_wrong_row_is_told_with_its_column_and_what_is_allowed(rows, row, message):
    status, code, said = told(post(rows, {"rows": [ROW, row]}))
    assert (status, code) == (400, "bad_row")
    assert said.startswith(message)
    assert len(said) < 700


@pytest.mark.parametrize("value", [b"NaN", b"Infinity", b"-Infinity", b"1e999"])
def test_what_is_no_finite_number_is_refused_in_a_row(rows, value):
    body = b'{"age": 60, "smoker": "yes", "bmi": ' + value + b"}"
    answer = rows.client.post("/predict", content=body, headers={"content-type": "application/json"})
    assert told(answer)[:2] == (400, "bad_row")


def test_an_infinite_answer_is_told_and_no_fault_of_the_server(rows):
    assert told(post(rows, ROW | {"bmi": 3.4e38}))[:2] == (422, "no_answer")
    assert post(rows, ROW).status_code == 200


@pytest.mark.parametrize(
    ("content", "kind", "error"),
    [
        (b"{", "application/json", (400, "bad_json")),
        (b"[" * 90, "application/json", (400, "bad_json")),
        (b"[]", "application/json", (400, "bad_rows")),
        (b'{"rows": []}', "application/json", (400, "bad_rows")),
        (b'{"rows": [1]}', "application/json", (400, "bad_rows")),
        (b'{"rows": {}}', "application/json", (400, "bad_row")),
        (b'{"rows": [' + b"{}," * 50 + b"{}]}", "application/json", (413, "too_many_rows")),
        (b'{"rows": [' + b"[]," * 5000 + b"[]]}", "application/json", (413, "too_many_values")),
        (b"age,bmi", "text/csv", (415, "unsupported_media_type")),
    ],
)
def test_what_are_no_rows_is_told_why(rows, content, kind, error):
    answer = rows.client.post("/predict", content=content, headers={"content-type": kind})
    assert told(answer)[:2] == error


def test_the_schema_of_rows_says_their_columns_and_fits_the_answers(rows):
    predict = rows.get("/openapi.json").json()["paths"]["/predict"]["post"]
    schema = predict["requestBody"]["content"]["application/json"]["schema"]
    for given, is_right in ((ROW, True), ({"rows": [ROW]}, True), (ROW | {"age": -1}, False), ({"age": 1}, False)):
        assert jsonschema.Draft202012Validator(schema).is_valid(given) == is_right
        assert (post(rows, given).status_code == 200) == is_right
    jsonschema.validate(post(rows, ROW).json(), predict["responses"]["200"]["content"]["application/json"]["schema"])
    about = rows.get("/model").json()
    schema = rows.get("/openapi.json").json()["paths"]["/model"]["get"]["responses"]["200"]
    jsonschema.validate(about, schema["content"]["application/json"]["schema"])
    assert about["kind"] == "rows"
    assert about["inputs"][0] == {"name": "age", "type": "integer", "unit": "years", "low": 0, "high": 120}
    assert about["limits"] == {"max_rows": 50, "max_body_bytes": 10485760, "timeout_s": 10.0}
    page = html.unescape(rows.get("/docs").text)
    (request,) = re.findall(r"-d '(.*)' http", page)
    assert post(rows, json.loads(request)).status_code == 200


@pytest.mark.slow
def test_without_the_key_the_schema_names_no_column(home, of_rows):
    with serving(home / "key.log", f"model={of_rows}", KINDLING_API_KEY="of this test") as server:
        for path in ("/", "/docs", "/openapi.json"):
            assert "smoker" not in server.get(path).text
        assert "smoker" in server.get("/openapi.json", headers={"x-api-key": "of this test"}).text
        assert told(post(server, ROW))[:2] == (401, "unauthorized")


def test_a_text_is_that_of_the_model_in_python_and_the_same_for_a_seed(texts, of_text):
    described, run = open_model(of_text, threads=1)
    for settings in ({}, {"seed": 3, "temperature": 0.5}, {"length": 7, "top_k": 2, "temperature": 2}):
        answer = post(texts, {"prompt": "abca", **settings})
        expected = "".join(described.make_processor().answer(run, "abca", **settings))
        assert text_of(answer) == expected
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    end = events_of(answer.text)[-1][1]
    assert end["pieces"] == 7
    assert end["request_id"] == answer.headers["x-request-id"]
    assert texts.metric("kindling_text_pieces_count") >= 3


def test_a_text_comes_while_it_is_drawn(texts):
    with texts.client.stream("POST", "/predict", json={"prompt": "a", "length": 60_000}) as answer:
        first = next(answer.iter_text())
        assert events_of(first)[0][0] == "text"
        assert "end" not in [kind for kind, _ in events_of(first)]


def test_a_client_that_goes_away_ends_the_drawing(texts):
    def drawn() -> tuple[float, float]:
        return texts.metric("kindling_text_pieces_count"), texts.metric("kindling_text_pieces_sum")

    deadline = time.monotonic() + 20
    while texts.metric("kindling_queue_requests"):
        assert time.monotonic() < deadline
    before = drawn()
    with texts.client.stream("POST", "/predict", json={"prompt": "a", "length": 60_000}) as answer:
        next(answer.iter_raw())
    while texts.metric("kindling_queue_requests"):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    after = drawn()
    assert after[0] == before[0] + 1
    assert after[1] - before[1] < 30_000


@pytest.mark.parametrize(
    ("content", "code", "message"),
    [
        (
            {"prompt": "abx?"},
            "bad_prompt",
            "prompt: given the characters 'x?', which the model does not know; allowed: ",
        ),
        ({"prompt": ""}, "bad_prompt", "prompt: given an empty text; allowed: a text of at least one character"),
        ({"prompt": "\ud800"}, "bad_prompt", "prompt: given the characters"),
        ({"prompt": "a" * 60_001}, "bad_prompt", "prompt: given 60001 characters; allowed: up to 60000"),
        ({"prompt": "a" * 1_000_000}, "bad_prompt", "prompt: given 10000"),
        ({"prompt": 1}, "bad_prompt", "given other JSON; allowed: {"),
        ({"length": 1}, "bad_prompt", "given other JSON; allowed: {"),
        ([], "bad_prompt", "given other JSON; allowed: {"),
        (
            {"prompt": "a", "length": 10**9},
            "bad_setting",
            "length: given 1000000000; allowed: a whole number from 1 up",
        ),
        ({"prompt": "a", "length": 0}, "bad_setting", "length: given 0; allowed: a whole number from 1"),
        ({"prompt": "a", "length": None}, "bad_setting", "length: given None; allowed: a whole number from 1"),
        ({"prompt": "a", "length": "5"}, "bad_setting", "length: given '5'; allowed: a whole number from 1"),
        ({"prompt": "a", "temperature": -1}, "bad_setting", "temperature: given -1; allowed: a number from 0"),
        ({"prompt": "a", "temperatur": 1}, "bad_setting", "given 'temperatur'; allowed: prompt, length, temperature"),
        ({"prompt": "a", "seed": -1}, "bad_setting", "seed: given -1; allowed: a whole number from 0"),
        ({"prompt": "a", "top_k": 6}, "bad_setting", "top_k: given 6; allowed: a whole number from 1 up to 5"),
    ],
)
def test_a_wrong_prompt_or_setting_is_told_before_a_character_is_drawn(texts, content, code, message):
    body = json.dumps(content)
    answer = texts.client.post("/predict", content=body, headers={"content-type": "application/json"})
    status, found, said = told(answer)
    assert (status, found) == (400, code)
    assert said.startswith(message)


@pytest.mark.parametrize("value", ["NaN", "-Infinity", "1e400", "1e-320"])
def test_strange_temperatures_are_refused_or_answered(texts, value):
    body = '{"prompt": "a", "length": 3, "temperature": %s}' % value  # noqa: UP031
    answer = texts.client.post("/predict", content=body, headers={"content-type": "application/json"})
    assert answer.status_code in (200, 400)


def test_the_schema_of_texts_says_the_settings_and_their_limits(texts):
    predict = texts.get("/openapi.json").json()["paths"]["/predict"]["post"]
    schema = predict["requestBody"]["content"]["application/json"]["schema"]
    assert schema["properties"]["length"] == {
        "type": "integer",
        "minimum": 1,
        "maximum": 60000,
        "default": 200,
        "description": "characters",
    }
    for given in ({"prompt": "a", "length": 5}, {"prompt": "a", "length": 0}, {"length": 5}, {"prompt": "a", "x": 1}):
        is_right = jsonschema.Draft202012Validator(schema).is_valid(given)
        assert (post(texts, given).status_code == 200) == is_right
    assert list(predict["responses"]["200"]["content"]) == ["text/event-stream"]


@pytest.mark.slow
def test_a_signal_ends_it_after_the_text_that_it_writes(home, of_text):
    with serving(home / "ending.log", f"model={of_text}", "max_length=20000") as server:
        body = b'{"prompt": "a", "length": 20000}'
        head = (
            b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        )
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
            connection.sendall(head % len(body) + body)
            found = connection.recv(65536)
            server.process.send_signal(signal.SIGTERM)
            while part := connection.recv(65536):
                found += part
        assert b"event: end" in found
        assert server.process.wait(timeout=20) == 0
        assert "Traceback" not in server.log.read_text()


def writing(*pieces, limits=OF_TEXTS) -> list:
    """What a writer makes of texts: the parts of each, and the error that ended it."""

    async def whole() -> list:
        seen = []
        writer = Writer(limits, seen.append)
        writer.start()
        texts = [writer.submit(iter(each)) for each in pieces]
        found = []
        for text in texts:
            written, error = "", None
            try:
                async for part in text.parts():
                    written += part
            except Exception as raised:
                error = raised
            found.append((written, error))
        # The thread counts a text as done just after its last part.
        async with asyncio.timeout(20):
            while writer.waiting:
                await asyncio.sleep(0.001)
        writer.stop()
        return [*found, sorted(seen)]

    return asyncio.run(whole())


def test_a_short_text_does_not_wait_for_a_long_one():
    order = []

    def pieces(name: str, num: int):
        for _ in range(num):
            order.append(name)
            time.sleep(0.001)
            yield name

    *found, seen = writing(pieces("a", 30), pieces("b", 3))
    assert found == [("a" * 30, None), ("b" * 3, None)]
    assert order.index("b") < 20
    assert "".join(order).rindex("b") < 25
    assert seen == [3, 30]


def test_a_text_that_takes_too_long_is_ended_with_an_error():
    def endless():
        while True:
            time.sleep(0.01)
            yield "a"

    limits = replace(OF_TEXTS, max_text_s=0.2)
    (text, error), seen = writing(endless(), limits=limits)
    assert 0 < len(text) < 40
    assert isinstance(error, Refused)
    assert (error.status, error.code) == (504, "too_slow")
    assert seen == [len(text)]


def test_a_model_that_breaks_off_is_told_in_the_stream():
    def breaking():
        yield "a"
        raise CheckpointError("model: gives NaN for this prompt")

    (text, error), _ = writing(breaking())
    assert text == "a"
    assert isinstance(error, CheckpointError)


def test_more_texts_than_are_drawn_at_once_wait_and_a_full_queue_is_told():
    assert writing(*[["a"]] * (2 * AT_ONCE))[-1] == [1] * 2 * AT_ONCE

    async def full() -> None:
        writer = Writer(OF_TEXTS, lambda num: None)
        go = threading.Event()
        writer.start()
        for _ in range(OF_TEXTS.max_queue):
            writer.submit(iter(lambda: "a" if not go.wait(20) else None, None))
        with pytest.raises(Refused, match="20 requests wait already"):
            writer.submit(iter(["a"]))
        go.set()
        writer.stop()

    asyncio.run(full())


def test_the_default_length_is_within_the_limit_of_the_server():
    calls = []

    def run(ids):
        calls.append(len(ids))
        return np.zeros((*ids.shape, 5), dtype=np.float32)

    model = Served("id", "onnx", TEXT, run)
    assert len(list(read_prompt("application/json", b'{"prompt": "a"}', model, OF_TEXTS))) == OF_TEXTS.max_length


@pytest.mark.parametrize(
    ("processor", "operator", "weights", "says"),
    [
        (ROWS, "MatMul", np.zeros((3, 2), dtype=np.float32), r"\(1, 2\), not progression of 1 rows"),
        (TEXT, "Gather", np.zeros((5, 4), dtype=np.float32), r"\(1, 1, 4\), not the logits \(1, 1, 5\)"),
    ],
)
def test_a_model_that_gives_something_else_is_not_served(tmp_path, processor, operator, weights, says):
    folder = write_lookup(tmp_path / "model", processor, operator, weights)
    with pytest.raises(CheckpointError, match=says):
        warm(Source(None, None, folder).open(threads=1), 4)


@pytest.mark.parametrize("task", ["sum", "sign", "next"])
def test_a_checkpoint_answers_as_its_processor_writes(trained_task, task):
    model = Source(trained_task(task).folder, None, None).open(threads=None)
    warm(model, 4)
    if task == "next":
        assert len("".join(model.processor.answer(model.run, "abc", length=5))) == 5
    else:
        read = model.processor.read({"width": 1, "height": 2, "depth": 3})
        assert set(model.processor.write(model.run(np.stack([read]))[0])) >= {"class" if task == "sign" else "sum"}


# Images of a processor of one's own


def half_dark() -> bytes:
    file = BytesIO()
    pixels = np.zeros((SIZE, SIZE), dtype=np.uint8)
    pixels[:2] = 255
    Image.fromarray(pixels).save(file, "png")
    return file.getvalue()


def test_a_picture_that_a_processor_of_the_project_gives_is_a_png_in_the_answer(tmp_path):
    model = Source(None, None, write_masks(tmp_path / "masks")).open(threads=1)
    warm(model, 4)
    images = image_of(half_dark(), model.processor, 1000, "images[0]")[None]
    assert images.shape == (1, 1, SIZE, SIZE)
    (answer,) = written(model.run(images), model.processor)
    assert answer["share"] == 0.5
    mask = np.array(Image.open(BytesIO(answer["mask"])))
    assert np.array_equal(mask, np.repeat([[0], [0], [1], [1]], SIZE, axis=1))
    assert only_picture([answer]) == answer["mask"]
    assert only_picture([answer, answer]) is None
    assert in_json([answer]) == [{"mask": base64.b64encode(answer["mask"]).decode(), "share": 0.5}]


@pytest.mark.slow
def test_a_server_of_masks_answers_in_json_or_with_the_picture_as_the_client_asks(tmp_path):
    with serving(tmp_path / "masks.log", f"model={write_masks(tmp_path / 'masks')}") as server:
        answer = server.predict(half_dark(), half_dark())
        schema = server.get("/openapi.json").json()["paths"]["/predict"]["post"]["responses"]["200"]
        jsonschema.validate(answer.json(), schema["content"]["application/json"]["schema"])
        picture = server.predict(half_dark(), headers={"Accept": "image/png"})
        assert picture.headers["content-type"] == "image/png"
        assert picture.content == base64.b64decode(answer.json()["predictions"][1]["mask"])
        assert told(server.predict(b"no image"))[0] == 422
        assert [each["name"] for each in server.get("/model").json()["outputs"]] == ["mask", "share"]


def test_a_task_without_processor_is_refused_with_what_to_write(trained_task):
    with pytest.raises(ConfigError, match=r"given Silent, which does not say .*write in it `def processor\(self\)`"):
        Source(trained_task("silent").folder, None, None).open(threads=None)


def test_a_task_without_processor_is_refused_before_a_port_is_opened(trained_task, monkeypatch):
    monkeypatch.setattr("kindling.serve._listen", lambda *_: pytest.fail("it listens"))
    monkeypatch.setattr("kindling.serve.logging.basicConfig", lambda **_: None)
    run = trained_task("silent").folder
    for given in (f"run={run}", f"ckpt={run}/checkpoints/last.ckpt"):
        with pytest.raises(ConfigError, match="task: given Silent, which does not say how an input is read"):
            serve(compose([given, "port=0"], "serve"))


@pytest.mark.parametrize(
    ("task", "passes"),
    [("Sum", True), ("Silent", False), ("Bound", True), ("Unknown", True), ("gone.Task", True)],
)
def test_only_a_task_that_surely_has_no_processor_is_refused_by_its_source(tmp_path, task, passes):
    folder = {"Bound": "bench.hostile.", "Unknown": "bench.hostile."}.get(task, "bench.tasks.in_and_out.")
    (tmp_path / "config.yaml").write_text(f"paths: {{}}\ntask: {{_target_: {folder}{task}}}\n")
    (tmp_path / "run.json").write_text(f'{{"status": "finished", "format": {FORMAT}}}')
    with nullcontext() if passes else pytest.raises(ConfigError, match="does not say how"):
        refuse_without_processor(tmp_path)
