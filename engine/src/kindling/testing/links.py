"""Links of Markdown files that lead nowhere."""

import re
from pathlib import Path

LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(?:#([\w-]+))?\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def dead_links(file: Path) -> list[str]:
    """The links of a file to files that are not there, and to headings that those lack."""
    found = []
    for path, heading in LINK.findall(file.read_text(encoding="utf-8")):
        target = file.parent / path if path else file
        if not target.exists() or (heading and heading not in _headings(target)):
            found.append(f"{path}#{heading}".rstrip("#"))
    return found


def _headings(file: Path) -> set[str]:
    """The headings of a file, as links name them."""
    titles = HEADING.findall(file.read_text(encoding="utf-8"))
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
