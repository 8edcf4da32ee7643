"""Who uses which processor cores: intra-op threads, worker processes, ranks."""

import math
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

# Of the control groups, in both versions.
GROUPS = Path("/sys/fs/cgroup")
OWN = Path("/proc/self/cgroup")


def available_cores() -> int:
    """Cores that this process may use; a container or a scheduler can leave it fewer than there are."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.ceil(min(cores, *_quotas())))


def _quotas() -> Iterator[float]:
    """Cores whose time the control groups of this process may use, those of a container among them."""
    yield math.inf
    with suppress(OSError):
        for line in OWN.read_text().splitlines():
            _, controllers, own = line.split(":", 2)
            if not controllers:
                yield from _quotas_in(GROUPS, own, "cpu.max")
            elif "cpu" in controllers.split(","):
                yield from _quotas_in(GROUPS / "cpu", own, "cpu.cfs_quota_us", "cpu.cfs_period_us")


def _quotas_in(root: Path, own: str, *names: str) -> Iterator[float]:
    """Of a group and those above it; a container may see its own as the root."""
    group = Path(own.lstrip("/"))
    for each in (group, *group.parents):
        # Without a bound there is "max", or -1.
        with suppress(OSError, ValueError):
            used, period = map(float, " ".join((root / each / name).read_text() for name in names).split())
            if used > 0 < period:
                yield used / period


def sleep_while_idle() -> None:
    """Let the threads of torch, which is imported later, wait for work asleep after some 20 µs, instead of 5 ms.

    The steps of small jobs are shorter than that, so that a second thread would be busy with waiting.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")


def own_cores(num_processes: int) -> int:
    """Cores of this one of the processes on a machine, of which srun may have said how many each has."""
    given, tasks = (os.environ.get(name, "") for name in ("SLURM_CPUS_PER_TASK", "SLURM_NTASKS"))
    is_a_task = "SLURM_STEP_ID" in os.environ and tasks not in ("", "1")
    if is_a_task and given.isdecimal():
        return max(1, min(int(given), available_cores()))
    return max(1, available_cores() // num_processes)


def cores_for_decoding(num_processes: int) -> int:
    """Half of the cores of this process; one at least if the machine has two."""
    return max(own_cores(num_processes), min(2, available_cores())) // 2


def share_cores(*, decoding: bool, num_processes: int) -> int:
    """Set torch's intra-op threads, of at most OMP_NUM_THREADS, and return their number.

    Two busy threads on one core are four times slower than one. Sets that decode files leave half of the cores
    to the decoding, whatever the number of workers: a sum is bit-identical only for the same number of threads.
    """
    # Imported here, since cores are also counted before torch is loaded.
    import torch

    given, cores = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0], own_cores(num_processes)
    if given.strip().isdecimal():
        # Lightning and torchrun set it to those of each process.
        cores = int(given) if num_processes == 1 else min(int(given), cores)
    threads = max(1, cores // (2 if decoding else 1))
    torch.set_num_threads(threads)
    return threads
