"""Splits that each process of a machine has read lie in its memory once."""

import gc
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from kindling.data import held_once
from kindling.data.batches import tensors_in
from kindling.data.datamodule import DataModule
from kindling.data.held_once import WORTH, hold_once
from kindling.data.plain import PlainData
from kindling.images.datamodule import ImageDataModule, Splits
from kindling.images.images import ImageFiles, ImageTensors
from test_processes import PAIR, start, until  # noqa: F401  a fixture

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory is shared on Linux alone")
NUM = WORTH // 64
OPTIONS: dict[str, Any] = {"batch_size": 4, "num_workers": 0, "seed": 0}
# Of memory that belongs to one process.
NO_FILE = "0"


class Given(DataModule):
    """Reads what a function makes."""

    def __init__(self, make: Callable[[], Any], **settings: Any):
        super().__init__(**OPTIONS | settings)
        self.make = make

    def read(self) -> Any:
        return {"train": self.make(), "val": self.make(), "test": self.make()}


class GivenImages(ImageDataModule):
    def __init__(self, **settings: Any):
        shape: dict[str, Any] = {"num_classes": 3, "channels": 3, "image_size": 8, "mean": [0.5] * 3, "std": [0.2] * 3}
        super().__init__(in_memory="auto", augment=None, **shape, **OPTIONS | settings)

    def read(self) -> Splits:
        return Splits(images(), images(), images(), classes=("a", "b", "c"))


def rows(num: int = NUM) -> tuple[Tensor, Tensor]:
    """Rows (N, 128) of 512 bytes, and labels (N,)."""
    return torch.arange(num * 128.0).view(num, 128), torch.arange(num) % 3


def images() -> ImageTensors:
    return ImageTensors(torch.randint(0, 256, (NUM, 8, 8, 3), dtype=torch.uint8, generator=seeded()), rows()[1])


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture
def hold(monkeypatch: pytest.MonkeyPatch) -> Callable[[DataModule, DataModule], None]:
    """Treats two data modules as those of two processes: while the first one waits, the second maps what it has."""

    def hold(first: DataModule, second: DataModule) -> None:
        offers: list[Any] = []
        monkeypatch.setattr(held_once, "gather", lambda _, offer: [offers.append(offer), offers][1])
        waits = (lambda _: hold_once(second), lambda _: None)
        for rank, (data, wait) in enumerate(zip((first, second), waits, strict=True)):
            strategy: Any = SimpleNamespace(barrier=wait)
            data.trainer = SimpleNamespace(local_rank=rank, strategy=strategy)  # pyright: ignore[reportAttributeAccessIssue]
        hold_once(first)

    return hold


def file_of(tensor: Tensor) -> str:
    """The number of the file whose pages a tensor is made of."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        addresses, _, _, _, number, *_ = line.split()
        first, end = (int(each, 16) for each in addresses.split("-"))
        if first <= tensor.data_ptr() < end:
            return number
    raise AssertionError("it lies nowhere")


def files(data: DataModule) -> list[str]:
    return [file_of(each) for examples in data.present().values() for each in tensors_in(examples)]


@pytest.mark.parametrize(
    "make", [GivenImages, partial(Given, rows), partial(Given, lambda: {"x": rows()[0], "y": rows()[1]})]
)
@pytest.mark.parametrize("fold", [None, 1])
def test_processes_hold_equal_tensors_in_the_same_memory(hold, make, fold):
    first, second, alone = (make(fold=fold, num_folds=2) for _ in range(3))
    hold(first, second)
    assert files(first) == files(second)
    # The labels are too few.
    assert [number == NO_FILE for number in files(second)] == [False, True] * 3
    for data in (first, second):
        assert data.fingerprint == alone.fingerprint
        assert type(data.splits.train) is type(alone.splits.train)


def test_what_a_process_writes_into_its_tensors_stays_its_own(hold):
    first, second = Given(rows), Given(rows)
    hold(first, second)
    second.splits.train[0][0, 0] = 7
    first.splits.train[0][0, 1] = 8
    assert first.splits.train[0][0, :2].tolist() == [0, 8]
    assert second.splits.train[0][0, :2].tolist() == [7, 1]


@pytest.mark.parametrize(
    "other",
    [
        lambda: rows()[0].index_put((torch.tensor(NUM - 1), torch.tensor(127)), torch.tensor(-1.0)),
        lambda: rows(NUM + 1)[0],
        lambda: rows(2 * NUM)[0],
    ],
)
def test_what_a_process_has_read_otherwise_it_keeps(hold, other):
    first, second = Given(rows), Given(lambda: (other(), rows()[1]))
    hold(first, second)
    assert torch.equal(second.splits.train[0], other())
    assert file_of(second.splits.train[0]) == NO_FILE


def test_processes_that_do_not_know_each_other_by_number_keep_their_own(hold, monkeypatch):
    first, second = Given(rows), Given(rows)
    places = iter(["one container", "another"])
    monkeypatch.setattr(held_once, "place", lambda: next(places))
    hold(first, second)
    assert file_of(second.splits.train[0]) == NO_FILE


def test_where_no_memory_is_to_be_had_each_process_keeps_its_own(hold, monkeypatch):
    def full(name: str) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.memfd_create", full)
    first, second = Given(rows), Given(rows)
    hold(first, second)
    assert {*files(first), *files(second)} == {NO_FILE}


def test_pages_of_a_file_and_repeated_rows_stay_as_they_are_and_a_small_part_does_not_keep_the_whole(hold, tmp_path):
    np.save(tmp_path / "rows.npy", rows()[0].numpy())

    def read() -> tuple[Tensor, ...]:
        whole = rows(2 * NUM)[0]
        of_file = torch.from_numpy(np.load(tmp_path / "rows.npy", mmap_mode="c"))
        return of_file, whole[:NUM], whole[:NUM].T, whole[-NUM:, :1], whole[-1].expand(2 * NUM + 1, 128)

    first, second = Given(read), Given(read)
    places = [data.splits.train[0].data_ptr() for data in (first, second)]
    hold(first, second)
    for data, place in zip((first, second), places, strict=True):
        of_file, large, turned, small, repeated = data.splits.train
        assert of_file.data_ptr() == place
        assert NO_FILE not in (file_of(large), file_of(turned))
        assert repeated.untyped_storage().nbytes() < repeated.nbytes
        assert small.untyped_storage().nbytes() == small.nbytes
    assert all(map(torch.equal, second.splits.train, read()))


def test_handles_are_closed_with_the_tensors(hold):
    def num_open() -> int:
        gc.collect()
        return len(list(Path("/proc/self/fd").iterdir()))

    before = num_open()
    first, second = Given(rows), Given(rows)
    hold(first, second)
    del first, second
    assert num_open() == before


def test_images_that_are_files_are_left_as_they_are(hold):
    files = ImageFiles([Path("a")] * NUM, rows()[0].long(), images().__getitem__)
    first, second = GivenImages(), GivenImages()
    for data in (first, second):
        data.splits = Splits(files, files, files, classes=("a", "b", "c"))
    hold(first, second)
    assert second.splits.train is first.splits.train is files


def test_splits_that_a_program_has_as_well_are_left_to_it(monkeypatch):
    asked: list[Any] = []
    monkeypatch.setattr("kindling.data.datamodule.can_hold_once", lambda _: True)
    monkeypatch.setattr("kindling.data.datamodule.hold_once", asked.append)
    own = Given(lambda: rows(9))
    given = PlainData(train=rows(9), val=rows(9), test=rows(9), **OPTIONS)
    for data in (own, given):
        data.trainer = SimpleNamespace(world_size=2, num_devices=2)  # pyright: ignore[reportAttributeAccessIssue]
        data.setup("fit")
        data.setup("test")
    assert asked == [own]


@pytest.mark.slow
def test_two_ranks_train_on_the_same_memory_of_images(start):  # noqa: F811
    run = start(*PAIR, "data.num_images=30000", "trainer.max_epochs=100000")
    run.reach(3)

    def held(pid: int) -> set[str]:
        lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
        return {line.split()[4] for line in lines if "memfd:kindling" in line}

    assert len(held(run.pid)) == 1
    assert held(run.pid) == held(run.second)
