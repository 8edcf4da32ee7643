"""Which hooks of callbacks a step calls: those in which the callback does something."""

from typing import Any

from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.profilers import PassThroughProfiler
from lightning.pytorch.trainer import call

STEP_HOOKS = frozenset(
    name for name in vars(Callback) if "_batch_" in name or name.startswith(("on_before", "on_after"))
)
call_every_callback = call._call_callback_hooks


def skip_idle_hooks(callback: Any) -> None:
    """Have the Trainer pass over the hooks of a step in which a callback does nothing; anybody else may call them."""
    callback._idle_hooks = frozenset(name for name in STEP_HOOKS if does_nothing(callback, name))
    call_busy_callbacks_only()


def call_busy_callbacks_only() -> None:
    """Replace the function through which all loops of this process call callbacks."""
    call._call_callback_hooks = call_busy_callbacks


def call_busy_callbacks(trainer: Trainer, hook_name: str, *arguments: Any, **options: Any) -> None:
    """Call a hook as Lightning does, which names, profiles and calls each callback of a step, idle or not."""
    if hook_name not in STEP_HOOKS:
        return call_every_callback(trainer, hook_name, *arguments, **options)
    callbacks: list[Any] = trainer.callbacks  # pyright: ignore[reportAttributeAccessIssue]
    busy = [each for each in callbacks if not is_idle(each, hook_name)]
    if not busy:
        return None

    # A module that logs from a hook is asked for the hook's name.
    module: Any = trainer.lightning_module
    outer_hook, module._current_fx_name = module._current_fx_name, hook_name
    profiler = trainer.profiler  # pyright: ignore[reportAttributeAccessIssue]
    for callback in busy:
        hook = getattr(callback, hook_name)
        if not callable(hook):
            continue
        # Only a profiler needs its long name, which is slow.
        if isinstance(profiler, PassThroughProfiler):
            hook(trainer, module, *arguments, **options)
        else:
            with profiler.profile(f"[Callback]{callback.state_key}.{hook_name}"):
                hook(trainer, module, *arguments, **options)
    module._current_fx_name = outer_hook
    return None


def is_idle(callback: Any, hook_name: str) -> bool:
    attributes = vars(callback)
    # A hook that was assigned since is called.
    return hook_name in attributes.get("_idle_hooks", ()) and hook_name not in attributes


def does_nothing(callback: Any, hook_name: str) -> bool:
    """Whether a hook is the base class's empty one, or one of Lightning's that its settings switch off."""
    if type(callback) is ModelCheckpoint and hook_name == "on_train_batch_end":
        return callback._every_n_train_steps < 1 and callback._train_time_interval is None
    if type(callback) is LearningRateMonitor and hook_name == "on_train_batch_start":
        return callback.logging_interval == "epoch"
    return getattr(type(callback), hook_name) is vars(Callback)[hook_name]
