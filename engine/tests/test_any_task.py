"""What `debug=` and `callbacks=` offer works on tasks of any kind and on modules that know nothing of the engine."""

import json
import logging
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader

from bench import adapters
from bench.foreign.boring_classes import BoringDataModule, BoringDataModuleNoLen, BoringModel
from kindling.callbacks.finetuning import Finetuning
from kindling.callbacks.graph import Graph, asked_of_net
from kindling.callbacks.periodic import PeriodicCheckpoint
from kindling.data.batches import batch_size_of, first_examples, tensors_in
from kindling.errors import ConfigError, GradientError
from kindling.images.training_images import TrainingImages
from kindling.images.validation_pictures import ValidationPictures
from kindling.lightning_internals.batches import first_training_batch
from kindling.training.task import StepOutput, Task
from kindling.training.waiting import refuse_waiting

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:lightning", "ignore:.*LeafSpec")
Batch = dict[str, Any]
UNUSED = {"find_unused_parameters": True}


class Gated(nn.Module):
    """Rows (B, 4) and a gate (B, 1) -> {"answer": (B,)}; takes keywords."""

    def __init__(self) -> None:
        super().__init__()
        self.layer1, self.layer2 = nn.Linear(4, 8), nn.Linear(8, 1)

    def forward(self, rows: Tensor, gate: Tensor) -> dict[str, Tensor]:
        return {"answer": (self.layer2(self.layer1(rows).tanh()) * gate).squeeze(1)}


class Answers(Task):
    """Of batches that are dicts, with outputs that are."""

    def step(self, batch: Batch, stage: Any) -> StepOutput:
        outputs = self.net(batch["rows"], gate=batch["gate"])
        loss = nn.functional.mse_loss(outputs["answer"], batch["target"])
        return StepOutput(loss, len(batch["target"]), outputs=outputs, targets=batch["target"])


class Rows(LightningDataModule):
    """Dicts of floats, in their order or shuffled."""

    def __init__(self, *, shuffle: bool = True) -> None:
        super().__init__()
        self.batch_size, self.shuffle = 4, shuffle
        draw = torch.Generator().manual_seed(0)
        rows, gate, target = (torch.randn(24, *shape, generator=draw) for shape in ((4,), (1,), ()))
        self.rows = [{"rows": a, "gate": b, "target": c} for a, b, c in zip(rows, gate, target, strict=True)]

    def train_dataloader(self) -> DataLoader:
        return DataLoader(self.rows, self.batch_size, shuffle=self.shuffle)  # pyright: ignore[reportArgumentType]

    def val_dataloader(self) -> DataLoader:
        return DataLoader(self.rows, self.batch_size)  # pyright: ignore[reportArgumentType]


def answers() -> Answers:
    torch.manual_seed(0)
    return Answers(Gated(), optimizer=lambda groups: torch.optim.SGD(groups, lr=0.1))


def fit(module: LightningModule, data: Any, *callbacks: Any, logger: Any = False, **settings: Any) -> Trainer:
    trainer = Trainer(
        accelerator="cpu",
        callbacks=list(callbacks),
        logger=logger,
        enable_checkpointing=any(isinstance(each, PeriodicCheckpoint) for each in callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
        **{"max_epochs": 2, "num_sanity_val_steps": 0, **settings},
    )
    trainer.fit(module, data)
    return trainer


@pytest.fixture
def said(caplog):
    """What has been logged so far."""
    caplog.set_level(logging.INFO)
    return lambda: caplog.text


# Batches


def test_the_tensors_of_a_batch_are_found_in_any_structure():
    batch = {"a": [torch.ones(3, 2), "name"], "b": (torch.zeros(()), {"c": torch.ones(3)}), "d": None}
    assert [tuple(each.shape) for each in tensors_in(batch)] == [(3, 2), (), (3,)]
    assert batch_size_of(batch) == 3
    few = first_examples(batch, 2)
    assert [tuple(each.shape) for each in tensors_in(few)] == [(2, 2), (), (2,)]
    assert few["a"][1] == "name"


@pytest.mark.needs("debug")
def test_the_first_batch_is_what_a_step_gets():
    from kindling.debug.memory import Memory

    seen: list[Any] = []

    class Moves(Rows):
        def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
            return {**batch, "gate": torch.full_like(batch["gate"], 7)}

    class Looks(Memory):
        def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
            seen.append(first_training_batch(trainer, pl_module))

        def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
            seen.append(batch)
            super().on_train_batch_start(trainer, pl_module, batch, batch_idx)

    fit(answers(), Moves(shuffle=False), Looks(), max_steps=1)
    first, step = seen
    assert first["gate"].eq(7).all()
    assert all(torch.equal(first[name], step[name]) for name in step)


# debug=


@pytest.mark.needs("debug")
@pytest.mark.parametrize("make", [answers, BoringModel])
def test_a_range_test_suggests_a_rate_for_any_module(make, tmp_path, said):
    from kindling.debug.find_lr import FindLR

    data = Rows() if make is answers else BoringDataModule()
    finder = FindLR(folder=str(tmp_path), min_lr=1e-5, max_lr=1.0, num_steps=40)
    trainer = fit(make(), data, finder, limit_val_batches=0)
    facts = json.loads((tmp_path / "lr_find.json").read_text())
    assert len(facts["lr"]) == len(facts["loss"]) > 20
    key = "optimizer.lr" if make is answers else "lr"
    assert f"the range test suggests {key}={facts['suggested']:g}" in said()
    assert dict(trainer.callback_metrics) == {}


@pytest.mark.needs("debug")
def test_a_range_test_of_few_steps_says_that_it_suggests_too_much(tmp_path, caplog):
    from kindling.debug.find_lr import FindLR, too_few

    assert list(too_few(8, 40)) == []
    fit(answers(), Rows(), FindLR(folder=str(tmp_path), min_lr=1e-5, max_lr=1.0, num_steps=39), limit_val_batches=0)
    few, rough = [each for each in caplog.messages if "warning: callbacks.find_lr" in each]
    assert "find_lr: given 6 steps an epoch, so that 39 steps see the same batches again and again, and the" in few
    assert "find_lr.num_steps: given 39, of which the suggestion is rough and often too high; allowed: 40" in rough


@pytest.mark.needs("debug")
def test_one_noisy_batch_does_not_end_a_range_test(tmp_path):
    from kindling.debug.find_lr import FindLR

    class Noisy(BoringModel):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            loss = self.step(batch)
            return {"loss": loss * (9 if batch_idx % 3 == 1 else 1)}

    finder = FindLR(folder=str(tmp_path), min_lr=1e-5, max_lr=1e-2, num_steps=30)
    fit(Noisy(), BoringDataModule(), finder, limit_val_batches=0)
    assert len(finder.losses) == 30


@pytest.mark.needs("debug")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("find_lr", "find_lr: given GAN, .* no one loss follows"),
        ("gradient_check", "gradient_check: given GAN, .* its step gives no loss to check; allowed: a module with"),
        ("finetuning", "finetuning: given GAN, .* perhaps with a loss of frozen layers alone; allowed:"),
    ],
)
def test_what_needs_one_loss_is_refused_for_a_module_that_steps_its_optimizers_itself(name, message):
    from kindling.debug.find_lr import FindLR
    from kindling.debug.gradient_check import GradientCheck

    callbacks = {
        "find_lr": FindLR(folder="", min_lr=1e-5, max_lr=1.0, num_steps=40),
        "gradient_check": GradientCheck(2),
        "finetuning": Finetuning(1, 0),
    }
    module = adapters.GAN(4)
    before = [each.clone() for each in module.parameters()]
    with pytest.raises(ConfigError, match=message):
        fit(module, adapters.Numbers(24, 4, 4), callbacks[name])
    assert all(torch.equal(one, other) for one, other in zip(before, module.parameters(), strict=True))


@pytest.mark.needs("debug")
def test_a_batch_size_is_found_for_any_data_that_has_one(said):
    from kindling.debug.find_batch_size import FindBatchSize

    fit(answers(), Rows(), FindBatchSize(start=2, limit=64, steps=1), limit_val_batches=0)
    assert "data.batch_size=24; nothing ran out of memory up to 24, all training examples" in said()


@pytest.mark.needs("debug")
def test_data_without_a_batch_size_is_refused_by_name():
    from kindling.debug.find_batch_size import FindBatchSize

    finder = FindBatchSize(start=2, limit=8, steps=1)
    with pytest.raises(ConfigError, match="given BoringDataModule with debug=find_batch_size, which has no batch_size"):
        fit(BoringModel(), BoringDataModule(), finder)

    class Fixed(Rows):
        def train_dataloader(self) -> DataLoader:
            return DataLoader(self.rows, 4)  # pyright: ignore[reportArgumentType]

    with pytest.raises(ConfigError, match="given Fixed with debug=find_batch_size, whose loader sets its own size"):
        fit(answers(), Fixed(), finder)


@pytest.mark.needs("debug")
def test_the_number_of_examples_of_a_stream_is_not_known():
    from kindling.debug.find_batch_size import num_trained

    assert num_trained(Rows()) == 24
    stream = Rows()
    stream.train_dataloader = lambda: iter([])  # pyright: ignore[reportAttributeAccessIssue]
    assert num_trained(stream) is None


@pytest.mark.needs("debug")
def test_the_gradients_of_a_task_with_dicts_are_checked(said):
    from kindling.debug.gradient_check import GradientCheck

    trainer = fit(answers(), Rows(), GradientCheck(2), limit_train_batches=0)
    assert trainer.global_step == 0
    to = "to the tensor 0 of the batch, to the tensor 1 of the batch, to the tensor 2 of the batch"
    assert "gradients: all 7 are right: those with respect to the" in said()
    assert all(part in said() for part in to.removeprefix("to ").split(", to "))


@pytest.mark.needs("debug")
def test_a_wrong_gradient_of_a_plain_module_is_found_by_its_name():
    from kindling.debug.gradient_check import GradientCheck

    class Wrong(BoringModel):
        def forward(self, x: Tensor) -> Tensor:
            output = super().forward(x)
            # Of the value twice, of the gradient once.
            return output + output.detach()

    with pytest.raises(GradientError, match=r"given that of layer\.bias, and of 2 more before it, wrong"):
        fit(Wrong(), BoringDataModule(), GradientCheck(2), limit_train_batches=0)


@pytest.mark.needs("debug")
def test_the_check_of_gradients_logs_nothing_and_changes_nothing():
    from kindling.debug.gradient_check import StepLoss, gradient_checks, in_float64

    class Logs(BoringModel):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.log("train_loss", self.step(batch))
            return self.step(batch)

    module = Logs()
    before = module.layer.weight.detach().clone()
    trainer = Trainer(logger=False, enable_checkpointing=False, accelerator="cpu")
    module.trainer = trainer
    step = StepLoss(module)
    assert all(dict(gradient_checks(step, in_float64(torch.randn(2, 32)))).values())
    assert torch.equal(module.layer.weight, before)
    assert module.layer.weight.dtype == torch.float32


@pytest.mark.needs("debug")
@pytest.mark.parametrize(
    ("make", "data", "line"),
    [
        (answers, Rows, "a batch of 4: 4×4, 4×1, 4"),
        (BoringModel, BoringDataModule, "a batch of 1: 1×32"),
        (lambda: adapters.GAN(4), lambda: adapters.Numbers(24, 4, 4), "a batch of 4: 4×4"),
    ],
)
def test_the_shapes_of_any_module_are_shown_and_nothing_is_trained(make, data, line, said):
    from kindling.debug.shapes import Shapes

    module = make()
    before = [each.clone() for each in module.parameters()]
    trainer = fit(module, data(), Shapes())
    assert line in said()
    assert "FLOPs for the batch" in said()
    assert trainer.state.finished
    if module.automatic_optimization:
        assert all(torch.equal(one, other) for one, other in zip(before, module.parameters(), strict=True))


@pytest.mark.needs("debug")
def test_the_memory_of_a_step_is_counted_whatever_the_batch_is_and_for_all_optimizers(said):
    from kindling.debug.memory import Memory

    memory = Memory()
    fit(answers(), Rows(), memory, max_steps=2)
    assert memory.batch_size == 4
    assert memory.parts["batch"] == 4 * 4 * (4 + 1 + 1)
    assert "a batch of B examples needs" in said()

    memory, gan = Memory(), adapters.GAN(4)
    fit(gan, adapters.Numbers(24, 4, 4), memory, max_steps=4)
    assert memory.parts["optimizer state"] == sum(2 * 4 * each.numel() + 4 for each in gan.parameters())
    assert memory.parts["activations"] > 0


# callbacks=


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.removeprefix("warning: ") for each in caplog.messages if each.startswith("warning: ")]


@pytest.mark.needs("doctor")
def test_the_doctor_says_nothing_of_a_task_that_is_right(caplog):
    from kindling.images.doctor.callback import Doctor

    fit(answers(), Rows(), Doctor(), max_epochs=4)
    assert warnings_of(caplog) == []


@pytest.mark.needs("doctor")
@pytest.mark.parametrize("kind", ["task", "plain"])
def test_the_doctor_names_parameters_that_no_gradient_reaches_in_any_module(kind, caplog):
    from kindling.images.doctor.callback import Doctor

    module: Any = answers() if kind == "task" else BoringModel()
    (module.net if kind == "task" else module).unused = nn.Linear(2, 2)
    fit(module, Rows() if kind == "task" else BoringDataModule(), Doctor(), overfit_batches=9)
    (line,) = [each for each in warnings_of(caplog) if each.startswith("model: ")]
    assert "trainable parameters: unused.weight, unused.bias; usual: all" in line


@pytest.mark.needs("doctor")
def test_the_doctor_bears_a_stream_of_no_length(caplog):
    from kindling.images.doctor.callback import Doctor

    few = {"limit_train_batches": 3, "limit_val_batches": 2}
    fit(BoringModel(), BoringDataModuleNoLen(), Doctor(), **few)
    # Its numbers are drawn anew each time.
    assert [each.partition(";")[0] for each in warnings_of(caplog)] == ["data: validation is shuffled"]


@pytest.mark.needs("doctor")
def test_the_doctor_tells_of_training_in_one_order(caplog):
    from kindling.images.doctor.callback import Doctor

    fit(answers(), Rows(shuffle=False), Doctor())
    (line,) = warnings_of(caplog)
    assert line.startswith("data: two epochs of training begin with the same batch; usual: another order in each")
    caplog.clear()
    fit(answers(), Rows(shuffle=False), Doctor(), limit_train_batches=1)
    assert warnings_of(caplog) == [], "one batch has no order"


@pytest.mark.needs("doctor")
def test_the_doctor_tells_of_a_shuffled_validation_of_any_data(caplog):
    from kindling.images.doctor.callback import Doctor

    class Shuffled(Rows):
        def val_dataloader(self) -> Any:
            # Its sampler does not say so.
            rolled = self.rows[self.trainer.current_epoch if self.trainer else 0 :]
            return DataLoader(rolled, 4)  # pyright: ignore[reportArgumentType]

    fit(answers(), Shuffled(), Doctor(), reload_dataloaders_every_n_epochs=1)
    assert [each.partition(";")[0] for each in warnings_of(caplog)] == ["data: validation is shuffled"]


def test_the_net_is_asked_for_what_its_task_gives_it():
    class Positional(Answers):
        def step(self, batch: Batch, stage: Any) -> StepOutput:
            return StepOutput(self.net(batch["rows"], batch["gate"])["answer"].mean(), 1)

    task = Positional(Gated())
    net, batch = task.net, {"rows": torch.ones(3, 4), "gate": torch.zeros(3, 1)}
    rows, gate = asked_of_net(task, batch)
    assert rows is batch["rows"]
    assert gate is batch["gate"]
    assert task.net is net


def test_a_module_without_an_example_has_no_graph_and_is_told_why(tmp_path, caplog):
    logger = TensorBoardLogger(tmp_path)
    fit(BoringModel(), BoringDataModule(), Graph(), logger=logger, max_steps=1)
    (line,) = warnings_of(caplog)
    assert line == ("callbacks.graph: left out, as BoringModel has no example_input_array, which says what it takes")
    caplog.clear()
    module = BoringModel()
    module.example_input_array = torch.zeros(2, 32)
    drawn: list[Any] = []
    logger.experiment.add_graph = lambda trace, inputs: drawn.append(inputs)
    fit(module, BoringDataModule(), Graph(), logger=logger, max_steps=1)
    assert warnings_of(caplog) == []
    assert [tuple(each.shape) for each in drawn[0]] == [(1, 32)]


def test_pictures_of_data_without_images_are_left_out_with_a_line_each(tmp_path, caplog):
    pictures = [TrainingImages(4, None), ValidationPictures(1, 4, confusion_matrix=True, pr_curves=True)]
    fit(answers(), Rows(), *pictures, logger=TensorBoardLogger(tmp_path), max_epochs=2, log_every_n_steps=1)
    assert warnings_of(caplog) == [
        f"{name}: left out: given Rows; it draws an ImageDataModule, of images with one label each, alone"
        for name in ("TrainingImages", "ValidationPictures")
    ]


@pytest.mark.parametrize(("named_after", "name"), [("val_loss", "epoch_000"), ("x/loss", "epoch_000_x_loss_2.5000")])
def test_a_periodic_checkpoint_is_named_after_a_metric_that_is_logged_alone(tmp_path, named_after, name):
    class Logs(BoringModel):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.log("x/loss", 2.5)
            return super().training_step(batch, batch_idx)

    saver = PeriodicCheckpoint(dirpath=str(tmp_path), named_after=named_after, every_n_epochs=1)
    fit(Logs(), BoringDataModule(), saver, max_epochs=1, limit_val_batches=0)
    assert [file.stem for file in tmp_path.glob("*.ckpt")] == [name]
    assert saver.state_key.startswith("PeriodicCheckpoint")


def test_the_last_layer_of_a_plain_module_is_trained_alone():
    class TwoLayers(BoringModel):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Sequential(nn.Linear(32, 8), nn.Linear(8, 2))  # pyright: ignore[reportAttributeAccessIssue]

    module = TwoLayers()
    before = {name: each.clone() for name, each in module.state_dict().items()}
    fit(module, BoringDataModule(), Finetuning(None, 0), max_epochs=1)
    moved = {name for name, each in module.state_dict().items() if not torch.equal(each, before[name])}
    assert moved == {"layer.1.weight", "layer.1.bias"}


@pytest.mark.parametrize("setting", ["init=orthogonal", "compile=default"])
def test_what_is_asked_of_a_net_is_refused_for_a_module_that_takes_none(config, setting):
    none = ["model=none", "optimizer=none", "scheduler=none", "callbacks.early_stopping=null", "monitor=null"]
    words = rf"{setting.partition('=')[0]}: given \w+ with BoringModel, which takes no net; allowed: "
    with pytest.raises(ConfigError, match=words):
        config("task=plain", "task._target_=bench.foreign.boring_classes.BoringModel", *none, setting)


@pytest.mark.parametrize(("optimizers", "settings", "fits"), [(2, {}, False), (1, {}, True), (2, UNUSED, True)])
def test_several_optimizers_in_several_processes_are_refused_where_they_would_wait(optimizers, settings, fits):
    strategy = SimpleNamespace(_ddp_kwargs=settings)
    trainer: Any = SimpleNamespace(world_size=2, strategy=strategy, optimizers=[None] * optimizers)
    if fits:
        refuse_waiting(trainer, adapters.GAN(4))
    else:
        with pytest.raises(ConfigError, match=r"ddp with GAN, which steps 2 .* trainer.strategy=ddp_find_unused"):
            refuse_waiting(trainer, adapters.GAN(4))
    refuse_waiting(trainer, BoringModel())
