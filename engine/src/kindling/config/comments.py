"""The comments of a YAML file, beside the settings that they are of, for the help of a command."""

import re
import textwrap
from collections.abc import Iterator

# Of the narrowest terminal.
WIDTH = 80
# A line that sets a key: indentation, key, value, comment.
SETTING = re.compile(r"( *)([\w.-]+):((?: +[^#]\S*)*)(?: +# ?(.*))?$")
Comments = tuple[list[str], str]


def with_comments(shown: str, file: str) -> str:
    """YAML as it is dumped, each setting with the comments that a file has of it, above it where it would be wide."""
    comments = {path: found for _, path, found in _settings(file)}
    paths = {number: path for number, path, _ in _settings(shown)}
    lines: list[str] = []
    for number, line in enumerate(shown.splitlines()):
        above, behind = comments.get(paths.get(number, ""), ([], ""))
        beside = f"{line}  # {behind}" if behind else line
        if len(beside) > WIDTH:
            above, beside = [*above, behind], line
        start = " " * (len(line) - len(line.lstrip())) + "# "
        lines += [part for comment in above for part in wrapped(comment, start, start)]
        lines.append(beside)
    return "\n".join(lines)


def wrapped(text: str, first: str, further: str) -> list[str]:
    """Lines that a narrow terminal can show, with the beginnings of the first and of the further ones."""
    return textwrap.wrap(
        text, WIDTH, initial_indent=first, subsequent_indent=further, break_long_words=False, break_on_hyphens=False
    )


def _settings(text: str) -> Iterator[tuple[int, str, Comments]]:
    """The line, the dotted path and the comments of each key: those on lines above it, and the one behind it."""
    parents: list[tuple[int, str]] = []
    above: list[str] = []
    for number, line in enumerate(text.splitlines()):
        if found := SETTING.match(line):
            indent = len(found[1])
            parents = [*(each for each in parents if each[0] < indent), (indent, found[2])]
            yield number, ".".join(key for _, key in parents), (above, found[4] or "")
        is_comment = line.lstrip().startswith("# ")
        above = [*above, line.lstrip()[2:]] if is_comment else []
