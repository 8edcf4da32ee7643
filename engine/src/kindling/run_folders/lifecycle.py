"""How a run starts, is resumed and ends: `recorded`, which every training goes through."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path

from omegaconf import DictConfig

from kindling.config.composition import in_sweep, to_plain
from kindling.config.left_out import leave_out
from kindling.config.plain import Config, get
from kindling.config.processes import PER_PROCESS
from kindling.config.transforms import as_one_transform
from kindling.errors import ConfigError, interruption
from kindling.process.ranks import are_placed, is_first_process, job, stamp
from kindling.run_folders import curves
from kindling.run_folders.leftovers import remove_unused
from kindling.run_folders.record import RunRecord
from kindling.run_folders.saved_run import origin_of, run_of, saved_config
from kindling.run_folders.words import add_what_to_do, say_beginning

# Opened before torch is imported; `kindling.train.train` then uses it.
_open_record: ContextVar[RunRecord | None] = ContextVar("open_record", default=None)


@contextmanager
def recorded(cfg: DictConfig) -> Iterator[RunRecord]:
    """Record a run in its folder, `cfg.paths.run`, however it ends; inside itself, give the open record.

    What the task does not take is left out of `cfg` first, and named in the record's `left_out`.

    Raises:
        InUseError: another process holds the folder.
        ConfigError: the run may not be resumed so.
    """
    outer = _open_record.get()
    if outer is not None:
        yield outer
        return

    as_one_transform(cfg)
    left_out = leave_out(cfg)
    config = to_plain(cfg)
    if _began_with_a_batch_each(config):
        config[PER_PROCESS] = True
    record = RunRecord(Path(config["paths"]["run"]), config, left_out)
    _refuse_one_folder_for_a_sweep(record)
    try:
        refuse_machines_without_a_launcher(config)
        refuse_to_start_processes_twice(config)
        _refuse_to_resume_elsewhere(record)
    except ConfigError:
        if not (record.folder / "run.json").exists():
            remove_unused(record.folder)
        raise

    token = _open_record.set(record)
    try:
        record.start() if is_first_process() else record.join()
        say_beginning(record)
        yield record
    except BaseException as error:
        _end_with(record, error)
        record.release()
        add_what_to_do(error, record)
        raise
    else:
        if not record.is_done and record.facts.get("status", "running") == "running":
            record.end("finished")
    finally:
        _draw_curves(record)
        record.release()
        _open_record.reset(token)


def _began_with_a_batch_each(config: Config) -> bool:
    """Whether a run goes on whose data.batch_size was that of each process."""
    if not config["resume"] and not config["fork"]:
        return False
    try:
        origin = origin_of(config["paths"]["run"], config["resume"], config["fork"])
        # Without run.json it is this run, which the first process is just beginning.
        return run_of(origin) is not None and bool(saved_config(origin).get(PER_PROCESS))
    except ConfigError:
        # There is none, or it is refused elsewhere.
        return False


def _draw_curves(record: RunRecord) -> None:
    """Of a run that has ended and said so: what it costs delays no status."""
    is_open = record.facts.get("status", "running") == "running"
    if is_first_process() and not is_open and not record.is_done and not in_sweep():
        curves.draw(record.folder)


def _refuse_one_folder_for_a_sweep(record: RunRecord) -> None:
    """
    Raises:
        ConfigError: the jobs of a sweep would all resume the same run.
    """
    resume = record.config["resume"]
    if in_sweep() and resume and (resume != "auto" or stamp() in str(record.folder)):
        allowed = "auto with hydra.sweep.dir=<folder of the sweep>, or one run at a time"
        raise ConfigError(f"resume: given {resume} in a sweep; allowed: {allowed}")


def _refuse_to_resume_elsewhere(record: RunRecord) -> None:
    """
    Raises:
        ConfigError: hydra.run.dir names another folder than resume, in which a new run would begin.
    """
    resume, folder = record.config["resume"], record.folder
    if resume in (None, "", "auto"):
        return
    is_there = (folder / "run.json").exists()
    if not (is_there if resume == "last" else folder.resolve() == Path(resume).expanduser().resolve()):
        instead = "" if resume == "last" else f"; fork={resume} begins a new run there"
        raise ConfigError(f"resume: given {resume} with hydra.run.dir={folder}; allowed: one of them{instead}")


def refuse_machines_without_a_launcher(config: Config) -> None:
    """
    Raises:
        ConfigError: the same command was typed on several machines, each of which would record a run of its own.
    """
    machines = get(config, "trainer.num_nodes")
    if isinstance(machines, int) and machines > 1 and not are_placed():
        raise ConfigError(
            f"trainer.num_nodes: given {machines}, and nothing numbers the processes of all machines, each of which "
            f"would make a run folder of its own; allowed: 1, or on each machine torchrun --nnodes {machines} "
            "--nproc-per-node N --rdzv-id NAME --rdzv-backend c10d --rdzv-endpoint HOST:PORT train.py ..., or srun"
        )


def refuse_to_start_processes_twice(config: Config) -> None:
    """
    Raises:
        ConfigError: each of several processes would start as many of its own.
    """
    strategy = str(get(config, "trainer.strategy"))
    group = job()
    if group and strategy in ("ddp_spawn", "ddp_fork", "ddp_notebook"):
        raise ConfigError(
            f"trainer.strategy: given {strategy} to one of several processes started together ({group}), each "
            "of which would start as many; allowed: ddp; or without torchrun, srun, and RANK and WORLD_SIZE in the "
            "environment"
        )


def _end_with(record: RunRecord, error: BaseException) -> None:
    """Record a run that did not finish, or remove the traces of one that was refused."""
    was_started = "status" in record.facts
    if is_first_process() and not was_started:
        return

    # Lightning turns Ctrl-C in a notebook into SystemExit.
    status = "interrupted" if interruption(error) else "failed"
    reason = f"{type(error).__name__}: {error}"

    if isinstance(error, ConfigError):
        record.close_trackers(status, reason)
        if is_first_process() and record.saved_config is not None:
            record.restore()
            return
        # One that was refused after its first files is kept.
        if record.saved_config is None and not in_sweep() and remove_unused(record.folder):
            return

    # The disk may be full, which the error says already.
    with suppress(OSError):
        record.end(status, reason)
