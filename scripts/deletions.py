"""Whether a project lives without each part of the engine and each example: make test-deletions

python scripts/deletions.py                       each in a copy of its own, one after the other, as a table
python scripts/deletions.py serving model=vit     these
python scripts/deletions.py --all serving         with all tests; by default those of the project, and those of the
                                                  engine in files that name what is gone; the others are imported.
                                                  An example is none of the engine's: the project's tests run alone

`renamed` deletes nothing: it gives the package another name, and runs whatever the pages show. A part goes as
rename.py --without lets it go. The exit code is 1 if a test fails or something of it is still named.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from additions import examples, left_out, parts
from kindling.config import project

ROOT = Path(__file__).resolve().parents[1]
PYTEST = (sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-n", "0", "--no-header")
# What a person reads, and what runs without being imported.
NAMED_IN = (*parts.PAGES, "Makefile", "*.toml", "engine/*.toml", ".ci/*", ".github/**/*.yml", "configs/**/*.yaml")


def everything() -> list[str]:
    project.use(ROOT)
    return [
        *left_out.rooms(),
        *map("=".join, examples.that_can_go()),
        "minimal",
        "renamed",
    ]


def copied(root: Path) -> None:
    """The project, as git knows it, with what is not committed."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    for name in subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0"):
        if name and (ROOT / name).is_file():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, root / name)


def run(root: Path, *command: str) -> tuple[int, str]:
    """The exit code of a command in a copy, and what it prints."""
    paths = [str(root / "engine" / "src"), str(root / "src"), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=root, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def described(root: Path) -> None:
    """Let Python find what an installation says of both packages: beside their sources, to which the path leads."""
    for folder in (folder for folder in (root, root / "engine") if (folder / "pyproject.toml").is_file()):
        run(folder, sys.executable, "-c", "import setuptools; setuptools.setup()", "-q", "egg_info", "--egg-base=src")


def tried(name: str, root: Path, *, is_whole: bool) -> tuple[bool, str]:
    """Whether the project lives without it, and the row of the table."""
    started = time.monotonic()
    copied(root)
    package = project.current().package
    given = {"minimal": [package, "--minimal"], "renamed": [f"{package}_renamed"]}.get(
        name, [package, "--without", name]
    )
    code, told = run(root, sys.executable, "scripts/rename.py", *given)
    if code:
        return False, f"| `{name}` | cannot be left out: {told.strip()[-300:]} | | | |"
    described(root)
    files = re.search(r"(\d+) files", told)
    dangling = list(still_named(name, root))
    # The engine knows of no example.
    collect = [*PYTEST, "--collect-only", "-qq", "engine/tests"] if name in left_out.rooms() else []
    collected, told_of_imports = run(root, *collect) if collect else (0, "")
    wanted = ["engine/tests"] if is_whole else [str(file) for file in naming(name, root)]
    if name == "renamed":
        wanted = ["-m", "slow or not slow", *(f"tests/test_{page}.py" for page in ("readme", "pages", "tutorial"))]
    tests = [run(root, *PYTEST, "tests"), *([run(root, *PYTEST, *wanted)] if wanted else [])]
    ended = [last_line(told) for _, told in tests]
    faults = [*dangling, *([] if collected == 0 else [told_of_imports[-500:]])]
    faults += [line for _, told in tests for line in re.findall(r"^(?:FAILED|ERROR) .*", told, re.MULTILINE)]
    is_right = not faults and all(code == 0 for code, _ in tests)
    minutes = f"{(time.monotonic() - started) / 60:.1f} min"
    row = f"| `{name}` | {files[1] if files else 0} files | {' | '.join([*ended, '', ''][:2])} | {minutes} |"
    return is_right, "\n".join([row, *(f"    {fault[:300]}" for fault in faults)])


def last_line(told: str) -> str:
    return re.sub(r" in [\d.]+s.*|=", "", (told.strip().splitlines() or [""])[-1]).strip()


def words_of(name: str) -> re.Pattern[str]:
    group, _, option = name.partition("=")
    if option:
        return parts.any_of(examples.words_of(examples.with_what_needs_them([(group, option)])))
    if name == "renamed":
        return re.compile(rf"\b{project.current().package}\b")
    return parts.any_of(parts.table()[name].words if name != "minimal" else [])


def still_named(name: str, root: Path) -> Iterator[str]:
    """Lines of pages, configs and commands that name what is gone."""
    words = words_of(name)
    for file in (file for pattern in NAMED_IN for file in sorted(root.glob(pattern))):
        if file.name not in (parts.HISTORY, "parts.toml"):
            for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
                if words.search(line) and not line.startswith("without = "):
                    yield f"{file.relative_to(root)}:{number}: {line}"


def naming(name: str, root: Path) -> list[Path]:
    """The test files of the engine that name what is gone; they have lost tests, or may need what is gone."""
    words = words_of(name)
    files = sorted((root / "engine" / "tests").glob("test_*.py")) if name in parts.table() and "=" not in name else []
    return [file for file in files if words.search(file.read_text(encoding="utf-8"))]


def main(arguments: Sequence[str]) -> int:
    known = everything()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(known)}")
    parser.add_argument("--all", action="store_true", help="all tests of the engine")
    given = parser.parse_args(arguments)
    if unknown := [name for name in given.names if name not in known]:
        parser.error(f"NAME: given {unknown[0]!r}; allowed: {', '.join(known)}")
    results = []
    print("| without | gone | tests | engine/tests | time |\n|---|---|---|---|---|", flush=True)
    for name in given.names or known:
        with tempfile.TemporaryDirectory(prefix="without_") as folder:
            is_right, row = tried(name, Path(folder), is_whole=given.all)
        results.append(is_right)
        print(row, flush=True)
    return int(not all(results))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
