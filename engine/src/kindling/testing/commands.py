"""The commands as a user types them, each in a process of its own.

Importing torch takes seconds, so most runs are forked from this process, which has imported it already.
"""

import multiprocessing
import os
import runpy
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import NamedTuple

from kindling.config import project


class Done(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


def run(script: str, *arguments: str, cwd: Path | None = None, **environment: str) -> Done:
    command = [sys.executable, str(project.current().root / script), *arguments]
    done = subprocess.run(command, cwd=cwd, env=os.environ | environment, capture_output=True, text=True, timeout=100)
    return Done(done.returncode, done.stdout, done.stderr)


class Fork:
    """A command in a forked process."""

    def __init__(self, tmp_path: Path, script: str, *arguments: str):
        self.streams = [tmp_path / "stdout", tmp_path / "stderr"]
        self.process = multiprocessing.get_context("fork").Process(target=self._run, args=(script, arguments))
        # Newer Pythons warn of forks in a process with threads.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            self.process.start()

    def _run(self, script: str, arguments: tuple[str, ...]) -> None:
        for descriptor, file in enumerate(self.streams, start=1):
            os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
        sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
        sys.argv = [str(project.current().root / script), *arguments]
        try:
            runpy.run_path(sys.argv[0], run_name="__main__")
        finally:
            sys.stdout.flush()
            sys.stderr.flush()

    def result(self, timeout_s: float = 100) -> Done:
        self.process.join(timeout=timeout_s)
        stdout, stderr = (file.read_text() for file in self.streams)
        assert self.process.exitcode is not None, stderr
        return Done(self.process.exitcode, stdout, stderr)


def wait_for(folder: Path, name: str) -> None:
    deadline = time.monotonic() + 60
    while not list(folder.rglob(name)) and time.monotonic() < deadline:
        time.sleep(0.05)


def only_run(logs: Path) -> Path:
    (file,) = logs.rglob("run.json")
    return file.parent
