"""What the environment says of this process that an earlier job left behind, or that no library can read."""

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kindling.process import ranks
from kindling.process.gpus import has_accelerator, visible_gpus

RANKS = ("RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "JSM_NAMESPACE_RANK")
OF_SLURM = ("SLURM_NTASKS", "SLURM_NPROCS", "SLURM_PROCID", "SLURM_LOCALID")
# Without these, processes do not find each other.
MEETING_POINT = ("MASTER_ADDR", "MASTER_PORT", "WORLD_SIZE")
ALONE = "no group of processes goes with it; torchrun or srun starts one"
ONE_PROCESS = "trainer.devices and trainer.num_nodes are of one process"
NO_NUMBER = "it is no number of threads; all cores are used"
# No machine has more cores, and no system lets a process start so many.
MOST_THREADS = 1024
# Python refuses to read thousands of digits.
LONGEST_NUMBER = 9
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


def set_right() -> list[str]:
    """Remove from the environment what belongs to no group of processes, and numbers that are none; a line for each."""
    return [*_said(list(_without_group()), ALONE), *_said(list(_no_numbers()), NO_NUMBER)]


def _said(names: Sequence[str], because: str) -> list[str]:
    given = [f"{name}={os.environ.pop(name)}" for name in names]
    if given:
        # Composing may have asked for it.
        ranks.stamp.cache_clear()
    # Some schedulers number a process that is alone.
    is_worth_it = any(not each.endswith(("RANK=0", "SIZE=1")) for each in given)
    return [f"{', '.join(given)}: left out, as {because}"] * is_worth_it


def set_right_for(trainer: Mapping[str, Any] | None) -> list[str]:
    """Remove ranks that somebody has given by hand from a process whose trainer is of one; a line for them."""
    is_left_over = is_by_hand() and _is_of_one(trainer or {})
    return _said([name for name in RANKS if name in os.environ and is_left_over], ONE_PROCESS)


def is_by_hand() -> bool:
    """Whether the environment speaks of a group that neither torchrun, Slurm nor Lightning has started."""
    by_launcher = any(name in os.environ for name in ("TORCHELASTIC_RUN_ID", ranks.FIRST_PID, "SLURM_STEP_ID"))
    return not by_launcher and all(name in os.environ for name in MEETING_POINT)


def _is_of_one(trainer: Mapping[str, Any]) -> bool:
    devices, accelerator = trainer.get("devices", 1), trainer.get("accelerator", "auto")
    if devices in (None, "auto", -1, "-1"):
        is_one = accelerator == "cpu" or not has_accelerator() or len(visible_gpus()) == 1
    else:
        is_one = str(devices) == "1" or (not isinstance(devices, int | str) and len(devices) == 1)
    return is_one and trainer.get("num_nodes", 1) == 1


def _without_group() -> Iterator[str]:
    env = os.environ
    by_torchrun = "TORCHELASTIC_RUN_ID" in env or ranks.FIRST_PID in env or all(name in env for name in MEETING_POINT)
    is_group = by_torchrun and all(_is_number(env.get(name, "0")) for name in RANKS) and _is_within()
    yield from (name for name in RANKS if name in env and not is_group)
    # srun numbers its steps; sbatch and salloc start one process.
    by_slurm = "SLURM_STEP_ID" in env and all(_is_number(env.get(name, "0")) for name in OF_SLURM)
    yield from (name for name in OF_SLURM[:2] if env.get(name, "1") != "1" and not by_slurm)
    yield from (name for name in OF_SLURM[2:] if env.get(name, "0") != "0" and not by_slurm)


def _is_within() -> bool:
    """Whether a rank is one of so many processes."""
    return int(os.environ.get("RANK", "0")) < int(os.environ.get("WORLD_SIZE", "1"))


def _is_number(text: str) -> bool:
    return text.strip().isascii() and text.strip().isdecimal() and len(text.strip()) <= LONGEST_NUMBER


def _no_numbers() -> Iterator[str]:
    for name in (each for each in THREADS if each in os.environ):
        if not all(_is_number(part) and 0 < int(part) <= MOST_THREADS for part in os.environ[name].split(",")):
            yield name
