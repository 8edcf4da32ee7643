"""The project that runs: its root folder, and what `[tool.kindling]` of its pyproject.toml says of it."""

import json
import re
import sys
import tomllib
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from kindling.config.fault import Fault, nearest
from kindling.errors import ConfigError

ENGINE = __name__.partition(".")[0]
KEYS = ("package", "targets", "without")
PACKAGE_NAME = re.compile(r"[A-Za-z]\w*")
PREFIX = re.compile(r"([A-Za-z]\w*\.)+")


class Project(NamedTuple):
    """A folder with a pyproject.toml that names a package.

    Args:
        root: holds configs/, src/ and the entries.
        package: whose classes and functions a config may name.
        targets: further prefixes of names, each with a dot at its end.
        without: the parts of the engine and the examples that it has left out.
    """

    root: Path
    package: str
    targets: tuple[str, ...] = ()
    without: tuple[str, ...] = ()

    @property
    def configs(self) -> Path:
        return self.root / "configs"


def not_here(part: str) -> str:
    """Why a part or an example is not there, if that was chosen; else ""."""
    is_chosen = part in current().without
    return f"{part} is left out of this project, see without in its pyproject.toml" if is_chosen else ""


_current: Project | None = None


def use(root: str | Path) -> Project:
    """Make a folder the project of this process.

    Raises:
        ConfigError: its pyproject.toml does not make it one.
    """
    global _current
    folder = Path(root).expanduser().resolve()
    if _current is None or _current.root != folder:
        _current = read(folder)
    return _current


def current() -> Project:
    """The project of this process: the one last used, else the one that is installed in this environment.

    Raises:
        ConfigError: none was used, and none or several are installed.
    """
    return _current or use_own(_installed())


def use_own(root: object) -> Project:
    """As `use`, if Python finds the code of that very folder.

    Raises:
        ConfigError: as `use` and `check_origin`.
    """
    if not isinstance(root, str | Path):
        raise ConfigError(f"root: given {root!r}; allowed: the path of a project's folder")
    check_origin(read(Path(root).expanduser().resolve()))
    return use(root)


def read(root: Path) -> Project:
    """
    Raises:
        ConfigError: there is no pyproject.toml with a `[tool.kindling]` that can be right.
    """
    file = root / "pyproject.toml"
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(
            f"root: given {root}, which has no pyproject.toml; allowed: the folder of a project"
        ) from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file}: {error}; allowed: TOML") from error
    tools = content.get("tool")
    section = tools.get("kindling") if isinstance(tools, dict) else None
    if not isinstance(section, dict):
        raise ConfigError(
            f'{file}: given no [tool.kindling]; allowed: [tool.kindling] with package = "<folder in src/>"'
        )
    for key in section.keys() - set(KEYS):
        near = nearest(key, KEYS)
        raise ConfigError(str(Fault(f"{file}: tool.kindling.{key}", "an unknown key", ", ".join(KEYS), near)))
    package, targets = section.get("package"), section.get("targets", [])
    if not isinstance(package, str) or not PACKAGE_NAME.fullmatch(package) or package == ENGINE:
        raise ConfigError(
            f"{file}: tool.kindling.package: given {package!r}; allowed: the name of the folder in src/, not {ENGINE!r}"
        )
    listed = targets if isinstance(targets, list) else [targets]
    wrong = [each for each in listed if not isinstance(each, str) or not PREFIX.fullmatch(each)]
    if wrong or listed is not targets:
        raise ConfigError(
            f"{file}: tool.kindling.targets: given {(wrong or [targets])[0]!r}; "
            'allowed: a list of prefixes, each with a dot at its end, such as "torchmetrics."'
        )
    without = section.get("without", [])
    if not isinstance(without, list) or not all(isinstance(each, str) for each in without):
        raise ConfigError(
            f"{file}: tool.kindling.without: given {without!r}; allowed: the list that scripts/rename.py writes"
        )
    return Project(root, package, tuple(targets), tuple(without))


def check_origin(project: Project) -> None:
    """
    Raises:
        ConfigError: Python finds the project's package, or the engine that lies in the project, elsewhere or not at
            all: two clones that share an environment would run each other's code.
    """
    engine, package = project.root / "engine" / "src" / ENGINE, project.root / "src" / project.package
    for name, own, is_needed in ((ENGINE, engine, engine.is_dir()), (project.package, package, True)):
        found = _folder_of(name)
        if found is None:
            raise ConfigError(f"{name}: is not installed in this Python, {sys.executable}; {_advice(project.root)}")
        if is_needed and found != own:
            raise ConfigError(
                f"{name}: Python finds it in {found}, which is not of this project, {project.root}; "
                f"{_advice(project.root)}"
            )


def _folder_of(package: str) -> Path | None:
    spec = find_spec(package)
    places = list(spec.submodule_search_locations or []) if spec else []
    return Path(places[0]).resolve() if places else None


def _advice(root: Path) -> str:
    return f"run `make setup` there and use {root / '.venv' / 'bin' / 'python'}"


def _installed() -> Path:
    """The root of the project that was installed with `pip install -e`.

    Raises:
        ConfigError: there is none, or more than one.
    """
    found = {folder for each in metadata.distributions() if (folder := _source_of(each)) and _is_project(folder)}
    if len(found) != 1:
        given = " and ".join(sorted(map(str, found))) or "no project"
        raise ConfigError(f"root: given nothing, and {given} in this environment; give root=<folder of the project>")
    return found.pop()


def _source_of(distribution: metadata.Distribution) -> Path | None:
    """The folder that a distribution was installed from; None if it was no folder."""
    text = distribution.read_text("direct_url.json")
    origin: dict[str, Any] = json.loads(text) if text else {}
    url = urlsplit(origin.get("url", ""))
    return Path(unquote(url.path)) if url.scheme == "file" and "dir_info" in origin else None


def _is_project(folder: Path) -> bool:
    try:
        read(folder)
    except ConfigError:
        return False
    return True
