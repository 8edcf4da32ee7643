"""Which versions of the dependencies pass the tests: make test-matrix

python engine/scripts/matrix.py                          every row, in a clone of what is committed
python engine/scripts/matrix.py lowest --tests tests "-n 2 engine/tests/test_train.py"

Each row has an environment of its own (6 GB with CUDA), which is deleted behind it. Rows of a Python that is not
installed are told and left out. Exit code 1: a row has failed.
"""

import argparse
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
# The extras that tests need.
EXTRAS = ("dev", "export", "serve", "sweep", "parquet")
SHOWN = ("torch", "lightning", "hydra-core", "numpy")


class Row(NamedTuple):
    """What is installed: constraints as lines, what is put over it and may be beyond a bound, and the Python."""

    constraints: list[str]
    over: tuple[str, ...] = ()
    python: str = sys.executable


def rows(root: Path) -> dict[str, Row]:
    pinned = (root / "constraints.txt").read_text(encoding="utf-8").split()
    return {
        "pinned": Row(pinned),
        "lowest": Row([f"{name}=={version}" for name, version in sorted(lowest(root).items())]),
        "newest": Row([]),
        "hydra-pre": Row(pinned, ("hydra-core>=1.4.0.dev0", "omegaconf>=2.4.0.dev0")),
        **{python: Row(pinned, (), python) for python in ("python3.12", "python3.13")},
    }


def lowest(root: Path) -> dict[str, Version]:
    """The lowest version of each package that all of its bounds allow."""
    found: dict[str, Version] = {}
    for wanted in requirements(root):
        bounds = [Version(each.version.rstrip(".*")) for each in wanted.specifier if each.operator in (">=", "==")]
        name = canonicalize_name(wanted.name)
        if bounds:
            found[name] = max(*bounds, found.get(name, bounds[0]))
    return found


def requirements(root: Path) -> Iterator[Requirement]:
    for file in (root / "pyproject.toml", root / "engine" / "pyproject.toml"):
        project = tomllib.loads(file.read_text(encoding="utf-8"))["project"]
        extras = project.get("optional-dependencies", {})
        for line in [*project["dependencies"], *(line for extra in EXTRAS for line in extras.get(extra, []))]:
            yield Requirement(line)


def run(name: str, row: Row, tests: Sequence[str], folder: Path) -> tuple[bool, str]:
    """Whether the row passes, and its line of the table."""
    started, tree, log = time.monotonic(), folder / "tree", folder / "log"
    python = folder / "venv" / "bin" / "python"
    constraints = folder / "constraints.txt"
    constraints.write_text("\n".join(row.constraints))
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    commands = [
        ["git", "clone", "--quiet", str(ROOT), str(tree)],
        [row.python, "-m", "venv", str(folder / "venv")],
        [*install, "--upgrade", "pip"],
        [*install, "-c", str(constraints), "-e", "./engine[dev]", "-e", "."],
    ]
    if row.over:
        commands.append([*install, "--pre", "--no-deps", *row.over])
    with log.open("w") as output:
        for command in commands:
            place = tree if tree.is_dir() else ROOT
            if subprocess.run(command, cwd=place, stdout=output, stderr=output).returncode:
                return False, line(name, "", "cannot be installed", started, log)
        pytest = [str(python), "-m", "pytest", "-p", "no:cacheprovider"]
        codes = [
            subprocess.run([*pytest, *shlex.split(each)], cwd=tree, stdout=output, stderr=output).returncode
            for each in tests
        ]
    ended = re.findall(
        r"^(?:=+ )?(\d+ (?:passed|failed).*?)(?: in .*)?$", log.read_text(errors="replace"), re.MULTILINE
    )
    return not any(codes), line(name, versions(python), "; ".join(ended), started, log, is_failed=any(codes))


def line(name: str, shown: str, told: str, started: float, log: Path, is_failed: bool = True) -> str:
    failed = re.findall(r"^(?:FAILED|ERROR) .*", log.read_text(errors="replace"), re.MULTILINE)
    last = failed or log.read_text(errors="replace").splitlines()[-3:]
    details = "".join(f"\n    {each[:300]}" for each in last) if is_failed else ""
    return f"| {name} | {shown} | {told} | {(time.monotonic() - started) / 60:.0f} min |{details}"


def versions(python: Path) -> str:
    code = f"import sys; from importlib.metadata import version; print(sys.version.split()[0], *map(version, {SHOWN}))"
    told = subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=True).stdout.split()
    return ", ".join(f"{name} {each}" for name, each in zip(("python", *SHOWN), told, strict=True))


def main(arguments: Sequence[str]) -> int:
    known = rows(ROOT)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"of {', '.join(known)}; all if none is named")
    parser.add_argument(
        "--tests", nargs="+", default=["tests", "engine/tests"], help="of pytest, each a run of its own"
    )
    given = parser.parse_args(arguments)
    if unknown := [name for name in given.rows if name not in known]:
        parser.error(f"rows: given {unknown[0]!r}; allowed: {', '.join(known)}")
    passed = []
    print("| row | versions | tests | time |\n|---|---|---|---|", flush=True)
    for name in given.rows or known:
        if not shutil.which(known[name].python):
            print(f"| {name} | | not installed here, left out | |", flush=True)
            continue
        with tempfile.TemporaryDirectory(prefix="matrix_") as folder:
            is_passed, told = run(name, known[name], given.tests, Path(folder))
        passed.append(is_passed)
        print(told, flush=True)
    return int(not all(passed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
