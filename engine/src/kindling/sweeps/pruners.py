"""Optuna's pruners, over what trials have written into their metrics.csv."""

from collections.abc import Sequence

from kindling.run_folders.trials import Trial
from kindling.sweeps.sampling import direction, frozen, may_change, optuna

# Validations of the first rung of asha, and how much longer each further one is.
FIRST_RUNG, FACTOR = 1, 3
PRUNERS = {
    "median": lambda: optuna.pruners.MedianPruner(n_startup_trials=4),
    "asha": lambda: optuna.pruners.SuccessiveHalvingPruner(FIRST_RUNG, FACTOR),
    "patience": lambda: optuna.pruners.PatientPruner(None, patience=5),
}


def is_worse(pruner: str, better: str, monitor: str, own: Sequence[float], others: Sequence[Trial]) -> bool:
    """Whether a trial is to end.

    Args:
        pruner: one of PRUNERS.
        better: min or max.
        monitor: what the trials reported.
        own: what this trial reported, one number for each validation.
        others: the other trials.
    """
    study = optuna.create_study(direction=direction(better))
    for trial in others:
        study.add_trial(frozen(trial, (), {monitor: better}, rungs(trial.reports(monitor))))
    running = study.ask()
    for step, value in enumerate(own):
        running.report(value, step)
    for rung, value in rungs(own[:-1]).items():
        study._storage.set_trial_system_attr(running._trial_id, rung, value)
    with may_change():
        judge = PRUNERS[pruner]()
    return judge.prune(study, study._storage.get_trial(running._trial_id))


def rungs(reports: Sequence[float]) -> dict[str, float]:
    """What asha compares: the reports at each rung that a trial has reached."""
    steps = [FIRST_RUNG * FACTOR**rung for rung in range(20)]
    return {f"completed_rung_{rung}": reports[step] for rung, step in enumerate(steps) if step < len(reports)}
