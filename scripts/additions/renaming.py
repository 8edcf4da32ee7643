"""The text of each new file: the old one's, under the new name."""

import io
import re
import tokenize
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

from additions.kinds import Kind, places_of
from additions.sources import Source
from kindling.config.fault import Fault
from kindling.config.project import Project
from kindling.errors import ConfigError


def camel(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))


def written(kind: Kind, name: str, source: Source, here: Project) -> dict[Path, str]:
    """The text of each file that is to be there.

    Raises:
        ConfigError: the class has a name that its code uses for something else.
    """
    class_name, places = camel(name), places_of(kind, name, here)
    for text in filter(None, (source.code, source.test)):
        if re.search(rf"\b{class_name}\b", text) and class_name != source.class_name:
            raise ConfigError(str(Fault("name", f"{name!r}, whose class {class_name} is in that code", "another name")))
    renamed = renaming(kind, name, source, f"{here.package}.{kind.folder}.{name}")
    files = {places.config: renamed(source.config)}
    if source.code is not None:
        files = {places.code: renamed(source.code), **files}
        package = places.code.with_name("__init__.py")
        files |= {} if package.exists() else {package: ""}
    if source.test is not None:
        files[places.test] = renamed(with_identifier(source.test, source.name, name))
    return files


def renaming(kind: Kind, name: str, source: Source, module: str) -> Callable[[str], str]:
    """Replaces the names by which others find a thing, and no other word: a set may be read from a file of its name."""
    old = re.escape(source.name)
    words = {
        rf"\b{kind.group}={old}\b": f"{kind.group}={name}",
        rf"\[default,{old}\]": f"[default,{name}]",
        # The block of a callback.
        rf"^{old}:(?=\s*$|\s*#)": f"{name}:",
        # An argument of a test.
        rf'(?<=[(\[ ])"{old}"(?=[,)\]])': f'"{name}"',
    }
    if source.code is not None:
        words |= {rf"\b{re.escape(source.module)}\b": module, rf"\b{source.class_name}\b": camel(name)}

    def renamed(text: str) -> str:
        for pattern, word in words.items():
            text = re.sub(pattern, word, text, flags=re.MULTILINE)
        return text

    return renamed


def with_identifier(code: str, old: str, new: str) -> str:
    """Code whose functions and variables `old` are named `new`; as it is where `old` is a package that it imports."""
    if re.search(rf"^(import|from) {re.escape(old)}\b", code, re.MULTILINE):
        return code
    lines = code.splitlines(keepends=True)
    tokens = list(tokenize.generate_tokens(io.StringIO(code).readline))
    for last, token in reversed(list(pairwise(tokens))):
        if token.type == tokenize.NAME and token.string == old and last.string != ".":
            (row, start), (_, end) = token.start, token.end
            lines[row - 1] = lines[row - 1][:start] + new + lines[row - 1][end:]
    return "".join(lines)
