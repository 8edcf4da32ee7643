"""Who uses which processor cores: intra-op threads, worker processes, ranks."""

import os


def available_cores() -> int:
    """Cores that this process may use; a container or a scheduler can leave it fewer than there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def share_cores(*, decoding: bool, num_processes: int) -> int:
    """Set torch's intra-op threads, of at most OMP_NUM_THREADS, and return their number.

    Two busy threads on one core are four times slower than one. Sets that decode files leave half of the cores
    to the decoding, whatever the number of workers: a sum is bit-identical only for the same number of threads.
    """
    # Imported here, since cores are also counted before torch is loaded.
    import torch

    cores = int(os.environ.get("OMP_NUM_THREADS", str(available_cores())).partition(",")[0])
    threads = max(1, cores // num_processes // (2 if decoding else 1))
    torch.set_num_threads(threads)
    return threads
