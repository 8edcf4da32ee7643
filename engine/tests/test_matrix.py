"""Versions of packages: the rows of make test-matrix, and make lock, with a report of pip in its place."""

import subprocess

import pytest

from bench_root import REPOSITORY

pytestmark = pytest.mark.usefixtures("scripts")
PROJECT = '[project]\nname = "a"\ndependencies = [{}]\n'


class Passed:
    returncode = 0


@pytest.fixture
def root(tmp_path):
    """A repository with bounds of its own."""
    (tmp_path / "engine").mkdir()
    (tmp_path / "pyproject.toml").write_text(PROJECT.format('"torch>=2.12", "Other_Name>=1"'))
    extras = 'dev = ["a[serve]", "tool==3.*"]\nserve = ["torch>=2.13,<3"]\nrare = ["x>=9"]\n'
    (tmp_path / "engine" / "pyproject.toml").write_text(
        PROJECT.format('"torch>=2.11", "hydra-core>=1.3"') + f"[project.optional-dependencies]\n{extras}"
    )
    (tmp_path / "constraints.txt").write_text("hydra-core==1.3.8\ntorch==2.15.0\n")
    return tmp_path


def test_the_lowest_versions_are_those_that_all_bounds_allow(root):
    import matrix

    assert matrix.rows(root)["lowest"].constraints == [
        "hydra-core==1.3",
        "other-name==1",
        "tool==3",
        "torch==2.13",
    ]


def test_a_pre_release_of_hydra_is_put_over_the_pins_whatever_the_bound(root, monkeypatch, tmp_path):
    import matrix

    commands = []
    monkeypatch.setattr(matrix.subprocess, "run", lambda command, **_: commands.append(command) or Passed())
    for name in ("pinned", "hydra-pre"):
        monkeypatch.setattr(matrix, "versions", lambda python: "")
        matrix.run(name, matrix.rows(root)[name], [], tmp_path)
    over = [command for command in commands if "hydra-core>=1.4.0.dev0" in command]
    assert [command[-4:] for command in over] == [
        ["--pre", "--no-deps", "hydra-core>=1.4.0.dev0", "omegaconf>=2.4.0.dev0"]
    ]


def test_each_requirement_has_a_lowest_version():
    import matrix

    assert len(matrix.lowest(REPOSITORY)) > 30
    named = {each.name.replace("_", "-").lower() for each in matrix.requirements(REPOSITORY)}
    assert named - matrix.lowest(REPOSITORY).keys() == {"kindling-engine"}


def test_a_row_that_is_unknown_is_refused(capsys):
    import matrix

    with pytest.raises(SystemExit):
        matrix.main(["oldest"])
    assert "rows: given 'oldest'; allowed: pinned, lowest, newest" in capsys.readouterr().err


def test_lock_refuses_what_it_does_not_know_and_writes_nothing(lock, monkeypatch, capsys):
    monkeypatch.setattr(lock, "resolved", lambda root: report(torch="2.16.0"))
    with pytest.raises(SystemExit):
        lock.main(["--chekc"])
    assert "unrecognized arguments: --chekc" in capsys.readouterr().err
    assert lock.PINS.read_text().startswith("gone")


def report(**versions: str) -> dict:
    own = {"metadata": {"name": "kindling-engine", "version": "1"}, "download_info": {"dir_info": {"editable": True}}}
    others = [
        {"metadata": {"name": name, "version": version}, "download_info": {"url": "x"}}
        for name, version in versions.items()
    ]
    return {"install": [own, *others]}


@pytest.fixture
def lock(root, monkeypatch):
    """The script, over that repository."""
    import lock

    monkeypatch.setattr(lock, "PINS", root / "constraints.txt")
    (root / "constraints.txt").write_text("gone==1\nPyYAML==6\ntorch==2.15.0\n")
    return lock


def test_newer_versions_are_pinned_by_the_names_of_before_and_each_change_is_a_line(lock, monkeypatch, capsys):
    monkeypatch.setattr(lock, "resolved", lambda root: report(torch="2.16.0", pyyaml="6", new="3"))
    assert lock.main(["--check"]) == 0
    assert lock.PINS.read_text().startswith("gone")
    told = ["gone 1 -> (no longer needed)", "new (new) -> 3", "torch 2.15.0 -> 2.16.0"]
    assert capsys.readouterr().out.splitlines() == told
    assert lock.main([]) == 0
    assert lock.PINS.read_text() == "new==3\nPyYAML==6\ntorch==2.16.0\n"
    assert capsys.readouterr().out.splitlines()[:3] == told
    assert lock.main([]) == 0
    assert capsys.readouterr().out == "constraints.txt: all 3 versions are the newest\n"


def test_versions_that_do_not_fit_each_other_change_nothing(lock, monkeypatch, capsys):
    def fails(root):
        raise subprocess.CalledProcessError(1, "pip")

    monkeypatch.setattr(lock, "resolved", fails)
    assert lock.main([]) == 1
    assert capsys.readouterr().err.startswith("error: pip has found no versions that fit each other; constraints.txt")
    assert lock.PINS.read_text().startswith("gone")
