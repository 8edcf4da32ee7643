"""A trial of a sweep against the defaults, over new seeds: the best of many trials was lucky too."""

import math
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from types import FrameType
from typing import Any, NamedTuple

from kindling.config import project
from kindling.errors import ConfigError
from kindling.files.redaction import HIDDEN, redact_text
from kindling.process import parent
from kindling.run_folders.trials import Trial, Trials, read_sweep
from kindling.sweeps.objectives import front_of, objectives_of

FOLDER = "confirm"
# Above the seeds that people give; how many there are makes it unlikely that one comes twice.
FIRST_SEED, LAST_SEED = 1_000_000, 1_000_000_000
# How many trials run at a time, and where, may change.
OF_SWEEPS = ("sweep.", "sweep=", "hydra.sweep")
# From which p on a difference may be chance.
LEVEL = 0.05
# Of a sweep.json, which somebody else may have written.
WHERE = ("--config-", "hydra.searchpath=")
# A sweep of seeds, whatever the recipe says of sweeps.
SEEDS = (
    *("~sweep.params", "sweep=random", "sweep.seed=0", "sweep.start=[]", "sweep.pruner=null"),
    *("sweep.objectives=null", "sweep.max_failed=1"),
)


class Arm(NamedTuple):
    """One of the two that are compared: a sweep over seeds.

    Attributes:
        title: in a sentence.
        overrides: of the command line, beside the seeds.
        configs: flags that say where the YAML files are.
    """

    title: str
    folder: Path
    overrides: list[str]
    configs: list[str]

    def is_done(self, seeds: int) -> bool:
        """Whether nothing is left to run.

        Raises:
            ConfigError: the folder has runs of other settings.
        """
        before = read_sweep(self.folder) if self.folder.is_dir() else None
        if before is None:
            return False
        own = {redact_text(each) for each in self.overrides if not each.startswith(OF_SWEEPS)}
        there = set(map(str, before.get("overrides") or ()))
        if own != there:
            differs = [*sorted(own - there), *(f"no {each}" for each in sorted(there - own))]
            raise ConfigError(
                f"confirm: given {', '.join(differs)}, and {self.folder} has runs of other settings; "
                f"allowed: the overrides of the call before, or remove {self.folder.parent}"
            )
        return len(self.ended(seeds)) == seeds

    def ended(self, seeds: int) -> dict[str, Trial]:
        """The trials of the first seeds that have ended, by seed."""
        trials = Trials(self.folder).read() if self.folder.is_dir() else []
        return {
            trial.params.get("seed", ""): trial for trial in trials if trial.number < seeds and trial.state != "open"
        }


def winner_of(settings: Mapping[str, Any], trials: Sequence[Trial], number: int | None) -> Trial:
    """
    Raises:
        ConfigError: no trial has finished, or several are best, or the one that is named has not.
    """
    front = front_of(trials, objectives_of(settings))
    numbers = ", ".join(str(trial.number) for trial in front)
    if not front:
        raise ConfigError(
            "confirm: given a sweep without a finished trial; run its command again, which goes on with it"
        )
    if number is None and len(front) > 1:
        raise ConfigError(f"confirm: given a sweep with several objectives; allowed: trial= one of {numbers}")
    chosen = front[0] if number is None else next((trial for trial in trials if trial.number == number), None)
    if chosen is None or chosen.score is None:
        raise ConfigError(
            f"confirm: given trial={number}, which has not finished; allowed: a finished one, such as {numbers}"
        )
    if all(map(_is_seed, chosen.overrides)):
        raise ConfigError(
            f"confirm: trial {chosen.number} are the defaults; allowed: another trial, as by trial=NUMBER"
        )
    return chosen


def arms_of(sweep: Path, settings: Mapping[str, Any], winner: Trial, more: Sequence[str]) -> list[Arm]:
    """
    Args:
        more: overrides of both.

    Raises:
        ConfigError: the command of the sweep held secrets, which are not kept.
    """
    given = [str(each) for each in settings.get("overrides") or ()]
    for override in given:
        key = override.partition("=")[0]
        if HIDDEN in override and not any(each.startswith(f"{key}=") for each in more):
            raise ConfigError(f"confirm: {key} was given to the sweep, and is kept nowhere; give {key}=... here too")
    shared = [each for each in (*given, *more) if HIDDEN not in each and not _is_seed(each)]
    own = [each for each in winner.overrides if not _is_seed(each)]
    folder = sweep.absolute() / FOLDER
    name = f"trial_{winner.number}"
    found = settings.get("configs")
    configs = [str(each) for each in found if str(each).startswith(WHERE)] if isinstance(found, list) else []
    return [
        Arm(f"trial {winner.number}", folder / name, [*shared, *own], configs),
        Arm("the defaults", folder / "defaults", shared, configs),
    ]


def _is_seed(override: str) -> bool:
    return override.lstrip("+").startswith("seed=")


def command_of(arm: Arm, seeds: int, first_seed: int) -> list[str]:
    folder = str(arm.folder).replace("\\", "\\\\").replace("'", "\\'")
    return [
        *(sys.executable, str(project.current().root / "train.py"), "-m", *arm.configs, *arm.overrides, *SEEDS),
        *(f"sweep.n_trials={seeds}", f"seed=int(interval({first_seed},{LAST_SEED}))", f"hydra.sweep.dir='{folder}'"),
    ]


def first_seed_of(trials: Sequence[Trial]) -> int:
    """Above all seeds of the sweep."""
    used = [(trial.facts or {}).get("seed") for trial in trials]
    return max([FIRST_SEED, *(seed + 1 for seed in used if isinstance(seed, int))])


def run(command: Sequence[str]) -> int:
    """The exit code of a command, which gets the signals of this process, and does not outlive it."""
    process = subprocess.Popen(command, preexec_fn=lambda: parent.die_with(os.getppid(), signal.SIGTERM))

    def pass_on(signum: int, _: FrameType | None) -> None:
        process.send_signal(signum)

    before = {each: signal.signal(each, pass_on) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        return process.wait()
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def report(arms: Sequence[Arm], settings: Mapping[str, Any], winner: Trial, seeds: int) -> list[str]:
    """A line for each metric: the objectives, and what the test has of them."""
    one, other = (arm.ended(seeds) for arm in arms)
    both = [seed for seed in one if seed in other]
    lines = []
    for name, better in objectives_of(settings).items():
        was = f" (in the sweep it had {value:.5g})" if (value := winner.value(name)) is not None else ""
        for metric in (name, f"test/{name.removeprefix('val/')}") if name.startswith("val/") else (name,):
            pairs = [(_value(one[seed], metric), _value(other[seed], metric)) for seed in both]
            found = [(a, b) for a, b in pairs if a is not None and b is not None]
            if found or metric == name:
                titles = (f"{arms[0].title}{was if metric == name else ''}", arms[1].title)
                lines.append(f"{metric}: {compared(titles, found, better, seeds)}")
    return lines


def _value(trial: Trial, metric: str) -> float | None:
    if not metric.startswith("test/"):
        return trial.value(metric)
    value = ((trial.facts or {}).get("metrics") or {}).get(metric)
    return float(value) if trial.state == "finished" and value is not None and math.isfinite(value) else None


def compared(titles: tuple[str, str], pairs: Sequence[tuple[float, float]], better: str, seeds: int) -> str:
    """Which of two is better, in words.

    Args:
        titles: of the two.
        pairs: a value of each for each seed.
        better: min or max.
        seeds: that were to be run.
    """
    missing = f"; {seeds - len(pairs)} of {seeds} seeds have no pair of numbers" if len(pairs) < seeds else ""
    if len(pairs) < 2:
        return f"{len(pairs)} pairs of numbers tell nothing{missing}"
    shown = [
        f"{title} {fmean(each):.4g} ± {stdev(each):.2g}"
        for title, each in zip(titles, zip(*pairs, strict=True), strict=True)
    ]
    sign = 1 if better == "max" else -1
    gains = [sign * (one - other) for one, other in pairs]
    p = p_of(gains)
    verdict = "not distinguishable" if p >= LEVEL else "better" if fmean(gains) > 0 else "worse"
    chance = f"p={p:.2g}" if p >= 0.0001 else "p<0.0001"
    won = sum(gain > 0 for gain in gains)
    return f"{' against '.join(shown)}, better with {won} of {len(pairs)} seeds, {chance}: {verdict}{missing}"


def p_of(differences: Sequence[float]) -> float:
    """How likely differences of such a mean are by chance: the two-sided paired t-test (Student 1908)."""
    mean, spread = fmean(differences), stdev(differences)
    if spread == 0:
        return float(mean == 0)
    return 1 - _within(abs(mean) / spread * math.sqrt(len(differences)), len(differences) - 1)


def _within(t: float, freedom: int) -> float:
    """How much of Student's distribution lies between -t and t (Abramowitz and Stegun 1964, 26.7.3 and 26.7.4)."""
    angle = math.atan(t / math.sqrt(freedom))
    is_odd = freedom % 2
    term, total = math.cos(angle) if is_odd else 1.0, 0.0
    for power in range(is_odd, freedom - 1, 2):
        total += term
        term *= math.cos(angle) ** 2 * (power + 1) / (power + 2)
    total *= math.sin(angle)
    return 2 / math.pi * (angle + total) if is_odd else total
