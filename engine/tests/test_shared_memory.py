"""Workers that cannot hand over a batch, as there is too little shared memory."""

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from bench_root import PROJECT
from kindling.data import shared_memory
from kindling.data.loader import OrderedLoader
from kindling.errors import KindlingError

# As torch says it.
FULL = "unable to allocate shared memory(shm) for file </torch_1_2_0>: No space left on device (28)"


class Unsendable:
    """What fails as it is pickled."""

    def __init__(self, error: Exception):
        self.error = error

    def __reduce__(self):
        raise self.error


def loader(collate: Callable[[list[Any]], Any], **settings: Any) -> OrderedLoader:
    return OrderedLoader(list(range(12)), batch_size=2, collate_fn=collate, num_workers=1, **settings)


def test_a_batch_that_finds_no_shared_memory_ends_the_run_in_one_line():
    given = r"data\.num_workers: given workers for which /dev/shm, \d+ MB, is too small; "
    with pytest.raises(KindlingError, match=given + r"allowed: data\.num_workers=0, a smaller .*shm-size"):
        list(loader(lambda _: Unsendable(RuntimeError(FULL))))


@pytest.fixture
def restored(monkeypatch):
    queue = shared_memory.multiprocessing.queues.Queue
    monkeypatch.setattr(queue, "_on_queue_feeder_error", queue.__dict__["_on_queue_feeder_error"])


def test_a_batch_that_cannot_be_sent_is_an_error_of_any_loader(restored):
    shared_memory.answer_for_unsent_batches()
    others = DataLoader([1, 2], collate_fn=lambda _: Unsendable(ValueError("not this one")), num_workers=1)
    with pytest.raises(ValueError, match=r"worker process 0, which could not send a batch(.|\n)*not this one"):
        list(others)


def test_a_worker_that_the_system_ends_for_lack_of_it_is_told_likewise():
    error = RuntimeError("DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that dataloader's")
    error.__cause__ = RuntimeError("workers are out of shared memory. Please try to raise your shared memory limit.")
    assert "shm-size" in str(shared_memory.remedy(error))
    assert shared_memory.remedy(RuntimeError("something else")) is None


def floats(_: list[int]) -> torch.Tensor:
    return torch.zeros(2**18)


@pytest.mark.parametrize(("ahead", "needed"), [(4, 4), (100, 6)])
def test_more_batches_ahead_than_fit_are_refused_before_the_first_is_used(monkeypatch, ahead, needed):
    monkeypatch.setattr(shared_memory, "space", lambda: (2**22, needed * 2**20 - 1))
    line = (
        rf"given 1, which read {needed} batches ahead, {needed} MB of shared memory, and /dev/shm has {needed} MB free"
    )
    with pytest.raises(KindlingError, match=line):
        next(iter(loader(floats, prefetch_factor=ahead)))


@pytest.mark.parametrize("space", [(2**22, 2**22), None])
def test_batches_that_fit_are_read_and_so_they_are_where_nobody_knows(monkeypatch, space):
    monkeypatch.setattr(shared_memory, "space", lambda: space)
    assert len(list(loader(floats, prefetch_factor=4))) == 6


def test_the_space_of_a_system_that_has_it_elsewhere_is_unknown(monkeypatch, tmp_path):
    assert (shared_memory.space() or (1, 1))[0] > 0
    monkeypatch.setattr(shared_memory, "FOLDER", tmp_path / "nowhere")
    assert shared_memory.space() is None


@pytest.mark.slow
def test_a_container_with_little_shared_memory_is_told_to_have_more(make_tree, tmp_path):
    settings = ["data.in_memory=false", "data.num_workers=2", "data.image_size=224", "model=mlp", "trainer=cpu"]
    command = [sys.executable, str(PROJECT / "train.py"), "data=image_folder", f"data.root={make_tree()}", *settings]
    small = 'mount -t tmpfs -o size=1m none /dev/shm || exit 77; exec "$@"'
    done = subprocess.run(
        ["unshare", "-m", "bash", "-c", small, "", *command, f"paths.logs={tmp_path}"],
        capture_output=True,
        text=True,
        timeout=100,
    )
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip("needs the right to mount")
    assert done.returncode == 1
    assert "error: data.num_workers: given" in done.stderr
    assert "Traceback" not in done.stderr
