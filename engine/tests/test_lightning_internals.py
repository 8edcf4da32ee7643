"""Each private part of Lightning that the engine leans on still is what it was."""

import logging
import os
import pickle
import re
import sys
import tempfile
import warnings
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.fabric.utilities import registry
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.loops.optimization.automatic import Closure
from lightning.pytorch.strategies.launchers import multiprocessing
from lightning.pytorch.trainer.connectors.logger_connector import result
from torch import nn
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics import MeanMetric

from kindling.checkpoints.checkpoint import WholeCheckpointIO
from kindling.errors import DivergedError, Interrupted, KindlingError
from kindling.lightning_internals import (
    batches,
    checkpoints,
    dataloaders,
    launched,
    loggers,
    loops,
    results,
    spawned,
    spawned_errors,
    steps,
)
from kindling.lightning_internals.overhead import CALLBACKS, find_out_once
from kindling.lightning_internals.warnings import MISSING_CALLBACKS, SKIPPED_BATCH, ignored
from kindling.process import signals, silence

# Lightning's advice about workers, and torch's about what Lightning calls.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:lightning", "ignore:.*LeafSpec")

BATCHES = DataLoader(TensorDataset(torch.arange(12.0)[:, None]), batch_size=4)
SILENT: dict[str, Any] = {
    "accelerator": "cpu",
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "num_sanity_val_steps": 0,
}


class Module(LightningModule):
    """Logs and measures as people do; skips a batch if told to."""

    def __init__(self, skips: bool = False):
        super().__init__()
        self.layer, self.metric, self.skips = nn.Linear(1, 1), MeanMetric(), skips
        self.validations: list[int] = []

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = self.layer(batch[0]).square().mean()
        self.metric(batch[0])
        self.log("loss", loss, on_step=False, on_epoch=True)
        self.log("sum", float(batch_idx), on_step=False, on_epoch=True, reduce_fx="sum")
        self.log("last", float(batch_idx), on_step=False, on_epoch=True, reduce_fx="max")
        return None if self.skips and batch_idx == 1 else loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        if batch_idx == 0:
            self.validations.append(self.global_step)
        self.log("val", batch[0].mean())

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.001)


class At(Callback):
    """Calls a function before a batch of training."""

    def __init__(self, epoch: int, batch: int, function: Any):
        self.place, self.function = (epoch, batch), function

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if (trainer.current_epoch, batch_idx) == self.place:
            self.function(trainer, pl_module)


def fit(*callbacks: Callback, module: Module | None = None, **settings: Any) -> Trainer:
    trainer = Trainer(**SILENT | {"max_epochs": 2, "callbacks": list(callbacks)} | settings)
    trainer.fit(module or Module(), BATCHES, BATCHES)
    return trainer


# Loops


def counters(trainer: Trainer) -> dict[str, Any]:
    return trainer.fit_loop.state_dict()["epoch_loop.batch_progress"]


def test_rewind_gives_a_save_before_a_batch_the_counters_of_a_batch_boundary():
    found = []

    def save(trainer: Trainer, module: Any) -> None:
        state = {**trainer.fit_loop.state_dict()}
        assert state["epoch_loop.batch_progress"]["current"]["ready"] == 3
        assert state["epoch_loop.batch_progress"]["is_last_batch"]
        loops.rewind(state, epoch=1, batch=2, ended=False)
        found.append(state)

    fit(At(1, 2, save))
    batches = found[0]["epoch_loop.batch_progress"]
    assert set(batches["current"].values()) == {2}
    assert set(batches["total"].values()) == {5}
    assert not batches["is_last_batch"]


def test_rewind_sets_the_places_of_loaders_that_have_one_and_leaves_others_alone():
    loop = fit().fit_loop.state_dict()
    assert loops.loader_states(loop) == []
    loop["state_dict"] = {"combined_loader": [{"epoch": 0, "batches_done": 9, "recent": []}, {"own": 1}]}
    loops.rewind(loop, epoch=1, batch=2, ended=False)
    assert loops.loader_states(loop) == [{"epoch": 1, "batches_done": 2, "recent": []}, {"own": 1}]


def test_rewind_at_the_end_leaves_the_rest_of_an_epoch_to_come_or_none():
    state = fit(max_steps=4).fit_loop.state_dict()
    epochs = dict(state["epoch_progress"]["current"])
    assert epochs["completed"] == epochs["processed"] == 2
    loops.rewind(state, epoch=1, batch=1, ended=True)
    assert state["epoch_progress"]["current"] == {**epochs, "completed": 1, "processed": 1}
    loops.count_epochs(state, 1)
    assert state["epoch_progress"]["current"] == epochs

    state = fit().fit_loop.state_dict()
    assert set(state["epoch_loop.batch_progress"]["current"].values()) == {3}
    loops.rewind(state, epoch=2, batch=0, ended=True)
    assert set(state["epoch_loop.batch_progress"]["current"].values()) == {0}


@pytest.mark.parametrize(("steps", "ended", "done"), [(-1, True, 3), (5, False, 2), (6, True, 3)])
def test_epoch_has_ended_and_batches_done_tell_where_training_ends(steps, ended, done):
    trainer = fit(max_steps=steps)
    assert loops.epoch_has_ended(trainer) is ended
    assert loops.batches_done(trainer) == done


def test_logged_step_is_the_step_that_loggers_write():
    seen = []
    trainer = fit(At(1, 1, lambda trainer, _: seen.append(loops.logged_step(trainer))), accumulate_grad_batches=3)
    assert seen == [trainer.global_step - 1] == [1]


def test_suspend_validation_lets_none_be_due_until_resume_validation():
    module, kept = Module(), []
    suspend = At(0, 0, lambda trainer, _: kept.append(loops.suspend_validation(trainer)))
    resume = At(1, 1, lambda trainer, _: loops.resume_validation(trainer, kept[0]))
    trainer = fit(suspend, resume, module=module)
    assert kept == [1] == [trainer.check_val_every_n_epoch]
    assert module.validations == [6]


def test_end_restart_clears_what_leaves_out_the_plateau_schedule():
    trainer = Trainer(**SILENT)
    trainer.fit_loop._restarting = True
    assert trainer.fit_loop.restarting
    loops.end_restart(trainer)
    assert not trainer.fit_loop.restarting


# Loaders


class Endless:
    """A loader of the contract, but of no length; counts the batches that it has given."""

    cycle = 0

    def __init__(self, num: int):
        self.num, self.start, self.batches_done = num, 0, 0

    def __iter__(self) -> Any:
        self.batches_done, self.start = self.start, 0
        while self.batches_done < self.num:
            self.batches_done += 1
            yield [torch.full((1, 1), float(self.batches_done))]

    def state_dict(self) -> dict[str, int]:
        return {"epoch": 0, "batches_done": self.batches_done}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.start = state["batches_done"]


class Counted(Endless):
    def __len__(self) -> int:
        return self.num


def test_each_loader_of_training_is_wrapped_and_numbered_and_no_other():
    wrapped = []

    class Wraps(Callback):
        def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
            dataloaders.wrap_training_loaders(trainer, lambda loader: wrapped.append(loader) or loader)

    trainer = Trainer(**SILENT | {"max_epochs": 1, "callbacks": [Wraps()]})
    other = DataLoader(TensorDataset(torch.arange(12.0)[:, None]), batch_size=4)

    class First(Module):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return super().training_step(batch["a"], batch_idx)

    trainer.fit(First(), {"a": BATCHES, "b": other}, DataLoader(TensorDataset(torch.ones(4, 1))))
    assert wrapped == dataloaders.training_loaders(trainer) == [BATCHES, other]
    assert [dataloaders.number_of(trainer, each) for each in wrapped] == [0, 1]


def test_a_loader_of_the_contract_can_begin_within_an_epoch_and_a_step_that_fetches_by_itself_cannot():
    class Fetches(Module):
        def training_step(self, dataloader_iter: Any) -> Any:
            (batch,), _, _ = next(dataloader_iter)
            return self.layer(batch).square().mean()

    found = []

    class Notes(Callback):
        def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
            found.append(dataloaders.can_begin_within_epoch(trainer))

    for module, loader in ((Module(), BATCHES), (Module(), Counted(3)), (Fetches(), Counted(3))):
        Trainer(**SILENT | {"max_epochs": 1, "callbacks": [Notes()]}).fit(module, loader)
    assert found == [False, True, False]


@pytest.mark.parametrize("at", [2, 5])
def test_begin_at_gives_each_loader_its_place_also_one_that_has_begun_anew(at):
    class Begins(Callback):
        def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
            dataloaders.begin_at(trainer, [{"epoch": 0, "batches_done": at}] * 2)

    class Two(Module):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            seen.append([int(each[0]) for each in batch])
            return super().training_step(batch[0], batch_idx)

    seen: list[Any] = []
    trainer = Trainer(**SILENT | {"max_epochs": 1, "callbacks": [Begins()]})
    trainer.fit(Two(), [Counted(7), Counted(2)])
    assert seen[: 7 - at] == [[n + 1, n % 2 + 1] for n in range(at, 7)]


def test_a_longest_loader_of_no_length_does_not_begin_anew_after_begin_at():
    class Begins(Callback):
        def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
            states = [{"epoch": 0, "batches_done": done, "recent": []} for done in (1, 6)]
            dataloaders.begin_at(trainer, states)

    class Two(Module):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return super().training_step(batch[0], batch_idx)

    shorter, longer = Endless(5), Endless(9)
    shorter.cycle = 1
    trainer = Trainer(**SILENT | {"max_epochs": 1, "callbacks": [Begins()]})
    trainer.fit(Two(), [shorter, longer])
    assert trainer.global_step == 3


def test_end_workers_ends_those_that_a_loader_keeps():
    loader = DataLoader(TensorDataset(torch.arange(4.0)), num_workers=1, persistent_workers=True)
    assert len(list(loader)) == 4
    workers = vars(loader._iterator)["_workers"]
    dataloaders.end_workers(loader)
    assert loader._iterator is None
    assert not any(worker.is_alive() for worker in workers)


# Results


def test_epoch_sums_of_a_killed_epoch_are_added_to_those_of_the_rest():
    saved, whole = [], fit(max_epochs=1)

    def save(trainer: Trainer, module: Module) -> None:
        saved.extend(results.epoch_sums(trainer, module))

    def forget(trainer: Trainer, module: Module) -> None:
        save(trainer, module)
        trainer.fit_loop.epoch_loop._results.reset()
        module.metric.reset()
        results.restore_torchmetrics(module, saved[0])

    module = Module()
    module.layer.load_state_dict({key: torch.zeros_like(each) for key, each in module.layer.state_dict().items()})
    add = At(0, 2, lambda trainer, _: None)
    add.on_train_epoch_end = lambda trainer, _: results.add_logged_sums(trainer, saved[0])
    trainer = fit(At(0, 2, forget), add, module=module, max_epochs=1)
    assert len(saved) == 1
    for name in ("sum", "last"):
        assert trainer.callback_metrics[name] == whole.callback_metrics[name]
    assert trainer.callback_metrics["loss"] == 0
    assert module.metric.compute() == torch.arange(12.0).mean()
    assert module.metric.update_count == 3
    assert saved[0]["logged"] == {}


def test_restore_callback_metrics_lets_callbacks_see_them_before_anything_is_logged():
    seen = []
    restored = {"val/loss": torch.tensor(0.5)}
    restore = At(0, 0, lambda trainer, module: results.restore_callback_metrics(trainer, module, restored))
    look = At(0, 0, lambda trainer, _: seen.append(results.callback_metrics(trainer)))
    fit(restore, look)
    assert seen == [restored]


# Checkpoints


def test_loads_states_names_the_functions_that_hand_out_a_checkpoint():
    from lightning.pytorch.trainer.connectors.checkpoint_connector import _CheckpointConnector

    for name in checkpoints.LOADS_STATES[:3]:
        assert callable(getattr(_CheckpointConnector, name))
    assert callable(getattr(torch.optim.Optimizer, checkpoints.LOADS_STATES[3]))


def best(folder: Path) -> ModelCheckpoint:
    return ModelCheckpoint(folder, filename="best", monitor="val", enable_version_counter=False)


def test_a_model_checkpoint_states_its_best_files_and_can_forget_them(tmp_path):
    callback = best(tmp_path)
    trainer = fit(callback, enable_checkpointing=True)
    (file,) = tmp_path.glob("*.ckpt")
    assert checkpoints.best_files(trainer, tmp_path) == {file}
    assert checkpoints.best_files(trainer, tmp_path / "other") == set()
    state = callback.state_dict()
    assert checkpoints.missing_best(state) == []
    file.unlink()
    assert checkpoints.missing_best(state) == [str(file), str(file)]
    checkpoints.forget_best(state, callback)
    assert checkpoints.missing_best(state) == []
    assert {key for key in checkpoints.NO_BEST if key not in callback.state_dict()} == set()
    new = best(tmp_path)
    assert {key: state[key] for key in (*checkpoints.NO_BEST, "kth_value")} == {
        key: new.state_dict()[key] if key != "kth_value" else callback.kth_value
        for key in (*checkpoints.NO_BEST, "kth_value")
    }


def test_restore_current_score_restores_what_a_model_checkpoint_does_not_load(tmp_path):
    state = best(tmp_path).state_dict() | {"current_score": torch.tensor(2.0)}
    callback = best(tmp_path)
    callback.load_state_dict(state)
    assert callback.current_score is None, "Lightning restores it by itself now"
    checkpoints.restore_current_score(state, callback)
    assert callback.current_score == 2


def test_keep_configured_patience_wins_over_the_one_that_early_stopping_saved():
    state, callback = EarlyStopping("val", patience=1).state_dict(), EarlyStopping("val", patience=4)
    checkpoints.keep_configured_patience(state, callback)
    callback.load_state_dict(state)
    assert callback.patience == 4


# Loggers


def test_hide_later_events_reaches_the_writer_of_tensorboard(tmp_path, monkeypatch):
    given: dict[str, Any] = {}
    monkeypatch.setattr("torch.utils.tensorboard.SummaryWriter", lambda **options: given.update(options))
    logger = TensorBoardLogger(tmp_path)
    loggers.hide_later_events([logger], 7)
    _ = logger.experiment
    assert given["purge_step"] == 7


def test_loggers_that_have_a_state_are_restored_and_others_are_left_alone(tmp_path):
    class Counting(CSVLogger):
        def state_dict(self):
            return {"rows": 3}

        def load_state_dict(self, state):
            self.state = state

    given: Any = [TensorBoardLogger(tmp_path), Counting(tmp_path)]
    states = loggers.logger_states(given)
    assert states == {"Counting": {"rows": 3}}
    loggers.restore_loggers(given, states)
    assert given[1].state == {"rows": 3}
    loggers.restore_loggers(given, {})
    assert given[1].state is None


# Warnings


def test_a_batch_that_is_left_out_warns_in_the_words_that_are_ignored():
    # It warns once a process.
    Closure.warning_cache.clear()
    with pytest.warns(UserWarning, match=f"^{SKIPPED_BATCH}"):
        fit(module=Module(skips=True))
    Closure.warning_cache.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        warnings.filterwarnings("ignore", ".*num_workers|.*LeafSpec|.*log_every_n_steps|The `srun`")
        with ignored(SKIPPED_BATCH):
            fit(module=Module(skips=True))


def test_a_replay_without_a_callback_warns_in_the_words_that_are_ignored(tmp_path):
    fit(best(tmp_path), enable_checkpointing=True)
    (file,) = tmp_path.glob("*.ckpt")

    def again() -> None:
        Trainer(**SILENT, max_epochs=3).fit(Module(), BATCHES, BATCHES, ckpt_path=file, weights_only=True)

    with pytest.warns(UserWarning, match=f"^{MISSING_CALLBACKS}"):
        again()
    with ignored(MISSING_CALLBACKS):
        again()


# Processes


def spawning() -> Trainer:
    return Trainer(**SILENT | {"strategy": "ddp_spawn", "devices": 2, "plugins": [WholeCheckpointIO()]})


def test_are_spawned_tells_ddp_spawn_from_the_rest():
    assert spawned.are_spawned(spawning())
    assert not spawned.are_spawned(Trainer(**SILENT))
    assert not spawned.are_spawned(Trainer(**SILENT | {"strategy": "ddp", "devices": 2}))


def test_weights_are_handed_over_in_a_file_of_the_known_name():
    trainer = spawning()
    trainer.strategy.connect(Module())
    trainer.strategy._lightning_module = trainer.strategy._model = Module()
    trainer.state.fn = "fit"
    launcher: Any = trainer.strategy.launcher
    output = launcher._collect_rank_zero_results(trainer, None)
    assert isinstance(output, multiprocessing._WorkerOutput)
    assert spawned.is_handed_over(Path(output.weights_path))
    assert not spawned.is_handed_over(Path("last.ckpt"))
    assert set(WholeCheckpointIO().load_checkpoint(output.weights_path)) == set(Module().state_dict())


def test_recover_gives_a_trainer_the_steps_and_the_best_of_those_that_it_spawned(tmp_path):
    callback = best(tmp_path)
    trained = fit(callback, enable_checkpointing=True)
    end = pickle.loads(pickle.dumps(spawned.end_of(trained)))
    (empty := best(tmp_path)).best_model_path = ""
    trainer = Trainer(**SILENT | {"enable_checkpointing": True, "callbacks": [empty]})
    assert trainer.global_step == 0
    spawned.recover(trainer, end)
    assert trainer.global_step == trained.global_step == 6
    assert trainer.should_stop == trained.should_stop
    assert empty.best_model_path == callback.best_model_path
    assert empty.best_model_score == callback.best_model_score


def test_a_spawned_process_works_in_the_same_project_and_says_all_where_the_first_does(tmp_path, monkeypatch):
    handler = logging.FileHandler(tmp_path / "train.log")
    handler.setFormatter(logging.Formatter("dated %(message)s"))
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [handler])
    state = spawned._carried()
    monkeypatch.setattr(root, "handlers", [])
    # A process that is spawned begins with those of Python.
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)
    with warnings.catch_warnings():
        spawned._take_up(state)
        logging.getLogger("kindling").warning("an epoch")
        logging.captureWarnings(False)
    for each in (handler, *root.handlers):
        each.close()
    assert (tmp_path / "train.log").read_text() == "dated an epoch\n"


def traceback_of(raised: str) -> str:
    return f"-- Process 1:\nTraceback (most recent call last):\n  File a, line 1\n{raised}\n\n"


@pytest.mark.parametrize(
    ("raised", "kind", "words"),
    [
        ("kindling.errors.DivergedError: train/loss: is NaN", DivergedError, "train/loss: is NaN"),
        ("RuntimeError: [enforce]", RuntimeError, "[enforce]"),
        ("AssertionError", AssertionError, ""),
        # Of no kind that can be made again from its words.
        ("UnicodeDecodeError: 'utf-8' codec", RuntimeError, "UnicodeDecodeError: 'utf-8' codec"),
        ("my.errors.Own: no", RuntimeError, "my.errors.Own: no"),
    ],
)
def test_an_error_of_a_spawned_process_is_raised_as_what_it_was(raised, kind, words):
    earlier = "Traceback (most recent call last):\nOSError: a\n\nThe above\n\n"
    for text in (traceback_of(raised), earlier + traceback_of(raised)):
        with pytest.raises(kind, match=f"^{re.escape(words)}$"), spawned_errors.errors_of_spawned():
            raise ProcessRaisedException(text, 1, 7)


def test_a_spawned_process_that_is_gone_is_named_in_one_line():
    given = "of those that ddp_spawn has started, process 1 terminated with signal SIGTERM; after SIGKILL"
    with pytest.raises(KindlingError, match=given), spawned_errors.errors_of_spawned():
        raise ProcessExitedException("process 1 terminated with signal SIGTERM", 1, 7, -15, "SIGTERM")


def test_of_what_several_spawned_processes_say_a_signal_comes_first_and_then_what_can_be_mended():
    gone = ProcessExitedException("process 1 terminated with signal SIGKILL", 1, 7, -9, "SIGKILL")
    for text in ("RuntimeError: gloo", "kindling.errors.KindlingError: rank 1 has shown no sign of life"):
        gone.add_note(traceback_of(text))
    with pytest.raises(KindlingError, match="rank 1 has shown no sign of life"), spawned_errors.errors_of_spawned():
        raise gone
    gone.add_note(traceback_of("kindling.lightning_internals.spawned_errors.EndedError: max_time"))
    with pytest.raises(Interrupted, match="max_time"), spawned_errors.errors_of_spawned():
        raise gone


@pytest.mark.parametrize(
    ("also", "kind", "words"),
    [
        (traceback_of("ValueError: mine"), ValueError, "mine"),
        ("process 1 terminated with exit code 7", KindlingError, "process 1 terminated with exit code 7"),
        ("", KindlingError, "another process of this run has ended"),
    ],
)
def test_a_spawned_process_that_lost_another_one_leaves_the_reason_to_that_one(also, kind, words):
    error = ProcessRaisedException(traceback_of(f"kindling.errors.KindlingError: {silence.GONE}"), 0, 7)
    for each in filter(None, [also]):
        error.add_note(each)
    with pytest.raises(kind, match=words), spawned_errors.errors_of_spawned():
        raise error


def test_a_signal_that_a_spawned_process_died_of_before_it_could_hear_it_is_that_of_the_run(monkeypatch):
    monkeypatch.setattr(signals._State, "request", Interrupted("SIGTERM"))
    with pytest.raises(Interrupted, match="SIGTERM"), spawned_errors.errors_of_spawned():
        raise ProcessExitedException("process 0 terminated with signal SIGTERM", 0, 7, -15, "SIGTERM")


class Raises(nn.Module):
    """In place of a strategy's function: what comes of it in a spawned process."""

    def __init__(self, error: BaseException):
        super().__init__()
        self.error = error
        self.exit_of: dict[int, int] = {}

    def forward(self) -> None:
        rank = int(os.environ["LOCAL_RANK"])
        if rank in self.exit_of:
            os._exit(self.exit_of[rank])
        raise self.error


def launch(function: Raises, processes: int) -> None:
    trainer = Trainer(**SILENT | {"strategy": "ddp_fork", "devices": processes})
    launcher = spawned.Spawning(trainer, lambda trainer: nullcontext())
    with launched.ended_on_failure(trainer):
        launcher.launch(function, trainer=trainer)


@pytest.mark.parametrize("error", [Interrupted("SIGHUP"), DivergedError("train/loss: is NaN")])
def test_what_ends_a_process_that_was_started_from_this_one_ends_this_one(error):
    before = {*Path(tempfile.gettempdir()).glob("pytorch-errorfile-*")}
    with pytest.raises(type(error), match=f"^{error}$"):
        launch(Raises(error), 1)
    assert {*Path(tempfile.gettempdir()).glob("pytorch-errorfile-*")} <= before


def test_a_process_that_ends_without_an_error_beside_one_that_lost_it_is_named():
    lost = Raises(KindlingError(silence.GONE))
    lost.exit_of = {1: 7}
    with pytest.raises(KindlingError, match="process 1 terminated with exit code 7"):
        launch(lost, 2)


@pytest.mark.skipif(sys.platform != "linux", reason="the system tells it")
def test_a_process_whose_starter_is_gone_ends_before_it_trains(monkeypatch):
    carried = spawned._carried()
    monkeypatch.setattr(spawned, "_carried", lambda: carried | {"pid": os.getppid()})
    with pytest.raises(KindlingError, match="process 0 terminated with exit code 1"):
        launch(Raises(DivergedError("train/loss: is NaN")), 1)


def test_ended_on_failure_kills_what_was_launched_and_forgets_it():
    launcher = SimpleNamespace(procs=[1], kill=lambda signum: killed.append(signum))
    trainer: Any = SimpleNamespace(strategy=SimpleNamespace(launcher=launcher))
    killed: list[int] = []
    with launched.ended_on_failure(trainer):
        pass
    assert killed == []
    with pytest.raises(KeyError), launched.ended_on_failure(trainer):
        raise KeyError
    assert killed == [9]
    assert launcher.procs == []
    for strategy in ("ddp_spawn", "ddp"):
        real: Any = Trainer(**SILENT | {"strategy": strategy, "devices": 2}).strategy
        if strategy == "ddp":
            real._configure_launcher()
        assert real.launcher.procs == []
        assert callable(real.launcher.kill)


# Means


def test_a_mean_over_processes_is_that_over_the_examples_of_all():
    def mean(value: torch.Tensor, **_: Any) -> torch.Tensor:
        # As Lightning takes it; the other process has had 15 examples, of which each gave 1.
        return value.copy_((value + 15) / 2)

    with results.exact_means():
        meta = result._Metadata("validation_step", "val/loss")
        meta.sync = result._Sync(_should=True, fn=mean)
        logged = result._ResultMetric(meta, is_tensor=True)
    logged.update(torch.tensor(3.0), 16)
    assert logged.compute().item() == pytest.approx((16 * 3 + 15) / 31)


# Steps


def test_first_training_batch_is_the_first_and_takes_nothing_from_the_run():
    seen: list[Any] = []

    class Looks(Callback):
        def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
            seen.append(batches.first_training_batch(trainer, pl_module))

        def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
            seen.append(batch)

    fit(Looks(), max_epochs=1)
    first, *others = seen
    assert len(others) == len(BATCHES)
    assert all(torch.equal(a, b) for a, b in zip(first, others[0], strict=True))


def test_end_fit_ends_a_fit_in_the_middle_as_finished():
    trainer = fit(At(0, 1, lambda *_: batches.end_fit()))
    assert trainer.global_step == 1
    assert trainer.state.finished


def test_forget_metrics_leaves_none_behind():
    class Logs(Module):
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.log("value", torch.ones(()))

    trainer = fit(module=Logs(), max_epochs=1)
    assert "value" in trainer.callback_metrics
    batches.forget_metrics(trainer)
    assert not trainer.callback_metrics


def test_make_loaders_anew_lets_the_next_fit_ask_for_them():
    trainer = fit(max_epochs=1)
    before = trainer.fit_loop._combined_loader
    batches.make_loaders_anew(trainer)
    trainer.fit_loop.setup_data()
    assert before is not None
    assert trainer.fit_loop._combined_loader not in (None, before)


@pytest.mark.parametrize(("every", "logged"), [(1, [0, 1]), (2, [1])])
def test_is_logged_step_names_the_steps_that_reach_a_logger(tmp_path, every, logged):
    seen: list[int] = []

    class Looks(Callback):
        def on_before_optimizer_step(self, trainer: Trainer, pl_module: Any, optimizer: Any) -> None:
            seen.extend([trainer.global_step] * steps.is_logged_step(trainer))

    fit(Looks(), max_steps=2, logger=CSVLogger(tmp_path), log_every_n_steps=every)
    assert seen == logged
    fit(Looks(), max_steps=2, log_every_n_steps=1)
    assert seen == logged, "without a logger none does"


def test_watch_fetching_sees_each_batch_before_and_after():
    seen: list[str] = []
    watch = At(0, 0, lambda *_: None)
    watch.on_train_start = lambda trainer, _: steps.watch_fetching(  # pyright: ignore[reportAttributeAccessIssue]
        trainer, lambda: seen.append("start"), lambda: seen.append("stop")
    )
    fit(watch, max_epochs=1)
    assert seen[:2] == ["start", "stop"]
    assert seen.count("start") == seen.count("stop") == len(BATCHES)


def test_the_logger_connector_has_what_is_timed():
    connector = steps.logger_connector(fit(max_epochs=1))
    assert all(
        callable(getattr(connector, name)) for name in ("log_metrics", "update_train_step_metrics", "on_batch_end")
    )


def test_callbacks_of_other_packages_are_looked_for_once_and_made_for_each_trainer(monkeypatch):
    made, looked = [], []

    def found(**group):
        looked.append(group)
        return [SimpleNamespace(name="theirs", load=lambda: lambda: made.append(Callback()) or made[-1:])]

    monkeypatch.setattr(registry, "entry_points", found)
    find_out_once()

    trainers: list[Any] = [Trainer(**SILENT) for _ in range(2)]

    # The name of the group too is Lightning's.
    assert looked == [{"group": CALLBACKS}]
    assert [made[place] in trainer.callbacks for place, trainer in enumerate(trainers)] == [True, True]
    assert made[0] is not made[1]


@pytest.mark.parametrize("ends_by_itself", [True, False])
def test_a_process_whose_launched_ones_are_gone_may_end_by_itself(monkeypatch, ends_by_itself):
    monkeypatch.setattr(launched, "GRACE_S", 0.05)
    monkeypatch.setattr(launched, "LOOK_S", 0.01)
    gave_up: list[bool] = []
    with launched.observed(lambda: gave_up.append(True)):
        observer = launched._ChildProcessObserver(os.getpid(), [] if ends_by_itself else [None])  # pyright: ignore
        observer._terminate_all()
    assert gave_up == [True] * (not ends_by_itself)
