"""Which run `resume` means, and which settings may differ from those that it was started with."""

import time
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from kindling.config.crops import crops_differ
from kindling.config.left_out import leave_out
from kindling.config.processes import PER_PROCESS
from kindling.config.transforms import as_one_transform
from kindling.errors import ConfigError
from kindling.files.redaction import redact_config
from kindling.process import terminal
from kindling.run_folders.lock import is_held
from kindling.run_folders.saved_run import ORIGIN, run_of, saved_config

# Free to differ on resume; a prefix stands for all below.
FREE = (
    *(
        "resume",
        "resume_strict",
        "fork",
        "weights",
        "train",
        "test",
        "task.views",
        "on_nan",
        "rollback",
        "paths",
        "logger",
    ),
    # For a run whose memory has run out; the results stay bit-identical.
    "model.checkpoint_activations",
    # Never given: a run keeps it.
    PER_PROCESS,
    "experiment_name",
    *("data.root", "data.cache_dir", "data.max_pixels", "data.num_workers", "data.in_memory", "data.cache"),
    *("data.table", "data.mean", "data.std"),
    *("data.prefetch_factor", "data.pin_memory", "data.persistent_workers"),
    *(
        f"callbacks.resume_checkpoint.{key}"
        for key in ("every_n_steps", "every_minutes", "keep", "max_time", "strict", "silence_s")
    ),
    *("callbacks.early_stopping.patience", "callbacks.learning_rate"),
    # They look on; a project may have left out the doctor since.
    *("callbacks.summary", "callbacks.progress", "callbacks.timings", "callbacks.doctor"),
    *("trainer.max_epochs", "trainer.max_steps", "trainer.max_time", "trainer.min_epochs", "trainer.min_steps"),
    *("trainer.enable_checkpointing", "trainer.enable_progress_bar", "trainer.enable_model_summary"),
    *("trainer.enable_autolog_hparams", "trainer.log_every_n_steps", "trainer.num_sanity_val_steps"),
    *("trainer.limit_test_batches", "trainer.limit_predict_batches", "trainer.profiler", "trainer.detect_anomaly"),
    *("trainer.default_root_dir", "trainer.model_registry", "trainer.barebones"),
)

# If these differ, bits may too: resume_strict=true refuses, else a warning.
BITS = (
    *("compile", "float32_matmul_precision", "trainer.accelerator", "trainer.strategy", "trainer.devices"),
    *("trainer.num_nodes", "trainer.precision", "trainer.deterministic", "trainer.benchmark"),
)

# Said when they differ.
LAUNCH = ("data.num_workers", "trainer.accelerator", "trainer.devices", "trainer.num_nodes", "trainer.strategy")

# A fork may not change these: its state would not fit.
SHAPES = (
    *("model", "optimizer", "layer_lr_decay", "scheduler"),
    *("data.num_classes", "data.channels", "data.image_size", "data.crop", "data.decoding", "task.criterion.version"),
    "task.plain_loss",
)

# A fork may change these: its state is scaled.
RATES = ("optimizer.lr", "scheduler.scheduler.max_lr")

# What gives a finished run something left to do.
LIMITS = (
    *("trainer.max_epochs", "trainer.max_steps", "trainer.min_epochs", "trainer.min_steps"),
    "callbacks.early_stopping.patience",
)

# Settings that a line can show, and characters of a command.
MOST_SHOWN, LONGEST_COMMAND = 5, 1000
# Other machines' clocks may be ahead by so much.
AHEAD_S = 60.0


def flatten(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"model": {"dropout": 0.1}} -> {"model.dropout": 0.1}."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def changed_settings(saved: dict[str, Any], given: dict[str, Any]) -> list[str]:
    """The dotted keys of two plain configs that differ, wherever their run folders lie."""
    before, now = _without_folder(saved), _without_folder(given)
    return sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key))


def _without_folder(config: dict[str, Any]) -> dict[str, Any]:
    folder, flat = str(config["paths"].get("run")), flatten(config)
    return {key: value.replace(folder, "") if isinstance(value, str) else value for key, value in flat.items()}


def is_among(key: str, settings: tuple[str, ...]) -> bool:
    return any(key == each or key.startswith(f"{each}.") for each in settings)


def refuse_changes(
    saved: dict[str, Any], given: dict[str, Any], *, fork: bool = False, strict: bool = False, command: str = ""
) -> None:
    """
    Args:
        command: by which the run goes on.

    Raises:
        ConfigError: a config would go on with a run that was started with other settings.
    """
    changed = changed_settings(saved, given)
    if fork:
        refused = [key for key in changed if is_among(key, SHAPES) and not is_among(key, (*RATES, *FREE))]
        allowed = "those of the run; weights= starts from its weights alone"
    else:
        refused = [key for key in changed if not is_among(key, FREE) and (strict or not is_among(key, BITS))]
        refused += ["data.cache"] * crops_differ(saved, given)
        allowed = (
            f"those that the run was started with; repeat its command{command and f', {command}'}; fork= branches off"
        )

    if refused:
        before, now = flatten(saved), flatten(given)
        # Many, if `resume=` was given alone.
        shown = refused[:MOST_SHOWN] if len(refused) <= MOST_SHOWN or not command else refused[:1]
        listed = ", ".join(f"{key}={now.get(key)} (it has {before.get(key)})" for key in shown)
        listed += f" and {len(refused) - len(shown)} others" * (len(shown) < len(refused))
        raise ConfigError(f"{'fork' if fork else 'resume'}: given the settings {listed}; allowed: {allowed}")


def changed_launch(saved: dict[str, Any], given: dict[str, Any]) -> list[str]:
    """The settings that differ of who computes: they change no order, and at most the last bits."""
    before, now = flatten(saved), flatten(given)

    def said(flat: dict[str, Any], key: str) -> Any:
        # A strategy may be a class.
        return flat.get(key, flat.get(f"{key}._target_"))

    changed = [key for key in changed_settings(saved, given) if key in LAUNCH]
    return [f"{key}={said(now, key)} (it was {said(before, key)})" for key in changed]


def is_reopened(saved: dict[str, Any], given: dict[str, Any]) -> bool:
    """Whether a finished run has something left to do under other settings."""
    return any(key in (*LIMITS, "test") for key in changed_settings(saved, given))


def saved_config_to_resume(folder: Path, given: dict[str, Any]) -> dict[str, Any]:
    """The saved config of the run in a folder, which a run with the given one may go on with.

    Raises:
        ConfigError: the run may not be resumed, or not with this config.
    """
    if not given["resume"]:
        raise ConfigError(f"run folder: given {folder}, which holds a run; give a new one, or resume= it")
    saved = saved_config(folder)
    refuse_changes(saved, given, strict=given["resume_strict"], command=command_to_resume(folder, f"resume={folder}"))
    return saved


def command_to_resume(folder: Path, resume: str) -> str:
    """The command by which a run goes on, with `resume` at its end; "" if run.json has none that one would type."""
    said = (run_of(folder) or {}).get("command")
    origins = tuple(f"{key}=" for key in ("resume", *ORIGIN))
    words = [each for each in str(said or "").split(" ") if not each.startswith(origins)]
    if not words[0].endswith(".py") or len(str(said)) > LONGEST_COMMAND or not str(said).isprintable():
        return ""
    return " ".join(["python", *words, resume])


@cache
def newest_unfinished(experiment_folder: Path) -> list[Path]:
    """The folders of an experiment's runs that have not finished and that no process works in, newest first."""
    found = []
    for file in experiment_folder.glob("*/run.json"):
        facts = run_of(file.parent)
        if facts is None and any(file.parent.glob("checkpoints/*.ckpt")):
            terminal.say(f"warning: {file}: cannot be read; its run is left out")
        if facts and facts["status"] not in ("finished", "pruned") and not is_held(file.parent):
            found.append((_instant(facts.get("started_at")), file.parent.name, file.parent))
    newest_first = sorted(found, reverse=True)
    if newest_first and newest_first[0][0] > time.time() + AHEAD_S:
        folder = newest_first[0][-1]
        terminal.say(f"warning: {folder}: started later than now by the clock; if it is not the newest, resume=FOLDER")
    return [folder for *_, folder in newest_first]


def _instant(started_at: Any) -> float:
    """Seconds since 1970, as hours of the wall come twice when summer time ends; 0 if it is no time."""
    try:
        return datetime.fromisoformat(started_at).timestamp()
    except (TypeError, ValueError, OverflowError, OSError):
        return 0.0


def goes_on_with(folder: Path, given: DictConfig) -> bool:
    """Whether a config is that of a run, but for settings that may differ."""
    config = given.copy()
    with open_dict(config):
        config.pop("hydra", None)
        config.paths.run = str(folder)
    as_one_transform(config)
    leave_out(config)
    try:
        saved = saved_config(folder)
    except ConfigError as error:
        terminal.say(f"warning: {str(error).removeprefix('resume: ')}; this run is left out")
        return False
    try:
        now = redact_config(OmegaConf.to_container(config, resolve=True))
        refuse_changes(saved, now)
    except (ConfigError, OmegaConfBaseException):
        return False
    return all(_absolute(saved.get(key)) == _absolute(now.get(key)) for key in ORIGIN)


def _absolute(path: str | None) -> Path | None:
    return Path(path).expanduser().absolute() if path else None
