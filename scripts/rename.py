"""Make a fork a project of its own: the name of its package, a README to begin
with, a line in LICENSE.

python scripts/rename.py acme_vision      asks for the rest at a terminal
python scripts/rename.py acme_vision --title "Acme Vision" --author "Acme Ltd"
python scripts/rename.py acme_vision --minimal
                                          one task, one model, one data set
python scripts/rename.py acme_vision --without serving,sweeps,model=vit
                                          without these parts and examples

In engine/ nothing changes but the parts that are left out. Earlier runs can
still be resumed, evaluated, exported and served.
"""

import argparse
import re
import subprocess
import sys
from collections.abc import Sequence
from datetime import date
from importlib.util import find_spec
from pathlib import Path

import results_table
from additions import left_out
from additions.kinds import name_fault
from additions.tidying import tidy
from kindling.config import project
from kindling.config.fault import Fault
from kindling.config.project import Project
from kindling.errors import ConfigError, KindlingError
from kindling.process import terminal

ROOT = Path(__file__).resolve().parents[1]
STARTER = Path(__file__).parent / "starters" / "README.md"
LEFT_ALONE = ("engine", "LICENSE", ".git", ".venv", ".schema", "logs", "data", "build")
# Texts to train on hold any word.
TEXTS = "texts"
# What the template's own README and licence begin with.
TEMPLATE, HOLDER = "# Kindling\n", "the Kindling authors"


def main(arguments: Sequence[str], root: Path = ROOT) -> int:
    """The exit code: 0 if everything has the name, 2 if the name cannot be right, 1 if something else is in the way."""
    try:
        given = read_arguments(arguments)
        here = project.read(root)
        texts = texts_of(root)
        refuse_name(given.name, here, texts)
        title, author, named = answers(given)
        gone = left_out.chosen(here, named, is_minimal=given.minimal)
        if given.name != here.package or gone:
            refuse_changed(root)
        told = left_out.leave_out(here, gone)
        told += [*rename(here, given.name, texts_of(root)), *readme(root, title), *licence(root, author)]
    except (KindlingError, OSError) as error:
        terminal.say(f"error: {error}")
        return error.exit_code if isinstance(error, KindlingError) else 1
    print(
        "\n".join(
            [*(told or [f"{given.name}: is the name already"]), "next: commit it; make setup && make test-project"]
        )
    )
    return 0


def read_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "rename.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", help="of the package in src/: small letters, digits and _")
    parser.add_argument("--title", help="of README.md")
    parser.add_argument("--author", help="for a copyright line in LICENSE")
    parser.add_argument("--minimal", action="store_true", help="without any example that the first run does not need")
    parser.add_argument("--without", metavar="PART,...", help="of " + ", ".join(left_out.rooms()) + "; or GROUP=NAME")
    return parser.parse_args(arguments)


def answers(given: argparse.Namespace) -> tuple[str, str, str]:
    """Title, author and what is left out; the last two are "" if nobody says so."""
    title = given.name.replace("_", " ").title()
    is_asked = sys.stdin.isatty()
    if given.title or is_asked:
        title = given.title or input(f"Title of README.md [{title}]: ").strip() or title
    author = given.author or (input("Copyright holder for LICENSE [none]: ").strip() if is_asked else "")
    for key, value in (("--title", title), ("--author", author)):
        if not value.isprintable():
            raise ConfigError(str(Fault(key, repr(value), "one line of text")))
    named = given.without or ""
    if is_asked and not (named or given.minimal):
        for name, what in left_out.rooms().items():
            print(f"  {name:<11}{what}")
        named = input("Which of these are left out, and which examples, such as model=vit [none]: ")
        given.minimal = input("All examples but those of the first run, too? [y/N] ").strip().lower().startswith("y")
    return title, author, named


def texts_of(root: Path) -> dict[Path, str]:
    """The text files outside of what is left alone, by path."""
    found = {}
    for file in files_of(root):
        parts = file.relative_to(root).parts
        if parts[0] in LEFT_ALONE or TEXTS in parts[:-1]:
            continue
        if file.is_file() and not file.is_symlink():
            # A picture is no text.
            try:
                found[file] = file.read_bytes().decode("utf-8")
            except UnicodeDecodeError:
                continue
    return found


def files_of(root: Path) -> list[Path]:
    """Those that git knows or would add; all, if this is no repository."""
    listed = git(root, "ls-files", "--cached", "--others", "--exclude-standard", "-z")
    if listed is not None:
        return sorted(root / name for name in listed.split("\0") if name)
    inside = (path for path in root.iterdir() if path.name not in LEFT_ALONE)
    files = (file for path in inside for file in ([path] if path.is_file() else path.rglob("*")))
    return sorted(file for file in files if "__pycache__" not in file.parts and ".egg-info" not in str(file))


def git(root: Path, *arguments: str) -> str | None:
    """What git says; None if this is no repository of its own, or there is no git."""
    if not (root / ".git").exists():
        return None
    try:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout


def refuse_name(name: str, here: Project, texts: dict[Path, str]) -> None:
    """
    Raises:
        ConfigError: the name cannot be right, or stands for something else already.
    """
    if name == here.package:
        return
    if fault := name_fault(name, here):
        raise ConfigError(str(fault))
    if find_spec(name) is not None and not (here.root / "src" / name).exists():
        raise ConfigError(str(Fault("name", f"{name!r}, which imports something else already", "another name")))
    beside = [path.name for path in here.root.iterdir() if path.stem == name]
    folder = here.root / "src" / name
    # A rename that was killed has moved the folder already.
    if folder.exists() and (here.root / "src" / here.package).exists():
        beside.append(f"src/{name}")
    if not folder.exists():
        word = re.compile(rf"(?<!rename\.py )\b{name}\b")
        # Tests and scripts are imported by the names of their files.
        is_module = re.compile(rf"{name}\.py").fullmatch
        beside += [
            str(file.relative_to(here.root))
            for file, text in texts.items()
            if word.search(text) or is_module(file.name)
        ]
    if beside:
        given = f"{name!r}, a word that stands in {listed(beside)}"
        raise ConfigError(str(Fault("name", given, f"one that stands nowhere yet, such as {name}_project")))


def listed(names: Sequence[str]) -> str:
    """The first three, and how many more there are."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def refuse_changed(root: Path) -> None:
    """
    Raises:
        KindlingError: git could not undo the rename without what is not committed.
    """
    changed = [line[3:] for line in (git(root, "status", "--porcelain") or "").splitlines()]
    if changed:
        raise KindlingError(
            f"{root.name}: not committed: {listed(changed)}; "
            "commit or stash first, so that `git reset --hard` can undo the rename"
        )


def rename(here: Project, name: str, texts: dict[Path, str]) -> list[str]:
    """Give the package another name; what was done."""
    if name == here.package:
        return []
    old, root = here.package, here.root
    before, after = root / "src" / old, root / "src" / name
    if before.exists():
        before.rename(after)
    word = re.compile(rf"\b{old}\b")
    moved = {after / file.relative_to(before) if before in file.parents else file: text for file, text in texts.items()}
    changed = {file: word.subn(name, text) for file, text in moved.items() if word.search(text)}
    # It says which name is to be replaced, so it comes last.
    last = root / "pyproject.toml"
    for file in sorted(changed, key=lambda file: file == last):
        write(file, changed[file][0])
    tidied = tidy(root, [file for file in changed if file.suffix == ".py"])
    places = sum(times for _, times in changed.values())
    return [f"src/{old} -> src/{name}; {old} -> {name} in {places} places of {len(changed)} files", *tidied]


def readme(root: Path, title: str) -> list[str]:
    """Put a README to begin with in the place of the template's; one that is yours stays."""
    file = root / "README.md"
    if file.is_file() and not file.read_text(encoding="utf-8").startswith(TEMPLATE):
        return []
    write(file, STARTER.read_text(encoding="utf-8").replace("TITLE", title, 1))
    results_table.write(root, root)
    return [f"README.md: begins with {title!r}; git keeps the template's"]


def licence(root: Path, author: str) -> list[str]:
    """Add a copyright line; that of the template has to stay."""
    file = root / "LICENSE"
    text = file.read_text(encoding="utf-8") if file.is_file() else ""
    line = re.search(rf"^Copyright \(c\) \d+ {HOLDER}\n", text, re.MULTILINE)
    if line is None or (author and f" {author}\n" in text):
        return []
    if not author:
        return ["LICENSE: stays as it is; --author NAME adds a copyright line"]
    write(file, text[: line.end()] + f"Copyright (c) {date.today().year} {author}\n" + text[line.end() :])
    return [f"LICENSE: Copyright (c) {date.today().year} {author}"]


def write(file: Path, text: str) -> None:
    """Keep the file's mode, and its line ends."""
    file.write_text(text, encoding="utf-8", newline="")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
