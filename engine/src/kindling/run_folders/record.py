"""What a run folder tells of its run: config.yaml and run.json, from the first moment to the end."""

import json
import logging
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from kindling.config import project
from kindling.config.composition import in_sweep, to_plain
from kindling.config.renames import FORMAT
from kindling.config.targets import relative
from kindling.errors import ConfigError, interruption, one_line
from kindling.files.redaction import redact_command, redact_config, redact_text
from kindling.files.whole_file import TEMPORARY, write_whole
from kindling.process.ranks import is_first_process, stamp
from kindling.run_folders import lock
from kindling.run_folders.lock import RunLock
from kindling.run_folders.resumption import ORIGIN, is_reopened, refuse_changes, run_of, saved_config

log = logging.getLogger(__name__)
DIFF_LIMIT = 100_000  # characters
KEPT_OF_EARLIER = ("status", "reason", "started_at", "ended_at", "command", "timings", "metrics")
PACKAGES = ("torch", "torchvision", "lightning", "torchmetrics", "hydra-core", "omegaconf", "numpy")


class RunRecord:
    """run.json: status (running, finished, failed, interrupted), how the run came about, and its numbers."""

    def __init__(self, folder: Path, config: dict[str, Any]):
        self.folder = folder
        self.config = redact_config(config)
        self.facts: dict[str, Any] = {"timings": {}, "metrics": {}}
        self.saved_config: dict[str, Any] | None = None  # of the run that goes on
        self.is_done = False  # nothing is left to do
        self.trackers: dict[str, Any] = {}  # that are told how it ends, as tracking.py says
        self._before: dict[Path, bytes] = {}  # what stood in the files of the run that goes on
        self._lock = RunLock(folder)
        self._started = time.perf_counter()

    def start(self) -> None:
        """Claim the folder, sweep out what a killed process left, and write config.yaml and run.json.

        Raises:
            InUseError: another process holds the folder.
            ConfigError: it holds a run that is not to go on so.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock.acquire()
        before = run_of(self.folder)
        if before is None and os.path.lexists(self.folder / "run.json"):
            raise ConfigError(f"run folder: given {self.folder}, whose run.json tells of no run; give another one")
        earlier: list[dict[str, Any]] = []
        if before:
            self._check_resume(before["status"])
            self._before = {file: file.read_bytes() for file in (self.folder / "run.json", self.folder / "config.yaml")}
            earlier = [*before.pop("earlier", []), {key: before.get(key) for key in KEPT_OF_EARLIER}]
            self.facts = {"metrics": before.get("metrics", {}), "best": before.get("best")}
            self.facts["tracked_as"] = before.get("tracked_as", {})
            if self.is_done:
                self._lock.let_others_in()
                return
        remove_leftovers(self.folder)
        with write_whole(self.folder / "config.yaml", durable=True) as stream:
            OmegaConf.save(OmegaConf.create(relative(self.config)), stream)
        self.update(
            durable=True,
            format=FORMAT,
            status="running",
            reason=None,
            started_at=datetime.now().astimezone().isoformat(timespec="seconds"),
            command=redact_command(sys.argv),
            pid=os.getpid(),
            seed=self.config["seed"],
            git=git_state(),
            versions=versions(),
            hardware={"host": platform.node(), "platform": platform.platform(), "cores": os.cpu_count()},
            timings={},
            metrics=self.facts["metrics"],
            earlier=earlier,
        )
        self._lock.let_others_in()

    def join(self) -> None:
        """Know, in a further process, what the first one finds in the folder."""
        lock.wait_for_first(self.folder)
        before = run_of(self.folder)
        if self.config["resume"] and before:
            saved = saved_config(self.folder)
            self.config |= {key: saved.get(key) for key in ORIGIN}
            self.is_done = before["status"] == "finished" and not is_reopened(saved, self.config)

    def _check_resume(self, status: str) -> None:
        """
        Raises:
            ConfigError: the folder's run is not to go on, or not with this config.
        """
        if not self.config["resume"]:
            raise ConfigError(f"run folder: given {self.folder}, which holds a run; give a new one, or resume= it")
        saved = saved_config(self.folder)
        refuse_changes(saved, self.config, strict=self.config["resume_strict"])
        self.saved_config = saved
        self.config |= {key: saved.get(key) for key in ORIGIN}
        self.is_done = status == "finished" and not is_reopened(saved, self.config)

    def update(self, *, durable: bool = False, **facts: Any) -> None:
        """Add facts and write the file, whole or not at all."""
        self.facts.update(facts)
        if is_first_process():
            with write_whole(self.folder / "run.json", durable=durable) as stream:
                json.dump(self.facts, stream, indent=2, ensure_ascii=False)

    def end(self, status: str, reason: str | None = None) -> None:
        seconds = round(time.perf_counter() - self._started, 3)
        self.update(
            status=status,
            reason=reason and redact_text(reason),
            ended_at=datetime.now().astimezone().isoformat(timespec="seconds"),
            timings={**self.facts["timings"], "total_s": seconds},
        )
        self.tell_trackers(status, reason)

    def tell_trackers(self, status: str, reason: str | None) -> None:
        for name in list(self.trackers):
            try:
                self.trackers.pop(name).end(status, reason and redact_text(reason), self.facts.get("best"))
            except Exception as error:  # the run has ended as it has ended
                log.warning("warning: %s could not be told that the run has %s: %s", name, status, one_line(error))

    def undo(self) -> None:
        """Let the files tell again what they did before a resume that was refused."""
        for file, content in self._before.items():
            with write_whole(file, "wb", durable=True) as stream:
                stream.write(content)

    def release(self) -> None:
        """Let other processes have the folder."""
        self._lock.release()

    @contextmanager
    def timed(self, phase: str) -> Iterator[None]:
        """Note how long a phase took, as <phase>_s."""
        started = time.perf_counter()
        yield
        seconds = round(time.perf_counter() - started, 3)
        self.update(timings={**self.facts["timings"], f"{phase}_s": seconds})


_open: list[RunRecord] = []


@contextmanager
def recorded(cfg: DictConfig) -> Iterator[RunRecord]:
    """Record a run in its folder, `cfg.paths.run`, however it ends; inside itself, give the open record."""
    if _open:
        yield _open[-1]
        return
    config = to_plain(cfg)
    record = RunRecord(Path(config["paths"]["run"]), config)
    if in_sweep() and config["resume"] and (config["resume"] != "auto" or stamp() in str(record.folder)):
        allowed = "auto with hydra.sweep.dir=<folder of the sweep>, or one run at a time"
        raise ConfigError(f"resume: given {config['resume']} in a sweep; allowed: {allowed}")
    _open.append(record)
    try:
        record.start() if is_first_process() else record.join()
        yield record
    except BaseException as error:
        _end_unfinished(record, error)
        raise
    else:
        if not record.is_done:
            record.end("finished")
    finally:
        record.release()
        _open.remove(record)


def _end_unfinished(record: RunRecord, error: BaseException) -> None:
    if "status" not in record.facts and is_first_process():  # refused before it began
        return
    # Lightning turns Ctrl-C in a notebook into SystemExit.
    status, reason = "interrupted" if interruption(error) else "failed", f"{type(error).__name__}: {error}"
    if isinstance(error, ConfigError):
        record.tell_trackers(status, reason)
    if isinstance(error, ConfigError) and is_first_process() and record.saved_config is not None:
        record.undo()
        return
    if isinstance(error, ConfigError) and record.saved_config is None and not in_sweep():
        remove_unused(record.folder)
        return
    with suppress(OSError):  # the disk may be full, which the error tells already
        record.end(status, reason)


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files of a process that was killed while it wrote."""
    for file in folder.rglob(f".*{TEMPORARY}"):
        file.unlink(missing_ok=True)


def remove_unused(folder: Path) -> None:
    """Remove the folder of a run whose config was refused, if it holds nothing but the refusal."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    if is_first_process() and {file.name for file in files} <= {"run.json", "config.yaml", "train.log", lock.NAME}:
        shutil.rmtree(folder, ignore_errors=True)
        with suppress(OSError):  # other runs lie beside it
            folder.parent.rmdir()


@cache
def versions() -> dict[str, str]:
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in PACKAGES}}


def git_state() -> dict[str, Any] | None:
    """The project's commit and its uncommitted diff, capped and redacted; None outside a repository."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(project.current().root), *arguments]
        return subprocess.run(command, capture_output=True, text=True, errors="replace", check=True).stdout

    try:
        commit = git("rev-parse", "HEAD").strip()
        diff = redact_text(git("diff", "HEAD"))
    except (OSError, subprocess.CalledProcessError):
        return None
    if len(diff) > DIFF_LIMIT:
        diff = f"{diff[:DIFF_LIMIT]}\n[cut: {len(diff)} characters in all]\n"
    return {"commit": commit, "diff": diff}
