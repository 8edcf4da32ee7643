"""The record of a run in its folder: config.yaml and run.json, from the first moment to the end."""

import json
import logging
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from kindling.config.fault import Fault
from kindling.config.plain import as_yaml
from kindling.config.renames import FORMAT
from kindling.config.targets import relative
from kindling.errors import ConfigError, one_line
from kindling.files.redaction import redact_command, redact_config, redact_text
from kindling.files.whole_file import overwrite, write_whole
from kindling.process import terminal
from kindling.process.ranks import is_first_process, job
from kindling.run_folders import lock
from kindling.run_folders.leftovers import remove_leftovers
from kindling.run_folders.lock import RunLock
from kindling.run_folders.own_files import refuse_foreign_files
from kindling.run_folders.provenance import git_state, hardware, versions
from kindling.run_folders.resumption import ORIGIN, flatten, is_reopened, saved_config_to_resume
from kindling.run_folders.saved_run import run_of, saved_config

log = logging.getLogger(__name__)
KEPT_OF_EARLIER = ("status", "reason", "started_at", "ended_at", "command", "timings", "metrics")


class RunRecord:
    """run.json: status (running, finished, failed, interrupted, pruned), how the run came about, and its numbers.

    Attributes:
        config: of the run, plain and redacted.
        left_out: lines on what the config had and the task does not take, for the log.
        facts: what run.json holds.
        saved_config: that of the run that is resumed, in the first process; else None.
        is_done: the resumed run has finished, and nothing is left to do.
        trackers: the loggers by name that are closed with the run, as loggers/tracking.py describes them.
    """

    def __init__(self, folder: Path, config: dict[str, Any], left_out: Sequence[Fault] = ()):
        self.folder = folder
        self.left_out = left_out
        self.config = redact_config(config)
        self.facts: dict[str, Any] = {"timings": {}, "metrics": {}}
        self.saved_config: dict[str, Any] | None = None
        self.is_done = False
        self.trackers: dict[str, Any] = {}
        self._replaced: dict[Path, bytes] = {}
        self._lock = RunLock(folder)
        self._started = time.perf_counter()

    def start(self) -> None:
        """Lock the folder, remove what a killed process left, and write config.yaml and run.json.

        Raises:
            InUseError: another process holds the folder.
            ConfigError: it holds a run that may not be resumed so.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock.acquire()

        refuse_foreign_files(self.folder)
        attempts = self._resume()
        if not self.is_done:
            remove_leftovers(self.folder)
            self._write_config()
            self._write_first_facts(attempts)
        self._lock.let_others_in()

    def join(self) -> None:
        """Learn, in a further process, what the first one has found in the folder."""
        if not lock.wait_for_first(self.folder):
            terminal.say(
                f"warning: rank {os.environ.get('RANK', '?')}: no first process of {job()} has come to {self.folder} "
                f"within {lock.FIRST_S:g} s; start all processes, with a paths.logs that all of them see"
            )
        before = run_of(self.folder)
        if self.config["resume"] and before:
            self._continue(saved_config(self.folder), before["status"])

    def _resume(self) -> list[dict[str, Any]]:
        """Take over what the folder holds of a run; returns its attempts so far.

        Raises:
            ConfigError: it may not be resumed, or not with this config.
        """
        run_file, config_file = self.folder / "run.json", self.folder / "config.yaml"
        before = run_of(self.folder)
        if before is None:
            if os.path.lexists(run_file):
                raise ConfigError(f"run folder: given {self.folder}, whose run.json describes no run; give another one")
            return []

        self.saved_config = saved_config_to_resume(self.folder, self.config)
        self._continue(self.saved_config, before["status"])
        self._replaced = {file: file.read_bytes() for file in (run_file, config_file)}

        attempts = [*before.pop("earlier", []), {key: before.get(key) for key in KEPT_OF_EARLIER}]
        self.facts = {"metrics": before.get("metrics", {}), "best": before.get("best")}
        self.facts["tracked_as"] = before.get("tracked_as", {})
        return attempts

    def _continue(self, saved: dict[str, Any], status: str) -> None:
        self.config |= {key: saved.get(key) for key in ORIGIN}
        self.is_done = status == "finished" and not is_reopened(saved, self.config)

    def _write_config(self) -> None:
        with write_whole(self.folder / "config.yaml", durable=True) as stream:
            stream.write(as_yaml(relative(self.config)))

    def _write_first_facts(self, attempts: list[dict[str, Any]]) -> None:
        self.update(
            durable=True,
            format=FORMAT,
            status="running",
            reason=None,
            started_at=_now(),
            command=redact_command(sys.argv),
            pid=os.getpid(),
            seed=self.config["seed"],
            settings=flatten(self.config),
            git=git_state(),
            versions=versions(),
            hardware=hardware(),
            timings={},
            metrics=self.facts["metrics"],
            earlier=attempts,
        )

    def update(self, *, durable: bool = False, **facts: Any) -> None:
        """Add facts and write run.json, whole or not at all."""
        self.facts.update(facts)
        if is_first_process():
            with write_whole(self.folder / "run.json", durable=durable) as stream:
                json.dump(self.facts, stream, indent=2, ensure_ascii=False)

    @contextmanager
    def timed(self, phase: str) -> Iterator[None]:
        """Record how long a phase took, as <phase>_s."""
        started = time.perf_counter()
        yield
        self.update(timings=self._timings_with(f"{phase}_s", started))

    def _timings_with(self, name: str, started: float) -> dict[str, float]:
        return {**self.facts["timings"], name: round(time.perf_counter() - started, 3)}

    def end(self, status: str, reason: str | None = None) -> None:
        """Record how the run has ended, on a full disk too, and close its trackers."""
        timings = self._timings_with("total_s", self._started)
        self.facts.update(status=status, reason=reason and redact_text(reason), ended_at=_now(), timings=timings)
        try:
            self.update()
        except OSError:
            # What ended the run is told before it.
            try:
                self._overwrite()
            except OSError as error:
                log.warning("warning: run.json: cannot be written (%s); it still says running", error.strerror)
        self.close_trackers(status, reason)

    def _overwrite(self) -> None:
        """Write run.json where it lies, without the reason if that has no room."""
        file = self.folder / "run.json"
        short, whole = ({**self.facts, **less} for less in ({"reason": None}, {}))
        overwrite(file, json.dumps(short, ensure_ascii=False).encode())
        with suppress(OSError):
            overwrite(file, json.dumps(whole, ensure_ascii=False).encode())

    def close_trackers(self, status: str, reason: str | None) -> None:
        for name in list(self.trackers):
            try:
                self.trackers.pop(name).end(status, reason and redact_text(reason), self.facts.get("best"))
            except Exception as error:
                # A tracker's failure does not change how the run has ended.
                log.warning("warning: %s could not log that the run has %s: %s", name, status, one_line(error))

    def restore(self) -> None:
        """Give the files the content that they had before a resume that was refused."""
        for file, content in self._replaced.items():
            with write_whole(file, "wb", durable=True) as stream:
                stream.write(content)

    def release(self) -> None:
        """Unlock the folder."""
        self._lock.release()


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="seconds")
