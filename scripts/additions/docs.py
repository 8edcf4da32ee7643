"""The list in docs/files.md of what there is in src/ and which recipes: made anew from the files themselves."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from additions.kinds import KINDS, Kind, places_of
from kindling.config.project import Project

PAGE = Path("docs") / "files.md"
BETWEEN = re.compile(r"(<!-- parts: .*? -->\n).*?(<!-- end of parts -->)", re.DOTALL)


def update(here: Project, place: Path | None = None) -> list[Path]:
    """Write the list where the page, here or of another folder, has a place for it; the files that have changed."""
    page = (place or here.root) / PAGE
    text = page.read_text(encoding="utf-8") if page.is_file() else ""
    listed = BETWEEN.sub(lambda found: found[1] + table(here) + found[2], text)
    if listed == text:
        return []
    page.write_text(listed, encoding="utf-8", newline="")
    return [page]


def table(here: Project) -> str:
    rows = ["| what | chosen by | |", "|---|---|---|"]
    for kind, of in KINDS.items():
        rows += [f"| {kind} | `{choice}` | {about} |" for choice, about in options(of, here)]
    return "\n".join(rows) + "\n"


def options(kind: Kind, here: Project) -> Iterator[tuple[str, str]]:
    """How each one of the project is chosen, and what it says of itself first."""
    of_project = re.compile(rf"^\s*_target_: {here.package}\.", re.MULTILINE)
    for file in sorted((here.configs / kind.group).glob("[!_]*.yaml")):
        config, code = file.read_text(encoding="utf-8"), places_of(kind, file.stem, here).code
        if kind.folder and not of_project.search(config):
            continue
        said = docstring_of(code) if kind.folder else ""
        comments = [line[2:] for line in config.splitlines() if line.startswith("# ") and line[2:3] != "@"]
        shown = next((line for line in comments if not line.startswith("yaml-language-server")), "")
        yield kind.choice.format(file.stem).strip("'"), first_line(said or shown)


def docstring_of(code: Path) -> str:
    """That of a file; "" if it is not there or cannot be read as Python, which is not for a list to say."""
    try:
        return ast.get_docstring(ast.parse(code.read_text(encoding="utf-8"))) or ""
    except (OSError, SyntaxError, ValueError):
        return ""


def first_line(text: str) -> str:
    return text.partition("\n")[0].rstrip(".").replace("|", "\\|")
