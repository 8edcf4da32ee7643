"""What a run was made with: the project's commit, the versions of its packages, the machine."""

import os
import platform
import subprocess
from contextlib import suppress
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from kindling.config import project
from kindling.files.redaction import redact_text

# Characters; a longer diff is cut.
DIFF_LIMIT = 100_000
PACKAGES = ("torch", "torchvision", "lightning", "torchmetrics", "hydra-core", "omegaconf", "numpy")


def git_state() -> dict[str, Any] | None:
    """The project's commit and its uncommitted diff, capped and redacted; None outside a repository."""
    try:
        commit = _git("rev-parse", "HEAD").strip()
        diff = redact_text(_git("diff", "HEAD"))
    except (OSError, subprocess.CalledProcessError):
        return None

    if len(diff) > DIFF_LIMIT:
        diff = f"{diff[:DIFF_LIMIT]}\n[cut: {len(diff)} characters in all]\n"
    return {"commit": commit, "diff": diff}


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(project.current().root), *arguments]
    return subprocess.run(command, capture_output=True, text=True, errors="replace", check=True).stdout


@cache
def versions() -> dict[str, str]:
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in PACKAGES}}


def hardware() -> dict[str, Any]:
    machine = {"host": platform.node(), "platform": platform.platform(), "processor": processor()}
    return {**machine, "cores": os.cpu_count()}


@cache
def processor() -> str:
    """The name of the CPU; "" if the system does not tell."""
    # Python knows it nowhere but on a Mac.
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return " ".join(line.partition(":")[2].split())
    return platform.processor()
