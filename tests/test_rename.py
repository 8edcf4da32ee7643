"""scripts/rename.py: the new name is everywhere, the old one nowhere; what cannot be right changes nothing."""

import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kindling.config import project

HERE = project.current()
OLD, NEW = HERE.package, "zq_renamed"
sys.path.insert(0, str(HERE.root / "scripts"))
RENAME = runpy.run_path(str(HERE.root / "scripts" / "rename.py"))


def copied(folder: Path) -> Path:
    """The project without its runs, its engine's tests and long texts."""
    root, leave_out = folder / "copy", shutil.ignore_patterns("__pycache__", "test_rename.py", "*.egg-info", "texts")
    for name in ("src", "configs", "tests", "scripts", "docs"):
        shutil.copytree(HERE.root / name, root / name, ignore=leave_out)
    for file in (file for file in HERE.root.iterdir() if file.is_file()):
        shutil.copy(file, root)
    (root / "README.md").write_text("# Kindling\n")
    (root / "LICENSE").write_text("MIT License\n\nCopyright (c) 2026 the Kindling authors\n")
    (root / "engine").mkdir()
    (root / "engine" / "src").symlink_to(HERE.root / "engine" / "src")
    (root / "engine" / "README.md").write_text(f"{OLD}\n")
    return root


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return copied(tmp_path)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy that no test changes."""
    return copied(tmp_path_factory.mktemp("shared"))


def rename(root: Path, *arguments: str) -> int:
    return RENAME["main"](arguments, root)


def contents(root: Path) -> dict[str, bytes]:
    files = (file for file in root.rglob("*") if file.is_file() and not {".git", ".ruff_cache"} & set(file.parts))
    return {str(file.relative_to(root)): file.read_bytes() for file in files}


def modes_of(root: Path) -> dict[str, int]:
    return {file.name: file.stat().st_mode for file in root.iterdir() if file.is_file()}


@pytest.fixture
def as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Imports that ruff is not asked to sort, which takes two processes; one test is about that."""
    monkeypatch.setitem(RENAME["main"].__globals__, "tidy", lambda *_: [])


def git(root: Path, *arguments: str) -> None:
    known = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *known, *arguments], cwd=root, check=True, capture_output=True)


def test_the_old_name_is_left_in_the_engine_alone_and_the_imports_are_sorted(copy):
    modes = modes_of(copy)
    assert rename(copy, NEW) == 0
    names = [str(file.relative_to(copy)) for file in copy.rglob("*")]
    assert [name for name in names if re.search(rf"\b{OLD}\b", name)] == []
    word = re.compile(rf"\b{OLD}\b".encode())
    assert [name for name, text in contents(copy).items() if word.search(text)] == ["engine/README.md"]
    assert project.read(copy).package == NEW
    assert (copy / "src" / NEW / "models").is_dir()
    assert modes_of(copy) == modes
    ruff = [sys.executable, "-m", "ruff", "check", "--select", "I", "src"]
    assert subprocess.run(ruff, cwd=copy, capture_output=True).returncode == 0


@pytest.mark.slow
def test_parts_and_examples_that_are_left_out_are_named_nowhere_and_the_same_command_changes_nothing(whole):
    command = NEW, "--minimal", "--without", "serving,doctor"
    assert rename(whole, *command) == 0
    assert not (whole / "serve.py").exists()
    assert [file.stem for file in (whole / "src" / NEW / "tasks").glob("[a-z]*")] == ["classification"]
    assert [file.stem for file in (whole / "src" / NEW / "data").glob("[a-z]*")] == ["mnist_5k"]
    assert [file.stem for file in (whole / "configs" / "experiment").iterdir()] == ["cnn"]
    named = re.compile(rb"serve\.py|[Dd]octor|model=vit|experiment=gpt")
    is_page = re.compile(r"(?!CHANGELOG|engine).*\.md|Makefile")
    pages = {name: text for name, text in contents(whole).items() if is_page.fullmatch(name)}
    assert [name for name, text in pages.items() if named.search(text)] == []
    once = contents(whole)
    assert rename(whole, *command) == 0
    assert contents(whole) == once


@pytest.mark.needs("sweeps")
@pytest.mark.skipif(not (HERE.root / "engine").is_dir(), reason="the link leads to engine/")
def test_nothing_is_deleted_where_a_link_leads(copy, here_again, capsys):
    assert rename(copy, NEW, "--without", "sweeps") == 1
    assert "lies outside of" in capsys.readouterr().err
    assert (HERE.root / "engine" / "src" / "kindling" / "train.py").is_file()
    assert (copy / "configs" / "sweep").is_dir() == (HERE.root / "configs" / "sweep").is_dir()


@pytest.fixture
def here_again() -> Iterator[None]:
    """The script makes the copy the project of this process."""
    yield
    project.use(HERE.root)


@pytest.fixture
def whole(tmp_path: Path, here_again: None) -> Path:
    """A copy with an engine of its own."""
    if not (HERE.root / "engine").is_dir():
        pytest.skip("this project has none")
    root = copied(tmp_path)
    (root / "engine" / "src").unlink()
    leave_out = shutil.ignore_patterns("__pycache__", "*.egg-info", "old_runs")
    shutil.copytree(HERE.root / "engine", root / "engine", ignore=leave_out, dirs_exist_ok=True)
    return root


@pytest.mark.usefixtures("as_it_is")
def test_the_same_command_again_changes_nothing(copy, capsys):
    command = NEW, "--title", "My title", "--author", "Acme & Söhne"
    assert rename(copy, *command) == 0
    once = contents(copy)
    assert (copy / "README.md").read_text().startswith("# My title\n")
    assert re.search(r"the Kindling authors\nCopyright \(c\) \d{4} Acme & Söhne\n$", (copy / "LICENSE").read_text())
    assert rename(copy, *command) == 0
    assert contents(copy) == once
    assert f"{NEW}: is the name already" in capsys.readouterr().out


@pytest.mark.usefixtures("as_it_is")
def test_a_rename_that_was_killed_goes_on(copy, monkeypatch):
    """It stands between any two of its files."""
    written, write = [], RENAME["write"]

    def dies(file, text):
        if len(written) == 7:
            raise KeyboardInterrupt
        written.append(file)
        write(file, text)

    with monkeypatch.context() as patch:
        patch.setitem(RENAME["main"].__globals__, "write", dies)
        with pytest.raises(KeyboardInterrupt):
            rename(copy, NEW)
    assert rename(copy, NEW) == 0
    word = re.compile(rf"\b{OLD}\b".encode())
    assert [name for name, text in contents(copy).items() if word.search(text)] == ["engine/README.md"]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("Zq-Renamed", "did you mean zq_renamed"),
        ("1st", "a letter first"),
        ("class", "a word of Python"),
        ("null", "a word of Python or YAML"),
        ("torch", "imports something else already"),
        ("yaml", "imports something else already"),
        ("json", "imports something else already"),
        (project.ENGINE, "imports something else already"),
        ("configs", "allowed: "),
        ("model", "a word that stands in "),
        ("test_processor_of_your_own", "a word that stands in tests/test_processor_of_your_own.py"),
    ],
)
def test_a_name_that_cannot_be_right_is_refused_and_changes_nothing(shared, capsys, name, told):
    before = contents(shared)
    assert rename(shared, name) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: name: given '{name}'")
    assert told in line
    assert contents(shared) == before


def test_a_word_of_the_projects_own_is_no_name_since_a_later_rename_would_change_it_too(copy, capsys):
    (copy / "docs" / "a.md").write_text("we look at zq_words\n")
    assert rename(copy, "zq_words") == 2
    assert "stands in docs/a.md; allowed: one that stands nowhere yet" in capsys.readouterr().err


@pytest.mark.usefixtures("as_it_is")
def test_texts_to_train_on_hold_any_word_and_stay_as_they_are(copy):
    text = copy / "src" / OLD / "data" / "texts" / "play.txt"
    text.parent.mkdir()
    text.write_text(f"{OLD} and {NEW}\n")
    assert rename(copy, NEW) == 0
    assert (copy / "src" / NEW / "data" / "texts" / "play.txt").read_text() == f"{OLD} and {NEW}\n"


def test_each_name_that_a_page_or_the_help_shows_is_free():
    texts = RENAME["texts_of"](HERE.root)
    shown = {name for text in texts.values() for name in re.findall(r"python scripts/rename\.py ([a-z]\w+)", text)}
    assert shown
    for name in shown:
        RENAME["refuse_name"](name, HERE, texts)


@pytest.mark.slow
@pytest.mark.usefixtures("as_it_is")
def test_what_git_could_not_undo_is_refused(copy, capsys):
    git(copy, "init")
    git(copy, "add", ".")
    git(copy, "commit", "-m", "a")
    (copy / "README.md").write_text("mine\n")
    assert rename(copy, NEW) == 1
    assert "not committed: README.md; commit or stash" in capsys.readouterr().err
    git(copy, "commit", "-a", "-m", "b")
    before = contents(copy)
    (copy / "logs").mkdir()
    (copy / "logs" / "run.txt").write_text(OLD)
    assert rename(copy, NEW) == 0
    assert (copy / "README.md").read_text() == "mine\n"
    assert (copy / "logs" / "run.txt").read_text() == OLD
    git(copy, "add", "--all")
    git(copy, "reset", "--hard")
    shutil.rmtree(copy / "logs", ignore_errors=True)
    assert contents(copy) == before
