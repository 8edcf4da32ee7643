"""What a run folder tells of its run: config.yaml and run.json, from the first moment to the end."""

import json
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

from kindling.config.composition import in_sweep, to_plain
from kindling.config.resolvers import PROJECT, is_first_process
from kindling.errors import ConfigError, interruption
from kindling.redaction import redact_command, redact_config, redact_text
from kindling.whole_file import write_whole

DIFF_LIMIT = 100_000  # characters
KEPT_OF_EARLIER = ("status", "reason", "started_at", "ended_at", "command", "timings", "metrics")
# What a resumed run must share with the run that it goes on with; of data, all but where and how it is read.
FIXED_SETTINGS = ("seed", "data", "model", "criterion", "optimizer", "scheduler")
FREE_DATA_SETTINGS = ("root", "cache_dir", "num_workers", "in_memory", "mean", "std")
PACKAGES = ("torch", "torchvision", "lightning", "torchmetrics", "hydra-core", "omegaconf", "numpy")


class RunRecord:
    """run.json: status (running, finished, failed, interrupted), how the run came about, and its numbers."""

    def __init__(self, folder: Path, config: dict[str, Any]):
        self.folder = folder
        self.config = redact_config(config)
        self.facts: dict[str, Any] = {}
        self.is_new = True
        self._started = time.perf_counter()

    def start(self, *, resumed: bool) -> None:
        """Claim the folder and write config.yaml and run.json.

        Raises:
            ConfigError: the folder holds another run.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        file = self.folder / "run.json"
        earlier: list[dict[str, Any]] = []
        if file.exists():
            if not resumed:
                raise ConfigError(f"run folder: given {self.folder}, which holds a run; give a new one, or resume= it")
            refuse_changes(OmegaConf.to_container(OmegaConf.load(self.folder / "config.yaml")), self.config)
            before = json.loads(file.read_text(encoding="utf-8"))
            earlier = [*before.pop("earlier", []), {key: before.get(key) for key in KEPT_OF_EARLIER}]
            self.facts = {"metrics": before["metrics"], "best": before.get("best")}
            self.is_new = False
        OmegaConf.save(OmegaConf.create(self.config), self.folder / "config.yaml")
        self.update(
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
            metrics=self.facts.get("metrics", {}),
            earlier=earlier,
        )

    def update(self, **facts: Any) -> None:
        """Add facts and write the file, whole or not at all."""
        self.facts.update(facts)
        if is_first_process():
            with write_whole(self.folder / "run.json") as stream:
                json.dump(self.facts, stream, indent=2, ensure_ascii=False)

    def end(self, status: str, reason: str | None = None) -> None:
        seconds = round(time.perf_counter() - self._started, 3)
        self.update(
            status=status,
            reason=reason and redact_text(reason),
            ended_at=datetime.now().astimezone().isoformat(timespec="seconds"),
            timings={**self.facts["timings"], "total_s": seconds},
        )

    @contextmanager
    def timed(self, phase: str) -> Iterator[None]:
        """Note how long a phase took, as <phase>_s."""
        started = time.perf_counter()
        yield
        seconds = round(time.perf_counter() - started, 3)
        self.update(timings={**self.facts["timings"], f"{phase}_s": seconds})


def refuse_changes(saved: Any, given: dict[str, Any]) -> None:
    """
    Raises:
        ConfigError: a config would go on with a run that was started with other settings.
    """

    def fixed(config: dict[str, Any]) -> dict[str, Any]:
        data = {key: value for key, value in config["data"].items() if key not in FREE_DATA_SETTINGS}
        return flatten({key: config.get(key) for key in FIXED_SETTINGS} | {"data": data})

    before, now = fixed(saved), fixed(given)
    changed = sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key))
    if changed:
        listed = ", ".join(f"{key}={now.get(key)} (it has {before.get(key)})" for key in changed[:5])
        raise ConfigError(
            f"resume: given {listed}; allowed: the settings that the run was started with; "
            "give the same experiment and overrides, or start a new run"
        )


def flatten(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"model": {"dropout": 0.1}} -> {"model.dropout": 0.1}."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


_open: list[RunRecord] = []


@contextmanager
def recorded(cfg: DictConfig) -> Iterator[RunRecord]:
    """Record a run in its folder, `cfg.paths.run`, however it ends; inside itself, give the open record."""
    if _open:
        yield _open[-1]
        return
    config = to_plain(cfg)
    record = RunRecord(Path(config["paths"]["run"]), config)
    if is_first_process():
        record.start(resumed=bool(config["resume"]) and config["train"])
    else:
        record.facts = {"timings": {}, "metrics": {}}
    _open.append(record)
    try:
        yield record
    except BaseException as error:
        if isinstance(error, ConfigError) and record.is_new and not in_sweep():
            remove_unused(record.folder)
            raise
        # Lightning turns Ctrl-C in a notebook into SystemExit.
        stopped = interruption(error)
        record.end("interrupted" if stopped else "failed", f"{type(error).__name__}: {error}")
        raise
    else:
        record.end("finished")
    finally:
        _open.remove(record)


def remove_unused(folder: Path) -> None:
    """Remove the folder of a run whose config was refused, if it holds nothing but the refusal."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    if is_first_process() and {file.name for file in files} <= {"run.json", "config.yaml", "train.log"}:
        shutil.rmtree(folder, ignore_errors=True)
        with suppress(OSError):  # other runs lie beside it
            folder.parent.rmdir()


@cache
def versions() -> dict[str, str]:
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in PACKAGES}}


def git_state() -> dict[str, Any] | None:
    """The project's commit and its uncommitted diff, capped and redacted; None outside a repository."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(PROJECT), *arguments]
        return subprocess.run(command, capture_output=True, text=True, errors="replace", check=True).stdout

    try:
        commit = git("rev-parse", "HEAD").strip()
        diff = redact_text(git("diff", "HEAD"))
    except (OSError, subprocess.CalledProcessError):
        return None
    if len(diff) > DIFF_LIMIT:
        diff = f"{diff[:DIFF_LIMIT]}\n[cut: {len(diff)} characters in all]\n"
    return {"commit": commit, "diff": diff}
