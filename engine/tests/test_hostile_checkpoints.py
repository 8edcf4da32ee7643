"""Checkpoints that anybody may have written: refused in one line before a step, an allocation or a download."""

import io
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from attacks import SMALL, saved
from kindling.checkpoints import checkpoint
from kindling.checkpoints.content import with_own_files
from kindling.checkpoints.described import blamed_on
from kindling.checkpoints.states import misfits_of_optimizers
from kindling.cli.entry import compose
from kindling.config import project
from kindling.errors import CheckpointError, ConfigError, KindlingError
from kindling.evaluate import evaluate
from kindling.run_folders.results_folder import known_by
from kindling.train import train
from kindling.training.bookkeeping import Bookkeeping
from kindling.training.fork import lr_factor
from kindling.training.muon import Muon
from kindling.training.sums import StepOutput, Sums
from long_run import some

Change = Callable[[dict[str, Any]], object]


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    cfg = compose([*SMALL, "trainer.max_epochs=1", f"paths.logs={tmp_path_factory.mktemp('honest')}"])
    train(cfg)
    return Path(cfg.paths.run)


@pytest.fixture
def run(honest, tmp_path) -> Path:
    return Path(shutil.copytree(honest, tmp_path / "run"))


def write(run: Path, content: Any) -> None:
    """Put it in the place of all checkpoints of a run."""
    data = content if isinstance(content, bytes) else saved(content)
    for file in [*run.glob("checkpoints/*.ckpt"), *run.glob("checkpoints/.*.best/*.ckpt")]:
        file.unlink()
        file.write_bytes(data)


def changed(run: Path, change: Change) -> None:
    content = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    change(content)
    write(run, content)


def resume(run: Path) -> None:
    train(compose([*SMALL, "trainer.max_epochs=2", f"resume={run}"]))


def evaluate_run(run: Path, *overrides: str) -> dict[str, float]:
    return evaluate(compose([f"run={run}", "trainer.accelerator=cpu", *overrides], "evaluate"))


# What training goes on with


def state(c: dict[str, Any]) -> dict[str, Any]:
    return c["optimizer_states"][0]["state"][0]


def group(c: dict[str, Any]) -> dict[str, Any]:
    return c["optimizer_states"][0]["param_groups"][0]


STATES: dict[str, tuple[Change, str]] = {
    "a tensor for a switch": (
        lambda c: group(c).update(foreach=torch.zeros(3)),
        r"a tensor of \(3,\) as optimizer_states\[0\].param_groups\[0\].foreach, which is one value",
    ),
    "another shape": (lambda c: state(c).update(exp_avg=torch.zeros(3)), r"a tensor of \(3,\) as optimizer_states"),
    "another dtype": (lambda c: state(c).update(exp_avg=state(c)["exp_avg"].double()), "torch.float64 as optimizer_"),
    "no storage": (
        lambda c: state(c).update(exp_avg=torch.zeros(1, 1).expand(state(c)["exp_avg"].shape)),
        "a tensor in optimizer_states that is larger than what is saved of it",
    ),
    "a text as a rate": (lambda c: group(c).update(lr="x"), r"a text as optimizer_states\[0\].param_groups\[0\].lr"),
    "a state that lacks": (lambda c: state(c).pop("exp_avg"), r"no exp_avg in optimizer_states\[0\].state\[0\]"),
    "other parameters": (lambda c: c["optimizer_states"][0]["state"].update({99: {}}), "states of other parameters"),
    "no optimizer": (lambda c: c["optimizer_states"].clear(), "the states of 0 optimizers for 1"),
    "a method": (lambda c: c["lr_schedulers"][0].update(step=3), r"step, which is no state, in lr_schedulers\[0\]"),
    "a text as base": (
        lambda c: c["lr_schedulers"][0].update(base_lrs=["x", "x"]),
        r"a text as lr_schedulers\[0\].base",
    ),
    "a text as counter": (
        lambda c: c["loops"]["fit_loop"]["epoch_progress"]["current"].update(ready="x"),
        "a text as loops.epoch_progress.current.ready",
    ),
    "complex weights": (
        lambda c: c["state_dict"].update({key: each.cfloat() for key, each in c["state_dict"].items()}),
        r"given torch.complex64 \(torch.strided\) as net",
    ),
    "a gradient": (
        lambda c: c["progress"]["module"][0]["gradients"].update({"net.head.bias": torch.zeros(2)}),
        "cannot be restored",
    ),
    "a negative step": (lambda c: c.update(global_step=-5), "which has -5 as progress.step"),
}


MUON = {
    "head_lr": 0.1,
    "bias_lr": 0.1,
    "momentum": 0.9,
    "sgd_momentum": 0.9,
    "nesterov": True,
    "weight_decay": 0.0,
    "num_iterations": 5,
    "normalize_weights": False,
}
OPTIMIZERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    **{
        f"{kind.__name__} {settings}": lambda given, kind=kind, settings=settings: kind(given, lr=0.01, **settings)
        for kind, settings in (
            *((torch.optim.AdamW, {"fused": True}), (torch.optim.AdamW, {"amsgrad": True, "foreach": True})),
            *((torch.optim.SGD, {"momentum": 0.9, "fused": True}), (torch.optim.SGD, {}), (torch.optim.LBFGS, {})),
            *((torch.optim.Adafactor, {}), (torch.optim.Adagrad, {}), (torch.optim.NAdam, {}), (torch.optim.Rprop, {})),
            *((torch.optim.RMSprop, {"momentum": 0.9, "centered": True}), (torch.optim.ASGD, {}), (Muon, MUON)),
        )
    }
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_what_an_optimizer_saved_itself_is_no_misfit_and_a_smaller_tensor_is_one(name):
    weights = [torch.nn.Parameter(torch.randn(shape)) for shape in ((4, 3), (4,), (2, 3, 3, 3))]
    weights[2].data = weights[2].data.to(memory_format=torch.channels_last)
    before, after = (OPTIMIZERS[name](weights[:2] if "LBFGS" in name else weights) for _ in range(2))
    for each in weights:
        each.grad = torch.randn_like(each)
    before.step(lambda: 1.0)
    saved = before.state_dict()
    assert [*misfits_of_optimizers([saved], [after], same_precision=True)] == []
    kept = [(values, key) for values in saved["state"].values() for key in values]
    tensors = [(values, key) for values, key in kept if isinstance(values[key], torch.Tensor) and values[key].ndim]
    for values, key in tensors if "LBFGS" not in name else []:
        whole, values[key] = values[key], torch.zeros(7)
        assert [*misfits_of_optimizers([saved], [after], same_precision=True)]
        values[key] = whole


@pytest.mark.slow
def test_complex_weights_are_not_taken_as_real_ones(run):
    change, says = STATES["complex weights"]
    changed(run, change)
    with pytest.raises(ConfigError, match=says):
        train(compose([*SMALL, f"paths.logs={run.parent}", "trainer.max_epochs=1", f"weights={run}"]))
    with pytest.raises(CheckpointError, match=says):
        evaluate_run(run)


# Torch only warns.
@pytest.mark.filterwarnings("ignore:Casting complex values")
def test_complex_weights_of_the_best_checkpoint_are_not_tested(run):
    content = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    content["state_dict"] = {key: each.cfloat() for key, each in content["state_dict"].items()}
    for file in run.glob("checkpoints/.*.best/best.ckpt"):
        file.unlink()
        file.write_bytes(saved(content))
    with pytest.raises(CheckpointError, match=r"given torch\.complex64"):
        resume(run)


@pytest.mark.parametrize("name", some(STATES, *list(STATES)[::2]))
def test_a_state_that_the_run_could_not_have_made_is_refused_before_a_step(run, name):
    change, says = STATES[name]
    changed(run, change)
    with pytest.raises(CheckpointError, match=says):
        resume(run)


def test_the_score_of_a_best_checkpoint_is_a_number(run):
    changed(run, lambda c: best(c).update(best_model_score="x"))
    with pytest.raises(CheckpointError, match="given 'x' as a score of ModelCheckpoint; allowed: a number"):
        resume(run)
    several = {"dirpath": "", "best_model_score": torch.zeros(9, 9)}
    with pytest.raises(CheckpointError, match=r"given tensor\(\[\[0.*, as a score of ModelCheckpoint") as refused:
        with_own_files(several, run)
    assert "\n" not in str(refused.value)


def best(c: dict[str, Any]) -> dict[str, Any]:
    (key,) = [key for key in c["callbacks"] if key.startswith("ModelCheckpoint")]
    return c["callbacks"][key]


SUMS = "which has no sums of an epoch as train_sums"
PLACES = "which has no places of 1000 batches at most as rollbacks"
VALUES: dict[str, tuple[Change, str]] = {
    "a sum of three": (lambda c: c["train_sums"][0].update(loss=torch.zeros(3)), SUMS),
    "a complex sum": (lambda c: c["train_sums"][0].update(accuracy=torch.tensor(1j)), SUMS),
    "fewer than no examples": (lambda c: c["train_sums"][0].update(num=-5.0), SUMS),
    "no loss": (lambda c: c["train_sums"][0].pop("loss"), SUMS),
    "no lists of sums": (lambda c: c.update(train_sums=3), SUMS),
    "texts as places": (lambda c: c.update(rollbacks=[["a", "b"]]), PLACES),
    "very many places": (lambda c: c.update(rollbacks=[[0, 0]] * 1001), PLACES),
    "a metric of three": (lambda c: c["progress"]["metrics"].update(x=torch.zeros(3)), "no number as progress.metrics"),
    "a metric to train": (
        lambda c: c["progress"]["metrics"].update(x=torch.nn.Parameter(torch.zeros(()))),
        "no number as progress.metrics",
    ),
    "a logged sum of three": (
        lambda c: c["progress"].update(sums=[{"logged": {"x": {"value": torch.zeros(3)}}, "metrics": {}}]),
        "which has no sums of what was logged as progress.sums",
    ),
    "a number as name": (lambda c: c["state_dict"].update({3: torch.zeros(1)}), "whose weights have names that are no"),
}


@pytest.mark.parametrize("name", VALUES)
def test_values_that_no_run_has_kept_are_refused_as_they_are_read(run, name):
    change, says = VALUES[name]
    changed(run, change)
    with pytest.raises(CheckpointError, match=says):
        checkpoint.load(run / "checkpoints" / "last.ckpt")


def test_sums_of_another_shape_are_not_added_to():
    sums = Sums()
    sums.restore({"loss": 1.0, "num": 2, "hits": torch.zeros(5, 5)}, torch.device("cpu"))
    with pytest.raises(CheckpointError, match=r"\(5, 5\) as train_sums.hits, of which the task's step gives \(5,\)"):
        sums.add(StepOutput(torch.tensor(1.0), 2, {"hits": torch.ones(5)}))
    assert (sums.state() or {})["hits"].sum() == 0


def test_a_group_that_lacks_its_rate_is_a_misfit_and_one_of_an_older_torch_is_none():
    saved, optimizer = (torch.optim.AdamW([torch.nn.Parameter(torch.zeros(3))]) for _ in range(2))
    of_before = saved.state_dict()
    for key in ("foreach", "capturable", "fused", "decoupled_weight_decay"):
        del of_before["param_groups"][0][key]
    assert [*misfits_of_optimizers([of_before], [optimizer], same_precision=True)] == []
    del of_before["param_groups"][0]["lr"]
    expected = ["no lr in optimizer_states[0].param_groups[0]"]
    assert [*misfits_of_optimizers([of_before], [optimizer], same_precision=True)] == expected


def test_a_best_checkpoint_to_be_replaced_is_one_of_those_that_are_kept(run):
    changed(run, lambda c: best(c).update(kth_best_model_path=""))
    with pytest.raises(CheckpointError, match="given '' as kth_best_model_path of ModelCheckpoint, which keeps /"):
        resume(run)


def test_a_rate_in_the_config_of_a_checkpoint_is_a_number():
    with pytest.raises(ConfigError, match=r"given 'x' as optimizer\.lr by the checkpoint's config; allowed: a number"):
        lr_factor({"optimizer": {"lr": "x"}}, {"optimizer": {"lr": 0.1}})


# What a model costs


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"hidden": [20_000] * 5}, "describes a tensor of 1,600,000,000 bytes for weights of [0-9,]+"),
        ({"hidden": [4_000] * 9}, "describes a model of more than [0-9,]+ bytes for weights of [0-9,]+"),
        ({"num_classes": 10**9}, "describes a tensor of 32,000,000,000 bytes for weights of [0-9,]+"),
        ({"hidden": [1] * 800}, "describes a model of more than 2,[0-9]+ modules and tensors for its weights"),
    ],
    ids=["wide", "large", "many classes", "deep"],
)
def test_a_model_larger_than_its_weights_is_not_built(run, settings, says):
    changed(run, lambda c: c["description"]["config"]["model"].update(settings))
    with pytest.raises(CheckpointError, match=says):
        evaluate_run(run)


def test_weights_that_are_no_tensors_are_not_started_from(run):
    changed(run, lambda c: c["state_dict"].update({"net.hidden.1.weight": "x"}))
    with pytest.raises(ConfigError, match="a checkpoint of another model"):
        train(compose([*SMALL, f"paths.logs={run.parent}", "trainer.max_epochs=1", f"weights={run}"]))


def test_a_precision_that_there_is_not_is_answered_in_one_line(run):
    changed(run, lambda c: c["description"]["config"]["trainer"].update(precision=2**31))
    with pytest.raises(ConfigError, match=r"^trainer: ") as refused:
        evaluate_run(run)
    assert "\n" not in str(refused.value)


def test_a_config_of_more_values_than_any_run_has_is_refused(run):
    changed(run, lambda c: c["description"]["config"]["model"].update(hidden=[8] * 200_000))
    with pytest.raises(CheckpointError, match="whose config holds config: given more than plain values"):
        evaluate_run(run)


def test_a_model_that_cannot_be_built_is_answered_in_one_line(run):
    changed(run, lambda c: c["description"]["config"]["model"].update(hidden="x"))
    with pytest.raises(KindlingError, match="model"):
        evaluate_run(run)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"num_images": 3_000_000}, "data: given images of [0-9,]+ bytes; allowed: 500,000,000 for data=fake"),
        (
            {"image_size": 9},
            "what it describes does not work .RuntimeError: .*mat1 and mat2 shapes cannot",
        ),
        (
            {"prefetch_factor": "/dev/zero"},
            r"data\.prefetch_factor: given '/dev/zero' by the checkpoint's config; allowed: a file",
        ),
    ],
    ids=["too much", "misfit", "device"],
)
def test_data_that_cannot_be_evaluated_is_answered_in_one_line(run, settings, says):
    changed(run, lambda c: c["description"]["config"]["data"].update(settings))
    with pytest.raises(KindlingError, match=says):
        evaluate_run(run)


def nested(levels: int) -> Any:
    """A value that holds itself twice, again and again."""
    value: Any = [0]
    for _ in range(levels):
        value = [value, value]
    return value


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (nested(40), "which holds more than [0-9,]+ values in a pickle of"),
        (torch.zeros(1).expand(10**9), "a tensor in anything that is larger than what is saved of it"),
        (torch.empty(10**9, device="meta"), "a Tensor on meta in anything"),
    ],
    ids=["values", "numbers", "no memory"],
)
def test_a_checkpoint_that_grows_when_it_is_read_is_refused(run, value, says):
    changed(run, lambda c: c.update(anything=value))
    with pytest.raises(CheckpointError, match=says):
        checkpoint.load(run / "checkpoints" / "last.ckpt")


def repacked(data: bytes, method: int = zipfile.ZIP_STORED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as before, zipfile.ZipFile(stream, "w") as after:
        for record in before.infolist():
            after.writestr(record.filename, before.read(record), method)
    return stream.getvalue()


def test_a_compressed_record_is_refused_without_being_read(run):
    write(run, repacked((run / "checkpoints" / "best.ckpt").read_bytes(), zipfile.ZIP_DEFLATED))
    with pytest.raises(CheckpointError, match=r"whose record .*data.pkl is compressed; allowed: a file as torch.save"):
        checkpoint.load(run / "checkpoints" / "best.ckpt")


def test_an_archive_of_which_torch_would_read_other_records_is_refused(run):
    file = run / "checkpoints" / "best.ckpt"
    file.write_bytes(b"PK\3\4" + b"x" * 60 + repacked(file.read_bytes()))
    with pytest.raises(CheckpointError, match="which has two lists of records"):
        checkpoint.load(file)


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.ckpt")
    with pytest.raises(CheckpointError, match="which is no file; allowed: a checkpoint file"):
        checkpoint.load(tmp_path / "a.ckpt")


# Where an evaluation writes and downloads


def test_a_checkpoint_does_not_say_where_pixels_are_cached(run, tmp_path):
    tree = tmp_path / "images"
    data = {"_target_": "kindling.images.image_folder.ImageFolder", "root": str(tree), "cache_dir": f"{tmp_path}/evil"}
    kept = ("num_classes", "channels", "image_size", "batch_size", "mean", "std", "num_workers", "in_memory", "seed")
    further = {"val_fraction": 0.1, "test_fraction": 0.1, "augment": None}
    changed(
        run,
        lambda c: c["description"]["config"].update(
            data=data | {key: c["description"]["config"]["data"][key] for key in kept} | further
        ),
    )
    write_images(tree, torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)["description"]["facts"])
    evaluate_run(run, f"paths.cache={tmp_path}/cache", "split=all")
    assert not (tmp_path / "evil").exists()
    assert list((tmp_path / "cache").iterdir())


def write_images(tree: Path, facts: dict[str, Any]) -> None:
    from PIL import Image

    for name in facts["classes"]:
        (tree / name).mkdir(parents=True)
        for index in range(10):
            Image.new("L", (8, 8), index).save(tree / name / f"{index}.png")


@pytest.mark.parametrize("name", ["evaluation", "evaluation/test"])
def test_an_evaluation_does_not_follow_a_link_out_of_its_run(run, tmp_path, name):
    outside = tmp_path / "outside"
    outside.mkdir()
    (run / name).parent.mkdir(exist_ok=True)
    (run / name).symlink_to(outside)
    evaluate_run(run, f"paths.logs={tmp_path}/logs")
    assert list(outside.iterdir()) == []
    assert (tmp_path / "logs" / "evaluation" / known_by(run) / "test" / "metrics.json").is_file()


def test_an_evaluation_does_not_touch_what_its_results_link_to(run, tmp_path):
    folder = run / "evaluation" / "test"
    folder.mkdir(parents=True)
    (folder / "metrics.json").symlink_to(tmp_path / "new")
    evaluate_run(run)
    assert not (tmp_path / "new").exists()


def test_what_a_killed_evaluation_left_is_removed(run):
    folder = run / "evaluation" / "test"
    folder.mkdir(parents=True)
    old, alive = folder / ".metrics.json.4000000.tmp", folder / f".other.json.{os.getpid()}.tmp"
    for file in (old, alive):
        file.touch()
        os.utime(file, (0, 0))
    evaluate_run(run)
    assert not old.exists()
    assert alive.exists()


def test_a_checkpoint_cannot_download_weights(run, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(run / "torch"))
    resnet = {"_target_": "torchvision.models.resnet18", "weights": "DEFAULT"}
    changed(
        run, lambda c: c["description"]["config"].update(model={"_target_": "torch.nn.Sequential", "_args_": [resnet]})
    )
    with pytest.raises(CheckpointError, match="a checkpoint of another model"):
        evaluate_run(run)
    # Its default has the weights of a backbone.
    detector = {"_target_": "torchvision.models.detection.fasterrcnn_resnet50_fpn"}
    changed(run, lambda c: c["description"]["config"].update(model=detector))
    with pytest.raises(CheckpointError):
        evaluate_run(run)
    assert not [each for each in run.glob("torch/**/*") if each.is_file()]


# A run folder that goes away


def test_a_run_folder_that_was_removed_is_not_made_again(tmp_path, monkeypatch):
    cfg = compose([*SMALL, "trainer.max_epochs=1", f"paths.logs={tmp_path}", "logger=none"])
    run = Path(cfg.paths.run)
    monkeypatch.setattr(Bookkeeping, "on_train_epoch_start", lambda *_: shutil.rmtree(run))
    with pytest.raises((KindlingError, OSError)):
        train(cfg)
    assert not run.exists()


def test_an_error_of_the_project_s_own_code_names_its_line(tmp_path):
    net = project.current().root / "src" / project.current().package / "mlp.py"
    code = compile("\n\ndef broken():\n    raise TypeError('a bug')\n", str(net), "exec")
    names: dict[str, Any] = {}
    exec(code, names)
    expected = r"does not work \(TypeError: a bug, src/bench/mlp\.py:4\); use another checkpoint"
    with pytest.raises(CheckpointError, match=expected), blamed_on(tmp_path / "last.ckpt"):
        names["broken"]()
