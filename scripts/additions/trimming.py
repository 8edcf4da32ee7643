"""Markdown without what it says of something that is gone: sentences, commands, rows of tables, sections."""

import re
import textwrap
from collections.abc import Iterator

WIDTH = 120
HEADING = re.compile(r"(#+) ")
ITEM = re.compile(r"(?:[-*]|\d+\.) ")
# A word in a list of words: `a`, `b` (what it is), [c](c.md)
LISTED = r"(?:`[^`]+`|\[[^\]]+\]\([^)]+\))(?: \([^)|]*\))?"
EMPTY_TABLE = re.compile(r"^\|.*\|\n\|[-| :]+\|\n(?!\|)\n?", re.MULTILINE)
SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z`\[\"*(])")


def without(text: str, gone: re.Pattern[str], sections: re.Pattern[str]) -> str:
    """A page without whatever matches, and without the sections whose heading does; what is left is as it was."""
    kept: list[str] = []
    # The level of a heading whose section goes; the indent of a code block whose introduction went.
    hidden, is_introduced = 0, True
    for block in blocks(text):
        heading = HEADING.match(block)
        if heading and (not hidden or len(heading[1]) <= hidden):
            hidden = len(heading[1]) if sections.search(block) else 0
        is_code = block.startswith(("```", "    "))
        if hidden or (is_code and not is_introduced):
            continue
        left = trimmed(block, gone)
        if not is_code:
            is_introduced = left == block or not block.rstrip().endswith(":") or left.rstrip().endswith(":")
        elif block.strip() and not left.strip():
            kept = without_introduction(kept)
        kept.append(left)
    left = EMPTY_TABLE.sub("", "".join(kept))
    return "".join(without_empty_sections(list(blocks(left)))).strip("\n") + "\n"


def blocks(text: str) -> Iterator[str]:
    """Paragraphs, items of lists, rows of tables, code blocks and the empty lines between: together the text."""
    found, is_fenced = "", False
    for line in text.splitlines(keepends=True):
        starts = not is_fenced and (
            line.startswith(("|", "#", "```", "<!--", "!["))
            or ITEM.match(line)
            or not line.strip()
            or found.startswith(("|", "#"))
            or not found.strip()
            or line.startswith("    ") != found.startswith("    ")
        )
        if starts and found:
            yield found
            found = ""
        found += line
        if line.startswith("```"):
            is_fenced = not is_fenced
            if not is_fenced:
                yield found
                found = ""
    if found:
        yield found


def trimmed(block: str, gone: re.Pattern[str]) -> str:
    """A block without what matches; "" if nothing is left of it."""
    if not gone.search(block):
        return block
    if block.startswith("```"):
        return fenced(block, gone)
    if block.startswith("    "):
        return code(block, gone)
    if block.startswith("#"):
        return block
    if block.startswith("|"):
        return row(block, gone)
    if block.startswith(("<!--", "![")):
        return ""
    return prose(block, gone)


def fenced(block: str, gone: re.Pattern[str]) -> str:
    first, *lines, last = block.splitlines(keepends=True)
    # A transcript is about its first command.
    if lines and lines[0].startswith("$ ") and gone.search(lines[0]):
        return ""
    left = code("".join(lines), gone)
    return first + left + last if left.strip() else ""


def code(block: str, gone: re.Pattern[str]) -> str:
    """Commands, some over several lines."""
    return "".join(each for each in re.findall(r"(?:.*\\\n)*.*\n", block) if not gone.search(each))


def row(block: str, gone: re.Pattern[str]) -> str:
    cells = re.split(r"(?<!\\)\|", block.strip().strip("|"))
    first, *others = re.findall(LISTED, cells[0]) or [""]
    # Files beside one that is gone are named without their folder.
    if gone.search(first) and not any("/" in each for each in others):
        return ""
    left = [listed(cell, gone) for cell in cells]
    left = [(sentences(cell.strip(), gone) if gone.search(cell) else cell.strip()) for cell in left]
    is_whole = all(cell or not before.strip() for cell, before in zip(left, cells, strict=True))
    return "| " + " | ".join(left) + " |\n" if is_whole else ""


def listed(text: str, gone: re.Pattern[str]) -> str:
    """Text whose lists of words have lost those that match."""

    def shorter(found: re.Match[str]) -> str:
        left = [each for each in re.findall(LISTED, found[0]) if not gone.search(each)]
        *first, last = left or [""]
        return f"{', '.join(first)} and {last}" if first and " and " in found[0] else ", ".join(left)

    return re.sub(rf"{LISTED}(?:, {LISTED})*(?:,? and {LISTED}|, {LISTED})", shorter, text)


def sentences(text: str, gone: re.Pattern[str]) -> str:
    parts = re.split(r"(?<=;)\s+", text) if "; " in text and not SENTENCE.search(text) else SENTENCE.split(text)
    return " ".join(each for each in parts if not gone.search(each)).rstrip(";")


def prose(block: str, gone: re.Pattern[str]) -> str:
    mark = ITEM.match(block)
    start = mark[0] if mark else ""
    text = " ".join(line.strip() for line in block[len(start) :].splitlines())
    left = listed(text, gone)
    left = sentences(left, gone) if gone.search(left) else left
    if not left:
        return ""
    # Code is not torn apart.
    whole = re.sub(r"`[^`]*`", lambda found: found[0].replace(" ", "\0"), left)
    indent = " " * len(start)
    wrapped = textwrap.fill(
        whole, WIDTH, initial_indent=start, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
    return wrapped.replace("\0", " ") + "\n"


def without_introduction(kept: list[str]) -> list[str]:
    """Without the sentence that ends with a colon, if it comes last."""
    last = next((number for number in range(len(kept) - 1, -1, -1) if kept[number].strip()), None)
    if last is None or not kept[last].rstrip().endswith(":") or kept[last].startswith("|"):
        return kept
    return [*kept[:last], prose(kept[last], re.compile(r":$")), *kept[last + 1 :]]


def without_empty_sections(kept: list[str]) -> Iterator[str]:
    """Without a heading, or the head of a table, that nothing follows."""
    for number, block in enumerate(kept):
        if not block.strip() and number and not kept[number - 1].strip():
            continue
        after = next((each for each in kept[number + 1 :] if each.strip()), "")
        heading, next_heading = HEADING.match(block), HEADING.match(after)
        if heading and (not after or (next_heading and len(next_heading[1]) <= len(heading[1]))):
            continue
        yield block
