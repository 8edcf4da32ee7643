"""What a sweep prints: a line for each trial, and what came of all."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

from kindling.run_folders.trials import Trial
from kindling.sweeps.objectives import front_of, losses_of, objectives_of

# Drawn numbers, of which a line of 80 columns has no room for all digits.
LONG = re.compile(r"(?<![^=\[, ])-?\d+\.\d{5,}(?:e[-+]?\d+)?(?=[,\] ]|$)")


def rank(trial: Trial, objectives: Mapping[str, str]) -> tuple[bool, list[float], int]:
    """The order of a table: the best by the first objective first, and those without a number last."""
    losses = losses_of(trial, objectives)
    return losses is None, losses or [], trial.number


def line(trial: Trial, trials: Sequence[Trial], settings: Mapping[str, Any], left_s: float | None) -> str:
    objectives = objectives_of(settings)
    front = front_of(trials, objectives)
    parts = [f"trial {trial.number}: {shortened(chosen(trial))}: {result(trial, objectives)}"]
    if any(best.number == trial.number for best in front):
        parts.append("the best so far" if len(objectives) == 1 else "none better so far")
    elif len(objectives) == 1 and front:
        parts.append(f"best {values(front[0], objectives, named=False)}, trial {front[0].number}")
    if left_s is not None:
        parts.append(f"{duration(left_s)} left")
    return "; ".join(parts)


def shortened(text: str) -> str:
    """With four digits of each long number."""
    return LONG.sub(lambda number: f"{float(number[0]):.4g}", text)


def chosen(trial: Trial) -> str:
    """What can be typed."""
    return " ".join(trial.overrides) or "the defaults"


def values(trial: Trial, objectives: Mapping[str, str], *, named: bool = True) -> str:
    """The value for each objective."""
    found = ((name, trial.value(name)) for name in objectives)
    shown = ((name, "nothing" if value is None else f"{value:.5g}") for name, value in found)
    return ", ".join(f"{name} {value}" if named else value for name, value in shown)


def result(trial: Trial, objectives: Mapping[str, str]) -> str:
    if trial.state == "finished":
        missing = [name for name in objectives if trial.value(name) is None]
        return f"no {', no '.join(missing)}" if missing else values(trial, objectives)
    reason = trial.reason.splitlines()[0] if trial.reason else ""
    return f"{trial.state}{f', {reason}' if reason else ''}"


def numbered(numbers: Sequence[int]) -> str:
    """As "trial 3" or "trials 3, 5"."""
    return f"trial{'s' * (len(numbers) > 1)} {', '.join(map(str, numbers))}"


def duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def over_seeds(trials: Sequence[Trial], objectives: Mapping[str, str]) -> str:
    """The mean and the spread of trials that differ in their seeds alone, of which none is the best."""
    found = {name: [value for trial in trials if (value := trial.value(name)) is not None] for name in objectives}
    shown = [f"{name} {fmean(of):.5g} ± {stdev(of):.2g}" for name, of in found.items() if len(of) > 1]
    return f"mean ± standard deviation: {', '.join(shown)}" if shown else "fewer than two numbers"


def counts(trials: Sequence[Trial]) -> str:
    """As "6 finished, 1 pruned, 1 failed"."""
    found = Counter(trial.state for trial in trials)
    return ", ".join(f"{number} {state}" for state, number in sorted(found.items(), key=lambda pair: -pair[1]))


def failures(trials: Sequence[Trial]) -> str:
    """Why trials failed, each reason once with its number."""
    found = Counter(trial.reason.partition("\n")[0][:200] for trial in trials if trial.state == "failed")
    return "; ".join(f"{number} of {reason}" for reason, number in found.most_common(5))
