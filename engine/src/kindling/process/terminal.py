"""What a terminal shows: a line at its foot that stays below whatever is printed, and colours."""

import os
import re
import sys
from contextlib import suppress
from typing import Any

USUAL_COLUMNS = 80
# A key holds no blank; the rest of the line says what is wrong with it.
KIND_AND_KEY = re.compile(r"^(error|warning):(?: ([^\s:]+)(?=: ))?", re.MULTILINE)
COLOURS = {"error": "31", "warning": "33"}


class _Foot:
    """The line at the foot; its columns are 0 if there is none."""

    columns = 0


def is_watched() -> bool:
    """Whether somebody looks at stderr, on a terminal that can draw a line anew."""
    dumb = os.environ.get("TERM", "dumb") in ("dumb", "unknown") or bool(os.environ.get("CI"))
    return _is_terminal(sys.stderr) and not dumb


def has_colours(stream: Any) -> bool:
    """Whether what a stream shows may be coloured; NO_COLOR forbids it."""
    return _is_terminal(stream) and is_watched() and not os.environ.get("NO_COLOR")


def _is_terminal(stream: Any) -> bool:
    with suppress(AttributeError, ValueError):
        return bool(stream.isatty())
    return False


def columns() -> int:
    """The width of the terminal; the usual one if it does not tell."""
    with suppress(OSError):
        return os.get_terminal_size(2).columns or USUAL_COLUMNS
    return USUAL_COLUMNS


def painted(text: str) -> str:
    """Lines with the word error in red, warning in yellow, and the key that they are of in bold."""

    def paint(found: re.Match[str]) -> str:
        key = f" \x1b[1m{found[2]}\x1b[0m" if found[2] else ""
        return f"\x1b[{COLOURS[found[1]]}m{found[1]}:\x1b[0m{key}"

    return KIND_AND_KEY.sub(paint, text)


def say(text: str) -> None:
    """Print to stderr, painted if it has colours."""
    print(painted(text) if has_colours(sys.stderr) else text, file=sys.stderr, flush=True)


def has_foot() -> bool:
    return _Foot.columns > 0


def draw_foot(line: str) -> None:
    """Draw a line at the foot, in place of the one before."""
    before, _Foot.columns = _Foot.columns, 0
    sys.stderr.write(f"\r{line.ljust(before)}")
    sys.stderr.flush()
    _Foot.columns = len(line)


def clear_foot() -> None:
    if has_foot():
        sys.stderr.write(take_erasure().decode())
        sys.stderr.flush()


def take_erasure() -> bytes:
    """What removes the line at the foot, and the ^C that a terminal may have added to it; b"" if there is none."""
    width, _Foot.columns = _Foot.columns, 0
    return b"\r" + b" " * (width + 2) + b"\r" if width else b""


def take_beginning() -> bytes:
    """What a line that a signal writes begins with: over the line at the foot, or over the ^C."""
    return take_erasure() or (b"\r" if os.isatty(2) else b"")
