"""The comments of a YAML file, beside the settings that they are of, for the help of a command."""

import re
from collections.abc import Iterator

# A line that sets a key: indentation, key, value, comment.
SETTING = re.compile(r"( *)([\w.-]+):((?: +[^#]\S*)*)(?: +# ?(.*))?$")


def with_comments(shown: str, file: str) -> str:
    """YAML as it is dumped, each setting with the comment that a file has of it."""
    comments = {path: comment for _, path, comment in _settings(file) if comment}
    paths = {number: path for number, path, _ in _settings(shown)}
    lines = enumerate(shown.splitlines())
    return "\n".join(f"{line}  # {comments[paths[n]]}" if paths.get(n) in comments else line for n, line in lines)


def _settings(text: str) -> Iterator[tuple[int, str, str | None]]:
    """The line, the dotted path and the comment of each key."""
    above: list[tuple[int, str]] = []
    for number, line in enumerate(text.splitlines()):
        if not (found := SETTING.match(line)):
            continue
        indent = len(found[1])
        above = [*(each for each in above if each[0] < indent), (indent, found[2])]
        yield number, ".".join(key for _, key in above), found[4]
