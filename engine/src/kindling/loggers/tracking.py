"""What experiment trackers such as MLflow are given of a run: settings and tags when it begins, how it ended."""

from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from lightning.pytorch.loggers import Logger

from kindling.process.ranks import is_first_process
from kindling.run_folders.record import RunRecord
from kindling.run_folders.resumption import flatten


@runtime_checkable
class Tracker(Protocol):
    """A logger that keeps a run beside others, by an id of its own."""

    def begin(self, settings: dict[str, Any], tags: dict[str, str], run_id: str | None) -> str:
        """Start a run, or go on with that of the id; gives the id."""
        ...

    def end(self, status: str, reason: str | None, best: dict[str, Any] | None) -> None:
        """Close the run as finished, failed, interrupted or pruned."""
        ...


def begin(loggers: list[Logger], run: RunRecord) -> None:
    """Give the trackers among the loggers what begins; `run.end` gives them the rest."""
    if not is_first_process():
        return
    settings = {key: value for key, value in flatten(run.config).items() if not key.endswith("._partial_")}
    ids = dict(run.facts.get("tracked_as", {}))
    for tracker in [each for each in loggers if isinstance(each, Tracker)]:
        name = type(tracker).__name__
        ids[name] = tracker.begin(settings, tags(run), ids.get(name))
        run.trackers[name] = tracker
        run.update(tracked_as=ids)


def tags(run: RunRecord) -> dict[str, str]:
    """By what runs are distinguished and found again."""
    config, git = run.config, run.facts.get("git") or {}
    # A module may bring its own model and optimizers.
    parts = {part: config[part] for part in ("model", "data", "optimizer") if config.get(part)}
    names = {part: str(node["_target_"]).rpartition(".")[2] for part, node in parts.items()}
    return {
        "experiment": str(config["experiment_name"]),
        **names,
        "git_commit": git.get("commit", "none"),
        "git_is_clean": str(not git.get("diff")).lower(),
        "command": run.facts["command"],
        "folder": str(run.folder),
        "host": run.facts["hardware"]["host"],
    }


def name_of(folder: str) -> str:
    """The name of a run in its tracker: its folder's; of a sweep's job, with that of the sweep."""
    path = Path(folder)
    return f"{path.parent.name}/{path.name}" if path.name.isdigit() else path.name
