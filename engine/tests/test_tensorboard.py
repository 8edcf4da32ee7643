"""What TensorBoard shows beyond curves, read back from its event files."""

import dataclasses
import io
import json
import math
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.trainer.states import TrainerFn
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader
from tensorboard.compat.proto.graph_pb2 import GraphDef
from tensorboard.plugins.custom_scalar.layout_pb2 import Layout
from tensorboard.plugins.hparams.backend_context import Context
from tensorboard.util.tensor_util import make_ndarray
from torch import nn
from torch.optim import SGD
from torch.utils.tensorboard._utils import figure_to_image
from torchvision.utils import make_grid

from bench.tasks.classification import Classification
from kindling.callbacks.drawing import TensorBoardCallback, markdown, show
from kindling.callbacks.gradient_norm import GradientNorm
from kindling.callbacks.gradients import unscaled_gradients
from kindling.callbacks.graph import Graph
from kindling.callbacks.histograms import Histograms
from kindling.cli.entry import compose
from kindling.config.composition import instantiate
from kindling.data.class_report import per_class, worst_first
from kindling.data.confusion import plot_confusion_matrix
from kindling.errors import Interrupted
from kindling.images.fake import FakeImages
from kindling.images.plots import plot_mistakes
from kindling.images.training_images import pixels
from kindling.images.validation_pictures import ValidationPictures, in_order
from kindling.loggers.csv import MetricsCSV
from kindling.loggers.tensorboard_run import LAYERS, TensorBoardRun, layout_of, log_settings
from kindling.testing.runs import FAST, Run, rows_of, same_weights
from kindling.train import train
from kindling.training.task import Task
from long_run import some

EYES = ["training_images", "validation_pictures", "histograms", "graph", "gradient_norm"]
AUGMENT = (
    "data.augment={_target_: kindling.images.augment.Augment, crop_padding: 2, padding_mode: constant, "
    "horizontal_flip: 0.5, alternating_flip: false, rotation: 10, random_erasing: 0.0}"
)
OFTEN = ["callbacks.histograms.every_n_epochs=1", "callbacks.validation_pictures.every_n_epochs=1"]
ON = ["callbacks=tensorboard", "logger=default", *OFTEN]
LAYOUT = "custom_scalars__config__"
FIRST, SECOND = 7, 15  # last steps of two epochs


class Value(NamedTuple):
    step: int
    value: Any


def values_of(run: Run, name: str = "tensorboard") -> dict[str, list[Value]]:
    """What the event files hold, by tag; graphs as graph."""
    found: dict[str, list[Value]] = {}
    for file in sorted((run.folder / name).glob("events*")):
        for event in LegacyEventFileLoader(str(file)).Load():
            if event.graph_def:
                found.setdefault("graph", []).append(Value(event.step, GraphDef.FromString(event.graph_def)))
            for each in event.summary.value:
                found.setdefault(each.tag, []).append(Value(event.step, each))
    return found


def image_of(value: Value) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(value.value.image.encoded_image_string)))


def kinds_of(found: dict[str, list[Value]]) -> dict[str, int]:
    """How many tags there are of each kind, without scalars."""
    kinds: dict[str, int] = {}
    for tag, values in found.items():
        if tag == "graph" or (
            tag[0] != "_" and tag != LAYOUT and values[0].value.WhichOneof("value") != "simple_value"
        ):
            kinds[tag.split("/")[0]] = kinds.get(tag.split("/")[0], 0) + 1
    return kinds


def last_validation(run: Run) -> tuple[Any, torch.Tensor, torch.Tensor]:
    """The splits, and the logits and labels of a pass over the validation images with the last weights."""
    data = instantiate(run.cfg.data, "data")
    net = Classification(instantiate(run.cfg.model, "model"), nn.CrossEntropyLoss(), "none")
    net.load_state_dict(run.weights())
    net.eval()
    with torch.inference_mode():
        logits, labels = zip(*((net(images), labels) for images, labels in data.val_dataloader()), strict=True)
    return data.splits, torch.cat(logits), torch.cat(labels)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> Run:
    """A run that draws everything in each of its two epochs."""
    few = [
        "optimizer.lr=0.0003",
        "data.batch_size=32",
        "trainer.num_sanity_val_steps=1",
        AUGMENT,
    ]  # so that it makes mistakes
    cfg = compose([*FAST, *ON, *few, f"paths.logs={tmp_path_factory.mktemp('drawn')}"])
    metrics = train(cfg)
    return Run(cfg, Path(cfg.paths.run), metrics)


@pytest.fixture(scope="module")
def found(drawn) -> dict[str, list[Value]]:
    return values_of(drawn)


@pytest.mark.slow
def test_the_grid_is_of_the_first_batch_augmented_and_not_normalised(drawn, found):
    data = instantiate(drawn.cfg.data, "data")
    loader = data.train_dataloader()
    indices, draws, _ = loader.draw()
    images = data.augment(data.splits.train.images[indices[:32]], draws[:32])  # before it is normalised
    expected = make_grid(images.permute(0, 3, 1, 2)).permute(1, 2, 0).numpy()
    (grid,) = found["train/images"]
    assert grid.step == 0
    np.testing.assert_array_equal(image_of(grid), expected)


@pytest.mark.parametrize(("channels", "shown"), [(1, 1), (2, 1), (3, 3), (4, 1)])
def test_pixels_are_those_before_normalisation_in_as_many_channels_as_a_picture_has(channels, shown):
    given = torch.randint(0, 256, (2, channels, 5, 5), dtype=torch.uint8)
    mean, std = [0.1 * (i + 1) for i in range(channels)], [0.2 + 0.1 * i for i in range(channels)]
    shaped = (torch.tensor(each).view(-1, 1, 1) for each in (mean, std))
    trainer = SimpleNamespace(datamodule=SimpleNamespace(mean=mean, std=std))
    normalised = (given / 255 - next(shaped)) / next(shaped)
    assert torch.equal(pixels(trainer, normalised), given[:, :shown])


def test_mistakes_and_confusion_are_those_of_the_validation_of_each_epoch(drawn, found):
    splits, logits, labels = last_validation(drawn)
    classes = list(splits.classes)
    assert 0 < (logits.argmax(1) == labels).sum() < len(labels)
    figures = {
        "val/mistakes": plot_mistakes(splits.val, logits, labels, classes, 18),
        "val/confusion_matrix": plot_confusion_matrix(logits, labels, classes),
    }
    for tag, figure in figures.items():
        assert [value.step for value in found[tag]] == [FIRST, SECOND]
        first, second = map(image_of, found[tag])
        np.testing.assert_array_equal(second, np.moveaxis(figure_to_image(figure), 0, 2))
        assert not np.array_equal(first, second)


def test_the_classes_are_listed_worst_first_as_an_evaluation_prints_them(drawn, found):
    splits, logits, labels = last_validation(drawn)
    columns, rows = worst_first(logits, labels, per_class(logits, labels, list(splits.classes)))
    table = found["val/classes/text_summary"]
    assert [value.step for value in table] == [FIRST, SECOND]
    assert make_ndarray(table[-1].value.tensor).item().decode() == markdown(columns, rows)
    assert [row[3] for row in rows] == sorted(row[3] for row in rows)
    assert len(rows) == 10


def test_the_name_of_a_class_cannot_end_its_cell():
    assert markdown(["class", "f1"], [["a|b", 0.5]]) == "| class | f1 |\n| --- | --- |\n| a&#124;b | 0.5000 |"


def test_no_sanity_check_is_drawn(tmp_path):
    for is_sanity_check in (False, True):
        eye = ValidationPictures(None, num_mistakes=9, confusion_matrix=True, pr_curves=True)
        trainer = Trainer(logger=TensorBoardLogger(tmp_path), accelerator="cpu", enable_model_summary=False)
        trainer.sanity_checking, trainer.state.fn = is_sanity_check, TrainerFn.FITTING
        eye.on_validation_epoch_start(trainer, LightningModule())
        assert (eye._kept is None) == is_sanity_check


def test_a_confusion_matrix_counts_true_classes_by_row(monkeypatch):
    shown = []
    monkeypatch.setattr("matplotlib.axes.Axes.text", lambda self, x, y, text, **_: shown.append((y, x, text)))
    predicted, labels = torch.tensor([0, 1, 1, 1, 2]), torch.tensor([0, 0, 0, 1, 1])
    plot_confusion_matrix(nn.functional.one_hot(predicted, 3).float(), labels, ["a", "b", "c"])
    assert sorted(shown) == [(0, 0, "1"), (0, 1, "2"), (1, 1, "1"), (1, 2, "1")]


def test_precision_and_recall_are_those_counted_by_hand(drawn, found):
    _, logits, labels = last_validation(drawn)
    for k in range(10):
        value = found[f"val/class {k}"][-1]
        assert value.step == SECOND
        assert value.value.metadata.plugin_data.plugin_name == "pr_curves"
        curve = make_ndarray(value.value.tensor)  # (6, thresholds): tp, fp, tn, fn, precision, recall
        for i in (0, 3, 17, 40, 90, 126):
            chosen = logits.softmax(1)[:, k] >= i / 126
            hits, falls = int((chosen & (labels == k)).sum()), int((chosen & (labels != k)).sum())
            missed = int((labels == k).sum()) - hits
            assert curve[:4, i].tolist() == [hits, falls, 64 - hits - falls - missed, missed]
            assert curve[5, i] == pytest.approx(hits / (hits + missed))


@pytest.mark.slow
def test_histograms_hold_all_weights_and_gradients_of_the_last_step(train_run, monkeypatch):
    weights, gradients, step = {}, {}, Task.on_before_optimizer_step

    def keep(self, optimizer):  # called after those of callbacks, and before gradients are clipped
        for name, each in self.named_parameters():
            weights[name], gradients[name] = each.detach().clone(), each.grad.clone()
        step(self, optimizer)

    monkeypatch.setattr(Task, "on_before_optimizer_step", keep)
    found = values_of(train_run(*ON, "trainer.gradient_clip_val=0.01"))
    assert len(weights) == len([tag for tag in found if tag.startswith("weights/")])
    for kind, tensors in (("weights", weights), ("gradients", gradients)):
        for name, tensor in tensors.items():
            assert [value.step for value in found[f"{kind}/{name}"]] == [FIRST, SECOND]
            histogram = found[f"{kind}/{name}"][-1].value.histo
            assert histogram.num == sum(histogram.bucket) == tensor.numel()
            assert histogram.sum == pytest.approx(tensor.sum().item(), abs=1e-5)
            assert (histogram.min, histogram.max) == (tensor.min().item(), tensor.max().item())


def test_histograms_are_of_the_last_batch_of_the_first_of_so_many_epochs(monkeypatch):
    monkeypatch.setattr("kindling.callbacks.histograms.writers", lambda _: [None])
    drawn, histograms, module = [], Histograms(2), nn.Linear(1, 1)
    monkeypatch.setattr(histograms, "_draw", lambda trainer, kind, _: drawn.append((trainer.current_epoch, kind)))
    for epoch in range(3):
        for is_last in (False, True):
            trainer: Any = SimpleNamespace(is_last_batch=is_last, current_epoch=epoch, precision_plugin=None)
            histograms.on_before_optimizer_step(trainer, module, SGD(module.parameters()))  # pyright: ignore[reportArgumentType]
    assert drawn == [(epoch, kind) for epoch in (0, 2) for kind in ("weights", "gradients")]


def test_values_that_are_not_finite_are_left_out_of_a_histogram(tmp_path):
    with torch.utils.tensorboard.SummaryWriter(str(tmp_path / "tensorboard")) as writer:
        trainer = SimpleNamespace(
            is_global_zero=True,
            loggers=[],
            fit_loop=SimpleNamespace(epoch_loop=SimpleNamespace(_batches_that_stepped=3)),
        )
        nan, inf = math.nan, math.inf
        tensors = {"some": torch.tensor([1, nan, inf, 2], dtype=torch.bfloat16), "none": torch.tensor([nan])}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("kindling.callbacks.histograms.writers", lambda _: [writer])
            Histograms(1)._draw(trainer, "gradients", tensors)
    found = values_of(Run(None, tmp_path, {}))
    assert list(found) == ["gradients/some"]
    assert (found["gradients/some"][0].value.histo.num, found["gradients/some"][0].value.histo.sum) == (2, 3)


def test_the_graph_names_the_modules_and_operations_of_the_net(found):
    (graph,) = found["graph"]
    names = [node.name for node in graph.value.node]
    operations = {node.op for node in graph.value.node}
    assert {"aten::_convolution", "aten::batch_norm", "aten::linear"} <= operations
    assert any("Sequential[stages]" in name for name in names)
    assert any("Linear" in name for name in names)


class Stubborn(nn.Module):
    """Cannot be traced: its output is no tensor, or it fails outright."""

    def forward(self, images):
        return None if len(images) else 1 / 0


def graph_of(net: nn.Module, tmp_path, global_step: int = 0, **config) -> tuple[LightningModule, list[str]]:
    """What is drawn with the first batch of training."""
    sizes = {"channels": 3, "image_size": 8}
    module = Classification(net, nn.CrossEntropyLoss(), "none", config={"data": sizes, **config})
    added = []
    trainer = SimpleNamespace(
        global_step=global_step,
        precision_plugin=SimpleNamespace(convert_input=lambda images: images),
    )
    with pytest.MonkeyPatch.context() as patch:
        writer = SimpleNamespace(add_graph=lambda trace, blank: added.append(trace))
        patch.setattr("kindling.callbacks.graph.writers", lambda _: [writer])
        graph: Any = Graph()
        graph.on_train_start(trainer, module)
        for batch_idx in (0, 1):
            graph.on_train_batch_start(trainer, module, None, batch_idx)
    return module, added


def test_tracing_leaves_random_numbers_statistics_and_mode_alone(tmp_path):
    class Noisy(nn.BatchNorm2d):
        def forward(self, images):
            return super().forward(images) + torch.rand(1)

    net = nn.Sequential(Noisy(3), nn.Dropout(0.5), nn.Flatten(), nn.Linear(192, 4))
    before, state = torch.get_rng_state(), {name: each.clone() for name, each in net.state_dict().items()}
    module, added = graph_of(net, tmp_path)
    assert len(added) == 1
    assert torch.equal(torch.get_rng_state(), before)
    assert same_weights(module.net.state_dict(), state)
    assert all(each.training for each in module.modules())


def test_a_net_that_cannot_be_traced_is_one_warning(tmp_path, caplog, capsys):
    _, added = graph_of(Stubborn(), tmp_path)
    assert not added
    (line,) = caplog.messages
    assert line.startswith("warning: callbacks.graph: torch cannot trace Stubborn: ")
    assert capsys.readouterr().out == ""


def test_a_fork_draws_its_graph_and_a_resumed_run_does_not_draw_it_again(tmp_path):
    net = nn.Sequential(nn.Flatten(), nn.Linear(192, 4))
    assert graph_of(net, tmp_path, 5, resume=None, fork="x")[1]
    assert graph_of(net, tmp_path, 0, resume="auto", fork=None)[1], "as there was nothing to go on from"
    assert not graph_of(net, tmp_path, 5, resume="x", fork=None)[1]


@pytest.mark.slow
@pytest.mark.parametrize("accumulated", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_the_gradient_norm_is_that_of_all_gradients_before_clipping(train_run, monkeypatch, accumulated):
    norms, step = [], Task.on_before_optimizer_step

    def keep(self, optimizer):
        squares = [each.grad.double().square().sum() for each in self.parameters()]
        norms.append(torch.stack(squares).sum().sqrt().item())
        step(self, optimizer)

    monkeypatch.setattr(Task, "on_before_optimizer_step", keep)
    few = ["trainer.log_every_n_steps=3", f"trainer.accumulate_grad_batches={accumulated}"]
    run = train_run(*ON, "trainer.gradient_clip_val=0.01", "trainer.max_epochs=1", *few)
    rows = [row for row in rows_of(run) if row["train/grad_norm"]]
    steps = [2, 5] if accumulated == 1 else [2]
    assert [int(row["step"]) for row in rows] == steps
    assert [float(row["train/grad_norm"]) for row in rows] == pytest.approx([norms[i] for i in steps], rel=1e-5)
    assert min(norms) > 0.01
    assert all(row["train/loss_step"] for row in rows), "one row holds both"
    shown = values_of(run)["train/grad_norm"]
    assert [value.value.simple_value for value in shown] == pytest.approx([norms[i] for i in steps], rel=1e-5)
    assert "train/grad_norm" not in run.metrics


def test_the_norm_of_two_gradients_is_the_root_of_the_sum_of_their_squares():
    module, logged = nn.Linear(1, 1), []
    module.weight.grad, module.bias.grad = torch.tensor([[3.0]]), torch.tensor([4.0])
    trainer: Any = SimpleNamespace(
        _logger_connector=SimpleNamespace(should_update_logs=True),
        loggers=[SimpleNamespace(log_metrics=lambda metrics, step: logged.append((metrics, step)))],
        fit_loop=SimpleNamespace(epoch_loop=SimpleNamespace(_batches_that_stepped=2)),
        precision_plugin=None,
    )
    GradientNorm().on_before_optimizer_step(trainer, module, SGD(module.parameters()))  # pyright: ignore[reportArgumentType]
    assert logged == [({"train/grad_norm": 5.0}, 2)]


@pytest.mark.parametrize(("fused", "expected"), [(True, 0.5), (False, 32.0)])
def test_gradients_that_a_fused_step_takes_scaled_are_unscaled(fused, expected):
    module = nn.Linear(1, 1, bias=False)
    module.weight.grad = torch.full((1, 1), 32.0)
    scaler = SimpleNamespace(get_scale=lambda: 64.0)
    trainer = SimpleNamespace(precision_plugin=SimpleNamespace(scaler=scaler))
    optimizer = SimpleNamespace(_step_supports_amp_scaling=fused)
    assert unscaled_gradients(trainer, module, optimizer)["weight"].item() == expected
    assert module.weight.grad.item() == 32.0


WITH_EMA = ["model=vit", "callbacks=[ema,tensorboard]"]


@pytest.mark.parametrize("recipe", [["model=cnn"], pytest.param(WITH_EMA, marks=pytest.mark.slow)])
def test_a_run_has_the_same_bits_with_and_without_them(train_run, recipe):
    plain = [each.replace("[ema,tensorboard]", "ema") for each in recipe]
    more = ["model.dropout=0.3"] * ("model=cnn" in recipe)
    seen, unseen = train_run(*ON, *recipe, *more, AUGMENT), train_run("logger=default", *plain, *more, AUGMENT)
    assert same_weights(seen.weights(), unseen.weights())
    assert same_weights(seen.weights("best"), unseen.weights("best"))
    assert seen.metrics == unseen.metrics
    rows = rows_of(seen)
    assert all(row.pop("train/grad_norm") for row in rows if row["train/loss_step"])
    assert [{k: v for k, v in row.items() if k != "train/grad_norm"} for row in rows] == rows_of(unseen)


def test_nothing_is_drawn_when_they_are_off(train_run):
    run = train_run("callbacks=default", "logger=default", "trainer.max_epochs=1")
    assert kinds_of(values_of(run)) == {}
    assert "train/grad_norm" not in rows_of(run)[0]


@pytest.mark.slow
@pytest.mark.parametrize("name", [pytest.param(each, marks=[pytest.mark.slow] * (each != "graph")) for each in EYES])
def test_each_draws_its_own_and_can_be_switched_off(train_run, found, name):
    assert {each for each in compose(["callbacks=tensorboard"]).callbacks if each in EYES} == set(EYES)
    whole = kinds_of(found)
    off = [f"callbacks.{each}=null" for each in EYES if each != name]
    often = [each for each in OFTEN if name in each]
    run = train_run("callbacks=tensorboard", "logger=tensorboard", "trainer.max_epochs=1", *often, *off)
    shown = values_of(run)
    expected = {
        "training_images": {"train": 1},
        "validation_pictures": {"val": 13},
        "histograms": {kind: whole[kind] for kind in ("weights", "gradients")},
        "graph": {"graph": 1},
        "gradient_norm": {},
    }
    assert kinds_of(shown) == expected[name]
    assert ("train/grad_norm" in shown) == (name == "gradient_norm")


@pytest.mark.slow
def test_the_last_validation_is_drawn_where_the_epochs_do_not_end_in_step(train_run):
    rare = ["callbacks.validation_pictures.every_n_epochs=2", "trainer.max_epochs=3"]
    assert [value.step for value in values_of(train_run(*ON, *rare))["val/mistakes"]] == [15, 23]
    last = ["callbacks.validation_pictures.every_n_epochs=null", "trainer.max_epochs=2"]
    assert [value.step for value in values_of(train_run(*ON, *last))["val/mistakes"]] == [15]


def test_a_period_ends_with_the_last_of_its_epochs():
    trainers: list[Any] = [SimpleNamespace(current_epoch=epoch) for epoch in range(6)]
    assert [each.current_epoch for each in trainers if TensorBoardCallback(3).ends_period(each)] == [2, 5]


@pytest.mark.slow
def test_further_training_images_come_every_few_epochs(train_run):
    few = ["callbacks.training_images.every_n_epochs=2", "trainer.max_epochs=4", "data.num_images=64"]
    assert [value.step for value in values_of(train_run(*ON, *few))["train/images"]] == [0, 4]


@pytest.mark.parametrize("other", some(["logger=csv", "logger=none", "trainer.fast_dev_run=true"], "logger=csv"))
def test_without_a_tensorboard_nothing_is_drawn_and_the_run_goes_on(train_run, other):
    run = train_run(*ON, other, "trainer.max_epochs=1")
    assert run.metrics["test/loss"] > 0
    assert kinds_of(values_of(run)) == {}


@pytest.mark.slow
def test_every_tensorboard_of_a_run_gets_its_pictures(train_run):
    second = "+logger.second={_target_: lightning.pytorch.loggers.TensorBoardLogger, save_dir: '${paths.run}/second'}"
    run = train_run(*ON, second, "trainer.max_epochs=1")
    (folder,) = (run.folder / "second" / "lightning_logs").iterdir()
    folder.rename(run.folder / "second" / "tensorboard")
    assert kinds_of(values_of(run)) == kinds_of(values_of(run._replace(folder=run.folder / "second")))


@pytest.mark.slow
def test_a_resumed_run_shows_each_picture_once_and_ends_with_the_same_bits(train_run, config, monkeypatch):
    epochs = ["data.num_images=96", "callbacks.resume_checkpoint.every_n_steps=1"]  # three steps each
    whole, cfg, original = train_run(*ON, *epochs), config(*ON, *epochs), Task.training_step

    def stopping(self, batch, batch_idx):
        if self.global_step == 4:
            raise Interrupted("SIGTERM")
        return original(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(Task, "training_step", stopping)
        with pytest.raises(Interrupted):
            train(cfg)
    resumed = train_run(*ON, *epochs, f"resume={cfg.paths.run}")
    assert same_weights(whole.weights(), resumed.weights())
    assert rows_of(whole) == rows_of(resumed)
    steps = []
    for run in (whole, resumed):
        board = EventAccumulator(str(run.folder / "tensorboard"), size_guidance={"tensors": 0}).Reload()
        tags = [tag for tag in board.Tags()["tensors"] if tag[0] != "_" and tag != LAYOUT]
        steps.append({tag: [event.step for event in board.Tensors(tag)] for tag in tags})
    assert steps[0] == steps[1]
    assert len(values_of(resumed)["graph"]) == 1


def test_what_the_clock_decides_is_shown_and_not_in_the_table_of_metrics(drawn, found):
    for name in ("train_s", "steps_per_s", "examples_per_s", "peak_memory_mib"):
        values = found[f"timings/{name}"]
        assert [value.step for value in values] == [FIRST, SECOND]
        assert all(value.value.simple_value > 0 for value in values)
    assert not [name for name in rows_of(drawn)[0] if name.startswith("timings")]
    assert "timings" not in json.dumps(drawn.metrics)


def test_hparams_shows_first_what_differs_between_runs(tmp_path):
    contents = {}
    for seed in (0, 1):
        logger = TensorBoardRun(tmp_path, name="", version=str(seed), default_hp_metric=False)
        log_settings(logger, {"data": "Fake", "model": "CNN", "model.sizes": [1, 2], "seed": seed})
        logger.finalize("success")
        found = values_of(Run(None, tmp_path, {}), str(seed))
        contents[str(seed)] = {
            tag: value.value.metadata.plugin_data.content for tag, (value,) in found.items() if tag[0] == "_"
        }
    experiment = Context(SimpleNamespace(data_provider=None)).experiment_from_metadata(None, "", False, contents, [])
    infos = [(info.name, info.differs) for info in experiment.hparam_infos]
    assert infos == [("seed", True), ("data", False), ("model", False), ("model.sizes", False)]


def test_train_val_and_test_of_a_metric_share_a_chart_and_the_layers_of_a_kind_another(found):
    charts = layout_of(["val/loss", "train/loss", "train/loss_step", "val_f1", "watched/gradients/a", "lr-SGD"])
    assert {title: list(each) for title, each in charts.items()} == {
        "train, val and test": ["loss", "f1"],
        "layers": ["gradients"],
    }
    ((pattern,),) = [charts["train, val and test"]["loss"][1]]
    shown = [name for name in ("train/loss", "val_loss", "test/loss", "train/loss_step") if re.match(pattern, name)]
    assert shown == ["train/loss", "val_loss", "test/loss"]

    layout = Layout.FromString(make_ndarray(found[LAYOUT][-1].value.tensor).item())
    assert [chart.title for chart in layout.category[0].chart] == ["loss", "accuracy", "grad_norm"]


def test_curves_of_layers_come_behind_those_of_the_run():
    assert sorted(["val/loss", "train/loss", LAYERS]) == ["train/loss", "val/loss", LAYERS]


def test_a_picture_reaches_every_logger_that_takes_pictures(tmp_path):
    board, taken = TensorBoardRun(tmp_path, name="", version="tensorboard"), []
    tracker = SimpleNamespace(log_picture=lambda *given: taken.append(given))
    trainer: Any = SimpleNamespace(is_global_zero=True, loggers=[board, tracker, MetricsCSV(str(tmp_path))])
    image = torch.arange(24, dtype=torch.uint8).view(3, 2, 4)
    show(trainer, "val/mistakes", image, 5)
    board.finalize("success")
    ((tag, given, step),) = taken
    assert (tag, step) == ("val/mistakes", 5)
    np.testing.assert_array_equal(given, image.permute(1, 2, 0))
    (value,) = values_of(Run(None, tmp_path, {}))["val/mistakes"]
    np.testing.assert_array_equal(image_of(value), given)
    show(SimpleNamespace(is_global_zero=False, loggers=[tracker]), "val/mistakes", image, 5)  # pyright: ignore[reportArgumentType]
    assert len(taken) == 1, "one process alone"


def test_the_shares_of_several_processes_are_put_in_the_order_of_the_images(monkeypatch):
    images = torch.arange(5)
    monkeypatch.setattr("kindling.images.validation_pictures.gather", lambda *_: [images[0::2], images[1::2]])
    assert in_order(SimpleNamespace(world_size=2), images[0::2]).tolist() == [0, 1, 2, 3, 4]


def test_a_replay_leaves_them_out():
    from kindling.training.replay import WRITERS

    assert issubclass(TensorBoardCallback, WRITERS)
    built = [instantiate(compose(["callbacks=tensorboard"]).callbacks[name], name) for name in EYES]
    assert [type(each).__name__ for each in built if not isinstance(each, WRITERS)] == ["GradientNorm"]


@pytest.mark.slow
def test_histograms_begin_with_the_first_epoch(train_run):
    run = train_run(*ON, "callbacks.histograms.every_n_epochs=2", "trainer.max_epochs=3", "data.num_images=64")
    (values,) = [each for tag, each in values_of(run).items() if tag == "weights/net.head.1.bias"]
    assert [value.step for value in values] == [1, 5]


@pytest.mark.slow
def test_images_of_any_number_of_channels_and_names_with_dollars_are_drawn(train_run, monkeypatch):
    read = FakeImages.read
    names = tuple(f"${label}_{{" for label in range(10))
    monkeypatch.setattr(FakeImages, "read", lambda self: dataclasses.replace(read(self), classes=names))
    run = train_run(*ON, "data.channels=2", "trainer.max_epochs=1")
    assert {"val/mistakes", "val/confusion_matrix", "train/images"} <= values_of(run).keys()
    assert "test/loss" in run.metrics


@pytest.mark.slow
def test_what_cannot_be_drawn_is_told_once_and_costs_no_run(train_run, monkeypatch, caplog):
    def fail(*_):
        raise ValueError("no colours left")

    monkeypatch.setattr("kindling.images.validation_pictures.plot_mistakes", fail)
    run = train_run(*ON, "callbacks.validation_pictures.every_n_epochs=1", "trainer.max_epochs=2")
    assert caplog.text.count("warning: ValidationPictures: cannot draw: no colours left") == 1
    assert "test/loss" in run.metrics
