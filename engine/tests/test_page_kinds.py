"""The page for rows and for texts, in a real browser without a screen."""

import json
import re

import pytest
from playwright.sync_api import expect

from model_folders import write_rows, write_text
from pages import opened
from serving import serving

# Each kind has a server and a browser of its own.
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=["rows", "text"])
def server(request, tmp_path_factory):
    home = tmp_path_factory.mktemp(request.param)
    write = {"rows": write_rows, "text": write_text}[request.param]
    with serving(home / "log", f"model={write(home / 'model')}", "max_length=60000") as found:
        found.kind = request.param
        yield found


@pytest.fixture
def page(browser, server):
    with opened(browser, server.address, "model ") as found:
        yield found


def field(page, name: str):
    return page.locator(f"input[name={name}]")


def only(server, kind: str) -> None:
    if server.kind != kind:
        pytest.skip("of the other kind")


def test_only_the_form_of_its_kind_is_shown(page, server):
    visible = page.evaluate(
        "[...document.querySelectorAll('[data-kind]')].filter(e => !e.hidden).map(e => e.dataset.kind)"
    )
    assert visible == [server.kind]
    for width in (360, 768):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_row_is_asked_by_a_field_for_each_column(page, server):
    only(server, "rows")
    expect(page.locator("#about")).to_contain_text("3 columns · gives progression")
    field(page, "age").fill("60")
    field(page, "bmi").fill("25")
    page.locator("select[name=smoker]").select_option("yes")
    page.get_by_role("button", name="Ask the model").click()
    expect(page.locator("#results")).to_have_text("progression15")
    expect(page.locator("#latency")).to_contain_text("ms in the server")
    field(page, "bmi").fill("")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("without bmi; allowed: a value for each of age, bmi, smoker")
    expect(page.locator("#results")).to_have_text("")


def test_a_number_outside_a_columns_limits_is_not_sent(page, server):
    only(server, "rows")
    field(page, "age").fill("121")
    page.get_by_role("button", name="Ask the model").click()
    assert page.evaluate("document.querySelector('#column-0').validity.rangeOverflow")
    expect(page.locator("#results")).to_have_text("")


def test_a_text_is_shown_as_it_comes_and_is_that_of_the_server(page, server):
    only(server, "text")
    page.get_by_label("How it begins").fill("abca")
    field(page, "length").fill("30")
    field(page, "seed").fill("3")
    page.get_by_role("button", name="Go on").click()
    expect(page.locator("#latency")).to_contain_text("ms in the server")
    content = {"prompt": "abca", "length": 30, "seed": 3, "temperature": 1}
    answer = server.client.post("/predict", json=content).text
    pieces = [line for line in answer.split("\n") if line.startswith('data: {"text"')]
    assert len(pieces) >= 1
    shown = page.locator("#written").evaluate("each => each.textContent")
    assert len(shown) == 34
    expected = "".join(json.loads(line[6:])["text"] for line in pieces)
    assert shown == "abca" + expected


def test_stopping_ends_the_text_and_the_next_one_begins(page, server):
    only(server, "text")
    page.get_by_label("How it begins").fill("a")
    field(page, "length").fill("60000")
    page.get_by_role("button", name="Go on").click()
    # A function that is polled would be evaluated as text, which the page forbids.
    expect(page.locator("#written")).to_have_text(re.compile(r"[\s\S]{6}"))
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_role("button", name="Stop")).to_be_disabled()
    assert page.locator("#written").evaluate("each => each.textContent.length") < 60_000
    expect(page.get_by_role("alert")).to_have_text("")
    page.get_by_label("How it begins").fill("x")
    page.get_by_role("button", name="Go on").click()
    expect(page.get_by_role("alert")).to_contain_text("given the characters 'x', which the model does not know")
