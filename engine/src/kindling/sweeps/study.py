"""A sweep as a study of Optuna: in memory for its importances, or as a file for optuna-dashboard."""

import os
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from math import isfinite
from pathlib import Path
from typing import Any
from zlib import crc32

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from kindling.config.space import Param, param_of
from kindling.errors import ConfigError
from kindling.files.whole_file import write_whole
from kindling.run_folders.trials import Trial
from kindling.sweeps.objectives import objectives_of
from kindling.sweeps.sampling import direction, frozen, may_change, optuna

# Fewer finished trials tell nothing of what mattered.
FEWEST_FOR_IMPORTANCE = 8


def space_of(settings: Mapping[str, Any], trials: Sequence[Trial]) -> list[Param]:
    """The space that a sweep.json describes; of what cannot be read, such as a glob, the values that trials have."""
    found = []
    for key, text in settings["params"].items():
        seen = tuple(dict.fromkeys(trial.params[key] for trial in trials if key in trial.params))
        param = Param(key, "", seen)
        with suppress(HydraException, ValueError):
            override = OverridesParser.create().parse_override(f"{key}={str(text).partition(' when ')[0]}")
            param = param_of(override) if override.is_sweep_override() else param
        # Trials to begin with may have the default of the recipe, which is not in the space.
        more = tuple(each for each in seen if param.choices and each not in param.choices)
        found.append(param._replace(choices=param.choices + more))
    return [param for param in found if param.choices or param.low < param.high]


def study_of(
    name: str, settings: Mapping[str, Any], space: Sequence[Param], trials: Sequence[Trial], storage: Any = None
) -> optuna.Study:
    objectives = objectives_of(settings)
    ways = [direction(better) for better in objectives.values()]
    study = optuna.create_study(storage=storage, study_name=name, directions=ways)
    with may_change():
        study.set_metric_names(list(objectives))
    study.set_user_attr("space", dict(settings["params"]))
    study.add_trials([_with_story(trial, frozen(trial, space, objectives)) for trial in trials])
    return study


def _with_story(trial: Trial, found: Any) -> Any:
    """A trial of Optuna with its times, and with what the folder knows beside numbers."""
    facts = trial.facts or {}
    claimed = datetime.fromtimestamp(trial.folder.stat().st_mtime)
    found.datetime_start = _time(facts.get("started_at")) or claimed
    found.datetime_complete = (_time(facts.get("ended_at")) or claimed) if found.state.is_finished() else None
    attributes = {
        "trial": trial.number,
        "folder": str(trial.folder),
        "reason": trial.reason,
        **facts.get("metrics", {}),
    }
    # Attributes are JSON, which knows no NaN.
    found.user_attrs = {
        key: str(value) if isinstance(value, float) and not isfinite(value) else value
        for key, value in attributes.items()
        if value != ""
    }
    return found


def _time(text: Any) -> datetime | None:
    """In local time, as Optuna has it."""
    try:
        return datetime.fromisoformat(text).astimezone().replace(tzinfo=None)
    except (TypeError, ValueError, OverflowError):
        return None


def importances_of(study: optuna.Study) -> dict[str, float]:
    """The share of each setting in what made the better trials better, by PED-ANOVA (Watanabe et al. 2023).

    Empty if too few trials have finished to say so.
    """
    finished = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
    if len(finished) < FEWEST_FOR_IMPORTANCE:
        return {}
    with may_change():
        # At least five of the best, as its authors advise.
        share = min(0.5, max(0.1, 5 / len(finished)))
        # Of trials that are all the same, for one.
        warnings.simplefilter("ignore", UserWarning)
        judge = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=share)
        return dict(optuna.importance.get_param_importances(study, evaluator=judge))


def write_db(file: Path, sweep: Path, settings: Mapping[str, Any], trials: Sequence[Trial]) -> None:
    """Write a sweep as a study for optuna-dashboard.

    Raises:
        ConfigError: the file is there, and is not of this sweep.
    """
    mark = crc32(str(sweep.resolve()).encode()) & 0x7FFFFFFF
    if os.path.lexists(file) and _mark_of(file) != mark:
        raise ConfigError(f"--db: given {file}, which is not of this sweep; allowed: a new file, or remove that one")
    if not file.absolute().parent.is_dir():
        raise ConfigError(f"--db: given {file}; allowed: a file in a folder that is there")
    # In memory first: on a disk, each value of each trial would wait for it.
    storage = optuna.storages.RDBStorage("sqlite://")
    study_of(sweep.name, settings, space_of(settings, trials), trials, storage)
    made: Any = storage.engine.raw_connection().driver_connection
    made.execute(f"pragma application_id = {mark}")
    with write_whole(file, "wb") as stream:
        stream.write(made.serialize())
    storage.engine.dispose()


def _mark_of(file: Path) -> int | None:
    """What a SQLite file says of who wrote it; None of any other file."""
    if file.is_symlink() or not file.is_file():
        return None
    with file.open("rb") as stream:
        start = stream.read(72)
    return int.from_bytes(start[68:72]) if start.startswith(b"SQLite format 3\0") else None
