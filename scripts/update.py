"""Bring a newer template into this project: engine/ as a whole, the files around
it by a three-way merge.

python scripts/update.py FROM              its newest version
python scripts/update.py FROM --ref v0.3   another version
python scripts/update.py FROM --examples   with its models, data sets, tasks and
                                           recipes

Nothing is committed. One command, which it prints, undoes all. What you changed
in engine/ is named first, and saved as a patch. src/, its configs and tests,
recipes, README.md, LICENSE and CHANGELOG.md stay as they are.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import results_table
from additions import docs, left_out
from kindling.config import project
from kindling.config.check import fits
from kindling.errors import KindlingError, counted, one_line
from kindling.process import terminal
from rename import listed, rename, texts_of
from template import ENGINE, Merged, Repository, base_of, newest_of

ROOT = Path(__file__).resolve().parents[1]
# Names the version of the template that the last update brought.
RECORD = ".template"
MAIN = "configs/train.yaml"
PAGES_OF_YOURS = ("README.md", "LICENSE", "CHANGELOG.md")
YOURS = re.compile(r"(src|configs/experiment|tests/golden)/.*|scripts/faults\.py")
OF_A_GROUP = re.compile(r"configs/(task|data|model|callbacks)/(\w+)\.yaml")


class Update(NamedTuple):
    """From one commit of the template to another.

    Args:
        here: the project.
        base: the version that it has.
        new: the one that is brought.
    """

    here: Repository
    base: str
    new: str


def main(arguments: Sequence[str], root: Path = ROOT) -> int:
    """The exit code: 0 if all is merged and the tests pass, 1 if something is left to do, 2 of wrong arguments."""
    given = read_arguments(arguments)
    try:
        here = Repository(root)
        here.refuse_changed()
        new = newest_of(here, given.FROM, given.ref)
        update = Update(here, given.base or base_of(here, new, recorded(root)), new)
        print(f"template: {here.said(update.base)} -> {here.said(new)}", flush=True)
        if update.base == new:
            print("nothing to do: that version is in here")
            return 0
        base_tree, new_tree = trees(update, with_examples=given.examples)
        save_changes(here, base_tree)
        undo = f"git reset --hard {here.commit('HEAD')}"
        merged = here.merge(*with_engines(here, base_tree, new_tree))
        (root / RECORD).write_text(f"{new}\n", encoding="utf-8")
        here.git("add", RECORD)
        if given.examples and not merged.conflicts:
            write_lists(root, root)
            here.git("add", "--update")
    except (KindlingError, OSError) as error:
        terminal.say(f"error: {one_line(error)}")
        return error.exit_code if isinstance(error, KindlingError) else 1
    tell(update, merged)
    lacking = [] if merged.conflicts else choices_of_nothing(root)
    if lacking:
        print(f"{MAIN} chooses {listed(lacking)}, which is not here: choose another there, or update with --examples")
    is_open = bool(merged.conflicts or lacking)
    passed = not is_open and (given.no_tests or tests_pass(here))
    print(f"keep it: git commit{' -a, once that is done' if is_open else ''}; undo it: {undo}")
    return 0 if passed else 1


def read_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "update.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("FROM", help="a clone of the template, its URL, a remote, or a tag of it")
    parser.add_argument("--ref", default="HEAD", help="a branch, tag or commit of that clone, URL or remote")
    parser.add_argument("--base", help="the commit of the template that this project has, if it cannot be found")
    parser.add_argument("--examples", action="store_true", help="merge what the template has in src/, and its configs")
    parser.add_argument("--no-tests", action="store_true", help="do not run the tests of the project")
    return parser.parse_args(arguments)


def recorded(root: Path) -> str | None:
    file = root / RECORD
    return file.read_text(encoding="utf-8").strip() if file.is_file() else None


def save_changes(here: Repository, base: str) -> None:
    """Say what was changed by hand in engine/, and save it as a patch: the update takes it away."""
    if not here.has_engine("HEAD"):
        print(f"{ENGINE}/: is not in this project, and stays so; `make wheel` in the template makes one to install")
        return
    sides = f"{base}:{ENGINE}", f"HEAD:{ENGINE}"
    names = here.git("diff", "--name-only", *sides).splitlines()
    if not names:
        return
    prefixes = f"--src-prefix=a/{ENGINE}/", f"--dst-prefix=b/{ENGINE}/"
    file = here.root / "logs" / f"engine-{here.git('rev-parse', '--short', 'HEAD')}.patch"
    file.parent.mkdir(exist_ok=True)
    # A patch may hold bytes that are no text.
    patch = here.git("diff", "--binary", *prefixes, *sides)
    file.write_text(f"{patch}\n", encoding="utf-8", errors="surrogateescape", newline="")
    where = file.relative_to(here.root)
    print(f"{ENGINE}/: changed here by hand: {listed(names)}; saved: `git apply --3way {where}` brings it back")


def trees(update: Update, *, with_examples: bool) -> tuple[str, str]:
    """Both versions as trees with this project's name and without what it leaves out; what is yours is in neither."""
    here = update.here
    package, without = project.read(here.root).package, left_out.before(here.root)
    with TemporaryDirectory() as place:
        folders = [Path(place) / name for name in ("base", "new")]
        for folder, commit in zip(folders, update[1:], strict=True):
            here.extract(commit, folder)
            rename(project.read(folder), package, texts_of(folder))
            left_out.leave_out(project.read(folder), without)
            write_lists(here.root, folder)
        kept = yours(package, here.root, *folders, with_examples=with_examples)
        for folder in folders:
            # What sorted the imports of the new name has left it there.
            shutil.rmtree(folder / ".ruff_cache", ignore_errors=True)
            for path in kept:
                (folder / path).unlink(missing_ok=True)
        base, new = map(here.tree_of, folders)
    return base, new


def with_engines(here: Repository, base: str, new: str) -> tuple[str, str]:
    """The trees to merge: the old one has this project's engine, so that the new one's replaces it whole."""
    if here.has_engine("HEAD"):
        return here.with_engine(base, "HEAD"), new
    return here.with_engine(base, None), here.with_engine(new, None)


def write_lists(root: Path, place: Path) -> None:
    """The lists of what a project has, and of its results, into the pages of a folder: no version of the template's."""
    docs.update(project.read(root), place)
    results_table.write(place, root)


def yours(package: str, *roots: Path, with_examples: bool) -> set[str]:
    """Paths of your pages, and of what lies in src/ or is a recipe, with their configs and tests: the examples."""
    texts = {str(file.relative_to(root)): text for root in roots for file, text in texts_of(root).items()}
    if with_examples:
        return {path for path in texts if path in PAGES_OF_YOURS}
    target = re.compile(rf"^\s*_target_: {package}\.", re.MULTILINE)
    found = {path for path, text in texts.items() if path in PAGES_OF_YOURS or YOURS.fullmatch(path)}
    found |= {path for path, text in texts.items() if OF_A_GROUP.fullmatch(path) and target.search(text)}
    stems = {Path(path).stem for path in found if path.endswith((".py", ".yaml"))}
    return found | {path for path in texts if path.startswith("tests/test_") and Path(path).stem[5:] in stems}


def choices_of_nothing(root: Path) -> list[str]:
    """What the main config chooses that has no config here: a default of the template that is an example of it."""
    file = root / MAIN
    chosen = fits.chosen_by(file) if file.is_file() else {}
    # Others, such as hydra/launcher, are not of the project.
    own = {group: name for group, name in chosen.items() if "/" not in group}
    return [f"{group}={name}" for group, name in own.items() if not (file.parent / group / f"{name}.yaml").is_file()]


def tell(update: Update, merged: Merged) -> None:
    """What has changed, and what is left to do."""
    here = update.here
    changed = here.git("diff", "--cached", "--name-only", "HEAD").splitlines()
    around = [path for path in changed if not path.startswith(f"{ENGINE}/") and path != RECORD]
    if len(changed) > len(around) + 1:
        print(f"{ENGINE}/: is that of the template, {counted(len(changed) - len(around) - 1, 'file')} changed")
    print(f"around it: {listed(around) if around else 'nothing'} changed")
    sides = f"{update.base[:12]} {update.new[:12]}"
    print(f"src/ and what belongs to it: kept; git diff {sides} -- src configs tests shows what the template changed")
    if {"constraints.txt", "pyproject.toml", f"{ENGINE}/pyproject.toml"} & set(changed):
        print("packages may have changed: make setup")
    if merged.deleted_here:
        print(f"deleted here, changed in the template: {listed(merged.deleted_here)}; stays deleted")
    if merged.deleted_there:
        print(f"deleted in the template, changed here: {listed(merged.deleted_there)}; stays")
    if merged.conflicts:
        print(f"conflicts: {', '.join(merged.conflicts)}: mend what is between <<<<<<< and >>>>>>>, then git add")


def tests_pass(here: Repository) -> bool:
    """Write the golden configs anew, since defaults may have changed, and run the tests of the project."""
    runner = ["make", "golden", "test-project"] if (here.root / ".venv").is_dir() else None
    if runner is None:
        pytest = [sys.executable, "-m", "pytest", "-n", "0"]
        golden = [*pytest, "tests/test_recipes.py", "-k", "golden"]
        subprocess.run(golden, cwd=here.root, env={**os.environ, "UPDATE_GOLDEN": "1"}, check=False)
        runner = [*pytest, "tests"]
    passed = subprocess.run(runner, cwd=here.root, check=False).returncode == 0
    here.git("add", "--", "tests/golden")
    print("tests pass" if passed else "tests fail: see above")
    return passed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
