"""A trial in a process: forked, with everything imported; a command of its own; or what a launcher of Hydra starts."""

import os
import signal
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus, run_job, setup_globals
from omegaconf import DictConfig, open_dict

from kindling.config.once import compose_last
from kindling.errors import Interrupted, one_line
from kindling.files.foreign_file import read_text
from kindling.process import parent
from kindling.process.group import Group, adopt, lead
from kindling.process.guard import Guard
from kindling.process.signals import ENDING
from kindling.sweeps.commands import command_of, environment_of, needs_a_command, quoted
from kindling.sweeps.launchers import cancel_jobs, is_own, launcher_of
from kindling.sweeps.shared import share

OUTPUT, MOST_OF_OUTPUT = "output.txt", 10_000_000


class Jobs:
    """Starts trials.

    Args:
        loader: composes the config of a trial.
        context: Hydra's.
        task: of the command.
        prepare: imports what forked trials need.
        config: of the sweep.
        num: trials at a time.
        gpus: what each of them sees as CUDA_VISIBLE_DEVICES; none if that stays as it is.
    """

    def __init__(
        self,
        loader: Any,
        context: Any,
        task: Any,
        prepare: Callable[[], None],
        config: DictConfig,
        num: int,
        gpus: Sequence[str] = (),
    ):
        self.loader, self.context, self.task, self.prepare = loader, context, task, prepare
        self.config, self.gpus, self.is_prepared = config, gpus, False
        self.guard: Guard | None = None
        cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
        size = max(1, len(cores) // num)
        # By place: which cores a trial has; of more trials than cores, some share one.
        self.shares = [[cores[(place * size + each) % len(cores)] for each in range(size)] for place in range(num)]
        self.launcher: Any = None if is_own(config) else launcher_of(context, task, config)

    def start(self, folder: Path, overrides: Sequence[str], place: int) -> Group:
        """Start a trial and return its processes."""
        if self.guard is None:
            # A small copy, before everything is imported.
            self.guard = Guard(len(self.shares))
            adopt()
        run = self._way(folder, overrides, place)
        sys.stdout.flush()
        sys.stderr.flush()
        # A signal in the copy would otherwise stop the sweep's other trials, as if it were the sweep.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
        pid = os.fork()
        if pid == 0:
            os._exit(self._run(run, folder, place, before))
        self.guard.groups[place] = pid
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return Group(pid)

    def exit_code(self, started: Group, place: int) -> int | None:
        """Of a trial; None while anything of it runs."""
        code = started.exit_code()
        if self.guard:
            self.guard.renew()
            if code is not None:
                self.guard.groups[place] = 0
        return code

    def _way(self, folder: Path, overrides: Sequence[str], place: int) -> Callable[[], JobReturn]:
        """What is to be done in the process of a trial."""
        if self.launcher:
            into = [f"hydra.sweep.dir={quoted(folder.parent)}", f"hydra.sweep.subdir={folder.name}", "resume=auto"]
            return lambda: self.launcher.launch([[*overrides, *into]], initial_job_idx=int(folder.name))[0]
        config = compose_last(self.loader, self.config, overrides)
        if self.gpus or needs_a_command(config):
            command = command_of(self.config, folder, overrides)
            environment = environment_of(self.gpus[place] if self.gpus else None)
            return lambda: os.execve(command[0], command, environment)
        if not self.is_prepared:
            self.is_prepared = True
            self.prepare()
            share(config)
        with open_dict(config):
            config.hydra.job.id = config.hydra.job.num = int(folder.name)
            config.hydra.sweep.dir, config.hydra.sweep.subdir = str(folder.parent), folder.name
            # It goes on if it was begun.
            config.resume = "auto"
        return lambda: run_job(
            hydra_context=self.context,
            task_function=self.task,
            config=config,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
        )

    def _run(self, run: Callable[[], JobReturn], folder: Path, place: int, mask: Iterable[Any]) -> int:
        """The exit code of a trial, in its own process."""
        code = 1
        try:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            parent.die_with(os.getppid(), signal.SIGTERM)
            lead()
            if self.shares[place]:
                os.sched_setaffinity(0, self.shares[place])
            _write_into(folder / OUTPUT)
            setup_globals()
            done = run()
            code = 0 if done.status is JobStatus.COMPLETED else 1
        except Interrupted as interrupted:
            if self.launcher:
                cancel_jobs()
            code = interrupted.exit_code
        except BaseException as error:
            print(f"error: {type(error).__name__}: {one_line(error)}", file=sys.stderr)
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
