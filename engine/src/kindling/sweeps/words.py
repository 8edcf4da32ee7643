"""What a sweep prints: a line for each trial, and a table at the end."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from kindling.run_folders.trials import Trial

MOST_SHOWN = 20


def best_of(trials: Sequence[Trial], better: str) -> Trial | None:
    scored = [trial for trial in trials if trial.score is not None]
    return min(scored, key=lambda trial: rank(trial, better), default=None)


def rank(trial: Trial, better: str) -> tuple[bool, float, int]:
    """The order of a table: the best first, and those without a number last."""
    score = trial.score
    return score is None, (-score if better == "max" else score) if score is not None else 0.0, trial.number


def line(trial: Trial, trials: Sequence[Trial], settings: Mapping[str, Any], left_s: float | None) -> str:
    best = best_of(trials, settings["better"])
    what = result(trial, settings["monitor"])
    parts = [f"trial {trial.number}: {chosen(trial)}: {what}"]
    if best is not None and best.number != trial.number:
        parts.append(f"best {best.score:.5g}, trial {best.number}")
    elif best is not None:
        parts.append("the best so far")
    if left_s is not None:
        parts.append(f"about {duration(left_s)} left")
    return "; ".join(parts)


def chosen(trial: Trial) -> str:
    return " ".join(trial.overrides) or "the defaults"


def result(trial: Trial, monitor: str) -> str:
    if trial.state == "finished":
        return f"{monitor} {trial.score:.5g}" if trial.score is not None else f"no {monitor}"
    reason = trial.reason.splitlines()[0] if trial.reason else ""
    return f"{trial.state}{f', {reason}' if reason else ''}"


def duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def table(trials: Sequence[Trial], settings: Mapping[str, Any]) -> Table:
    """The trials, best first."""
    found = Table("trial", settings["monitor"], "settings", "", box=None, pad_edge=False)
    ordered = sorted(trials, key=lambda trial: rank(trial, settings["better"]))
    for trial in ordered[:MOST_SHOWN]:
        score = "" if trial.score is None else f"{trial.score:.5g}"
        found.add_row(str(trial.number), score, chosen(trial), "" if trial.score is not None else result(trial, ""))
    return found


def counts(trials: Sequence[Trial]) -> str:
    """As "6 finished, 1 pruned, 1 failed"."""
    found = Counter(trial.state for trial in trials)
    return ", ".join(f"{number} {state}" for state, number in sorted(found.items(), key=lambda pair: -pair[1]))


def failures(trials: Sequence[Trial]) -> str:
    """Why trials failed, each reason once with its number."""
    found = Counter(trial.reason.partition("\n")[0][:200] for trial in trials if trial.state == "failed")
    return "; ".join(f"{number} of {reason}" for reason, number in found.most_common(5))
