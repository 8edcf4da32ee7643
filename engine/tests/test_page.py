"""The page to try a model on, in a real browser without a screen."""

import signal
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from model_folders import write_model
from pages import opened
from serving import png, serving

SIZE = 8


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    home = tmp_path_factory.mktemp("page")
    write_model(home / "run" / "export" / "onnx", size=SIZE)
    evaluation = home / "run" / "evaluation" / "test"
    evaluation.mkdir(parents=True)
    (evaluation / "example_00.png").write_bytes(png(90, SIZE))
    with serving(home / "log", f"run={home / 'run'}") as found:
        yield found


@pytest.fixture
def page(browser, server):
    with opened(browser, server.address, "3 classes") as found:
        yield found


def draw(page: Page, *, lift: bool = True) -> None:
    box = page.locator("#canvas").bounding_box()
    assert box
    page.mouse.move(box["x"] + 60, box["y"] + 60)
    page.mouse.down()
    page.mouse.move(box["x"] + 200, box["y"] + 60, steps=5)
    page.mouse.move(box["x"] + 110, box["y"] + 230, steps=5)
    if lift:
        page.mouse.up()


def drop(page: Page, name: str, content: bytes) -> None:
    given = [name, list(content)]
    event = page.evaluate_handle(
        """([name, content]) => {
            const data = new DataTransfer();
            if (name) data.items.add(new File([new Uint8Array(content)], name));
            return data;
        }""",
        given,
    )
    page.dispatch_event("#drop", "drop", {"dataTransfer": event})


def test_a_drawing_is_answered_while_it_is_drawn_with_bars_of_all_classes(page):
    expect(page.locator("#title")).to_have_text("Try small")
    expect(page.locator("#about")).to_have_text("87.5 % of the test set right · 3 classes · 8 × 8 grey")
    draw(page, lift=False)
    expect(page.locator("#results strong")).to_be_visible()
    assert page.get_by_alt_text("the image as the net sees it").evaluate("image => image.naturalWidth") == SIZE
    page.mouse.up()
    shares = page.locator("#results progress").evaluate_all("bars => bars.map(bar => bar.value)")
    assert len(shares) == 3
    assert sum(shares) == pytest.approx(1, abs=1e-5)
    assert shares == sorted(shares, reverse=True)
    expect(page.locator("#latency")).to_contain_text("ms in the server")
    page.get_by_role("button", name="Clear").click()
    expect(page.locator("#results strong")).to_have_count(0)
    page.get_by_role("button", name="What is it?").click()
    expect(page.get_by_role("alert")).to_have_text("There is no drawing yet.")


def test_an_example_is_answered_by_a_click(page, server):
    page.get_by_role("button", name="example 1").click()
    (expected,) = server.probabilities(png(90, SIZE))
    expect(page.locator("#results strong")).to_have_text(max(expected, key=expected.get))


def test_a_dropped_image_is_answered_as_over_http(page, server):
    drop(page, "digit.png", png(5, SIZE))
    (expected,) = server.probabilities(png(5, SIZE))
    expect(page.locator("#results strong")).to_have_text(max(expected, key=expected.get))
    assert page.locator("#results progress").evaluate_all("bars => bars.map(bar => bar.value)") == pytest.approx(
        list(expected.values())
    )


def test_several_chosen_images_are_answered_each_and_a_wrong_one_is_named(page):
    chosen = [{"name": f"{value}.png", "mimeType": "image/png", "buffer": png(value, SIZE)} for value in (0, 90)]
    page.set_input_files("#files", chosen)
    expect(page.locator("#results figure")).to_have_count(2)
    assert page.locator("#results img").first.get_attribute("alt") == "0.png"
    expect(page.locator("#results figure").last).to_contain_text("90.png")
    page.set_input_files("#files", [*chosen, {"name": "b.png", "mimeType": "image/png", "buffer": b"no image"}])
    expect(page.get_by_role("alert")).to_contain_text("b.png cannot be read as an image")


def test_the_answer_to_a_file_comes_into_view_on_a_phone(page):
    page.set_viewport_size({"width": 390, "height": 664})
    page.evaluate("scrollTo(0, 0)")
    drop(page, "digit.png", png(5, SIZE))
    expect(page.locator("#results strong")).to_be_in_viewport()


def test_clearing_ends_the_waiting_for_an_answer(page, server):
    server.process.send_signal(signal.SIGSTOP)
    try:
        drop(page, "digit.png", png(5, SIZE))
        expect(page.locator("#waiting")).to_be_visible()
        page.locator("#clear").click()
        expect(page.locator("#waiting")).to_be_hidden()
    finally:
        server.process.send_signal(signal.SIGCONT)


@pytest.mark.slow
def test_a_second_finger_draws_nothing_and_ends_nothing(page):
    drawn = """([kind, x, y, id]) => {
        const box = document.getElementById("canvas").getBoundingClientRect();
        const place = {clientX: box.left + x, clientY: box.top + y, pointerId: id, button: 0, bubbles: true};
        document.getElementById("canvas").setPointerCapture = () => {};
        document.getElementById("canvas").dispatchEvent(new PointerEvent("pointer" + kind, place));
    }"""
    for event in (["down", 40, 40, 1], ["down", 240, 240, 2], ["move", 240, 200, 2], ["up", 240, 200, 2]):
        page.evaluate(drawn, event)
    lit = "[...pen.getImageData(180, 180, 100, 100).data].some((value, index) => index % 4 < 3 && value)"
    assert not page.evaluate(lit)
    page.evaluate(drawn, ["move", 60, 40, 1])
    page.evaluate(drawn, ["up", 60, 40, 1])
    expect(page.locator("#results figure")).to_have_count(1)


def test_a_pasted_image_is_answered_and_a_pasted_text_told(page):
    paste = """content => {
        const data = new DataTransfer();
        if (content.length) data.items.add(new File([new Uint8Array(content)], "pasted.png"));
        dispatchEvent(new ClipboardEvent("paste", {clipboardData: data}));
    }"""
    page.evaluate(paste, [])
    expect(page.get_by_role("alert")).to_have_text("There is no image in the clipboard.")
    page.evaluate(paste, list(png(7, SIZE)))
    expect(page.locator("#results figure")).to_have_count(1)


def test_a_dropped_folder_is_told(page, tmp_path):
    box = page.locator("#drop").bounding_box()
    folder = tmp_path / "photos"
    folder.mkdir()
    browser = page.context.new_cdp_session(page)
    for kind in ("dragEnter", "dragOver", "drop"):
        data = {"items": [], "files": [str(folder)], "dragOperationsMask": 1}
        event = {"type": kind, "x": box["x"] + 30, "y": box["y"] + 30, "data": data}
        browser.send("Input.dispatchDragEvent", event)
    expect(page.get_by_role("alert")).to_have_text("photos cannot be read: it is a folder, or no longer there.")


def test_a_wrong_file_is_told_and_the_next_one_answered(page):
    drop(page, "notes.txt", b"not an image")
    expect(page.get_by_role("alert")).to_contain_text("cannot be read as an image")
    drop(page, "", b"")
    expect(page.get_by_role("alert")).to_contain_text("This is no file")
    drop(page, "digit.png", png(5, SIZE))
    expect(page.locator("#results figure")).to_have_count(1)
    expect(page.get_by_role("alert")).to_have_text("")


@pytest.mark.slow
def test_the_keyboard_alone_draws_and_asks(page):
    # Examples, of which each is a button, stand before it.
    for _ in range(2 + page.locator("#examples button").count()):
        page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "canvas"
    for key in (" ", *["ArrowRight"] * 4, *["ArrowDown"] * 4, " ", "Enter"):
        page.keyboard.press(key)
    expect(page.locator("#results figure")).to_have_count(1)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "ask"
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#results figure")).to_have_count(0)


@pytest.mark.slow
def test_every_control_has_a_name_and_nothing_is_wider_than_a_phone(page):
    names = page.evaluate(
        """[...document.querySelectorAll("button, input, canvas, a")].map(each =>
            each.ariaLabel || each.textContent || [...(each.labels || [])].map(label => label.textContent).join(""))"""
    )
    assert len(names) >= 6
    assert all(names)
    drop(page, "digit.png", png(5, SIZE))
    expect(page.locator("#results figure")).to_have_count(1)
    for width in (360, 390, 768):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.slow
def test_a_finger_draws_on_a_phone_in_the_dark(browser, server):
    context = browser.new_context(
        viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True, color_scheme="dark"
    )
    page = context.new_page()
    page.goto(server.address)
    page.locator("#canvas").scroll_into_view_if_needed()
    page.locator("#canvas").tap()
    expect(page.locator("#results figure")).to_have_count(1)
    channels = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
    assert max(channels) < 64
    context.close()


@pytest.mark.slow
def test_a_server_asks_for_its_key_and_one_that_is_gone_is_told(browser, tmp_path):
    with serving(
        tmp_path / "log", f"model={write_model(tmp_path / 'model')}", KINDLING_API_KEY="of this test"
    ) as server:
        server.client.headers["x-api-key"] = "of this test"
        context = browser.new_context()
        page = context.new_page()
        page.goto(server.address)
        expect(page.get_by_role("alert")).to_have_text("This server asks for its API key.")
        for wrong, says in (("other", "This key is not that of the server."), ("€", "letters, digits, signs")):
            page.get_by_label("API key").fill(wrong)
            page.keyboard.press("Enter")
            expect(page.get_by_role("alert")).to_contain_text(says)
        page.get_by_label("API key").fill("of this test")
        page.keyboard.press("Enter")
        expect(page.locator("#about")).to_contain_text("3 classes")
        drop(page, "digit.png", png())
        expect(page.locator("#results figure")).to_have_count(1)
        context.close()
        # Another server would take as long to start as all else here.
        gone_is_told(browser, server, tmp_path)


def gone_is_told(browser, server, tmp_path: Path) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.goto(server.address)
    expect(page.get_by_role("alert")).to_be_visible()
    assert server.stop() == 0
    page.get_by_role("button", name="Use this key").click()
    expect(page.get_by_role("alert")).to_have_text("The server does not answer. Is it still running?")
    context.close()
