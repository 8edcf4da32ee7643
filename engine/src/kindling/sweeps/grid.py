"""The end of a sweep without `sweep=`, which is Hydra's own: what came of the jobs, and why some have failed."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from shlex import quote
from typing import cast

from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from kindling.config.composition import own_error
from kindling.console import shown
from kindling.errors import ConfigError, KindlingError, one_line
from kindling.files.redaction import redact_text
from kindling.run_folders.columns import show, width
from kindling.run_folders.saved_run import run_of
from kindling.run_folders.trials import Trial
from kindling.sweeps import table, words
from kindling.sweeps.ending import MOST_SHOWN
from kindling.sweeps.objectives import is_over_seeds, objectives_of


def show_jobs(jobs: Sequence[JobReturn]) -> None:
    """Print what came of the runs among the jobs as a table, the best first, and where they are."""
    runs = [(job, own) for job, own in zip(jobs, own_settings(jobs), strict=True) if job.cfg and "monitor" in job.cfg]
    # Of one that has failed, it may be what is wrong.
    config = next((job.cfg for job, _ in runs if job.status is JobStatus.COMPLETED), None)
    if config is None:
        return
    trials = [_as_trial(job, own) for job, own in runs]
    folder, params = trials[0].folder.parent, dict.fromkeys(key for trial in trials for key in trial.params)
    settings = {"params": params, "monitor": config.monitor, "better": config.monitor_mode}
    show(table.table(trials, settings, MOST_SHOWN, width()))
    if len(trials) > MOST_SHOWN:
        print(f"and {len(trials) - MOST_SHOWN} more: python runs.py ls {quote(shown(folder))}")
    if is_over_seeds(settings):
        print(words.over_seeds(trials, objectives_of(settings)))
    print(
        f"sweep: {words.counts(trials)}; {shown(folder)}; the output of each is the train.log in its folder", flush=True
    )


def own_settings(jobs: Sequence[JobReturn]) -> list[list[str]]:
    """Of each job the overrides that not all of them have."""
    shared = set.intersection(*(set(job.overrides or ()) for job in jobs))
    return [[each for each in job.overrides or () if each not in shared] for job in jobs]


def _as_trial(job: JobReturn, own: Sequence[str]) -> Trial:
    hydra = cast(DictConfig, job.hydra_cfg).hydra
    folder = Path(hydra.runtime.output_dir)
    pairs = (redact_text(each).partition("=") for each in own)
    outcome = {} if job.status is JobStatus.COMPLETED else {"state": "failed"}
    # Whatever hydra.sweep.subdir says, a trial is called by its number.
    numbered = folder.with_name(str(hydra.job.num))
    return Trial(numbered, {key: value for key, _, value in pairs}, [], outcome, run_of(folder))


def refuse_failed(jobs: Sequence[JobReturn]) -> None:
    """
    Raises:
        ConfigError: jobs have failed, all of them for their settings; a line for each.
        KindlingError: jobs have failed.
    """
    failed = [
        (job, own) for job, own in zip(jobs, own_settings(jobs), strict=True) if job.status is not JobStatus.COMPLETED
    ]
    if not failed:
        return
    lines = [f"sweep: {len(failed)} of {len(jobs)} jobs failed"]
    for job, own in failed:
        number = OmegaConf.select(job.hydra_cfg, "hydra.job.num") if job.hydra_cfg else "?"
        # Behind the reason, as a secret is cut off with all that follows it.
        lines.append(f"job {number}: {_reason(job)}{f'; with {settings}' if (settings := ' '.join(own)) else ''}")
    by_settings = all(isinstance(own_error(job._return_value), ConfigError) for job, _ in failed)
    raise (ConfigError if by_settings else KindlingError)("\n".join(lines))


@contextmanager
def naming_launcher(launcher: object) -> Iterator[None]:
    """
    Raises:
        KindlingError: the launcher itself failed, as where its process was killed.
    """
    try:
        yield
    except (KindlingError, HydraException, OmegaConfBaseException):
        raise
    except Exception as error:
        name = type(launcher).__name__
        raise KindlingError(
            f"sweep: {name} ended: {type(error).__name__}: {one_line(error)}; "
            "the folders of the jobs tell how far each came; sweep=grid goes on with those that did not finish"
        ) from error


def _reason(job: JobReturn) -> str:
    error = job._return_value
    own = own_error(error) if isinstance(error, BaseException) else None
    return one_line(own) if own else f"{type(error).__name__}: {error}".partition("\n")[0]
