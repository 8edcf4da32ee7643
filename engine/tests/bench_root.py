"""The project that the engine's tests run in: bench/, with the engine's own groups, commands and entries, in a folder.

Nothing of it is installed: each process makes its own, and tells those that it starts where it is.
"""

import atexit
import os
import shutil
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
BENCH = Path(__file__).parent / "bench"
OF_THE_PROJECT = ("data", "experiment", "model", "task", "train.yaml")  # in configs/, which bench has its own of


def make(root: Path) -> Path:
    """Put the project together in a new folder."""
    shutil.copytree(BENCH, root, ignore=shutil.ignore_patterns("__pycache__"))
    for path in (REPOSITORY / "configs").iterdir():
        if path.name not in OF_THE_PROJECT:
            copy = shutil.copytree if path.is_dir() else shutil.copy
            copy(path, root / "configs" / path.name)
    for entry in REPOSITORY.glob("*.py"):
        shutil.copy(entry, root / entry.name)
    return root


def _make_and_use() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="bench-")).resolve()
    maker = os.getpid()
    atexit.register(lambda: os.getpid() == maker and shutil.rmtree(folder, ignore_errors=True))  # not in a fork
    root = make(folder / "project")
    sys.path.insert(0, str(root / "src"))
    source = [str(root / "src"), str(REPOSITORY / "engine" / "src"), os.environ.get("PYTHONPATH", "")]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, source))

    from kindling.config import project

    project.use(root)
    return root


PROJECT = _make_and_use()
CONFIGS = PROJECT / "configs"
