"""make audit, with answers of pip-audit in its place."""

import json

import pytest

from bench_root import REPOSITORY

CLEAN = {"name": "torch", "version": "2.15.0", "vulns": []}
VULNERABLE = {"name": "pillow", "version": "9", "vulns": [{"id": "PYSEC-1", "fix_versions": ["10", "9.1"]}]}
UNFIXED = {"name": "numpy", "version": "1", "vulns": [{"id": "PYSEC-2", "fix_versions": []}]}
SKIPPED = {"name": "yarl", "skip_reason": "Dependency not found on PyPI"}


@pytest.fixture
def audit(scripts, tmp_path):
    """The script, with what pip-audit prints."""
    import audit

    def run(*packages: dict, printed: str | None = None) -> int:
        (tmp_path / "answer").write_text(json.dumps({"dependencies": packages}) if printed is None else printed)
        (tmp_path / "pip-audit").write_text(
            f"#!/bin/sh\necho \"$@\" > {tmp_path}/given\ncat {tmp_path}/answer\necho 'no route to host' >&2\n"
        )
        (tmp_path / "pip-audit").chmod(0o755)
        return audit.audit(str(tmp_path / "pip-audit"), audit.PINNED)

    return run


def test_pins_without_known_vulnerabilities_pass(audit, capsys, tmp_path):
    assert audit(CLEAN) == 0
    assert capsys.readouterr().out == "audit: 0 known vulnerabilities in 1 packages of constraints.txt\n"
    assert f"--requirement {REPOSITORY / 'constraints.txt'} --no-deps" in (tmp_path / "given").read_text()


def test_each_vulnerability_is_a_line_with_its_remedy(audit, capsys):
    assert audit(CLEAN, VULNERABLE, UNFIXED) == 1
    assert capsys.readouterr().out.splitlines()[:2] == [
        "pillow 9: PYSEC-1; fixed in 10, 9.1",
        "numpy 1: PYSEC-2; fixed in no version yet",
    ]


def test_what_could_not_be_looked_up_is_named(audit, capsys):
    assert audit(CLEAN, SKIPPED) == 0
    assert "audit: 1 of 2 could not be looked up: yarl" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("packages", "printed", "why"),
    [((SKIPPED,), None, "ask one that has them"), ((), "", "nothing is known (no route to host)")],
)
def test_advisories_that_cannot_be_reached_are_no_pass(audit, capsys, packages, printed, why):
    assert audit(*packages, printed=printed) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("audit: ")
    assert why in line
