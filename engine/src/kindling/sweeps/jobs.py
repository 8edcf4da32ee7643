"""A trial as a forked process, which starts with everything imported."""

import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from hydra.core.utils import JobStatus, run_job, setup_globals
from omegaconf import DictConfig, open_dict

from kindling.errors import Interrupted
from kindling.files.foreign_file import read_text
from kindling.process import parent

OUTPUT, MOST_OF_OUTPUT = "output.txt", 10_000_000


class Forks:
    """Starts trials.

    Args:
        loader: composes the config of a trial.
        context: Hydra's.
        task: of the command.
        config: of the sweep.
        num_jobs: trials at a time.
    """

    def __init__(self, loader: Any, context: Any, task: Any, config: DictConfig, num_jobs: int):
        self.loader, self.context, self.task, self.config = loader, context, task, config
        cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
        size = max(1, len(cores) // num_jobs)
        # By place: which cores a trial has for its own.
        self.shares = [cores[place * size : (place + 1) * size] for place in range(num_jobs)]

    def start(self, folder: Path, overrides: Sequence[str], place: int) -> int:
        """Start a trial and return the id of its process."""
        config = self._config(folder, overrides)
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid:
            return pid
        os._exit(self._run(folder, config, place))

    def _config(self, folder: Path, overrides: Sequence[str]) -> DictConfig:
        config = self.loader.load_sweep_config(self.config, list(overrides))
        with open_dict(config):
            config.hydra.job.id = config.hydra.job.num = int(folder.name)
            config.hydra.sweep.dir, config.hydra.sweep.subdir = str(folder.parent), folder.name
            # It goes on if it was begun.
            config.resume = "auto"
        return config

    def _run(self, folder: Path, config: DictConfig, place: int) -> int:
        """The exit code of a trial, in its own process."""
        code = 1
        try:
            parent.die_with(os.getppid(), signal.SIGTERM)
            if self.shares[place]:
                os.sched_setaffinity(0, self.shares[place])
            _write_into(folder / OUTPUT)
            setup_globals()
            done = run_job(
                hydra_context=self.context,
                task_function=self.task,
                config=config,
                job_dir_key="hydra.sweep.dir",
                job_subdir_key="hydra.sweep.subdir",
            )
            code = 0 if done.status is JobStatus.COMPLETED else 1
        except Interrupted as interrupted:
            code = interrupted.exit_code
        except BaseException as error:
            print(f"error: {type(error).__name__}: {error}", file=sys.stderr)
        with suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        return code


def _write_into(file: Path) -> None:
    nothing = os.open(os.devnull, os.O_RDONLY)
    output = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o644)
    for descriptor, target in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(descriptor, target)


def death(code: int, folder: Path) -> str:
    """Why a trial ended that has not said so in its run.json."""
    if code < 0:
        often = "; often the memory has run out" if -code == signal.SIGKILL else ""
        return f"killed by {signal.Signals(-code).name}{often}"
    said: list[str] = []
    with suppress(OSError, ValueError):
        said = [line for line in read_text(folder / OUTPUT, MOST_OF_OUTPUT).splitlines() if line.startswith("error: ")]
    if code and said:
        return said[-1].removeprefix("error: ")
    return f"ended without a result, exit code {code}; see {OUTPUT} in its folder"
