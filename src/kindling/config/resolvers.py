"""The functions that the YAML files call as ${name:arguments}."""

import os
import secrets
from datetime import datetime
from functools import cache
from pathlib import Path

from omegaconf import OmegaConf

from kindling.data import folder
from kindling.errors import DataError

PROJECT = Path(__file__).resolve().parents[3]


@cache
def stamp() -> str:
    """The name of this process's run or sweep: <YYYY-MM-DD_HH-MM-SS>-<4 hex>; one for all ranks of a job."""
    env = os.environ
    if int(env.get("SLURM_NTASKS", "1")) > 1:
        names = ("SLURM_JOB_ID", "SLURM_STEP_ID", "SLURM_RESTART_COUNT")
        return "-".join(["slurm", *(env[name] for name in names if name in env)])
    if int(env.get("WORLD_SIZE", "1")) > 1:
        names = ("TORCHELASTIC_RUN_ID", "MASTER_PORT", "TORCHELASTIC_RESTART_COUNT")
        return "-".join(["torchrun", *(env[name] for name in names if name in env)])
    return f"{datetime.now():%Y-%m-%d_%H-%M-%S}-{secrets.token_hex(2)}"


def run_folder(logs: str, experiment: str | None, resume: str | None, train: bool) -> str:
    """The folder of a run: a new one, or that of the run whose training goes on."""
    if resume and train and Path(resume).expanduser().is_dir():
        return str(Path(resume).expanduser())
    return str(Path(logs).expanduser() / (experiment or "default") / stamp())


def sweep_folder(logs: str, experiment: str | None) -> str:
    return str(Path(logs).expanduser() / "sweeps" / f"{(experiment or 'default').replace('/', '-')}_{stamp()}")


def log_file(folder: str) -> str:
    """Only the first process of a run writes its log."""
    return str(Path(folder) / "train.log") if is_first_process() else os.devnull


def is_first_process() -> bool:
    """Whether this is rank 0, as torchrun, Slurm and Lightning tell it."""
    ranks = [os.environ[name] for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID") if name in os.environ]
    return all(rank == "0" for rank in ranks)


def image_folder(root: str, fact: str) -> int:
    """`num_classes`, `channels` or `image_size` of a class-per-folder tree."""
    if not isinstance(root, str):
        raise DataError(f"data.root: given {root!r}; allowed: a path")
    if fact == "num_classes":
        return len(folder.class_names(root))
    channels, image_size = folder.shape_of(root)
    return {"channels": channels, "image_size": image_size}[fact]


def register() -> None:
    for resolver in (run_folder, sweep_folder, log_file, image_folder):
        OmegaConf.register_new_resolver(resolver.__name__, resolver, replace=True)
    OmegaConf.register_new_resolver("project", lambda: str(PROJECT), replace=True)
