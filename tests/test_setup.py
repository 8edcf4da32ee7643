"""What `make` installs, and which versions."""

import os
import re
import shutil
import subprocess
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from kindling.config import project
from kindling.testing.packages import needed, wanted_by

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
    found = needed("kindling-engine[dev]", *own)
    if other := sorted(name for name in found & PINNED.keys() if metadata.version(name) != PINNED[name]):
        pytest.skip(f"{other[0]} is installed in another version than the pinned one, which may need others")
    assert found - PINNED.keys() == {"kindling-engine"}


def test_a_run_needs_no_tool_of_tests_exports_or_servers():
    others = {Requirement(each).name for extra in EXTRAS.values() for each in extra} - {"kindling-engine", "pillow"}
    assert needed("kindling-engine", project.current().package) & others == set()
