"""The project that runs is the folder of the entry; its pyproject.toml alone says what configs may name."""

import os
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest

from kindling.cli.entry import compose
from kindling.config import project
from kindling.config.targets import allowed_prefixes, prefix_fault
from kindling.errors import ConfigError
from long_run import some

ROOT = project.current().root


@pytest.fixture(autouse=True)
def after(monkeypatch):
    """The project of this process is afterwards what it was."""
    monkeypatch.setattr(project, "_current", project._current)


def write(folder: Path, tool: str) -> Path:
    (folder / "pyproject.toml").write_text(tool)
    return folder


def test_the_package_and_the_targets_that_a_project_names_are_allowed(tmp_path):
    section = '[tool.kindling]\npackage = "mine"\ntargets = ["torchmetrics.", "timm.models."]\n'
    project.use(write(tmp_path, section))
    assert allowed_prefixes()[0] == "mine."
    for target in ("mine.models.net.Net", "torchmetrics.F1Score", "timm.models.vit.ViT"):
        assert prefix_fault(target, "model") is None
    for target in ("mineral.Net", "timm.data.x", "os.system", "mine._private.Net"):
        assert prefix_fault(target, "model") is not None


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "no pyproject.toml"),
        ("[project]\nname = 'x'", "no .tool.kindling."),
        ("[tool.kindling]\npackages = 'x'", "did you mean package"),
        ("[tool.kindling]\npackage = 3", "package: given 3; allowed: the name of the folder in src/"),
        ("[tool.kindling]\npackage = 'kindling'", "given 'kindling'"),
        ("[tool.kindling]\npackage = 'my-project'", "given 'my-project'"),
        ("[tool.kindling]\npackage = 'x'\ntargets = ['']", "targets: given ''"),
        ("[tool.kindling]\npackage = 'x'\ntargets = ['os']", "targets: given 'os'; .* dot at its end"),
        ("[tool.kindling]\npackage = 'x'\ntargets = 'os.'", "targets: given"),
        ("[tool.kindling]\npackage = 'x'\ntargets = 3", "targets: given 3; allowed: a list"),
        ("[tool.kindling]\npackage = 'x'\nwithout = 'debug'", "without: given 'debug'; allowed: the list that"),
        ("tool = 3", "no .tool.kindling."),
        ("[[tool]]\nx = 1", "no .tool.kindling."),
        ("[tool.kindling", "allowed: TOML"),
    ],
)
def test_a_pyproject_that_cannot_be_right_is_named(tmp_path, content, said):
    if content is not None:
        write(tmp_path, content)
    with pytest.raises(ConfigError, match=said):
        project.use(tmp_path)


def test_a_package_that_python_finds_elsewhere_is_refused(tmp_path):
    other = project.read(write(tmp_path, f'[tool.kindling]\npackage = "{project.current().package}"'))
    with pytest.raises(ConfigError, match=f"Python finds it in .*, which is not of this project, {tmp_path}"):
        project.check_origin(other)
    missing = project.read(write(tmp_path, '[tool.kindling]\npackage = "nowhere_to_be_found"'))
    with pytest.raises(ConfigError, match=r"nowhere_to_be_found: is not installed in this Python.*make setup"):
        project.check_origin(missing)
    project.check_origin(project.read(ROOT))


def test_an_engine_that_lies_in_the_project_must_be_the_one_that_python_finds(tmp_path, monkeypatch):
    (tmp_path / "src" / "mine").mkdir(parents=True)
    (tmp_path / "src" / "mine" / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path / "src"))
    found = project.read(write(tmp_path, '[tool.kindling]\npackage = "mine"'))
    project.check_origin(found)  # the engine is an installed wheel
    (tmp_path / "engine" / "src" / "kindling").mkdir(parents=True)
    with pytest.raises(ConfigError, match="kindling: Python finds it in"):
        project.check_origin(found)


@pytest.mark.parametrize("script", some(sorted(file.name for file in ROOT.glob("*.py")), "train.py", "runs.py"))
def test_an_entry_of_another_root_refuses_to_run_this_ones_code(tmp_path, script):
    shutil.copy(ROOT / script, tmp_path)
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    write(tmp_path, (ROOT / "pyproject.toml").read_text())
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, tmp_path / script], capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stdout) == (2, "")
    assert "which is not of this project" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("script", sorted(file.name for file in ROOT.glob("*.py")))
def test_an_entry_without_the_engine_says_so_in_one_line(tmp_path, script):
    done = subprocess.run([sys.executable, "-S", "-P", ROOT / script], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1
    assert "is not installed" in done.stderr
    assert "make setup" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_folder_that_one_stands_in_says_nothing(tmp_path, monkeypatch):
    write(tmp_path, '[tool.kindling]\npackage = "evil"\ntargets = ["os."]')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(project, "_current", None)
    monkeypatch.setattr(metadata, "distributions", lambda: [installed(ROOT)])
    assert project.current().root == ROOT
    assert prefix_fault("os.system", "model") is not None


def installed(folder: Path) -> SimpleNamespace:
    text = f'{{"url": "{folder.as_uri()}", "dir_info": {{"editable": true}}}}'
    return SimpleNamespace(read_text=lambda name: text)


def test_without_a_root_it_is_the_one_project_that_is_installed(tmp_path, monkeypatch):
    other = tmp_path / "with space"
    other.mkdir()
    write(other, '[tool.kindling]\npackage = "mine"')
    (other / "src" / "mine").mkdir(parents=True)
    (other / "src" / "mine" / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(other / "src"))
    plain = SimpleNamespace(read_text=lambda name: None)
    for found, root in (
        ([plain, installed(other)], other),
        ([plain], None),
        ([installed(other), installed(ROOT)], None),
    ):
        monkeypatch.setattr(project, "_current", None)
        monkeypatch.setattr(metadata, "distributions", lambda found=found: found)
        if root:
            assert project.current() == project.Project(root, "mine")
        else:
            with pytest.raises(ConfigError, match=r"root: given nothing, and .* give root="):
                project.current()


def test_compose_takes_the_configs_of_the_root_that_is_given(tmp_path, monkeypatch):
    shutil.copytree(ROOT, tmp_path / "other", ignore=shutil.ignore_patterns("__pycache__", "logs"))
    other = tmp_path / "other"
    with pytest.raises(ConfigError, match=f"Python finds it in .*, which is not of this project, {other}"):
        compose(["data=fake"], root=other)
    assert project.current().root == ROOT, "what is refused is not used"
    (other / "src" / "bench").rename(other / "src" / "benchmarked")
    for file in [*other.rglob("*.yaml"), other / "pyproject.toml"]:
        file.write_text(re.sub(r"\bbench\b", "benchmarked", file.read_text()))
    monkeypatch.syspath_prepend(str(other / "src"))
    cfg = compose(["data=fake"], root=other)
    assert cfg.paths.logs == f"{other}/logs"
    assert cfg.model._target_.startswith("benchmarked.")
    assert project.current().root == other


def test_a_root_that_is_no_path_is_refused():
    with pytest.raises(ConfigError, match="root: given 5; allowed: the path"):
        compose(["data=fake"], root=5)


def test_a_clone_within_the_project_is_not_the_project(tmp_path, monkeypatch):
    inner = tmp_path / "worktree" / "src" / "twofold"
    for folder in (inner, tmp_path / "src" / "twofold"):
        folder.mkdir(parents=True)
        (folder / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(inner.parent))
    with pytest.raises(ConfigError, match=r"Python finds it in .*worktree/src/twofold, which is not of this project"):
        project.check_origin(project.read(write(tmp_path, "[tool.kindling]\npackage = 'twofold'")))
