"""Metrics of torchmetrics, by config, beside those of the task."""

import json

import pytest
import torch
from torchmetrics.functional import classification

from kindling.cli.entry import compose
from kindling.config.composition import instantiate
from kindling.errors import ConfigError
from kindling.evaluate import evaluate
from kindling.testing.commands import Fork, only_run
from kindling.testing.runs import rows_of
from kindling.training.rebuild import rebuild
from kindling.training.task import Task

METRICS = "metrics=[f1,auroc]"
EVERY_STEP = "callbacks.resume_checkpoint.every_n_steps=1"


def best_of(run):
    from kindling.checkpoints import checkpoint

    path = run.folder / "checkpoints" / "best.ckpt"
    return rebuild(checkpoint.load(path), path).eval()


def test_metrics_are_logged_of_each_split_and_equal_a_plain_computation(train_run):
    run = train_run(METRICS, "monitor=val/f1", "data.batch_size=20")
    assert {f"{stage}/{name}" for stage in ("train", "val", "test") for name in ("f1", "auroc")} <= run.metrics.keys()
    net, data = best_of(run), instantiate(run.cfg.data, "data")
    with torch.inference_mode():
        pairs = [(net(images), labels) for images, labels in data.test_dataloader()]
    logits, labels = (torch.cat(each) for each in zip(*pairs, strict=True))
    expected = classification.multiclass_f1_score(logits, labels, run.cfg.data.num_classes, average="macro")
    assert run.metrics["test/f1"] == pytest.approx(expected.item())
    found = evaluate(compose([f"run={run.folder}", "trainer.accelerator=cpu"], name="evaluate"))
    assert found["test/f1"] == pytest.approx(run.metrics["test/f1"])
    assert found["test/auroc"] == pytest.approx(run.metrics["test/auroc"])


def test_the_best_checkpoint_is_that_of_the_highest_f1(train_run):
    run = train_run("metrics=f1", "monitor=val/f1", "trainer.max_epochs=3")
    highest = max(float(row["val/f1"]) for row in rows_of(run) if row["val/f1"])
    assert json.loads((run.folder / "run.json").read_text())["best"] == {
        "monitor": "val/f1",
        "score": pytest.approx(highest),
        "epoch": next(int(row["epoch"]) for row in rows_of(run) if row["val/f1"] and float(row["val/f1"]) == highest),
    }


def test_metrics_of_an_epoch_survive_a_stop_in_its_middle(train_run, stop_at):
    whole = train_run(METRICS)
    stopped = stop_at(11, EVERY_STEP, METRICS)
    assert rows_of(train_run(METRICS, f"resume={stopped.paths.run}")) == rows_of(whole)


def test_a_metric_of_each_class_is_logged_by_class_and_one_of_pairs_is_refused(train_run):
    run = train_run("metrics=f1", "metrics.f1.average=none", "trainer.max_epochs=1")
    assert sum(name.startswith("test/f1_") for name in run.metrics) == 10
    target = "metrics.f1._target_=torchmetrics.classification.MulticlassConfusionMatrix"
    with pytest.raises(ConfigError, match=r"metrics.f1: gives \(10, 10\); allowed: a number, a vector or a dict"):
        train_run("metrics=f1", target, "~metrics.f1.average", "trainer.max_epochs=1")


def test_a_metric_of_a_task_that_is_no_number_is_refused_by_name(train_run, monkeypatch):
    monkeypatch.setattr(Task, "epoch_metrics", lambda self, sums: {"loss": sums["loss"], "ious": torch.ones(3)})
    with pytest.raises(
        ConfigError, match=r"task.epoch_metrics: gives ious of shape \(3,\); allowed: a number for each"
    ):
        train_run()


@pytest.mark.slow
def test_metrics_of_two_processes_are_those_of_one(tmp_path):
    small = [
        "data=fake",
        "model=mlp",
        "trainer=ddp_cpu",
        "data.batch_size=14",
        "trainer.max_epochs=1",
        "trainer.log_every_n_steps=5",
    ]
    Fork(tmp_path, "train.py", *small, METRICS, f"paths.logs={tmp_path}/logs").result()
    folder = only_run(tmp_path / "logs" / "default")
    metrics = json.loads((folder / "run.json").read_text())["metrics"]
    found = evaluate(compose([f"run={folder}", "trainer.accelerator=cpu"], name="evaluate"))
    for name in ("test/f1", "test/auroc", "test/accuracy"):
        assert metrics[name] == pytest.approx(found[name], rel=1e-5)
