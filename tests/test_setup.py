"""What `make` installs, which versions, and what an image of a server holds."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from functools import cache
from importlib import metadata
from pathlib import Path
from urllib.request import urlopen

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from kindling.cli.entry import compose
from kindling.config import project
from kindling.export import export

ROOT = project.current().root
if not (ROOT / "engine").is_dir():
    pytest.skip("this project installs the engine as a wheel", allow_module_level=True)
PINNED = {
    canonicalize_name(line.partition("==")[0]): line.partition("==")[2]
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").split()
}
EXTRAS = tomllib.loads((ROOT / "engine" / "pyproject.toml").read_text(encoding="utf-8"))["project"][
    "optional-dependencies"
]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")


@cache
def wanted_by(name: str) -> list[Requirement]:
    return [Requirement(each) for each in metadata.requires(name) or []]


def needed(*names: str) -> set[str]:
    """The distributions that these need in this environment, and they themselves."""
    found, waiting = set(), [Requirement(name) for name in names]
    while waiting:
        wanted = waiting.pop()
        name = canonicalize_name(wanted.name)
        if (name, *wanted.extras) in found:
            continue
        found.add((name, *wanted.extras))
        waiting += [
            each
            for each in wanted_by(name)
            if not each.marker or any(each.marker.evaluate({"extra": extra}) for extra in wanted.extras or {""})
        ]
    return {name for name, *_ in found}


def commands(folder: Path, target: str, *arguments: str, path: str = os.environ["PATH"]) -> str:
    """What `make` would do in a fresh clone."""
    for name in ("Makefile", "constraints.txt", "pyproject.toml", "engine/pyproject.toml"):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    made = subprocess.run(
        ["make", "-n", target, *arguments], cwd=folder, env={"PATH": path}, capture_output=True, text=True, check=True
    )
    return made.stdout


@pytest.mark.parametrize(("target", "installed"), [("train", "'./engine'"), ("test", "'./engine[dev]'")])
def test_only_what_tests_and_checks_a_project_installs_their_tools(tmp_path, target, installed):
    (line,) = re.findall(r".*install .*", commands(tmp_path, target))
    assert f"--editable {installed} --editable . --constraint constraints.txt" in line


def test_uv_installs_if_it_is_on_the_path_else_pip_does(tmp_path):
    uv = tmp_path / "bin" / "uv"
    uv.parent.mkdir()
    uv.write_text("#!/bin/sh\n")
    uv.chmod(0o755)
    path = f"{uv.parent}:/usr/bin:/bin"
    assert f"{uv} pip install --python .venv/bin/python" in commands(tmp_path, "train", path=path)
    for found in (commands(tmp_path, "train", path="/usr/bin:/bin"), commands(tmp_path, "train", "UV=", path=path)):
        assert ".venv/bin/python -m pip install" in found


def test_whatever_the_engine_and_a_pinned_package_bring_is_pinned():
    own = [each.name for each in wanted_by(project.current().package) if canonicalize_name(each.name) in PINNED]
    assert needed("kindling-engine[dev]", *own) - PINNED.keys() == {"kindling-engine"}


def test_a_run_needs_no_tool_of_tests_exports_or_servers():
    others = {Requirement(each).name for extra in EXTRAS.values() for each in extra} - {"kindling-engine", "pillow"}
    assert needed("kindling-engine", project.current().package) & others == set()


# --- Dockerfile


def installed_in_image() -> list[str]:
    (line,) = re.findall(r"^RUN pip install --no-cache-dir -c constraints.txt (.+)$", DOCKERFILE, re.MULTILINE)
    return line.split()


def copied_into_image() -> list[tuple[str, str]]:
    lines = re.findall(r"^COPY (.+)$", DOCKERFILE, re.MULTILINE)
    return [(source, place) for *sources, place in map(str.split, lines) for source in sources]


def test_the_image_has_all_that_a_server_needs_pinned_and_without_torch():
    names = installed_in_image()
    assert {Requirement(each).name for each in EXTRAS["serve"]} <= set(names)
    assert needed(*names) <= PINNED.keys()
    assert "torch" not in needed(*names)


def test_the_image_is_made_of_files_that_are_sent_to_its_build():
    sent = re.findall(r"^!(.+)$", (ROOT / ".dockerignore").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(sent) == sorted(source for source, _ in copied_into_image())
    assert [each for each in sent if not (ROOT / each).exists()] == []


@pytest.fixture
def image(tmp_path: Path) -> tuple[Path, Path]:
    """The folder of the server in the image, and what can be imported there, beside Python's own."""
    app, packages = tmp_path / "app", tmp_path / "packages"
    for source, place in copied_into_image():
        target = app / place / source if place in (".", "./") else app / place
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(ROOT / source, target) if (ROOT / source).is_dir() else shutil.copy(ROOT / source, target)
    packages.mkdir()
    for name in needed(*installed_in_image()):
        for file in metadata.files(name) or []:
            link = packages / file.parts[0]
            if file.parts[0] != ".." and not link.exists():
                link.symlink_to(Path(str(file.locate())).parents[len(file.parts) - 1] / file.parts[0])
    return app, packages


@pytest.mark.slow
def test_a_model_is_served_from_what_the_image_holds(image, finished, tmp_path):
    app, packages = image
    export(compose([f"run={finished.folder}", "format=onnx", f"output={tmp_path / 'model'}"], "export"))
    (entry,) = re.findall(r"^ENTRYPOINT (.+)$", DOCKERFILE, re.MULTILINE)
    _, *command = json.loads(entry.replace('"model=/model"', f'"model={tmp_path / "model"}"'))
    (paths,) = re.findall(r"PYTHONPATH=(\S+)", DOCKERFILE)
    # -S leaves out what else is installed here.
    with subprocess.Popen(
        [sys.executable, "-S", *command, "port=0"],
        cwd=app,
        env={"PYTHONPATH": f"{paths.replace('/app', str(app))}:{packages}", "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stdout
        try:
            address = re.search(r"http://0\.0\.0\.0:(\d+)", server.stdout.readline())
            assert address
            with urlopen(f"http://127.0.0.1:{address[1]}/model", timeout=60) as answer:
                assert json.load(answer)["format"] == "onnx"
            assert "torch" not in Path(f"/proc/{server.pid}/maps").read_text()
        finally:
            server.terminate()
    assert server.returncode == 0
