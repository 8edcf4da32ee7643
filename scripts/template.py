"""Versions of the template in git: which one this project came from, and what changed since, merged into it."""

import os
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from kindling.errors import ConfigError, KindlingError
from rename import listed

ENGINE = "engine"
# Keeps the newest version of the template, which no branch of the project holds.
KEPT = "refs/kindling/template"
# A file of yours that is like a deleted one of the template would be taken for it, and changed. Git's other strategy
# (ort) ignores the option before 2.50; later both are the same.
WITHOUT_RENAMES = ("--strategy=recursive", "--strategy-option=no-renames")
SETTINGS = ("core.autocrlf=false", "rerere.enabled=false", "core.quotePath=false")
NAMED = {f"GIT_{role}_{key}": "template" for role in ("AUTHOR", "COMMITTER") for key in ("NAME", "EMAIL")}


class Repository:
    """The git repository of a project.

    Args:
        root: its folder.

    Raises:
        KindlingError: it is none, or there is no git.
    """

    def __init__(self, root: Path):
        self.root = root
        if not (root / ".git").exists():
            raise KindlingError(f"{root}: is no git repository, so that no update could be undone; git init and commit")
        self.folder = self.git("rev-parse", "--absolute-git-dir")

    def run(self, *arguments: str, given: str = "", **settings: str) -> subprocess.CompletedProcess[str]:
        """Git, with a text to read and further variables of the environment."""
        options = [word for each in SETTINGS for word in ("-c", each)]
        env = {**os.environ, **NAMED, **settings, "LC_ALL": "C"}
        how = {"cwd": self.root, "env": env, "input": given, "encoding": "utf-8", "errors": "surrogateescape"}
        return subprocess.run(["git", *options, *arguments], capture_output=True, check=False, **how)

    def git(self, *arguments: str, given: str = "", **settings: str) -> str:
        """What git says.

        Raises:
            KindlingError: it fails.
        """
        done = self.run(*arguments, given=given, **settings)
        if done.returncode:
            raise KindlingError(f"git {arguments[0]}: {done.stderr.strip()}")
        return done.stdout.removesuffix("\n")

    def refuse_changed(self) -> None:
        """
        Raises:
            KindlingError: an update could not be undone without what is not committed.
        """
        changed = [line[3:] for line in self.git("status", "--porcelain").splitlines()]
        if changed:
            raise KindlingError(f"not committed: {listed(changed)}; commit or stash first, so that git can undo all")

    def commit(self, name: str) -> str | None:
        """The id of a commit that is here."""
        return self.run("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}").stdout.strip() or None

    def has_engine(self, commit: str) -> bool:
        return self.run("cat-file", "-e", f"{commit}:{ENGINE}").returncode == 0

    def said(self, commit: str) -> str:
        return self.git("log", "-1", "--format=%h (%cs)", commit)

    def is_within(self, older: str, newer: str) -> bool:
        return self.run("merge-base", "--is-ancestor", older, newer).returncode == 0

    def extract(self, commit: str, folder: Path) -> None:
        """The files of a commit."""
        folder.mkdir()
        with TemporaryDirectory() as place:
            self.git("checkout", commit, "--", ".", **self._elsewhere(folder, place))

    def tree_of(self, folder: Path) -> str:
        """A tree of the files of a folder."""
        with TemporaryDirectory() as place:
            elsewhere = self._elsewhere(folder, place)
            self.git("add", "--all", "--force", "--", ".", **elsewhere)
            return self.git("write-tree", **elsewhere)

    def with_engine(self, tree: str, other: str | None) -> str:
        """A tree with the engine of another one in the place of its own, or without any."""
        with TemporaryDirectory() as place:
            elsewhere = self._elsewhere(self.root, place)
            self.git("read-tree", tree, **elsewhere)
            self.git("rm", "-r", "-f", "--cached", "--quiet", "--ignore-unmatch", "--", ENGINE, **elsewhere)
            if other:
                self.git("read-tree", f"--prefix={ENGINE}/", f"{other}:{ENGINE}", **elsewhere)
            return self.git("write-tree", **elsewhere)

    def _elsewhere(self, folder: Path, place: str) -> dict[str, str]:
        """Variables by which git works on other files than the project's, with an index of their own."""
        return {"GIT_WORK_TREE": str(folder), "GIT_DIR": self.folder, "GIT_INDEX_FILE": f"{place}/index"}

    def merge(self, base: str, new: str) -> "Merged":
        """Bring what changed between two trees into the files and the index."""
        parent = self.git("commit-tree", base, "-m", "base")
        change = self.git("commit-tree", new, "-p", parent, "-m", "new")
        done = self.run("cherry-pick", "--no-commit", "--allow-empty", *WITHOUT_RENAMES, change)
        states: dict[str, list[str]] = {}
        for line in self.git("status", "--porcelain", "-z").split("\0"):
            states.setdefault(line[:2], []).append(line[3:])
        conflicts = [*states.get("UU", []), *states.get("AA", [])]
        found = Merged(states.get("DU", []), states.get("UD", []), conflicts)
        if done.returncode and not any(found):
            raise KindlingError(f"git cherry-pick: {done.stderr.strip()}")
        if found.deleted_here:
            self.git("rm", "--quiet", "--force", "--", *found.deleted_here)
        if found.deleted_there:
            self.git("add", "--", *found.deleted_there)
        return found


class Merged(NamedTuple):
    """Paths that git alone could not decide on.

    Args:
        deleted_here: and changed in the template; they stay deleted.
        deleted_there: and changed here; they stay.
        conflicts: changed in both, in the same lines.
    """

    deleted_here: list[str]
    deleted_there: list[str]
    conflicts: list[str]


def newest_of(here: Repository, given: str, ref: str) -> str:
    """The version that is asked for, fetched.

    Args:
        given: a folder, a URL, a remote, or a tag or commit of this repository or its remotes.
        ref: of a folder, URL or remote.

    Raises:
        ConfigError: it is not there, or no version of a template.
    """
    folder, remotes = Path(given).expanduser(), here.git("remote").split()
    is_place = folder.is_dir() or ":" in given or "/" in given or given in remotes
    if ref != "HEAD" and not is_place:
        told = f"--ref: given {ref} beside {given}, which is a version itself; allowed: of a clone, a URL or a remote"
        raise ConfigError(told)
    found = None if is_place else here.commit(given)
    source = str(folder.resolve()) if folder.is_dir() else given
    places = [(source, ref)] if is_place else [(name, given) for name in remotes]
    for place, name in () if found else places:
        done = here.run("fetch", "--quiet", "--no-tags", place, f"+{name}:{KEPT}")
        found = here.commit(KEPT) if done.returncode == 0 else None
        if found:
            break
    if found is None:
        raise ConfigError(
            f"FROM: given {given}{f' with the version {ref}' if is_place else ''}, which git cannot read; allowed: "
            "a clone of the template, its URL, a remote, or a tag of this repository or one of its remotes"
        )
    if not here.has_engine(found):
        raise ConfigError(f"FROM: given {given}, which has no {ENGINE}/; allowed: a version of the template")
    here.git("update-ref", KEPT, found)
    return found


def base_of(here: Repository, new: str, recorded: str | None) -> str:
    """The version that the project came from: the one recorded, else the newest in its history, else the most alike.

    Raises:
        ConfigError: none can be found.
    """
    common = here.run("merge-base", "HEAD", new).stdout.strip()
    known = here.commit(recorded) if recorded else None
    # The template may have been merged by hand since.
    if known and not (common and here.is_within(known, common)):
        return known
    found = common or most_alike(here, new)
    if found is None:
        raise ConfigError(
            f"--base: given none, and the version that this project came from{f', {recorded},' if recorded else ''} is "
            "not in the history of either; give the commit of the template that it is a copy of"
        )
    return found


def most_alike(here: Repository, new: str) -> str | None:
    """Of the versions with the engine of the project's first commit, that with the most of its files; None if none."""
    first = here.git("rev-list", "--max-parents=0", "HEAD").splitlines()[-1]
    commits = here.git("rev-list", new).splitlines()
    given = "".join(f"{each}:{ENGINE}\n" for each in (first, *commits))
    engine, *engines = (line.split()[0] for line in here.git("cat-file", "--batch-check", given=given).splitlines())
    same = [commit for commit, found in zip(commits, engines, strict=True) if found == engine]
    files = set(here.git("ls-tree", "-r", first).splitlines())
    return max(same, key=lambda each: len(files & set(here.git("ls-tree", "-r", each).splitlines())), default=None)
