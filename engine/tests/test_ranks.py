"""Training in several processes is that of one with the same batch: `make test-ranks`, minutes."""

import csv
import inspect
import json
import os
import shlex
import shutil
import signal
import socket
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule
from torch import nn

from kindling.errors import ConfigError
from kindling.run_folders import lifecycle
from kindling.testing.commands import Fork
from kindling.training.task import Task
from test_processes import SMALL, Run, files, start, until  # noqa: F401  fixtures

OLD = Path(__file__).parent / "old_runs"
pytestmark = pytest.mark.slow
CLOSE = 1e-6
# Each process takes the indices of the first.
PLANTED = "+callbacks.planted={_target_:bench.launched.FirstShare}"
# An uneven last batch, of training, validation and test.
EVEN = [
    *(each for each in SMALL if "dropout" not in each and "every_n_steps" not in each),
    *("model.dropout=0", "data=fake", "data.num_images=183", "data.num_classes=4", "trainer.max_epochs=1"),
    "callbacks.resume_checkpoint.every_n_steps=null",
]
MLP = ["model=mlp", "model.hidden=[8]"]


def stopped_at(step: int) -> Callable[[], None]:
    """Sends SIGTERM to the first process as a step of it begins, in the middle of an epoch."""

    def install() -> None:
        original = Task.training_step

        def training_step(self: Any, *batch: Any) -> Any:
            if self.global_step == step and self.global_rank == 0:
                signal.raise_signal(signal.SIGTERM)
            return original(self, *batch)

        training_step.__signature__ = inspect.signature(original)  # pyright: ignore[reportFunctionMemberAccess]
        Task.training_step = training_step

    return install


def trained(start: Callable[..., Run], folder: Path, *arguments: str, **settings: Any) -> Path:  # noqa: F811
    run = start(*arguments, f"hydra.run.dir={folder}", **settings)
    assert run.code() == 0, run.words
    return folder


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


def furthest(one: Path, other: Path) -> float:
    ours, theirs = weights(one), weights(other)
    assert ours.keys() == theirs.keys()
    return max(float((ours[name] - theirs[name]).abs().max()) for name in ours)


def rows(folder: Path) -> list[dict[str, float]]:
    with (folder / "metrics.csv").open() as stream:
        return [{key: float(value) for key, value in row.items() if value} for row in csv.DictReader(stream)]


def refuse_other_rows(one: Path, other: Path) -> None:
    ours, theirs = rows(one), rows(other)
    assert [row.keys() for row in ours] == [row.keys() for row in theirs]
    for mine, its in zip(ours, theirs, strict=True):
        assert mine == pytest.approx(its, rel=1e-4, abs=CLOSE)


def gone_on(
    start: Callable[..., Run],  # noqa: F811
    folder: Path,
    settings: list[str],
    trainers: tuple[str, str],
    step: int,
    then: tuple[str, ...] = (),
) -> str:
    """What a run says that was ended as a step began, and has gone on with another trainer, or other settings."""
    stopped = start(*settings, f"trainer={trainers[0]}", f"hydra.run.dir={folder}", before=stopped_at(step))
    assert stopped.code() == 143, stopped.words
    resumed = start(*settings, f"trainer={trainers[1]}", f"resume={folder}", *then)
    assert resumed.code() == 0, resumed.words
    return resumed.words


def test_two_processes_train_to_the_weights_and_metrics_of_one(start, tmp_path):  # noqa: F811
    one = trained(start, tmp_path / "logs" / "one", *EVEN, *MLP, "trainer=cpu")
    two = trained(start, tmp_path / "logs" / "two", *EVEN, *MLP, "trainer=ddp_cpu")
    assert furthest(one, two) < CLOSE
    refuse_other_rows(one, two)
    planted = trained(start, tmp_path / "logs" / "bad", *EVEN, *MLP, "trainer=ddp_cpu", PLANTED)
    assert furthest(one, planted) > 100 * CLOSE, "it would not be seen"


@pytest.mark.parametrize("trainer", ["ddp_cpu", "fsdp2"])
@pytest.mark.parametrize("few", [["data.num_images=6"], ["data.num_images=62", "data.batch_size=2"]])
def test_two_processes_evaluate_as_one_where_one_of_them_has_no_example_left(start, tmp_path, trainer, few):  # noqa: F811
    settings = [*VIT, *few, "trainer.num_sanity_val_steps=2"]
    one = trained(start, tmp_path / "logs" / "one", *settings, "trainer=cpu")
    two = trained(start, tmp_path / "logs" / "two", *settings, f"trainer={trainer}")
    assert rows(two)[-1] == pytest.approx(rows(one)[-1], rel=1e-4)


@pytest.mark.parametrize(("began", "goes_on"), [("ddp_cpu", "cpu"), ("cpu", "ddp_cpu")])
def test_a_run_goes_on_with_another_number_of_processes_as_if_it_had_always_had_them(start, tmp_path, began, goes_on):  # noqa: F811
    settings = [*EVEN, "metrics=f1", "trainer.max_epochs=4", "callbacks.resume_checkpoint.every_n_steps=7"]
    whole = trained(start, tmp_path / "logs" / "whole", *settings, f"trainer={goes_on}")
    folder = tmp_path / "logs" / "other"
    words = gone_on(start, folder, settings, (began, goes_on), step=25)
    given = "2 processes (it was 1)" if goes_on == "ddp_cpu" else "1 process (it was 2)"
    assert f"resume: {given}, with the same batches in the same order" in words
    assert furthest(whole, folder) < CLOSE
    refuse_other_rows(whole, folder)


@pytest.mark.parametrize("then", ["data.num_workers=0", "trainer.strategy=ddp_find_unused_parameters_true"])
def test_a_run_goes_on_with_other_workers_or_another_strategy_to_the_same_bits(start, tmp_path, files, then):  # noqa: F811
    own = [each for each in EVEN if not each.startswith(("data=", "data.num"))]
    settings = [*own, *files, "trainer.max_epochs=3", "callbacks.resume_checkpoint.every_n_steps=4"]
    whole = trained(start, tmp_path / "logs" / "whole", *settings, "trainer=ddp_cpu")
    folder = tmp_path / "logs" / "other"
    words = gone_on(start, folder, settings, ("ddp_cpu", "ddp_cpu"), step=13, then=(then,))
    assert "goes on at epoch" in words
    assert f"resume: with {then} (it was " in words
    assert furthest(whole, folder) == 0
    assert (folder / "metrics.csv").read_bytes() == (whole / "metrics.csv").read_bytes()


WITHOUT_NET = [each for each in EVEN if not each.startswith("model")]
# No gradient reaches the bias of keys but by rounding, which Adam divides by itself: its eps ends that.
ADAMW = ["optimizer=adamw", "+optimizer.eps=1e-5"]
WITHOUT_OPTIMIZER = [*WITHOUT_NET, "model=vit", "model.dim=8", "trainer.gradient_clip_val=1"]
VIT = [*WITHOUT_OPTIMIZER, *ADAMW]
# Its matrices are put together, all else is of parts.
BY_MUON = [*WITHOUT_OPTIMIZER, "optimizer=muon", "optimizer.normalize_weights=true"]
CLOSE_IN_PARTS = 1e-5


@pytest.mark.parametrize(("vit", "recomputes"), [(VIT, False), (VIT, True), (BY_MUON, False)])
def test_weights_in_parts_train_as_those_of_one_process(start, tmp_path, vit, recomputes):  # noqa: F811
    settings = [*vit, f"model.checkpoint_activations={str(recomputes).lower()}"]
    one = trained(start, tmp_path / "logs" / "one", *settings, "trainer=cpu")
    two = trained(start, tmp_path / "logs" / "two", *settings, "trainer=fsdp2")
    assert furthest(one, two) < CLOSE_IN_PARTS
    assert rows(two)[-1] == pytest.approx(rows(one)[-1], rel=1e-4)
    assert optimizer_of(one).keys() == optimizer_of(two).keys()
    for number, state in optimizer_of(one).items():
        for name, value in state.items():
            assert torch.allclose(optimizer_of(two)[number][name], value, atol=CLOSE_IN_PARTS), (number, name)
    if vit is VIT and not recomputes:
        planted = trained(start, tmp_path / "logs" / "bad", *settings, "trainer=fsdp2", PLANTED)
        assert furthest(one, planted) > 10 * CLOSE_IN_PARTS, "it would not be seen"


def optimizer_of(folder: Path) -> dict[int, dict[str, torch.Tensor]]:
    (state,) = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["optimizer_states"]
    return state["state"]


@pytest.mark.parametrize(
    ("vit", "began", "goes_on"),
    [
        (VIT, "fsdp2", "fsdp2"),
        (VIT, "fsdp2", "cpu"),
        (VIT, "ddp_cpu", "fsdp2"),
        (BY_MUON, "fsdp2", "fsdp2"),
        (BY_MUON, "cpu", "fsdp2"),
    ],
)
def test_a_run_goes_on_with_weights_in_parts_or_no_longer_so(start, tmp_path, vit, began, goes_on):  # noqa: F811
    settings = [*vit, "trainer.max_epochs=3", "callbacks.resume_checkpoint.every_n_steps=7"]
    whole = trained(start, tmp_path / "logs" / "whole", *settings, f"trainer={goes_on}")
    folder = tmp_path / "logs" / "other"
    words = gone_on(start, folder, settings, (began, goes_on), step=12)
    assert "goes on at epoch" in words
    distance = furthest(whole, folder)
    assert distance == 0 if began == goes_on else distance < CLOSE_IN_PARTS
    assert rows(folder)[-1] == pytest.approx(rows(whole)[-1], rel=1e-4)


def test_what_weights_in_parts_have_trained_is_evaluated_and_exported(start, tmp_path):  # noqa: F811
    folder = trained(start, tmp_path / "logs" / "run", *VIT, "trainer=fsdp2", "trainer.precision=bf16-mixed")
    evaluation = Fork(tmp_path, "evaluate.py", f"run={folder}").result()
    assert evaluation.returncode == 0, evaluation.stderr
    (file,) = folder.rglob("metrics.json")
    kept = json.loads((folder / "run.json").read_text())["metrics"]
    assert json.loads(file.read_text())["test/loss"] == pytest.approx(kept["test/loss"], abs=1e-3)
    export = Fork(tmp_path, "export.py", f"run={folder}").result()
    assert export.returncode == 0, export.stderr


def test_a_run_that_the_first_process_is_just_beginning_is_no_older_one(tmp_path):
    config = {"paths": {"run": str(tmp_path)}, "data": {"batch_size": 16}, "trainer": {"devices": 2}}
    (tmp_path / "config.yaml").write_text(json.dumps(config))
    config |= {"resume": "auto", "fork": None}
    assert not lifecycle._began_with_a_batch_each(config)
    (tmp_path / "run.json").write_text(json.dumps({"status": "interrupted", "format": 6}))
    assert lifecycle._began_with_a_batch_each(config)


class Named(nn.Module):
    BLOCKS = "encoder.layers"

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Module()
        self.encoder.layers = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1))


def test_the_blocks_that_are_put_together_one_by_one_are_those_that_a_net_names():
    from kindling.training.fsdp2 import blocks_of

    net = Named()
    assert blocks_of(net) == [*net.encoder.layers.children()]
    net.BLOCKS = "layers"
    with pytest.raises(ConfigError, match="given Named with BLOCKS='layers'; allowed: the name of a part of it"):
        blocks_of(net)
    conventional = nn.Module()
    assert blocks_of(conventional) == []
    conventional.blocks = net.encoder.layers
    assert blocks_of(conventional) == [*net.encoder.layers.children()]


class Scaled(Task):
    """Trains more than its net."""

    def __init__(self) -> None:
        super().__init__(nn.Linear(1, 1))
        self.scale = nn.Parameter(torch.ones(()))


@pytest.mark.parametrize(
    ("module", "said"),
    [(LightningModule(), "LightningModule, whose net is not known"), (Scaled(), "scale, which Scaled trains beside")],
)
def test_modules_whose_weights_cannot_be_in_parts_are_refused_by_name(module, said):
    from kindling.training.fsdp2 import shard

    with pytest.raises(ConfigError, match=f"trainer: given fsdp2 with {said}"):
        shard(module, None)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_that_waits_for_the_others_ends_at_a_signal(start, rank):  # noqa: F811
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
        if rank:
            # It is connected, and nobody answers.
            other.listen()
        else:
            other.close()
        job = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
        numbers = {"RANK": str(rank), "LOCAL_RANK": str(rank), "TORCHELASTIC_RUN_ID": "alone"}
        run = start(*EVEN, *MLP, "trainer=ddp_cpu", **job, **numbers)
        with other.accept()[0] if rank else nullcontext():
            until(lambda: rank or is_listening(port))
            time.sleep(1)
            began = time.monotonic()
            os.kill(run.pid, signal.SIGTERM)
            assert run.code() == 143, run.words
            assert time.monotonic() - began < 10
    if rank == 0:
        assert (run.record["status"], run.record["reason"]) == ("interrupted", "Interrupted: SIGTERM")


def is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_an_older_run_goes_on_with_a_batch_for_each_process(start, tmp_path):  # noqa: F811
    folder = tmp_path / "logs" / "old"
    shutil.copytree(OLD / "format_6", folder)
    command = json.loads((folder / "run.json").read_text())["command"]
    _, *arguments = shlex.split(command)
    resumed = start(*arguments, f"resume={folder}")
    assert resumed.code() == 0, resumed.words
    assert "mlp on fake, seed 0, batch 16 = 2 x 8 →" in resumed.words
    assert "(step 30)" in resumed.words
    whole = trained(start, tmp_path / "logs" / "whole", *arguments, "data.batch_size=16")
    assert furthest(whole, folder) < CLOSE
    assert rows(folder)[-1] == pytest.approx(rows(whole)[-1], rel=1e-4)
    again = start(*arguments, f"resume={folder}", "trainer.max_epochs=4")
    assert again.code() == 0, again.words
    assert "batch 16 = 2 x 8" in again.words, "it stays so"
