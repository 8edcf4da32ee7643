"""What a trial's parameters are: a function of the sweep's settings, the trial's number and the trials before."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from kindling.config.extras import optional
from kindling.config.space import Grid, Param, Values
from kindling.run_folders.trials import Trial
from kindling.sweeps.objectives import objectives_of, values_of

try:
    import optuna
    from optuna import distributions
    from optuna.trial import FrozenTrial, TrialState, create_trial
except ModuleNotFoundError:
    optional("optuna")
    raise

optuna.logging.set_verbosity(optuna.logging.ERROR)
STATES = {"finished": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}


def ask(settings: Mapping[str, Any], space: Sequence[Param], number: int, before: Sequence[Trial]) -> Values:
    """The parameters of a trial as texts.

    Args:
        settings: of the sweep: sampler, seed, n_jobs, start, better, monitor, objectives.
        number: of the trial; of a grid, below its size.
        before: all other trials.
    """
    if settings["sampler"] == "grid":
        return Grid(space).point(number) or {}
    if number < len(settings["start"]):
        return start_values(space, settings["start"][number])
    with may_change():
        sampler = _sampler(settings, number, space)
    objectives = objectives_of(settings)
    study = optuna.create_study(directions=list(map(direction, objectives.values())), sampler=sampler)
    for trial in before:
        study.add_trial(frozen(trial, space, objectives))
    asked = study.ask()
    values: Values = {}
    for param in space:
        if param.is_active(values):
            values[param.key] = str(_suggest(asked, param))
    return values


@contextmanager
def may_change() -> Iterator[None]:
    """Without Optuna's warnings of what may change in a later version; ours is pinned."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        yield


def direction(better: str) -> Any:
    return "maximize" if better == "max" else "minimize"


def start_values(space: Sequence[Param], start: Mapping[str, Any]) -> Values:
    """Of a trial to begin with: what is given; the rest is left to the config."""
    given = {param.key: param.spelled(start[param.key]) for param in space if param.key in start}
    return {key: text for key, text in given.items() if text is not None}


def _sampler(settings: Mapping[str, Any], number: int, space: Sequence[Param]) -> optuna.samplers.BaseSampler:
    # A function of the trial alone, so that a sweep that goes on asks the same.
    seed = int(np.random.SeedSequence([settings["seed"], number]).generate_state(1)[0])
    if settings["sampler"] == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    conditional = any(param.when for param in space)
    return optuna.samplers.TPESampler(
        seed=seed, multivariate=True, group=conditional, constant_liar=settings["n_jobs"] > 1
    )


def _suggest(trial: optuna.Trial, param: Param) -> Any:
    if param.choices:
        return trial.suggest_categorical(param.key, param.choices)
    if param.whole:
        return trial.suggest_int(param.key, int(param.low), int(param.high), log=param.log)
    return trial.suggest_float(param.key, param.low, param.high, log=param.log)


def frozen(trial: Trial, space: Sequence[Param], objectives: Mapping[str, str]) -> FrozenTrial:
    """A trial as Optuna knows it; parameters outside of the space, such as defaults, are left out."""
    params, known = {}, {}
    for param in space:
        distribution = distribution_of(param)
        value = _value(trial.params.get(param.key), param)
        if value is not None and distribution._contains(distribution.to_internal_repr(value)):
            params[param.key], known[param.key] = value, distribution
    state, values = STATES.get(trial.state, TrialState.RUNNING), values_of(trial, objectives)
    # Only one objective can be followed while a trial runs.
    reports = dict(enumerate(trial.reports(*objectives))) if len(objectives) == 1 else {}
    if state is TrialState.COMPLETE and values is None:
        state = TrialState.FAIL
    if state is TrialState.PRUNED:
        values = list(reports.values())[-1:] or None
    return create_trial(state=state, values=values, params=params, distributions=known, intermediate_values=reports)


def distribution_of(param: Param) -> distributions.BaseDistribution:
    if param.choices:
        return distributions.CategoricalDistribution(param.choices)
    if param.whole:
        return distributions.IntDistribution(int(param.low), int(param.high), log=param.log)
    return distributions.FloatDistribution(param.low, param.high, log=param.log)


def _value(text: str | None, param: Param) -> Any:
    if text is None or param.choices:
        return text if text in param.choices else None
    try:
        number = int(text) if param.whole else float(text)
    except ValueError:
        return None
    # Optuna takes no logarithm of a default that is 0.
    return number if param.low <= number <= param.high else None
