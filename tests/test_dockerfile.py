"""What the image of a server holds."""

import json
import re
import shutil
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from urllib.request import urlopen

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from kindling.cli.entry import compose
from kindling.config import project
from kindling.testing.packages import needed

ROOT = project.current().root
if not (ROOT / "engine").is_dir():
    pytest.skip("the Dockerfile copies engine/, which this project has not", allow_module_level=True)
PINNED = {
    canonicalize_name(line.partition("==")[0]): line.partition("==")[2]
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").split()
}
EXTRAS = tomllib.loads((ROOT / "engine" / "pyproject.toml").read_text(encoding="utf-8"))["project"][
    "optional-dependencies"
]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")


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


@pytest.mark.needs("exporting")
@pytest.mark.slow
def test_a_model_is_served_from_what_the_image_holds(image, finished, tmp_path):
    from kindling.export import export

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
