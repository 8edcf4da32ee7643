"""The images of a folder, a file, a glob or stdin, named one after another. Needs no torch."""

import os
import re
import sys
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase

from kindling.images.listing import LeftOut, existing, is_foreign, leads_nowhere, same

STDIN = "-"
ALLOWED = f"a folder, a file, a glob such as 'photos/**/*.png', or {STDIN} for names on stdin"
MAGIC = re.compile(r"[*?\[]")
ANY_DEPTH = "**"


def list_images(given: str, left_out: LeftOut | None = None) -> Iterator[str]:
    """The names of the images, of a folder or a glob sorted; only as many at a time as a folder holds.

    Args:
        given: a folder, a file, a glob or STDIN.
        left_out: counts what is no image in a folder.
    """
    if given == STDIN:
        return _of_stdin()
    path = existing(os.path.expanduser(given))
    left_out = LeftOut() if left_out is None else left_out
    if os.path.isdir(path):
        return _below(path, (ANY_DEPTH, "*"), left_out)
    if os.path.lexists(path) or not MAGIC.search(path):
        return iter([path] if os.path.lexists(path) else [])
    return _below(*_split(path), left_out)


def _of_stdin() -> Iterator[str]:
    for line in sys.stdin.buffer:
        name = os.fsdecode(line.rstrip(b"\r\n"))
        if name:
            yield existing(name)


def _split(path: str) -> tuple[str, list[str]]:
    """The folder that a glob starts from, and its patterns from there on, one a level."""
    parts = path.split("/")
    first = next(index for index, part in enumerate(parts) if MAGIC.search(part))
    patterns = [part for part in parts[first:] if part not in ("", ".")]
    again = [part == ANY_DEPTH == before for before, part in zip(["", *patterns], patterns, strict=False)]
    patterns = [part for part, repeated in zip(patterns, again, strict=True) if not repeated]
    patterns += ["*"] if patterns[-1] == ANY_DEPTH else []
    return existing("/".join(parts[:first])) + "/" * (first > 0), patterns


def _below(base: str, patterns: Sequence[str], left_out: LeftOut) -> Iterator[str]:
    """The images below a folder whose path fits the patterns; a folder that cannot be listed is named instead.

    A folder that a link leads to is listed there too, as by Python's glob, but for one above the link. How far into
    the patterns a path has come is known by the positions that its next part may be at.
    """
    levels = [iter([(base, _with_skipped({0}, patterns))])]
    above: list[object] = []
    while levels:
        path, positions = next(levels[-1], ("", None))
        if positions is None:
            levels.pop()
            del above[-1:]
        elif path != base and not os.path.isdir(path):
            if len(patterns) in positions and _is_image(path, left_out):
                yield path
        elif positions - {len(patterns)} and (identity := _identity(path)) not in above:
            try:
                names = sorted(os.listdir(path or "."))
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError:
                yield path
                continue
            levels.append(_fitting(path, names, positions, patterns, left_out))
            above.append(identity)


def _fitting(
    folder: str, names: list[str], positions: set[int], patterns: Sequence[str], left_out: LeftOut
) -> Iterator[tuple[str, set[int]]]:
    hidden_too = any(pattern.startswith(".") for pattern in patterns)
    for name in names:
        fitting = {at for at in positions if at < len(patterns) and fnmatchcase(same(name), same(patterns[at]))}
        found = {at if patterns[at] == ANY_DEPTH else at + 1 for at in fitting}
        asked_for = name in patterns or (hidden_too and name.startswith("."))
        if found and is_foreign(name) and not asked_for:
            left_out.num_foreign += 1
        elif found:
            yield os.path.join(folder, name), _with_skipped(found, patterns)


def _with_skipped(positions: set[int], patterns: Sequence[str]) -> set[int]:
    """A ** may also stand for no folder at all."""
    return positions | {at + 1 for at in positions if at < len(patterns) and patterns[at] == ANY_DEPTH}


def _identity(folder: str) -> object:
    """The same for all paths of a folder."""
    try:
        found = os.stat(folder or ".")
    except OSError:
        return folder
    return found.st_dev, found.st_ino


def _is_image(path: str, left_out: LeftOut) -> bool:
    # Its row says so.
    return leads_nowhere(path) or left_out.is_image(path)
