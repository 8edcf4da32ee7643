"""What the config of a checkpoint describes, built if it is of the right kind: anybody may have written it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from traceback import extract_tb
from typing import Any, TypeVar

from kindling.config import project
from kindling.config.composition import instantiate
from kindling.config.targets import locate, nodes
from kindling.errors import CheckpointError, KindlingError, one_line

Kind = TypeVar("Kind")
# Characters; file systems take no more.
LONGEST_PATH = 4096


@contextmanager
def blamed_on(path: Path) -> Iterator[None]:
    """Name the checkpoint with which something went wrong: its description may be wrong in any way.

    Raises:
        CheckpointError: instead of whatever torch and others raise.
    """
    try:
        yield
    except (KindlingError, OSError):
        raise
    except Exception as error:
        reason = "memory ran out" if isinstance(error, MemoryError) else f"{type(error).__name__}: {one_line(error)}"
        raise CheckpointError(
            f"{path}: what it describes does not work ({reason}{_place_in_project(error)}); use another checkpoint, or "
            "the data that it was trained with; HYDRA_FULL_ERROR=1 shows where"
        ) from error


def _place_in_project(error: BaseException) -> str:
    """File and line of the project's own code in which an error rose; "" if it was not there."""
    code = project.current().root / "src" / project.current().package
    for frame in reversed(extract_tb(error.__traceback__)):
        if Path(frame.filename).is_relative_to(code):
            return f", {Path(frame.filename).relative_to(project.current().root)}:{frame.lineno}"
    return ""


def section(config: dict[str, Any], name: str) -> dict[str, Any]:
    """
    Raises:
        CheckpointError: there is no such section in a checkpoint's config.
    """
    found = config.get(name)
    if not isinstance(found, dict):
        raise CheckpointError(f"{name}: given {found!r} by the checkpoint's config; allowed: a section")
    return found


def refuse_devices(node: dict[str, Any], name: str) -> None:
    """
    Raises:
        CheckpointError: a node names a pipe or a device, which would be waited for or read without end.
    """
    for place, _, value in nodes(node, name):
        path = Path(value) if isinstance(value, str) and 0 < len(value) <= LONGEST_PATH and "\0" not in value else None
        if path and os.path.exists(path) and not (path.is_file() or path.is_dir()):
            raise CheckpointError(f"{place}: given {value!r} by the checkpoint's config; allowed: a file or a folder")


def build(node: dict[str, Any], name: str, kind: type[Kind], /, **given: Any) -> Kind:
    """
    Args:
        node: of the config.
        name: of the node.
        kind: that it must describe.
        given: further arguments, not of the config.

    Raises:
        CheckpointError: a section describes nothing of that kind.
        ConfigError: it cannot be built.
    """
    refuse_devices(node, name)
    target = node.get("_target_")
    found = locate(target, f"{name}._target_")
    built = instantiate(node, name, **given) if not isinstance(found, type) or issubclass(found, kind) else None
    if not isinstance(built, kind):
        raise CheckpointError(f"{name}: given {target!r} by the checkpoint's config; allowed: a {kind.__name__}")
    return built
