"""scripts/update.py: a newer template comes into a fork, and nothing of the fork's own is lost."""

import runpy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kindling.config import project

SCRIPTS = project.current().root / "scripts"
sys.path.insert(0, str(SCRIPTS))
UPDATE = runpy.run_path(str(SCRIPTS / "update.py"))
MAKEFILE = "train:\n\tpython train.py\n\n\n\ntest:\n\tpytest\n\n\n\nclean:\n\trm logs\n"
MOVED = "".join(f"assert {number}\n" for number in range(1, 20))
PYPROJECT = '[tool.kindling]\npackage = "word"\n'
TEMPLATE = {
    "pyproject.toml": PYPROJECT,
    "README.md": "# Kindling\n",
    "Makefile": MAKEFILE,
    ".gitignore": "logs\n",
    "train.py": "from word import models\n",
    "configs/trainer/default.yaml": "max_epochs: 10\n\n\n\nprecision: 32\n",
    "configs/data/plain.yaml": "_target_: kindling.data.Plain\n",
    "configs/model/cnn.yaml": "_target_: word.models.cnn.CNN\nwidth: 1\n",
    "src/word/models/cnn.py": "width = 1\n",
    "tests/test_cnn.py": "width = 1\n",
    "tests/test_scripts.py": "old = 1\n",
    "tests/test_moved.py": f"from word import models\n{MOVED}",
    "docs/old.md": "old\n",
    "docs/older.md": "old\n",
    "engine/pyproject.toml": "version = 1\n",
    "engine/src/kindling/a.py": "a = 1\n",
    "engine/src/kindling/b.py": "b = 1\n",
    "engine/src/kindling/images/doctor/a.py": "a = 1\n",
}
NEWER = {
    "Makefile": MAKEFILE.replace("python train.py", "python train.py experiment=cnn"),
    "train.py": "from word import models, tasks\n",
    "configs/trainer/default.yaml": "max_epochs: 10\n\n\n\nprecision: 16\n",
    "configs/data/plain.yaml": "_target_: kindling.data.Plain\nfolder: null\n",
    "configs/logger/new.yaml": "new: 1\n",
    "configs/model/cnn.yaml": "_target_: word.models.cnn.CNN\nwidth: 2\n",
    "configs/model/vit.yaml": "_target_: word.models.vit.ViT\n",
    "src/word/models/cnn.py": "width = 2\n",
    "src/word/models/vit.py": "width = 2\n",
    "tests/test_cnn.py": "width = 2\n",
    "tests/test_vit.py": "width = 2\n",
    "tests/test_scripts.py": "new = 1\n",
    "tests/test_moved.py": None,
    "engine/tests/test_moved.py": f"from bench import models\n{MOVED}",
    "docs/old.md": None,
    "docs/older.md": None,
    "engine/pyproject.toml": "version = 2\n",
    "engine/src/kindling/a.py": "a = 2\n",
    "engine/src/kindling/b.py": None,
    "engine/src/kindling/c.py": "c = 2\n",
    "engine/src/kindling/images/doctor/b.py": "b = 2\n",
    "docs/techniques.md": "One stays. The doctor does not.\n",
    "README.md": "# Kindling, newer\n",
}
CHANGES = {
    "Makefile": MAKEFILE.replace("rm logs", "rm -r logs"),
    "configs/trainer/default.yaml": "max_epochs: 99\n\n\n\nprecision: 32\n",
    "configs/model/cnn.yaml": None,
    "configs/model/mine.yaml": "_target_: zq_fork.models.mine.Mine\n",
    "src/zq_fork/models/cnn.py": None,
    "src/zq_fork/models/mine.py": "width = 3\n",
    "tests/test_cnn.py": None,
    "tests/test_mine.py": "width = 3\n",
    "docs/older.md": "mine\n",
    "README.md": "# Acme\n",
}
YOUR_OWN = {path: text for path, text in CHANGES.items() if "mine" in path}


def git(root: Path, *arguments: str) -> str:
    known = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false", "-c", "core.autocrlf=false"]
    done = subprocess.run(["git", *known, *arguments], cwd=root, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def commit(root: Path, files: dict[str, str | None]) -> str:
    for path, text in files.items():
        if text is None:
            (root / path).unlink()
            continue
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "-m", "a")
    return git(root, "rev-parse", "HEAD")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A template, and a fork of its older version that has another name and a model of its own."""
    folder = tmp_path_factory.mktemp("made")
    template = folder / "template"
    template.mkdir()
    git(template, "init", "--quiet")
    commit(template, TEMPLATE)
    git(folder, "clone", "--quiet", "template", "fork")
    commit(template, NEWER)
    fork = folder / "fork"
    git(fork, "mv", "src/word", "src/zq_fork")
    renamed = {
        path: TEMPLATE[path].replace("word", "zq_fork")
        for path in ("pyproject.toml", "train.py", "tests/test_moved.py")
    }
    commit(fork, {**renamed, "configs/model/cnn.yaml": "_target_: zq_fork.models.cnn.CNN\nwidth: 1\n"})
    commit(fork, CHANGES)
    return folder


@pytest.fixture
def fork(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setitem(UPDATE["rename"].__globals__, "tidy", lambda *_: [])
    subprocess.run(["cp", "-r", made / "fork", tmp_path / "fork"], check=True)
    yield tmp_path / "fork"
    # Parts are left out in a folder that becomes the project of this process.
    project.use(SCRIPTS.parent)


def update(fork: Path, given: object, *options: str) -> int:
    return UPDATE["main"]([str(given), "--no-tests", *options], fork)


def text(fork: Path, path: str) -> str:
    return (fork / path).read_text()


def contents(root: Path) -> dict[str, str]:
    files = (file for file in root.rglob("*") if file.is_file() and ".git" not in file.parts)
    return {str(file.relative_to(root)): file.read_text() for file in files if "logs" not in file.parts}


def test_an_update_brings_the_engine_whole_merges_what_is_around_it_and_keeps_what_is_yours(fork, made):
    assert update(fork, made / "template") == 0
    found = contents(fork)
    assert {path for path in found if path.startswith("engine")} == {
        "engine/pyproject.toml",
        "engine/src/kindling/a.py",
        "engine/src/kindling/c.py",
        "engine/src/kindling/images/doctor/a.py",
        "engine/src/kindling/images/doctor/b.py",
        "engine/tests/test_moved.py",
    }
    assert found["engine/tests/test_moved.py"] == NEWER["engine/tests/test_moved.py"]
    assert found["engine/src/kindling/a.py"] == "a = 2\n"
    assert found["Makefile"] == NEWER["Makefile"].replace("rm logs", "rm -r logs")
    assert found["configs/trainer/default.yaml"] == "max_epochs: 99\n\n\n\nprecision: 16\n"
    assert found["configs/data/plain.yaml"] == NEWER["configs/data/plain.yaml"]
    assert found["configs/logger/new.yaml"] == "new: 1\n"
    assert found["tests/test_scripts.py"] == "new = 1\n"
    assert found["train.py"] == "from zq_fork import models, tasks\n"
    assert "docs/old.md" not in found
    assert found["docs/older.md"] == "mine\n"
    assert found.keys().isdisjoint(
        {"tests/test_moved.py", "configs/model/vit.yaml", "tests/test_vit.py", "tests/test_cnn.py"}
    )
    assert {path: text for path, text in found.items() if "mine" in path} == YOUR_OWN
    assert [path for path in found if path.startswith("src")] == ["src/zq_fork/models/mine.py"]


def test_a_part_that_the_fork_has_left_out_stays_out_and_is_no_change_by_hand(fork, made, capsys):
    without = PYPROJECT.replace("word", "zq_fork") + 'without = ["doctor"]\n'
    commit(fork, {"pyproject.toml": without, "engine/src/kindling/images/doctor/a.py": None})
    assert update(fork, made / "template") == 0
    assert [path for path in contents(fork) if "doctor" in path] == []
    assert text(fork, "engine/src/kindling/a.py") == "a = 2\n"
    assert text(fork, "docs/techniques.md") == "One stays.\n"
    assert text(fork, "pyproject.toml") == without
    out = capsys.readouterr().out
    assert "by hand" not in out
    assert "deleted here" not in out
    assert "conflicts" not in out


@pytest.mark.slow
def test_a_default_of_the_template_that_did_not_come_with_it_is_said_and_comes_with_the_examples(fork, made, capsys):
    git(fork.parent, "clone", "--quiet", str(made / "template"), "next")
    train = "defaults:\n  - trainer: default\n  - debug: null\n  - model: vit\n  - override hydra/help: mine\n"
    commit(fork.parent / "next", {"configs/train.yaml": train})
    assert update(fork, fork.parent / "next") == 1
    assert "configs/train.yaml chooses model=vit, which is not here: choose " in capsys.readouterr().out
    git(fork, "reset", "--quiet", "--hard", "HEAD")
    assert update(fork, fork.parent / "next", "--examples") == 0
    assert "configs/train.yaml" not in capsys.readouterr().out


@pytest.mark.slow
def test_examples_of_the_template_come_if_they_are_asked_for_and_what_was_deleted_here_stays_deleted(
    fork, made, capsys
):
    assert update(fork, made / "template", "--examples") == 0
    assert text(fork, "configs/model/vit.yaml") == "_target_: zq_fork.models.vit.ViT\n"
    assert text(fork, "src/zq_fork/models/vit.py") == "width = 2\n"
    assert not (fork / "src/zq_fork/models/cnn.py").exists()
    assert text(fork, "src/zq_fork/models/mine.py") == "width = 3\n"
    assert text(fork, "README.md") == "# Acme\n"
    out = capsys.readouterr().out
    assert "deleted here, changed in the template: configs/model/cnn.yaml, src/zq_fork/models/cnn.py" in out
    assert git(fork, "diff", "--name-only", "--diff-filter=U") == ""


def test_what_was_changed_by_hand_in_the_engine_is_said_and_saved_as_a_patch_that_brings_it_back(fork, made, capsys):
    commit(fork, {"engine/src/kindling/c.py": "c = 2\n", "engine/src/kindling/d.py": "d = 3\n"})
    assert update(fork, made / "template") == 0
    out = capsys.readouterr().out
    assert "changed here by hand: src/kindling/c.py, src/kindling/d.py; saved: `git apply --3way logs/engine-" in out
    assert not (fork / "engine/src/kindling/d.py").exists()
    (patch,) = fork.glob("logs/engine-*.patch")
    git(fork, "apply", "--include", "*d.py", str(patch))
    assert text(fork, "engine/src/kindling/d.py") == "d = 3\n"


def test_both_sides_of_a_conflict_are_left_to_you_and_named_and_the_command_that_it_prints_undoes_all(
    fork, made, capsys
):
    commit(fork, {"Makefile": MAKEFILE.replace("python train.py", "python train.py experiment=mine")})
    before = contents(fork)
    assert update(fork, made / "template") == 1
    said = capsys.readouterr().out
    assert "conflicts: Makefile: mend what is between <<<<<<< and >>>>>>>, then git add" in said
    assert "experiment=mine\n=======\n\tpython train.py experiment=cnn\n>>>>>>>" in text(fork, "Makefile")
    assert text(fork, "engine/src/kindling/a.py") == "a = 2\n"
    command = said.splitlines()[-1].rpartition("undo it: ")[2]
    assert command.startswith("git reset --hard ")
    git(fork, *command.split()[1:])
    assert contents(fork) == before
    assert git(fork, "status", "--porcelain") == ""


def test_what_is_not_committed_stops_an_update_before_it_begins(fork, made, capsys):
    (fork / "Makefile").write_text("mine\n")
    before = contents(fork)
    assert update(fork, made / "template") == 1
    assert "error: not committed: Makefile; commit or stash first" in capsys.readouterr().err
    assert contents(fork) == before


@pytest.mark.slow
def test_the_next_update_begins_where_the_last_one_ended_also_by_a_tag(fork, made, tmp_path, capsys):
    git(tmp_path, "clone", "--quiet", str(made / "template"), "next")
    assert update(fork, tmp_path / "next") == 0
    commit(fork, {})
    newest = commit(tmp_path / "next", {"train.py": "from word import tasks\n"})
    git(tmp_path / "next", "tag", "v3")
    git(fork, "remote", "add", "upstream", str(tmp_path / "next"))
    # What git fetch leaves there is no answer to what is asked for.
    git(fork, "update-ref", "refs/remotes/upstream/HEAD", "HEAD")
    assert update(fork, "v3", "--ref", "v2") == 2
    assert "--ref: given v2 beside v3, which is a version itself" in capsys.readouterr().err
    assert update(fork, "v3") == 0
    assert text(fork, ".template") == f"{newest}\n"
    assert text(fork, "train.py") == "from zq_fork import tasks\n"
    commit(fork, {})
    for place in ("upstream", tmp_path / "next"):
        assert update(fork, place, "--ref", "v3") == 0
        assert "nothing to do" in capsys.readouterr().out


@pytest.mark.slow
def test_a_fork_without_the_history_of_the_template_finds_its_version_by_what_it_holds(fork, made):
    subprocess.run(["rm", "-rf", fork / ".git"], check=True)
    git(fork, "init", "--quiet")
    commit(fork, {})
    assert update(fork, made / "template") == 0
    assert text(fork, "engine/src/kindling/a.py") == "a = 2\n"
    assert text(fork, "Makefile") == NEWER["Makefile"].replace("rm logs", "rm -r logs")


@pytest.mark.slow
def test_a_fork_that_installs_the_engine_gets_what_is_around_it(fork, made, capsys):
    git(fork, "rm", "-r", "--quiet", "engine")
    commit(fork, {})
    assert update(fork, made / "template") == 0
    assert not (fork / "engine").exists()
    assert text(fork, "train.py") == "from zq_fork import models, tasks\n"
    assert "engine/: is not in this project" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (("nowhere",), "FROM: given nowhere, which git cannot read; allowed: a clone"),
        (("/dev/null/template",), "FROM: given /dev/null/template with the version HEAD, which git cannot read"),
    ],
)
def test_a_place_that_holds_no_template_is_refused(fork, capsys, given, told):
    assert update(fork, *given) == 2
    assert told in capsys.readouterr().err
