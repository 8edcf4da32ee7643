"""What SECURITY.md says."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.skipif(not (ROOT / "engine").is_dir(), reason="the tests are those of engine/")
def test_each_promise_of_security_md_has_its_test():
    promised = re.findall(r"`(test_\w+)`", (ROOT / "SECURITY.md").read_text(encoding="utf-8"))
    files = ROOT.glob("engine/tests/test_*.py")
    there = {name for file in files for name in re.findall(r"^def (test_\w+)", file.read_text("utf-8"), re.MULTILINE)}
    assert promised
    assert set(promised) <= there
