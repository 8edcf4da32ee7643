"""Optuna's pruners, over what trials have written into their metrics.csv."""

from collections.abc import Mapping, Sequence

from kindling.run_folders.trials import Trial
from kindling.sweeps.sampling import FrozenTrial, TrialState, create_trial, direction, frozen, may_change, optuna

# Validations of the first rung, and how much longer each further one is.
FIRST_RUNG, FACTOR = 1, 3
PRUNERS = {
    "median": lambda most: optuna.pruners.MedianPruner(n_startup_trials=4),
    "asha": lambda most: optuna.pruners.SuccessiveHalvingPruner(FIRST_RUNG, FACTOR),
    "hyperband": lambda most: optuna.pruners.HyperbandPruner(FIRST_RUNG, most, FACTOR),
    "patience": lambda most: optuna.pruners.PatientPruner(None, patience=5),
}


def is_worse(
    pruner: str, better: str, monitor: str, number: int, own: Sequence[float], others: Sequence[Trial], most: int
) -> bool:
    """Whether a trial is to end.

    Args:
        pruner: one of PRUNERS.
        better: min or max.
        monitor: what the trials reported.
        number: of this trial.
        own: what this trial reported, one number for each validation.
        others: the other trials.
        most: validations of a trial that is not ended.
    """
    with may_change():
        judge = PRUNERS[pruner](most)
    # Hyperband tells its brackets by this name and the number.
    study = optuna.create_study(direction=direction(better), study_name="sweep")
    by_number = {trial.number: trial for trial in others}
    for each in range(max([number, *by_number]) + 1):
        if each == number:
            made = create_trial(state=TrialState.RUNNING, intermediate_values=dict(enumerate(own)))
        elif each in by_number:
            made = frozen(by_number[each], (), {monitor: better})
        else:
            made = create_trial(state=TrialState.FAIL)
        made.number = each
        reached = dict(enumerate(own[:-1])) if each == number else made.intermediate_values
        made.system_attrs = rungs(reached, _bracket(judge, study, made))
        study.add_trial(made)
    return judge.prune(study, study.get_trials(deepcopy=False)[number])


def _bracket(judge: optuna.pruners.BasePruner, study: optuna.Study, trial: FrozenTrial) -> int:
    """How many rungs a trial begins later than others do."""
    if not isinstance(judge, optuna.pruners.HyperbandPruner):
        return 0
    if judge._n_brackets is None:
        judge._try_initialization(study)
    return judge._get_bracket_id(study, trial)


def rungs(reports: Mapping[int, float], bracket: int) -> dict[str, float]:
    """What asha compares: the reports at each rung that a trial has reached."""
    steps = [FIRST_RUNG * FACTOR ** (bracket + rung) for rung in range(20)]
    return {f"completed_rung_{rung}": reports[step] for rung, step in enumerate(steps) if step in reports}
