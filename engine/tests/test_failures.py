"""What a run says and leaves when memory runs out, a worker dies, a file is gone, or a step fails."""

import json
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

import crash
from bench.models.mlp import MLP
from kindling.errors import DataError, KindlingError
from kindling.images.fake import FakeImages
from kindling.process import silence
from kindling.run_folders import record as run_folder
from kindling.train import train
from kindling.training.failures import num_parts
from kindling.training.task import Task
from long_run import some

Given = Callable[..., DictConfig]
# Two epochs of four batches, with a checkpoint before each but the first.
SMALL = [
    *("data.num_images=64", "data.batch_size=16", "data.image_size=8", "model=mlp", "model.hidden=[8]"),
    *("trainer.enable_progress_bar=false", "trainer.enable_model_summary=false"),
    *("test=false", "callbacks.resume_checkpoint.every_n_steps=1"),
]
_composed: dict[str, DictConfig] = {}


@pytest.fixture
def small(config: Given, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Given:
    """The config of a small run; it is composed once, and asks no git, as both take longer than to train."""
    monkeypatch.setattr(run_folder, "git_state", lambda: None)
    numbers = count()

    def make(*overrides: str) -> Any:
        if "small" not in _composed:
            _composed["small"] = config(*SMALL)
        cfg = OmegaConf.merge(_composed["small"], OmegaConf.from_dotlist(list(overrides)))
        cfg.paths.run = str(tmp_path / f"run-{next(numbers)}")
        return cfg

    return make


@pytest.fixture
def files(config: Given, make_tree: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Given:
    """The config of a run on image files that workers decode, in batches of 4."""
    monkeypatch.setattr(run_folder, "git_state", lambda: None)
    tree = make_tree(splits=("train", "val", "test"), classes="ab", images=8, size=8)
    kept = [each for each in SMALL if not each.startswith("data.")]
    return lambda *overrides: config(
        *(*kept, "data=image_folder", f"data.root={tree}", f"data.cache_dir={tmp_path}/cache", "data.image_size=8"),
        *("data.in_memory=false", "data.batch_size=4", "data.num_workers=2", "trainer.num_sanity_val_steps=0"),
        *overrides,
    )


def fail(cfg: DictConfig, kind: type[Exception] = KindlingError) -> str:
    """Train until the run fails; returns what it says."""
    others = set(multiprocessing.active_children())
    with pytest.raises(kind) as caught:
        train(cfg)
    assert set(multiprocessing.active_children()) <= others  # no worker outlives its run
    record = json.loads((Path(cfg.paths.run) / "run.json").read_text())
    assert record["status"] == "failed"
    assert record["reason"] == f"{type(caught.value).__name__}: {caught.value}"
    return str(caught.value)


def resume(cfg: DictConfig) -> dict[str, str]:
    """Take a run up and go on to its end; returns the hashes of what it leaves."""
    train(OmegaConf.merge(cfg, {"resume": cfg.paths.run}))
    return crash.digest(Path(cfg.paths.run))


def whole(cfg: DictConfig) -> dict[str, str]:
    """The hashes of what a run leaves that nothing happens to."""
    train(cfg)
    return crash.digest(Path(cfg.paths.run))


def at_step(step: int, action: Callable[[Task], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Do something once, when training comes to a step."""
    original, done = Task.training_step, []

    def training_step(self: Task, batch: Any, batch_idx: int) -> Any:
        if self.global_step == step and not done:
            done.append(step)
            action(self)
        return original(self, batch, batch_idx)

    monkeypatch.setattr(Task, "training_step", training_step)


def run_out(*_: Any) -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.\nGPU 0 has a total capacity of 0")


# Memory


@pytest.fixture
def limit(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Lets memory run out when a net is trained on more than so many images."""
    forward = MLP.forward

    def to(most: int) -> None:
        def limited(self: MLP, images: Tensor) -> Tensor:
            if self.training and len(images) > most:
                run_out()
            return forward(self, images)

        monkeypatch.setattr(MLP, "forward", limited)

    return to


@pytest.mark.parametrize(
    ("most", "accumulate", "advice"),
    [
        (12, 1, "8 would likely fit; trainer.accumulate_grad_batches=2 keeps the examples of a step"),
        (7, 2, "4 would likely fit; trainer.accumulate_grad_batches=8 keeps the examples of a step"),
        (1, 1, "no half of it fits either; take a smaller model, or smaller examples"),
    ],
)
def test_memory_that_ran_out_says_what_would_fit(small, limit, most, accumulate, advice):
    limit(most)
    message = fail(small(f"trainer.accumulate_grad_batches={accumulate}"))
    assert message == f"data.batch_size: given 16, for which memory ran out; {advice}"


def test_the_batch_size_that_is_advised_trains_with_as_many_images_a_step(small, limit):
    limit(12)
    cfg = small("data.batch_size=8", "trainer.accumulate_grad_batches=2")
    train(cfg)
    saved = torch.load(Path(cfg.paths.run) / "checkpoints" / "last.ckpt", weights_only=True)
    assert saved["global_step"] == 8


@pytest.mark.parametrize(
    ("batch_size", "most", "advice"),
    [
        (15, 5, "3 would likely fit; trainer.accumulate_grad_batches=5 keeps the examples of a step"),
        (13, 3, "3 would likely fit; trainer.accumulate_grad_batches=4 keeps 12 examples a step"),
    ],
)
def test_a_batch_size_that_halves_badly_is_cut_into_equal_parts(small, limit, batch_size, most, advice):
    limit(most)
    assert fail(small(f"data.batch_size={batch_size}")).endswith(f"for which memory ran out; {advice}")


def test_a_batch_is_cut_into_as_few_parts_as_fit():
    for batch_size in range(2, 200):
        for fitting in range(1, batch_size // 2 + 1):
            number = num_parts(batch_size, fitting)
            size = batch_size // number
            assert 1 <= size <= fitting
            assert 0.85 * batch_size < number * size <= batch_size
            possible = range(number, 2 * -(-batch_size // fitting) + 1)
            if any(batch_size % each == 0 and batch_size // each <= fitting for each in possible):
                assert number * size == batch_size


def test_a_run_whose_memory_ran_out_can_be_resumed_to_the_same_bits(small, monkeypatch):
    expected = whole(small())
    cfg = small()
    at_step(5, run_out, monkeypatch)
    assert "for which memory ran out; 8 would likely fit" in fail(cfg)
    assert resume(cfg) == expected


def test_memory_of_the_cpu_may_run_out_too(small, monkeypatch):
    def run_out_of_cpu_memory(*_: Any) -> None:
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory")

    at_step(1, run_out_of_cpu_memory, monkeypatch)
    assert "data.batch_size: given 16, for which memory ran out; 8 would likely fit" in fail(small())


def test_memory_that_ran_out_before_the_first_batch_is_not_blamed_on_the_batch_size(small, monkeypatch):
    monkeypatch.setattr(FakeImages, "read", run_out)
    assert fail(small()) == (
        "data, model: memory ran out before the first batch; take a smaller model, or leave large sets on disk with "
        "data.cache=none"
    )


# Workers and files


def test_a_worker_that_was_killed_is_told_in_one_line_and_the_run_resumes_with_fewer(files, monkeypatch):
    expected = whole(files("data.num_workers=0"))

    def kill(classifier: Any) -> None:
        os.kill(classifier.trainer.train_dataloader._iterator._workers[0].pid, signal.SIGKILL)
        time.sleep(5)  # which the news of its end cuts short

    at_step(2, kill, monkeypatch)
    cfg = files()
    message = fail(cfg)
    assert message.startswith("data.num_workers: a worker process died (DataLoader worker (pid")
    assert message.endswith("); often memory has run out; give fewer, and go on with resume=")
    assert "\n" not in message
    cfg.data.num_workers = 0
    assert resume(cfg) == expected


def test_an_error_in_a_worker_that_lives_stays_what_it_is(files, monkeypatch):
    def decode(*_: Any, **__: Any) -> Tensor:
        raise RuntimeError("a codec is missing")

    monkeypatch.setattr("kindling.images.decoder.Decoder.whole", decode)
    cfg = files("data.num_workers=1", "data.mean=[0.5]", "data.std=[0.5]")
    assert "a codec is missing" in fail(cfg, RuntimeError)


@pytest.mark.slow
@pytest.mark.parametrize("num_workers", some([0, 2], 2))
def test_an_image_that_is_deleted_during_the_run_is_told_in_one_line(files, monkeypatch, num_workers):
    cfg = files(f"data.num_workers={num_workers}", "callbacks.resume_checkpoint.every_n_steps=3")
    images = sorted(Path(cfg.data.root).glob("train/*/*.png"))

    def delete(_: Task) -> None:
        for image in images:
            image.rename(image.with_suffix(".gone"))

    at_step(3, delete, monkeypatch)  # the last of an epoch, whose images workers have read ahead
    message = fail(cfg, DataError)
    assert any(message.startswith(f"{image}: cannot be read as an image ([Errno 2] No such file") for image in images)
    assert message.endswith("; replace or remove the file")
    assert "\n" not in message
    for image in images:
        image.with_suffix(".gone").rename(image)
    assert resume(cfg)["run.json"]


def test_an_image_of_another_split_that_is_gone_meanwhile_is_told_in_one_line(files, monkeypatch):
    cfg = files("data.num_workers=0")
    gone = sorted(Path(cfg.data.root).glob("val/*/*.png"))[0]
    at_step(0, lambda _: gone.unlink(), monkeypatch)
    message = fail(cfg, DataError)
    assert message.startswith(f"{gone}: cannot be read as an image ([Errno 2] No such file")
    assert "\n" not in message


@pytest.mark.slow
def test_workers_end_with_the_test_that_they_read_for(files, monkeypatch):
    seen = []
    monkeypatch.setattr(Task, "on_test_end", lambda self: seen.extend(multiprocessing.active_children()))
    others = set(multiprocessing.active_children())
    train(files("data.num_workers=2", "test=true"))
    assert len({*seen} - others) == 2
    assert {*multiprocessing.active_children()} <= others


# Anything else


LOST = "[gloo/transport/tcp/pair.cc:545] Read error [127.0.0.1]:1: Connection reset by peer"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (RuntimeError(LOST), silence.GONE),
        (torch.OutOfMemoryError("CUDA out of memory"), "data: memory ran out in a batch of the test; take fewer"),
    ],
)
def test_what_goes_wrong_in_the_test_is_told_in_one_line_as_in_training(small, monkeypatch, error, said):
    def test_step(*_: Any) -> None:
        raise error

    monkeypatch.setattr(Task, "test_step", test_step)
    cfg = small("test=true", "trainer.max_epochs=1")
    assert fail(cfg).startswith(said)
    assert "val/loss" in json.loads((Path(cfg.paths.run) / "run.json").read_text())["metrics"]


def test_a_step_that_fails_leaves_its_reason_and_a_run_that_resumes_to_the_same_bits(small, monkeypatch):
    expected = whole(small())
    cfg = small()
    at_step(5, lambda _: 1 / 0, monkeypatch)
    assert fail(cfg, ZeroDivisionError) == "division by zero"
    assert resume(cfg) == expected
    record = json.loads((Path(cfg.paths.run) / "run.json").read_text())
    assert record["reason"] is None
    assert [each["reason"] for each in record["earlier"]] == ["ZeroDivisionError: division by zero"]
