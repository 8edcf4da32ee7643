"""What a sweep compares its trials by: one objective, or several of which none comes first."""

from collections.abc import Mapping, Sequence
from typing import Any

from kindling.run_folders.trials import Trial


def objectives_of(settings: Mapping[str, Any]) -> dict[str, str]:
    """By name, min or max: those of a sweep's settings or of its sweep.json; else what is monitored."""
    return settings.get("objectives") or {settings["monitor"]: settings["better"]}


def is_over_seeds(settings: Mapping[str, Any]) -> bool:
    """Whether the trials of a sweep differ in their seeds alone: the best of them is only the luckiest."""
    return list(settings.get("params") or ()) == ["seed"]


def values_of(trial: Trial, objectives: Mapping[str, str]) -> list[float] | None:
    """The value for each objective; None if any is missing."""
    found = [trial.value(name) for name in objectives]
    return [each for each in found if each is not None] if None not in found else None


def losses_of(trial: Trial, objectives: Mapping[str, str]) -> list[float] | None:
    """The values with the sign that makes less of each better; None if any is missing."""
    values = values_of(trial, objectives)
    signs = (-1 if better == "max" else 1 for better in objectives.values())
    return values and [sign * value for sign, value in zip(signs, values, strict=True)]


def front_of(trials: Sequence[Trial], objectives: Mapping[str, str]) -> list[Trial]:
    """The trials that no other is better than (the Pareto front), the best by the first objective first.

    With one objective, the best trial alone; of equal ones the first.
    """
    scored = [(losses, trial) for trial in trials if (losses := losses_of(trial, objectives))]
    scored.sort(key=lambda each: (each[0], each[1].number))
    front: list[tuple[list[float], Trial]] = []
    for losses, trial in scored:
        # Whatever is better in all stands before it.
        if not any(all(one <= other for one, other in zip(each, losses, strict=True)) for each, _ in front):
            front.append((losses, trial))
    return [trial for _, trial in front]
