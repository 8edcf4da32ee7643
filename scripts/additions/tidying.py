"""What is done to Python files that a script has written or changed."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path


def tidy(root: Path, files: Sequence[Path], rules: str = "I") -> list[str]:
    """Sort the imports and wrap the lines that other names or lines have moved; what is left to do."""
    ruff = [sys.executable, "-m", "ruff"]
    for arguments in (["check", "--quiet", "--select", rules, "--fix"], ["format", "--quiet"]):
        if files and subprocess.run([*ruff, *arguments, *map(str, files)], cwd=root, capture_output=True).returncode:
            return ["imports are not sorted anew: ruff is not installed or refuses a file; make format does it"]
    return []
