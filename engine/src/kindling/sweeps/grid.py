"""The end of a sweep without `sweep=`, which is Hydra's own: which jobs have failed, and why."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from kindling.config.composition import own_error
from kindling.errors import ConfigError, KindlingError, one_line


def refuse_failed(jobs: Sequence[JobReturn]) -> None:
    """
    Raises:
        ConfigError: jobs have failed, all of them for their settings; a line for each.
        KindlingError: jobs have failed.
    """
    failed = [job for job in jobs if job.status is not JobStatus.COMPLETED]
    if not failed:
        return
    shared = set.intersection(*(set(job.overrides or ()) for job in jobs))
    lines = [f"sweep: {len(failed)} of {len(jobs)} jobs failed"]
    for job in failed:
        number = OmegaConf.select(job.hydra_cfg, "hydra.job.num") if job.hydra_cfg else "?"
        own = [each for each in job.overrides or () if each not in shared]
        # Behind the reason, as a secret is cut off with all that follows it.
        lines.append(f"job {number}: {_reason(job)}{f'; with {settings}' if (settings := ' '.join(own)) else ''}")
    by_settings = all(isinstance(own_error(job._return_value), ConfigError) for job in failed)
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
