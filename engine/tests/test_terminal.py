"""What a terminal shows, and what nobody sees that looks at a file, a pipe or the log of a job."""

import io
import os
import re
from types import SimpleNamespace

import pytest

from bench_root import PROJECT, REPOSITORY
from kindling import runs
from kindling.process import streams, terminal


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def screen(monkeypatch):
    for name in ("NO_COLOR", "CI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    # Pytest sets sys.stderr itself before each test.
    monkeypatch.setattr(terminal, "sys", SimpleNamespace(stderr=Screen()))
    return terminal.sys.stderr


def test_the_word_error_is_red_and_its_key_bold_on_a_terminal(screen):
    terminal.say("error: trainer.max_epoch: given 3; allowed: 1\nwarning: two words: as they are\nan error: no")
    assert screen.getvalue().splitlines() == [
        "\x1b[31merror:\x1b[0m \x1b[1mtrainer.max_epoch\x1b[0m: given 3; allowed: 1",
        "\x1b[33mwarning:\x1b[0m two words: as they are",
        "an error: no",
    ]


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb"), ("CI", "true"), ("TERM", None)])
def test_whoever_wants_no_colours_gets_none(screen, monkeypatch, name, value):
    monkeypatch.delenv(name) if value is None else monkeypatch.setenv(name, value)
    terminal.say("error: a: b")
    assert screen.getvalue() == "error: a: b\n"
    # A bar is drawn without any.
    assert terminal.is_watched() == (name == "NO_COLOR")


def test_a_pipe_is_not_watched(screen):
    terminal.sys.stderr = io.StringIO()
    assert not terminal.is_watched()
    terminal.say("error: a: b")
    assert terminal.sys.stderr.getvalue() == "error: a: b\n"


def test_a_line_at_the_foot_gives_way_to_what_is_printed(screen):
    reader, writer = os.openpty()
    descriptor = streams._Descriptor(writer, "w", closefd=False)
    stream = io.TextIOWrapper(io.BufferedWriter(descriptor), "utf-8", line_buffering=True)
    terminal.sys.stderr = stream
    terminal.draw_foot("epoch 0")
    terminal.draw_foot("now")
    print("a row", file=stream)
    print("another", file=stream)
    shown = ""
    # One read may give a part.
    while not shown.endswith("another\r\n"):
        shown += os.read(reader, 1000).decode()
    assert shown == "\repoch 0\rnow    \r     \ra row\r\nanother\r\n"
    assert not terminal.has_foot()


def test_a_file_gets_nothing_of_the_foot(screen, tmp_path):
    with streams._Descriptor(os.open(tmp_path / "out", os.O_CREAT | os.O_WRONLY), "w") as descriptor:
        terminal.draw_foot("epoch 0")
        descriptor.write(b"a row\n")
    assert (tmp_path / "out").read_bytes() == b"a row\n"
    terminal.clear_foot()
    assert screen.getvalue() == "\repoch 0\r         \r"


def test_a_command_that_lists_runs_says_its_errors_in_red_too(screen, tmp_path):
    assert runs.main(str(PROJECT / "runs.py"), ["ls", str(tmp_path / "gone")]) == 2
    assert screen.getvalue().startswith("\x1b[31merror:\x1b[0m \x1b[1mfolder\x1b[0m: given ")


def test_nothing_but_a_trial_whose_output_is_a_file_prints_an_error_without_colours():
    plain = re.compile(r"print\(f?\"(error|warning): ")
    sources = [*(REPOSITORY / "engine" / "src").rglob("*.py"), *(REPOSITORY / "scripts").glob("*.py")]
    assert len(sources) > 200
    assert [each.name for each in sources if plain.search(each.read_text("utf-8"))] == ["jobs.py"]
