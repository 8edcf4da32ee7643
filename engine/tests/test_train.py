"""What `train(cfg)` does, in this process."""

import copy
import json
import secrets
import warnings
from pathlib import Path

import pytest
import torch
import yaml
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from torch import nn

from bench.tasks.classification import Classification
from kindling.checkpoints import checkpoint
from kindling.config.composition import instantiate
from kindling.console import set_up_logging
from kindling.errors import CheckpointError, ConfigError, KindlingError
from kindling.testing.runs import rows_of, same_weights
from kindling.train import train
from kindling.training.task import Task
from long_run import some


def test_a_run_learns_and_tests_its_best_checkpoint(train_run):
    run = train_run("trainer.max_epochs=4", "optimizer.lr=0.01")
    assert run.metrics["train/accuracy"] > 0.9
    assert {"train/loss", "val/loss", "val/accuracy", "test/loss", "test/accuracy"} <= run.metrics.keys()


@pytest.mark.filterwarnings("ignore:.*could not find the monitored key", "ignore:Early stopping conditioned")
def test_a_run_too_short_for_a_validation_keeps_and_tests_its_last_weights(train_run):
    run = train_run("trainer.max_steps=2", "trainer.max_epochs=null")
    assert (run.folder / "checkpoints" / "last.ckpt").exists()
    assert "test/accuracy" in run.metrics
    assert "val/loss" not in run.metrics
    with pytest.raises(CheckpointError, match=r"lacks checkpoints/best.ckpt; give a file: .*last.ckpt"):
        checkpoint.find(str(run.folder))


@pytest.mark.slow
def test_early_stopping_may_watch_a_metric_of_training(train_run):
    run = train_run("monitor=train/loss", "optimizer.lr=0", "callbacks.early_stopping.patience=1")
    epochs = [row["epoch"] for row in rows_of(run) if row["train/loss"]]
    assert len(epochs) == 2


def test_the_run_folder_tells_the_whole_story(train_run):
    run = train_run("seed=3", "logger=default", "trainer.max_epochs=1")
    files = {str(path.relative_to(run.folder)) for path in run.folder.rglob("*") if path.is_file()}
    expected = {
        "config.yaml",
        "run.json",
        "metrics.csv",
        "timings.csv",
        "checkpoints/best.ckpt",
        "checkpoints/last.ckpt",
    }
    assert expected <= files
    assert any(file.startswith("tensorboard/events") for file in files)
    record = json.loads((run.folder / "run.json").read_text())
    assert record["status"] == "finished"
    assert record["seed"] == 3
    assert record["metrics"] == run.metrics
    assert record["timings"]["total_s"] >= record["timings"]["fit_s"] > 0
    assert record["versions"]["torch"] == torch.__version__.partition("+")[0]
    assert len(record["data_fingerprint"]) == 32
    assert record["best"]["monitor"] == "val/loss"


def test_the_saved_config_is_resolved_and_composes_the_same_run(train_run):
    run = train_run("model.hidden=[32]", "model=mlp")
    saved = yaml.safe_load((run.folder / "config.yaml").read_text())
    assert saved["model"]["num_classes"] == 10
    assert "${" not in (run.folder / "config.yaml").read_text()


@pytest.mark.parametrize("model", ["cnn", pytest.param("vit", marks=pytest.mark.slow)])
def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not(train_run, model):
    small = [f"model={model}", "data.num_images=64", "trainer.max_epochs=1", "model.dropout=0.1"]
    first, again, other = (train_run(*small, f"seed={seed}") for seed in (0, 0, 1))
    assert same_weights(first.weights(), again.weights())
    assert (first.folder / "metrics.csv").read_text() == (again.folder / "metrics.csv").read_text()
    assert not same_weights(first.weights(), other.weights())


@pytest.mark.slow
def test_seed_zero_is_a_seed(train_run):
    torch.manual_seed(123)
    first = train_run("seed=0")
    torch.manual_seed(456)
    assert same_weights(first.weights(), train_run("seed=0").weights())


@pytest.mark.parametrize("num_workers", some([0, 2], 2))
def test_workers_do_not_change_the_weights(train_run, make_tree, tmp_path, num_workers):
    tree = [
        "data=image_folder",
        f"data.root={make_tree()}",
        f"data.cache_dir={tmp_path}",
        "data.batch_size=8",
        "trainer.log_every_n_steps=1",
    ]
    in_memory = train_run(*tree, "data.in_memory=true")
    decoded = train_run(*tree, "data.in_memory=false", f"data.num_workers={num_workers}")
    assert same_weights(in_memory.weights(), decoded.weights())


def test_each_validation_sees_every_image_even_after_the_sanity_check(train_run, monkeypatch):
    seen = []
    monkeypatch.setattr(
        Task, "on_validation_epoch_end", lambda self: seen.append(self.kindling_sums["val"].state()["num"])
    )
    train_run("data.batch_size=16", "trainer.num_sanity_val_steps=2", "trainer.max_epochs=3")
    assert seen == [32, 64, 64, 64]


def test_metrics_equal_a_plain_pass_over_the_data(train_run):
    run = train_run("data.batch_size=20")
    data = instantiate(run.cfg.data, "data")
    net = Classification(instantiate(run.cfg.model, "model"), nn.CrossEntropyLoss(), "none")
    net.load_state_dict(run.weights("best"))
    net.eval()
    with torch.inference_mode():
        logits, labels = zip(*((net(images), labels) for images, labels in data.test_dataloader()), strict=True)
    logits, labels = torch.cat(logits), torch.cat(labels)
    assert run.metrics["test/accuracy"] == pytest.approx((logits.argmax(1) == labels).float().mean().item())
    assert run.metrics["test/loss"] == pytest.approx(nn.functional.cross_entropy(logits, labels).item(), rel=1e-5)


def test_metrics_csv_has_one_row_a_step_and_every_epoch(train_run):
    run = train_run("trainer.max_epochs=3")
    rows = rows_of(run)
    steps = [int(row["step"]) for row in rows]
    assert steps == sorted(set(steps))
    assert sum(bool(row["val/loss"]) for row in rows) == 3
    assert sum(bool(row["train/accuracy"]) for row in rows) == 3
    assert float(rows[-1]["test/accuracy"]) == run.metrics["test/accuracy"]


def test_loss_is_logged_every_n_steps(train_run):
    rows = rows_of(train_run("trainer.log_every_n_steps=4", "trainer.max_epochs=1"))
    assert [row["step"] for row in rows if row["train/loss_step"]] == ["3", "7"]


def test_best_is_the_epoch_with_the_best_monitor(train_run):
    run = train_run("trainer.max_epochs=4", "optimizer.lr=0.01")
    losses = [float(row["val/loss"]) for row in rows_of(run) if row["val/loss"]]
    record = json.loads((run.folder / "run.json").read_text())
    assert record["best"]["score"] == pytest.approx(min(losses))


def test_last_is_the_last_epoch_even_if_it_is_not_the_best(train_run):
    run = train_run("trainer.max_epochs=3", "optimizer.lr=0.0", "model=mlp")
    file = run.folder / "checkpoints"
    last, best = (torch.load(file / f"{name}.ckpt", weights_only=True) for name in ("last", "best"))
    assert last["global_step"] == 24
    assert best["global_step"] < 24


def test_early_stopping_ends_a_run_that_no_longer_improves(train_run):
    run = train_run("trainer.max_epochs=9", "optimizer.lr=0.0", "callbacks.early_stopping.patience=1", "model=mlp")
    assert sum(bool(row["val/loss"]) for row in rows_of(run)) < 9


def test_monitor_is_named_once_for_checkpoint_stopping_and_schedule(train_run):
    run = train_run("monitor=val/accuracy", "monitor_mode=max", "scheduler=plateau")
    saved = yaml.safe_load((run.folder / "config.yaml").read_text())
    assert saved["callbacks"]["best_checkpoint"]["monitor"] == "val/accuracy"
    assert saved["callbacks"]["early_stopping"]["mode"] == saved["scheduler"]["scheduler"]["mode"] == "max"
    assert json.loads((run.folder / "run.json").read_text())["best"]["monitor"] == "val/accuracy"


@pytest.mark.slow
def test_last_is_newest_even_if_validation_is_rare(train_run):
    run = train_run("trainer.max_epochs=3", "trainer.check_val_every_n_epoch=2")
    saved = torch.load(run.folder / "checkpoints" / "last.ckpt", weights_only=True)
    assert saved["global_step"] == 24


def test_a_run_that_diverges_fails_by_name(train_run, config):
    with pytest.raises(KindlingError, match=r"loss: is NaN or infinite; step 1 ") as caught:
        train_run("optimizer=sgd", "optimizer.lr=1e30", "callbacks.early_stopping=null")
    assert any(line.startswith("what to try: lower optimizer.lr") for line in caught.value.__notes__)


@pytest.mark.parametrize("seed", ["null", "-1", "1.5", "abc", str(2**32)])
def test_what_is_no_seed_is_refused(train_run, seed):
    with pytest.raises(
        ConfigError, match=r"seed: given .*; allowed: (a whole number|0 or more and less than 4294967296)"
    ):
        train_run(f"seed={seed}")


@pytest.mark.parametrize(
    "flag", some(["enable_progress_bar", "enable_model_summary", "enable_checkpointing"], "enable_checkpointing")
)
def test_a_flag_that_is_off_takes_its_callbacks_along(train_run, flag):
    assert train_run(f"trainer.{flag}=false", "trainer.max_epochs=1").metrics["test/loss"] > 0


def test_a_secret_is_in_no_file_of_the_run(train_run):
    secret = secrets.token_hex(8)
    run = train_run(f"+hub.api_key={secret}", "trainer.max_epochs=1", "logger=default")
    files = [path for path in run.folder.rglob("*") if path.is_file()]
    assert len(files) >= 8
    assert [path.name for path in files if secret.encode() in path.read_bytes()] == []
    assert "<redacted>" in (run.folder / "config.yaml").read_text()


def test_a_new_run_in_the_folder_of_another_is_refused(finished, config):
    cfg = config()
    cfg.paths.run = str(finished.folder)
    with pytest.raises(ConfigError, match="which holds a run"):
        train(cfg)


@pytest.mark.parametrize("given", ["", "/checkpoints/best.ckpt"])
def test_train_false_tests_the_weights_that_are_given(train_run, finished, given):
    again = train_run("train=false", f"weights={finished.folder}{given}")
    assert again.metrics == {k: v for k, v in finished.metrics.items() if k.startswith("test/")}


@pytest.mark.parametrize("start", ["resume=null", "resume=auto", "fork=nowhere"])
def test_train_false_without_weights_never_tests_random_ones(train_run, start):
    with pytest.raises(ConfigError, match=r"train: given false with .*; allowed: weights=<run folder"):
        train_run("train=false", start)


def test_no_epochs_never_test_random_weights(train_run):
    with pytest.raises(ConfigError, match="nothing was trained"):
        train_run("trainer.max_epochs=0", "callbacks=none")


def test_weights_of_another_model_are_refused(train_run, finished):
    for given in (finished.folder, finished.folder / "checkpoints" / "last.ckpt"):
        with pytest.raises(ConfigError, match="a checkpoint of another model"):
            train_run("model=mlp", f"weights={given}")
    with pytest.raises(ConfigError, match="given nowhere, which does not exist"):
        train_run("weights=nowhere")


def test_a_failed_run_says_why(train_run, config, monkeypatch):
    cfg = config()
    monkeypatch.setattr(Task, "validation_step", lambda self, *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        train(cfg)
    record = json.loads((Path(cfg.paths.run) / "run.json").read_text())
    assert record["status"] == "failed"
    assert record["reason"] == "ZeroDivisionError: division by zero"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["model=cnn", "data.image_size=4"],
            r"model: given bench.models.cnn.CNN for inputs of shape \(1, 4, 4\), which",
        ),
        (["model.num_classes=3"], r"gives logits \(2, 3\); allowed: \(2, 10\)"),
        (["trainer=gpu"], "trainer.(accelerator|devices): given (gpu|99)"),
        (["+model.depth=3"], "model.depth: given an argument that CNN does not take"),
        (["trainer.max_epochs=-1"], "set trainer.max_epochs or trainer.max_steps"),
        (["optimizer.lr=-1"], "optimizer.lr: given -1; allowed: 0 or more"),
        (["data.std=[0]"], r"data.std: given \[0\]; allowed: more than 0"),
        (["data.num_workers=-1"], "data.num_workers: given -1; allowed: 0 or more"),
        (["data.in_memory=banana"], "data.in_memory: given 'banana'; allowed: true or false or auto"),
    ],
)
def test_a_config_that_cannot_train_is_refused_before_the_first_step(train_run, overrides, message):
    if "trainer=gpu" in overrides and torch.cuda.is_available():
        overrides = ["trainer=gpu", "trainer.devices=99"]
    with pytest.raises(ConfigError, match=message):
        train_run(*overrides)


def test_checkpoints_load_without_the_projects_classes_and_know_no_package_name(finished):
    run = finished
    saved = torch.load(run.folder / "checkpoints" / "best.ckpt", weights_only=True)
    assert saved["description"]["config"]["model"]["_target_"] == ".models.cnn.CNN"
    assert saved["description"]["facts"]["classes"] == [f"class {i}" for i in range(10)]
    assert '"bench.' not in json.dumps(saved["description"]["config"])


def test_callbacks_none_and_logger_none_leave_only_the_record(train_run):
    run = train_run("callbacks=none", "logger=none")
    assert {path.name for path in run.folder.iterdir()} == {".lock", "config.yaml", "run.json"}
    assert run.metrics["test/loss"] > 0


@pytest.mark.slow
def test_the_hparams_tab_gets_settings_and_final_metric(train_run):
    run = train_run("optimizer.lr=0.02", "logger=default")
    settings, scalars = {}, set()
    for file in (run.folder / "tensorboard").glob("events*"):
        for event in EventFileLoader(str(file)).Load():
            for value in event.summary.value:
                scalars.add(value.tag)
                if value.metadata.plugin_data.plugin_name == "hparams":
                    content = HParamsPluginData.FromString(value.metadata.plugin_data.content)
                    settings |= dict(content.session_start_info.hparams)
    assert settings["optimizer.lr"].number_value == 0.02
    assert settings["model"].string_value == "CNN"
    assert not [name for name in settings if name.startswith(("callbacks", "paths"))]
    assert {"train/loss", "val/loss", "test/accuracy"} <= scalars


@pytest.mark.slow
def test_clipping_accumulation_and_mixed_precision_go_together(train_run):
    run = train_run(
        "trainer.gradient_clip_val=0.5", "trainer.accumulate_grad_batches=2", "trainer.precision=bf16-mixed"
    )
    assert run.metrics["train/accuracy"] > 0.5
    assert json.loads((run.folder / "run.json").read_text())["status"] == "finished"


def test_a_warning_of_lightning_shows_no_path_of_its_code():
    set_up_logging()
    assert warnings.formatwarning(UserWarning("few batches"), UserWarning, "fit_loop.py", 321) == "warning: few batches"


@pytest.mark.parametrize("accumulated", some([2, 3, 4, 9], 4, 9))
def test_accumulated_batches_make_the_step_of_one_large_batch_at_the_end_of_an_epoch_too(
    train_run, monkeypatch, accumulated
):
    """Of an epoch of 8 batches, in windows of `accumulated` and what remains."""
    seen, nets, step = [], [], Task.training_step

    def watched(self, batch, batch_idx):
        nets[:] = nets or [copy.deepcopy(self.net)]
        seen.append(batch)
        return step(self, batch, batch_idx)

    monkeypatch.setattr(Task, "training_step", watched)
    plain = ["model=mlp", "model.dropout=0", "optimizer=sgd", "optimizer.lr=0.01", "optimizer.weight_decay=0"]
    few = ["scheduler=constant", "trainer.max_epochs=1", "test=false"]
    run = train_run(*plain, *few, f"trainer.accumulate_grad_batches={accumulated}")

    assert len(seen) == 8
    (net,) = nets
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9, nesterov=True)
    for start in range(0, len(seen), accumulated):
        images, labels = (torch.cat(parts) for parts in zip(*seen[start : start + accumulated], strict=True))
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(images), labels).backward()
        optimizer.step()
    for name, expected in net.state_dict().items():
        torch.testing.assert_close(run.weights()[f"net.{name}"], expected, atol=1e-6, rtol=0)


@pytest.mark.slow
def test_a_checkpoint_of_each_few_epochs_tells_how_good_it_is(train_run):
    run = train_run(
        "callbacks=[ema,periodic]", "callbacks.periodic_checkpoint.every_n_epochs=2", "trainer.max_epochs=5"
    )
    losses = {row["epoch"]: float(row["val/loss"]) for row in rows_of(run) if row["val/loss"]}
    kept = sorted(file.name for file in (run.folder / "checkpoints").glob("epoch_*.ckpt"))
    assert kept == [f"epoch_{epoch:03}_val_loss_{losses[str(epoch)]:.4f}.ckpt" for epoch in (1, 3)]
    assert checkpoint.load(run.folder / "checkpoints" / kept[0])["epoch"] == 1
    assert json.loads((run.folder / "run.json").read_text())["best"]["monitor"] == "val/loss"
