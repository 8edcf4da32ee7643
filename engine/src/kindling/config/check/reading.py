"""A YAML file as Hydra reads it, or what is wrong with it as a file."""

import codecs
import re
from pathlib import Path

import yaml
from omegaconf import OmegaConf

from kindling.config.fault import Fault
from kindling.config.plain import LOADER

UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
# What the parser in C takes and Hydra's own may not: tabs, and tags such as !!python/name.
ODD = re.compile(r"\t|(^|\s)!")


def parsed(file: Path) -> yaml.Node | None:
    """The file's nodes, with their lines."""
    return yaml.compose(file.read_text(encoding="utf-8"), Loader=LOADER)


def fault_of(file: Path) -> Fault | None:
    """What keeps Hydra from taking a file as keys with values."""
    where, content = shown(file), file.read_bytes()
    if content.startswith(UTF16) or b"\0" in content:
        return Fault(where, "text in UTF-16", "UTF-8; save the file so")
    if content.startswith(codecs.BOM_UTF8):
        # Hydra would not find its first line, `# @package`.
        return Fault(where, "a byte order mark at its start", "UTF-8 without one; save the file so")
    try:
        text = content.decode("utf-8")
        tree = parsed(file)
        if ODD.search(text):
            OmegaConf.create(text)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        given = f"the byte 0x{content[error.start]:02X}, which is not UTF-8 but may be Latin-1"
        return Fault(where, given, "UTF-8; save the file so", origin=f"{where}:{line}")
    except yaml.YAMLError as error:
        return not_yaml(error, file)
    if tree is None or isinstance(tree, yaml.MappingNode):
        return None
    given = "a list" if isinstance(tree, yaml.SequenceNode) else f"the text {tree.value!r} alone"
    return Fault(where, given, "keys with values, such as seed: 1", origin=f"{where}:{tree.start_mark.line + 1}")


def shown(file: Path) -> str:
    """A file as a reader finds it: from the folder above the configs."""
    return next((str(file.relative_to(above.parent)) for above in file.parents if above.name == "configs"), str(file))


def not_yaml(error: yaml.YAMLError, file: Path | None = None) -> Fault:
    """The fault of a file that a YAML parser refuses."""
    mark = getattr(error, "problem_mark", None)
    where = shown(file or Path(mark.name if mark else "YAML"))
    if isinstance(error, yaml.reader.ReaderError):
        return Fault(where, f"the character {chr(error.character)!r}, at {error.position}", "YAML, without it")
    reason, allowed = getattr(error, "problem", None) or str(error), "YAML"
    if "cannot start any token" in reason and _has_tab(file, mark):
        reason, allowed = "a tab", "spaces in its place"
    return Fault(where, reason, allowed, origin=f"{where}:{mark.line + 1}" if mark else "")


def _has_tab(file: Path | None, mark: yaml.Mark | None) -> bool:
    """Whether a parser has stopped at a tab."""
    if file is None or mark is None:
        return False
    return "\t" in file.read_text(encoding="utf-8").splitlines()[mark.line]
