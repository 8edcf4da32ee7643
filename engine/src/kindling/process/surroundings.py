"""What the environment says of this process that an earlier job left behind, or that no library can read."""

import os
from collections.abc import Iterator

from kindling.process.ranks import FIRST_PID

RANKS = ("RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "JSM_NAMESPACE_RANK")
# Without these, processes do not find each other.
MEETING_POINT = ("MASTER_ADDR", "MASTER_PORT", "WORLD_SIZE")
ALONE = "no group of processes goes with it; torchrun or srun starts one"
NO_NUMBER = "it is no number of threads; all cores are used"
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


def set_right() -> list[str]:
    """Remove from the environment what belongs to no group of processes, and numbers that are none; a line for each."""
    env = os.environ
    lines = []
    for names, because in ((list(_without_group()), ALONE), (list(_no_numbers()), NO_NUMBER)):
        given = [f"{name}={env.pop(name)}" for name in names]
        # Some schedulers number a process that is alone.
        if any(not each.endswith(("RANK=0", "SIZE=1")) for each in given):
            lines.append(f"{', '.join(given)}: left out, as {because}")
    return lines


def _without_group() -> Iterator[str]:
    env = os.environ
    by_torchrun = "TORCHELASTIC_RUN_ID" in env or FIRST_PID in env or all(name in env for name in MEETING_POINT)
    yield from (name for name in RANKS if name in env and not by_torchrun)
    # srun numbers its steps; sbatch and salloc start one process.
    by_slurm = "SLURM_STEP_ID" in env
    yield from (name for name in ("SLURM_NTASKS", "SLURM_NPROCS") if env.get(name, "1") != "1" and not by_slurm)
    yield from (name for name in ("SLURM_PROCID", "SLURM_LOCALID") if env.get(name, "0") != "0" and not by_slurm)


def _no_numbers() -> Iterator[str]:
    for name in (each for each in THREADS if each in os.environ):
        if not all(part.strip().isdecimal() and int(part) for part in os.environ[name].split(",")):
            yield name
