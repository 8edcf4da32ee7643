"""What a run says of itself: what it is before anything heavy is imported, and how it can go on."""

import re
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig

from kindling.config.composition import in_sweep
from kindling.config.plain import as_yaml
from kindling.config.processes import batch_in_words
from kindling.console import hush, log_only, report, shown
from kindling.errors import ConfigError, DivergedError, KindlingError, interruption
from kindling.process.ranks import is_first_process
from kindling.run_folders.record import RunRecord
from kindling.run_folders.resumption import command_to_resume, newest_unfinished
from kindling.run_folders.trials import TRIAL_FILE

# Groups without an option.
NOTHING = (None, "none", "plain")
# Which runs in seconds, with which the cause of an error is often plain.
TO_TRY = "what to try: the same command with debug=fast (a few batches of all), or debug=shapes (what each layer makes)"


def say_beginning(record: RunRecord) -> None:
    """Say what runs where; the settings go into train.log alone."""
    batch = batch_in_words(record.config)
    shared = f", batch {batch}" if batch else ""
    report("%s, seed %s%s → %s", _title(record.config), record.config["seed"], shared, shown(record.folder))
    log_only(f"command: {record.facts.get('command')}")
    settings = as_yaml(record.config, default_flow_style=True, allow_unicode=False, width=10**6)
    log_only(f"settings: {settings.strip()}")
    if _is_of_many(record.folder):
        hush()


def _is_of_many(folder: Path) -> bool:
    """Whether it is a job of a sweep that all print to one screen; a trial has a file, other launchers have logs."""
    if not in_sweep() or (folder / TRIAL_FILE).exists():
        return False
    return str(HydraConfig.get().launcher["_target_"]).endswith(".BasicLauncher")


def _title(config: dict[str, Any]) -> str:
    """Such as "cnn on mnist_5k", by the options that were chosen, or by classes where nobody chose."""
    chosen = HydraConfig.get().runtime.choices if HydraConfig.initialized() else {}
    names = [(chosen.get(group), _class_name(config.get(group))) for group in ("model", "task", "data")]
    model, task, data = (_class if option in NOTHING else option for option, _class in names)
    title = chosen.get("experiment") or model or task or "a task"
    return f"{title} on {data}" if data else title


def _class_name(node: Any) -> str:
    return str((node or {}).get("_target_") or "").rpartition(".")[2]


def add_what_to_do(error: BaseException, record: RunRecord) -> None:
    """Note at an error, or at the signal behind it, how the run can go on and what may help."""
    stopped = interruption(error)
    if not is_first_process() or in_sweep() or isinstance(error, ConfigError | DivergedError):
        return
    steps = [int(file.stem[5:]) for file in record.folder.glob("checkpoints/step_*.ckpt") if file.stem[5:].isdecimal()]
    saved = f"saved at step {max(steps)}; " if steps else ""
    if stopped:
        stopped.add_note(f"{saved}go on with: {_command(record)}" if saved else "nothing was saved yet")
        return
    if not isinstance(error, KindlingError | OSError):
        error.add_note(f"its log: {shown(record.folder)}/train.log")
        error.add_note(TO_TRY)
    if saved:
        error.add_note(f"{saved}once that is mended, go on with: {_command(record)}")


def _command(record: RunRecord) -> str:
    """The command that goes on with a run; from Python, the setting that does."""
    folder = record.folder
    usual = Path(record.config["paths"]["logs"]).expanduser() / (record.config["experiment_name"] or "default")
    newest_unfinished.cache_clear()
    is_newest = usual.absolute() == folder.parent.absolute() and newest_unfinished(folder.parent)[:1] == [folder]
    path = "last" if is_newest else shown(folder)
    plain = re.fullmatch(r"[\w./-]+", path)
    resume = f"resume={path}" if plain else f"\"resume='{path}'\""
    return (HydraConfig.initialized() and command_to_resume(folder, resume)) or resume
