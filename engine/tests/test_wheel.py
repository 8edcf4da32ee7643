"""The engine as a wheel runs a project that has no engine/."""

import os
import shutil
import subprocess
import sys
import zipfile

import pytest

import bench_root


@pytest.mark.needs("debug", "sweeps")
@pytest.mark.slow
def test_a_wheel_runs_a_project_without_the_engines_folder(tmp_path):
    source = tmp_path / "engine"
    ignored = shutil.ignore_patterns("tests", "build", "*.egg-info", "__pycache__")
    shutil.copytree(bench_root.REPOSITORY / "engine", source, ignore=ignored)
    wheel = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", f"--wheel-dir={tmp_path}", str(source)]
    subprocess.run(wheel, check=True, capture_output=True)
    (file,) = tmp_path.glob("kindling_engine-*.whl")
    zipfile.ZipFile(file).extractall(tmp_path / "installed")
    project = bench_root.make(tmp_path / "project")
    path = os.pathsep.join([str(tmp_path / "installed"), str(project / "src")])
    arguments = ["data=fake", "model=mlp", "trainer=cpu", "debug=fast"]
    done = subprocess.run(
        [sys.executable, str(project / "train.py"), *arguments],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert len(list(project.glob("logs/*/*/run.json"))) == 1
    for name in ("page.html", "page_images.js", "page_rows.js", "page_text.js"):
        assert (tmp_path / "installed" / "kindling" / "inference" / "serving" / name).is_file()
