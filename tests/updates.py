"""Update a fork of version 0.2.0 of this template over steps of its own history: conflicts, seconds, what was kept.

python tests/updates.py                  six versions, evenly spread; make test-updates
python tests/updates.py --steps 9        more of them
python tests/updates.py --tests          and the tests of the fork at the end
"""

import argparse
import io
import os
import re
import subprocess
import sys
import time
from contextlib import redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "engine" / "src")]

import deletions  # noqa: E402
import template  # noqa: E402
import update  # noqa: E402

FIRST, NAME = 'version = "0.2.0"', "zq_updated"
# What a fork changes by hand: a file, a text that its first version has, what takes its place.
CHANGES = [
    ("Makefile", "train: ", "mine: ## of this fork\n\techo mine\n\ntrain: "),
    ("configs/trainer/default.yaml", "max_epochs: ", "max_epochs: 77 # was "),
    ("configs/optimizer/adamw.yaml", "weight_decay: ", "weight_decay: 0.03 # was "),
    ("engine/src/kindling/train.py", '"""', '"""Changed by hand. '),
    ("engine/README.md", "# The engine\n", "# The engine, of this fork\n"),
    ("CONTRIBUTING.md", "\n", "\n\nOf this fork.\n"),
]
# And what it adds, by the scripts/new.py that it has.
OWN = ("model mine --like cnn", "experiment mine --like cnn")


def git(root: Path, *arguments: str) -> str:
    known = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", *known, *arguments], cwd=root, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def versions(num_steps: int) -> list[str]:
    """The first numbered version with an engine of its own, the newest, and as many between as make so many steps."""
    walk = "--first-parent", "--reverse"
    added = git(ROOT, "log", *walk, "-m", "-s", "--format=%H", "-S", FIRST, "--", "engine/pyproject.toml")
    first = added.splitlines()[0]
    every = [first, *git(ROOT, "rev-list", *walk, f"{first}..HEAD").splitlines()]
    return [every[(len(every) - 1) * step // num_steps] for step in range(num_steps + 1)]


def forked(folder: Path, version: str) -> Path:
    """A fork as one makes it, by the scripts that the version has, and with changes by hand."""
    fork = folder / "fork"
    git(folder, "clone", "--quiet", "--no-checkout", str(ROOT), "fork")
    git(fork, "checkout", "--quiet", "-B", "main", version)
    script(fork, "rename.py", NAME, "--title", "Acme Vision", "--author", "Acme")
    commit(fork)
    for path, before, after in CHANGES:
        file = fork / path
        file.write_text(file.read_text().replace(before, after, 1))
    for words in OWN:
        script(fork, "new.py", *words.split())
    commit(fork)
    return fork


def script(fork: Path, name: str, *arguments: str) -> None:
    code, told = deletions.run(fork, sys.executable, f"scripts/{name}", *arguments)
    if code:
        raise SystemExit(f"{name}: {told}")


def commit(fork: Path) -> None:
    git(fork, "add", "--all")
    git(fork, "commit", "--quiet", "--message", "a")


def own(fork: Path) -> dict[Path, bytes]:
    """What an update may not touch."""
    folders = (fork / "src", fork / "configs" / "experiment", fork / "tests" / "golden")
    files = [file for folder in folders for file in folder.rglob("*") if file.is_file()]
    return {file: file.read_bytes() for file in [*files, fork / "configs/model/mine.yaml", fork / "README.md"]}


def step(fork: Path, version: str) -> list[str]:
    """An update, committed; of a conflict the template's side is taken, and the change by hand made again."""
    kept, said = own(fork), io.StringIO()
    started = time.perf_counter()
    with redirect_stdout(said):
        code = update.main([str(ROOT), "--ref", version, "--no-tests"], fork)
    seconds = time.perf_counter() - started
    if code == 2 or "undo it: " not in said.getvalue():
        raise SystemExit(f"update.py {version}: {said.getvalue()}")
    conflicts = git(fork, "diff", "--name-only", "--diff-filter=U").splitlines()
    changed = [path for path in git(fork, "diff", "--name-only", "HEAD").splitlines() if path not in conflicts]
    for path in conflicts:
        text = re.sub(r"(?ms)^<{7} .*?^={7}\n(.*?)^>{7} .*?\n", r"\1", (fork / path).read_text())
        before, after = next(each[1:] for each in CHANGES if each[0] == path)
        (fork / path).write_text(text if after in text else text.replace(before, after, 1))
    commit(fork)
    of_engine = sum(path.startswith("engine/") for path in changed)
    is_whole = git(fork, "rev-parse", "HEAD:engine") == git(ROOT, "rev-parse", f"{version}:engine")
    is_kept = own(fork) == kept
    named = ", ".join(conflicts) or "none"
    numbers = f"{of_engine} in engine/, {len(changed) - of_engine - 1} around it"
    return [
        git(ROOT, "log", "-1", "--format=%h", version),
        numbers,
        named,
        "yes" if is_whole else "NO",
        "yes" if is_kept else "NO",
        f"{seconds:.1f}",
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--tests", action="store_true")
    given = parser.parse_args()
    first, *later = versions(given.steps)
    with TemporaryDirectory() as folder:
        fork = forked(Path(folder), first)
        print("| to | files changed | conflicts | engine/ is the template's | yours as it was | s |")
        print(f"{'|---' * 6}|")
        rows = [step(fork, version) for version in later]
        for row in rows:
            print(f"| {' | '.join(row)} |")
        around = [change for change in CHANGES if not change[0].startswith("engine/")]
        lost = [path for path, _, after in around if (fork / path).is_file() and after not in (fork / path).read_text()]
        print(f"changes by hand around engine/ that are gone: {', '.join(lost) or 'none'}")
        for patch in sorted((fork / "logs").glob("*.patch")):
            print(f"{patch.name}: {len(patch.read_text().splitlines())} lines")
        # Another clone may be installed in this environment.
        os.environ["PYTHONPATH"] = os.pathsep.join(str(fork / place) for place in ("engine/src", "src"))
        deletions.described(fork)
        passed = not given.tests or update.tests_pass(template.Repository(fork))
    return 0 if passed and not lost and all(row[3:5] == ["yes", "yes"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
