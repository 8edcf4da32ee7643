"""Workers hand batches over in shared memory, of which a container has 64 MB unless it is given more."""

import multiprocessing.queues
import re
import shutil
from pathlib import Path
from typing import Any

from torch._utils import ExceptionWrapper
from torch.utils.data import get_worker_info

from kindling.data.batches import tensors_in
from kindling.errors import KindlingError

FOLDER = Path("/dev/shm")
ALLOWED = "data.num_workers=0, a smaller data.batch_size, or more of it: docker run --shm-size=2g"
# Torch's words; an error of a live worker names no pid.
DEAD_WORKER = re.compile(r"DataLoader worker \(pid")
FULL = re.compile(r"shared memory\(shm\)|out of shared memory")

_print_error: Any = multiprocessing.queues.Queue._on_queue_feeder_error  # pyright: ignore[reportAttributeAccessIssue]


def answer_for_unsent_batches() -> None:
    """Let workers give an error in place of a batch that they cannot send.

    Python would print the error and drop the batch, for which the loader then waits for ever.
    """
    multiprocessing.queues.Queue._on_queue_feeder_error = _answer  # pyright: ignore[reportAttributeAccessIssue]


def _answer(queue: Any, error: Exception, sent: Any) -> None:
    worker = get_worker_info()
    if worker is None or not isinstance(sent, tuple):
        _print_error(error, sent)
        return
    where = f"in DataLoader worker process {worker.id}, which could not send a batch"
    queue.put((sent[0], ExceptionWrapper((type(error), error, error.__traceback__), where)))


def remedy(error: BaseException) -> str | None:
    """What to do if an error says that a worker has died, or found no shared memory."""
    text = " ".join(str(error).split())
    if FULL.search(f"{text} {error.__cause__}"):
        total, _ = space() or (0, 0)
        return (
            f"data.num_workers: given workers for which {FOLDER}, {megabytes(total)}, is too small; allowed: {ALLOWED}"
        )
    if DEAD_WORKER.match(text):
        return (
            f"data.num_workers: a worker process died ({text[:200]}); often memory has run out; "
            "give fewer, and go on with resume="
        )
    return None


def refuse_too_little(batch: Any, *, num_batches: int, num_workers: int, free: int) -> None:
    """
    Args:
        batch: one as they are sent.
        num_batches: that may wait to be used.
        free: bytes before there was any.

    Raises:
        KindlingError: so many do not fit.
    """
    needed = num_batches * sum(each.nbytes for each in tensors_in(batch))
    if needed > free:
        raise KindlingError(
            f"data.num_workers: given {num_workers}, which read {num_batches} batches ahead, {megabytes(needed)} of "
            f"shared memory, and {FOLDER} has {megabytes(free)} free; allowed: {ALLOWED}"
        )


def space() -> tuple[int, int] | None:
    """Bytes of shared memory in all and free; None on a system that has it elsewhere."""
    try:
        usage = shutil.disk_usage(FOLDER)
    except OSError:
        return None
    return usage.total, usage.free


def megabytes(num_bytes: int) -> str:
    return f"{num_bytes / 2**20:.0f} MB"
