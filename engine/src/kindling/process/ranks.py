"""Which of several processes this one is, and which job they belong to; known before torch is imported."""

import hashlib
import os
import re
import secrets
from datetime import datetime
from functools import cache
from pathlib import Path

# Gives launched processes the pid of the first.
FIRST_PID = "KINDLING_FIRST_PID"
# What torchrun calls a job that it was given no name for.
NAMELESS = re.compile("none|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
# Has torchrun open a store, at another port, whenever it starts its processes again.
NEW_STORES = "TORCH_DISABLE_SHARE_RDZV_TCP_STORE"


def is_first_process() -> bool:
    """Whether this is rank 0, by the variables of torchrun, Slurm and Lightning."""
    ranks = [os.environ[name] for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID") if name in os.environ]
    return all(rank == "0" for rank in ranks)


def is_launched() -> bool:
    """Whether Lightning has started this process from the first one."""
    return FIRST_PID in os.environ and not is_first_process()


def is_further_task() -> bool:
    """Whether srun has started this process, and another one as the first."""
    return "SLURM_STEP_ID" in os.environ and os.environ.get("SLURM_PROCID", "0") != "0"


def are_several() -> bool:
    """Whether this process is one of several, by the same variables."""
    return any(int(os.environ.get(name, "1")) > 1 for name in ("WORLD_SIZE", "SLURM_NTASKS"))


def job() -> str | None:
    """A name that the processes which torchrun or Slurm has started together share with no others; None if alone."""
    env = os.environ
    if is_launched():
        return None

    if int(env.get("SLURM_NTASKS", "1")) > 1 and "SLURM_STEP_ID" in env:
        names = ("SLURM_JOB_ID", "SLURM_STEP_ID", "SLURM_RESTART_COUNT")
        return "-".join(["slurm", *(env[name] for name in names if name in env)])

    if int(env.get("WORLD_SIZE", "1")) > 1:
        names = ["TORCHELASTIC_RUN_ID", "MASTER_PORT", "TORCHELASTIC_RESTART_COUNT"]
        # Machines count restarts differently, and the port is another one at each.
        if env.get("GROUP_WORLD_SIZE", "1") != "1" and env.get(NEW_STORES) == "1":
            names.pop()
        words = ["torchrun", *(env[name] for name in names if name in env)]

        # torchrun was given no name.
        if env.get("TORCHELASTIC_RUN_ID") == "none" and env.get("GROUP_WORLD_SIZE") == "1":
            words.append(str(os.getppid()))
        return "-".join(words)

    return None


def are_placed() -> bool:
    """Whether something numbers the processes of all machines: torchrun, srun, Lightning's first process, or others."""
    return "RANK" in os.environ or "SLURM_STEP_ID" in os.environ or is_launched()


@cache
def stamp() -> str:
    """The name of this process's run or sweep: <YYYY-MM-DD_HH-MM-SS>-<4 hex>; one for all ranks of a job."""
    return _of_nameless_torchrun() or job() or _dated(datetime.now(), secrets.token_hex(2))


def _dated(time: datetime, word: str) -> str:
    return f"{time:%Y-%m-%d_%H-%M-%S}-{word}"


def _of_nameless_torchrun() -> str | None:
    """When torchrun began on this machine, by the folder that it made for its processes; None if it has a name."""
    env = os.environ
    # <folder of this torchrun>/<name>_<random>/attempt_<number>/<rank>/error.json
    parents = Path(env.get("TORCHELASTIC_ERROR_FILE", "")).parents
    is_nameless = NAMELESS.fullmatch(env.get("TORCHELASTIC_RUN_ID", ""))
    if not is_nameless or env.get("GROUP_WORLD_SIZE") != "1" or len(parents) < 4:
        return None
    try:
        began = datetime.fromtimestamp(parents[3].stat().st_mtime)
    except OSError:
        return None
    word = hashlib.blake2b(str(parents[3]).encode(), digest_size=2).hexdigest()
    restarts = env.get("TORCHELASTIC_RESTART_COUNT", "0")
    return _dated(began, word) + (f"-{restarts}" if restarts != "0" else "")
