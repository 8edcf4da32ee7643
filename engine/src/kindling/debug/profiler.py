"""A profile of a few steps: what the time goes to, as tables and as a trace."""

import logging
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.profilers import Profiler
from torch.profiler import ProfilerAction, ProfilerActivity, record_function, schedule, tensorboard_trace_handler

from kindling.console import shown
from kindling.debug.phases import END, FORWARD, LOGGING, PhaseClock
from kindling.debug.report import TABLE_ROWS, Operation, operations, summary
from kindling.lightning_internals.steps import logger_connector
from kindling.ranges import NotNegativeInt, PositiveInt
from kindling.training.net import net_of
from kindling.training.task import Task

log = logging.getLogger(__name__)
# Methods of Lightning's logger connector that are timed.
LOGS = ("log_metrics", "update_train_step_metrics", "on_batch_end")


def nets_of(module: LightningModule) -> list[Any]:
    """What counts as forward: the net of a task; of a module that does not say, all that it holds."""
    return [net_of(module)] if isinstance(module, Task) else list(module.children())


class StepProfiler(Profiler):
    """Times the phases of some steps, then traces as many: profile.txt and profile/*.pt.trace.json.

    The timed steps are not traced, as a trace slows them down; on a GPU each phase waits for the device.

    Args:
        folder: of the run.
        wait: steps that are left out, as the first ones are slow.
        warmup: steps in which torch's profiler warms up.
        active: steps that are timed, and as many that are traced.
    """

    def __init__(self, folder: str, *, wait: NotNegativeInt, warmup: NotNegativeInt, active: PositiveInt):
        super().__init__()
        self.folder = Path(folder)
        self.wait, self.active = wait, active
        self.on_gpu = False
        self.clock = PhaseClock(self._wait_for_device)
        self._schedule = schedule(wait=wait + active, warmup=warmup, active=active, repeat=1)
        # Torch's profiler; None while none is running.
        self._trace: Any = None
        self._num_steps = 0
        self._records: list[record_function] = []
        self._operations: list[Operation] = []
        self._table = ""
        self._undo: list[Callable[[], None]] = []

    def _wait_for_device(self) -> None:
        if self.on_gpu:
            torch.cuda.synchronize()

    def setup(self, stage: str, local_rank: int | None = None, log_dir: str | None = None) -> None:
        super().setup(stage, local_rank, log_dir)
        if stage == "fit" and not self._local_rank:
            module: Any = self._lightning_module  # pyright: ignore[reportAttributeAccessIssue]
            self.on_gpu = module.trainer.strategy.root_device.type == "cuda"
            connector = logger_connector(module.trainer)
            for net in nets_of(module):
                # Torch calls a net through it, compiled or not.
                self._wrap(net, "_compiled_call_impl", FORWARD, net._call_impl)
            for owner, name in ((module, "log"), *((connector, each) for each in LOGS)):
                self._wrap(owner, name, f"{LOGGING}{name}")
            self._trace = self._make_trace()

    def _wrap(self, owner: Any, name: str, region: str, default: Any = None) -> None:
        function = getattr(owner, name) or default

        def recorded(*arguments: Any, **named: Any) -> Any:
            with self.profile(region):
                return function(*arguments, **named)

        before = vars(owner).get(name)
        owner.__dict__[name] = recorded
        restore = partial(owner.__dict__.__setitem__, name, before)
        self._undo.append(restore if before is not None else partial(owner.__dict__.pop, name, None))

    def _make_trace(self) -> Any:
        # Else Kineto prints lines of its own.
        os.environ.setdefault("KINETO_LOG_LEVEL", "99")
        activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if self.on_gpu else [])]
        # Torch 2.11 warns of a trace that does not keep its events, though there is one alone.
        return torch.profiler.profile(
            activities=activities, schedule=self._schedule, on_trace_ready=self._write, acc_events=True
        )

    def start(self, action_name: str) -> None:
        if self._trace is None:
            return
        if action_name.endswith("train_dataloader_next"):
            self._begin_step()
        self.clock.enter(action_name)
        if self._trace.current_action != ProfilerAction.NONE:
            self._records.append(record_function(action_name).__enter__())

    def stop(self, action_name: str) -> None:
        if self._trace is None:
            return
        if self._records and self._records[-1].name == action_name:
            self._records.pop().__exit__(None, None, None)
        self.clock.leave()
        if action_name == END:
            self._end_step()

    def _begin_step(self) -> None:
        if self._num_steps == 0:
            self._trace.start()
            self._allow_for_several_optimizers()
        if self.wait <= self._num_steps < self.wait + self.active:
            self.clock.start_step()

    def _allow_for_several_optimizers(self) -> None:
        """A module that steps several optimizers in a batch has as many steps of Lightning in it."""
        module: Any = self._lightning_module  # pyright: ignore[reportAttributeAccessIssue]
        loop = module.trainer.fit_loop.epoch_loop
        if not module.automatic_optimization and loop.max_steps > 0:
            loop.max_steps *= len(module.trainer.optimizers)

    def _end_step(self) -> None:
        self.clock.end_step()
        self._num_steps += 1
        # Here the trace ends, before a validation may follow.
        self._trace.step()

    def _write(self, trace: Any) -> None:
        tensorboard_trace_handler(str(self.folder / "profile"), worker_name="steps")(trace)
        averages = trace.key_averages()
        self._operations = operations(averages, self.on_gpu)
        key = "self_device_time_total" if self.on_gpu else "self_cpu_time_total"
        self._table = averages.table(sort_by=key, row_limit=TABLE_ROWS, max_name_column_width=60)

    def describe(self) -> None:
        """Log the summary, and write it above the table of all operations."""
        trace, self._trace = self._trace, None
        if trace is None:
            return
        trace.stop()
        for undo in reversed(self._undo):
            undo()
        text = summary(self._operations, self.clock, self.active, self.on_gpu)
        self.folder.joinpath("profile.txt").write_text(f"{text}\n{self._table}", encoding="utf-8")
        if self._operations:
            table, traced = shown(self.folder / "profile.txt"), shown(self.folder / "profile")
            log.info("%s\nall operations: %s\nthe trace: %s", text, table, traced)
        else:
            log.info("%s\nthe run ended before the steps that are traced; allow more trainer.max_steps", text)
