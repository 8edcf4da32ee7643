"""Runs that share a file of pictures: two at once, and one after files have gone."""

import errno
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from kindling.images.store import RECORD, PictureStore
from photos import CROP, data_of, picture, write_tree


def pictures_of(num: int) -> tuple[np.ndarray, list[Path], list[torch.Tensor]]:
    """Keys, paths that are numbers, and pictures of several sizes."""
    rng = np.random.default_rng(0)
    made = [torch.from_numpy(rng.integers(0, 256, (3 + i % 4, 5, 1)).astype(np.uint8)) for i in range(num)]
    return np.arange(2 * num, dtype="<u8").reshape(num, 2), [Path(str(i)) for i in range(num)], made


def test_of_two_that_store_the_same_pictures_at_once_one_waits_and_decodes_none(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("kindling.images.store.PART", 4)
    monkeypatch.setattr("kindling.images.store.report", lambda text, file: waits.set())
    waits = threading.Event()
    keys, paths, pictures = pictures_of(40)
    decoded: dict[str, list[int]] = {"first": [], "second": []}

    def decode(name: str, path: Path) -> tuple[torch.Tensor, int]:
        decoded[name].append(int(path.name))
        # In the middle it goes on as soon as the other one wants to write.
        assert name != "first" or int(path.name) < 10 or waits.wait(10)
        return pictures[int(path.name)], 0

    stores = {name: PictureStore(tmp_path / "a.pictures", 1) for name in decoded}
    first = threading.Thread(target=lambda: stores["first"].add(keys, paths, partial(decode, "first")))
    first.start()
    while len(decoded["first"]) < 10:
        time.sleep(0.001)
    stores["second"].add(keys, paths, partial(decode, "second"))
    first.join()
    assert (sorted(decoded["first"]), decoded["second"]) == (list(range(40)), [])
    places = stores["second"].places_of(keys)
    assert places.tolist() == list(range(40))
    assert all(torch.equal(stores["second"].picture(place), pictures[place]) for place in range(40))


WRITER = """
import sys, time, numpy as np, torch
from pathlib import Path
from typing import Any
from kindling.images import store
store.PART = 4
def decode(path):
    print(path.name, flush=True)
    time.sleep(0.05)
    return torch.full((2, 3, 1), int(path.name), dtype=torch.uint8), 0
keys = np.arange(200, dtype="<u8").reshape(100, 2)
store.PictureStore(Path(sys.argv[1]), 1).add(keys, [Path(str(i)) for i in range(100)], decode)
"""


@pytest.mark.slow
def test_what_a_killed_process_has_stored_is_taken_over_by_the_one_that_waits(tmp_path):
    def writer() -> subprocess.Popen:
        return subprocess.Popen([sys.executable, "-c", WRITER, file], stdout=subprocess.PIPE, text=True)

    file = str(tmp_path / "a.pictures")
    first = writer()
    stream: Any = first.stdout
    for line in stream:
        if int(line) >= 20:
            break
    second = writer()
    time.sleep(0.5)
    first.kill()
    first.wait()
    there = Path(file).with_suffix(".index").stat().st_size // RECORD.itemsize
    decoded = second.communicate()[0].split()
    assert second.returncode == 0
    assert 16 <= there < 100
    assert sorted(map(int, decoded)) == list(range(there, 100))
    store = PictureStore(Path(file), 1)
    places = store.places_of(np.arange(200, dtype="<u8").reshape(100, 2))
    assert [int(store.picture(place).unique().item()) for place in places.tolist()] == list(range(100))
    stream.close()


def test_a_file_system_without_locks_is_named(tmp_path, monkeypatch, caplog):
    def fail(*_) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", fail)
    keys, paths, pictures = pictures_of(3)
    PictureStore(tmp_path / "a.pictures", 1).add(keys, paths, lambda path: (pictures[int(path.name)], 0))
    assert "a.pictures is on a file system without locks (No locks available)" in caplog.text


def unused_lines(tree: Path, **settings) -> list[str]:
    data = data_of(tree, transform=CROP, cache="disk", **settings)
    return [line for line in data.described() if "does not read" in line]


def test_pictures_of_files_that_are_gone_or_have_changed_are_told_with_their_bytes(tmp_path):
    tree = write_tree(tmp_path / "tree")
    assert not unused_lines(tree)
    files = sorted(tree.rglob("*.jpg"))
    Image.fromarray(picture(60, 45, seed=99)).save(files[0])
    assert not unused_lines(tree), "a twentieth is too little to say"
    for file in files[1:4]:
        file.unlink()
    (line,) = unused_lines(tree)
    (store,) = (tmp_path / "cache").glob("*.pictures")
    every = store.stat().st_size
    assert f" of {every / 1e6:.1f} MB in {store} are pictures that this run does not read: their files are gone" in line
    store.unlink()
    store.with_suffix(".index").unlink()
    assert not unused_lines(tree)
    assert store.stat().st_size < every


def test_what_is_unused_is_counted_in_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr("kindling.images.store.gigabytes", lambda num_bytes: f"{num_bytes} bytes")
    keys, paths, pictures = pictures_of(20)
    file = tmp_path / "a.pictures"
    PictureStore(file, 1).add(keys, paths, lambda path: (pictures[int(path.name)], 0))
    store = PictureStore(file, 1)
    store.places_of(keys[:10])
    store.places_of(keys[5:12])
    sizes = [each.numel() for each in pictures]
    assert store.unused_words().startswith(f"{sum(sizes[12:])} bytes of {sum(sizes)} bytes in {file}")
    store.places_of(keys[12:19])
    assert store.unused_words() == ""
