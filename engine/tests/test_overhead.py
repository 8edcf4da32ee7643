"""A step without waste is still a step of Lightning's: its hooks, its logs and its profilers work."""

import os
import pickle
import signal
from copy import deepcopy
from datetime import timedelta

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import LambdaCallback, LearningRateMonitor, ModelCheckpoint
from torch import nn
from torch.nn.utils import clip_grad_norm_, clip_grad_value_
from torch.utils.data import DataLoader, TensorDataset

from bench.tasks.classification import Classification
from kindling.lightning_internals.hooks import (
    STEP_HOOKS,
    call_busy_callbacks,
    call_every_callback,
    is_idle,
    skip_idle_hooks,
)
from kindling.lightning_internals.overhead import NoProfiler, reduce_overhead

# Lightning's advice about workers, and torch's about what Lightning calls.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:lightning", "ignore:.*LeafSpec")

BATCHES = DataLoader(TensorDataset(torch.rand(12, 1, 4, 4), torch.arange(12) % 4), batch_size=4)
# Each hook from which Lightning lets a module log, and how often two epochs with validation call it.
HOOKS = {
    "on_train_start": 1,
    "on_train_epoch_start": 2,
    "on_train_batch_start": 6,
    "training_step": 6,
    "on_before_zero_grad": 6,
    "on_before_backward": 6,
    "on_after_backward": 6,
    "on_before_optimizer_step": 6,
    "on_train_batch_end": 6,
    "on_train_epoch_end": 2,
    "on_validation_epoch_start": 2,
    "on_validation_batch_start": 6,
    "validation_step": 6,
    "on_validation_batch_end": 6,
    "on_validation_epoch_end": 2,
}


SILENT = {
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "num_sanity_val_steps": 0,
}


def trainer(**settings) -> Trainer:
    return reduce_overhead(Trainer(accelerator="cpu", max_epochs=2, **SILENT, **settings))


def classifier(kind: type[Classification] = Classification) -> Classification:
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 4))
    return kind(net, nn.CrossEntropyLoss(), "none", optimizer=lambda groups: torch.optim.SGD(groups, lr=0.1))


def logging_from(hook: str) -> type[Classification]:
    """A task that logs a count of its own from a hook."""

    def called(self, *arguments, **options):
        self.calls = getattr(self, "calls", 0) + 1
        self.log("own", float(self.calls), on_step=False, on_epoch=True, reduce_fx="max", batch_size=1)
        return getattr(super(kind, self), hook)(*arguments, **options)

    if hook == "training_step":  # Lightning asks for the names of its arguments
        kind = type("Logging", (Classification,), {hook: lambda self, batch, batch_idx: called(self, batch, batch_idx)})
    else:
        kind = type("Logging", (Classification,), {hook: called})
    return kind


@pytest.mark.parametrize("hook", HOOKS)
def test_a_module_can_log_from_every_hook_that_lightning_allows(hook):
    fit = trainer()
    fit.fit(classifier(logging_from(hook)), BATCHES, BATCHES)
    assert fit.callback_metrics["own"] == HOOKS[hook]


def test_lightning_still_sees_parameters_and_modules_that_are_set():
    module = classifier()
    module.extra = nn.Linear(2, 2)
    module.scale = nn.Parameter(torch.ones(1))
    assert {"extra.weight", "scale"} <= set(dict(module.named_parameters()))


def test_no_profiler_takes_the_place_of_none_alone():
    assert isinstance(trainer().profiler, NoProfiler)
    assert not isinstance(trainer(profiler="simple").profiler, NoProfiler)


class Counting(Callback):
    """Counts the batches of training, and those of which a function given later is told."""

    def __init__(self) -> None:
        self.ended = 0

    def on_train_batch_end(self, *_) -> None:
        self.ended += 1


def test_hooks_that_a_callback_has_are_called_and_empty_ones_are_not(monkeypatch):
    called = []
    monkeypatch.setattr(Callback, "on_validation_batch_end", lambda *_: called.append("empty"))
    own, assigned = Counting(), LambdaCallback(on_before_backward=lambda *_: called.append("assigned"))
    trainer(callbacks=[own, assigned]).fit(classifier(), BATCHES, BATCHES)
    assert own.ended == 6
    assert called == ["assigned"] * 6


@pytest.mark.parametrize("name", sorted(STEP_HOOKS))
def test_every_hook_of_a_step_is_called_for_the_callback_that_has_it(name):
    callback = type("Own", (Callback,), {name: lambda *_, **__: None})()
    skip_idle_hooks(callback)
    assert [hook for hook in STEP_HOOKS if not is_idle(callback, hook)] == [name]


def test_an_idle_hook_can_be_called_by_hand_and_one_that_is_assigned_later_is_called(monkeypatch):
    called = []
    callback = Counting()
    fit = trainer(callbacks=[callback])
    callback.on_before_backward(fit, classifier(), torch.ones(1))
    callback.on_after_backward = lambda *_: called.append("later")
    callback.on_before_zero_grad = None
    fit.fit(classifier(), BATCHES, BATCHES)
    assert called == ["later"] * 6


def calls_of(hooks: list[str], reduced: bool) -> list[tuple[str, str, str]]:
    """What two callbacks of an epoch see: their name, the hook, and the one that a module would log from."""
    seen = []

    def seeing(name: str):
        def see(self, trainer, module, *_, **__):
            seen.append((type(self).__name__, name, module._current_fx_name))

        return see

    methods = {name: seeing(name) for name in hooks}
    callbacks = [type(name, (Callback,), methods)() for name in ("First", "Second")]
    fit = Trainer(accelerator="cpu", max_epochs=1, callbacks=[*callbacks, Callback()], **SILENT)
    (reduce_overhead if reduced else lambda same: same)(fit)
    fit.fit(classifier(), BATCHES, BATCHES)
    return [*seen, ("", "", str(fit.lightning_module._current_fx_name))]


def test_callbacks_are_called_in_the_order_and_under_the_names_that_lightning_gives(monkeypatch):
    hooks = [name for name in STEP_HOOKS if "predict" not in name and "test" not in name]
    ours = calls_of(hooks, reduced=True)
    monkeypatch.setattr("lightning.pytorch.trainer.call._call_callback_hooks", call_every_callback)
    assert ours == calls_of(hooks, reduced=False)
    assert {name for _, name, _ in ours[:-1]} == set(hooks)


def test_a_hook_within_a_hook_leaves_the_name_of_the_outer_one():
    fit, module = trainer(callbacks=[Counting()]), classifier()
    fit.strategy._lightning_module = module
    module._current_fx_name = "outer"
    call_busy_callbacks(fit, "on_train_batch_end", None, None, 0)
    assert fit.callbacks[0].ended == 1
    assert module._current_fx_name == "outer"


def test_a_trainer_can_be_pickled_and_trains_all_the_same(tmp_path):
    callbacks = [Counting(), ModelCheckpoint(tmp_path), LearningRateMonitor("epoch")]
    copy = pickle.loads(pickle.dumps(trainer(callbacks=callbacks[:1])))
    copy.fit(classifier(), BATCHES, BATCHES)
    assert copy.callbacks[0].ended == 6
    for callback in callbacks:
        skip_idle_hooks(callback)
        assert pickle.loads(pickle.dumps(callback))._idle_hooks == callback._idle_hooks


def test_a_process_that_unpickles_a_trainer_passes_over_idle_hooks_too(monkeypatch):
    copy = pickle.loads(pickle.dumps(trainer(callbacks=[Counting()])))
    monkeypatch.setattr("lightning.pytorch.trainer.call._call_callback_hooks", call_every_callback)
    monkeypatch.setattr(Callback, "on_before_backward", lambda *_: pytest.fail("an idle hook was called"))
    copy.fit(classifier(), BATCHES, BATCHES)


def test_signals_are_left_to_the_handlers_that_are_set_already():
    before = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGUSR1)}
    seen = []

    class Seeing(Callback):
        def on_train_batch_start(self, *_):
            seen.append({each: signal.getsignal(each) for each in before})

    trainer(callbacks=[Seeing()]).fit(classifier(), BATCHES, BATCHES)
    assert all(each == before for each in seen)
    assert len(seen) == 6


def test_lightnings_callbacks_keep_the_hooks_of_a_step_that_they_need():
    needed = {
        "on_train_batch_end": [
            ModelCheckpoint(every_n_train_steps=2),
            ModelCheckpoint(train_time_interval=timedelta(minutes=1)),
        ],
        "on_train_batch_start": [LearningRateMonitor("step"), LearningRateMonitor()],
    }
    for name, callbacks in needed.items():
        for callback in callbacks:
            skip_idle_hooks(callback)
            assert not is_idle(callback, name)
    for idle in (ModelCheckpoint(monitor="val/loss"), ModelCheckpoint(every_n_epochs=2), LearningRateMonitor("epoch")):
        skip_idle_hooks(idle)
        assert all(is_idle(idle, name) for name in STEP_HOOKS)


def test_a_checkpoint_of_ones_own_may_set_its_interval_later():
    class Own(ModelCheckpoint):
        def setup(self, *arguments):
            self._every_n_train_steps = 2

    callback = Own()
    skip_idle_hooks(callback)
    assert not is_idle(callback, "on_train_batch_end")


@pytest.mark.parametrize("accumulated", [1, 3])
@pytest.mark.parametrize(
    ("clip", "settings"),
    [
        (None, {}),
        (clip_grad_norm_, {"gradient_clip_val": 0.1}),
        (clip_grad_norm_, {"gradient_clip_val": 0}),
        (clip_grad_value_, {"gradient_clip_val": 0.1, "gradient_clip_algorithm": "value"}),
    ],
)
def test_the_steps_are_those_of_a_loop_written_by_hand(clip, settings, accumulated):
    module = classifier()
    net = deepcopy(module.net)
    trainer(accumulate_grad_batches=accumulated, **settings).fit(module, BATCHES, BATCHES)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for step, (images, labels) in enumerate([*BATCHES, *BATCHES]):
        if step % accumulated == 0:
            optimizer.zero_grad()
        (nn.functional.cross_entropy(net(images), labels) / accumulated).backward()
        if (step + 1) % accumulated == 0:
            if clip and settings["gradient_clip_val"]:
                clip(net.parameters(), settings["gradient_clip_val"])
            optimizer.step()
    assert all(torch.allclose(a, b, atol=1e-7) for a, b in zip(net.parameters(), module.net.parameters(), strict=True))


def test_an_optimizer_that_clears_gradients_in_its_own_way_does_so():
    cleared = []

    class Own(torch.optim.SGD):
        def zero_grad(self, set_to_none=True):
            cleared.append(set_to_none)
            super().zero_grad(set_to_none)

    module = classifier()
    module.optimizer = lambda groups: Own(groups, lr=0.1)
    trainer().fit(module, BATCHES, BATCHES)
    assert len(cleared) == 6


def test_a_callback_whose_idle_hooks_are_passed_over_can_be_copied_and_pickled():
    callback = Counting()
    skip_idle_hooks(callback)
    for copy in (deepcopy(callback), pickle.loads(pickle.dumps(callback))):
        assert is_idle(copy, "on_before_backward")
        copy.on_train_batch_end()
        assert copy.ended == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_torch_need_not_look_for_gpus_at_each_step(monkeypatch):
    monkeypatch.setenv("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    trainer()
    assert "PYTORCH_NVML_BASED_CUDA_CHECK" not in os.environ
