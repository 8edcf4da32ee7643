"""Parts and examples that a project has chosen to do without, as [tool.kindling] of its pyproject.toml lists them."""

import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import results_table
from additions import docs, examples, parts
from additions.tidying import tidy
from kindling.config import project
from kindling.config.fault import Fault, nearest
from kindling.config.project import Project
from kindling.errors import ConfigError

PACKAGE_LINE = re.compile(r"(?m)^(package = \"\w+\".*\n)(without = .*\n)?")


def rooms() -> dict[str, str]:
    """What can be left out of the engine, each with a phrase."""
    return {name: part.what for name, part in parts.table().items() if "=" not in name}


def before(root: Path) -> list[str]:
    """What was left out already."""
    settings: dict[str, Any] = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    return list(settings["tool"]["kindling"].get("without", ()))


def chosen(here: Project, named: str, *, is_minimal: bool) -> list[str]:
    """What is to be left out, of that which is still there.

    Raises:
        ConfigError: a name is none of a part or of an example.
    """
    if named or is_minimal:
        project.use(here.root)
    gone = [name for name in dict.fromkeys(named.replace(" ", "").split(",")) if name and name not in before(here.root)]
    for name in gone:
        if "=" in name:
            examples.option_of(name)
        elif name not in rooms():
            allowed = f"{', '.join(rooms())}, or an example such as model=vit"
            raise ConfigError(str(Fault("--without", repr(name), allowed, nearest(name, rooms()))))
    if is_minimal:
        gone += ["=".join(option) for option in examples.that_can_go()]
    return list(dict.fromkeys(gone))


def leave_out(here: Project, gone: Sequence[str]) -> list[str]:
    """Delete what is there of it, and what names it; what was done."""
    if not gone:
        return []
    project.use(here.root)
    table = parts.table(here.root)
    found = {name: table[name] for name in gone if "=" not in name and name in table}
    named = {name for name in gone if "=" in name}
    options = [option for option in examples.that_can_go() if "=".join(option) in named] if named else []
    if options:
        found["examples"] = examples.part_of(options, table)
    files, changed = parts.leave_out(here.root, found)
    listed = [*before(here.root), *gone]
    quoted = ", ".join(f'"{name}"' for name in listed)
    file = here.root / "pyproject.toml"
    text = PACKAGE_LINE.sub(rf"\1without = [{quoted}]\n", file.read_text(encoding="utf-8"), count=1)
    file.write_text(text, encoding="utf-8", newline="")
    results_table.write(here.root, here.root)
    docs.update(here)
    return [f"left out: {', '.join(gone)}; {len(files)} files", *tidy(here.root, changed, "I,F401")]
