"""How a command starts: its command line is checked, then Hydra runs it; `compose` for a notebook."""

import logging
import os
import re
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.utils import to_absolute_path
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from kindling.cli import outcome, resolvers
from kindling.cli.arguments import checked_arguments, in_full
from kindling.config import composition, project
from kindling.config.check.command_line import Check, refuse
from kindling.config.composition import Composer, in_sweep, own_error
from kindling.config.transforms import as_one_transform
from kindling.console import shown
from kindling.errors import ConfigError, Interrupted
from kindling.files.redaction import redact_text
from kindling.files.whole_file import write_whole
from kindling.process import parent, ranks, signals, start_and_end, streams, surroundings, terminal
from kindling.run_folders.resumption import newest_unfinished

PATHS = ("fork", "weights", "run", "ckpt")
# Keys that hold paths, by their names, and values of theirs that are none.
OF_A_PATH = re.compile(r"(^|_)(root|dir|folder|file|path|dirpath|save_dir|resume)s?$")
NO_PATHS = ("last", "auto")

resolvers.register()


def entry(file: str, task: Callable[[DictConfig], Any]) -> None:
    """Compose configs/<name>.yaml with the command line, run `task`, exit with the code of the outcome.

    Args:
        file: of the command, `__file__`: the folder that it lies in is the project, its stem the name.
        task: takes the config.

    0 done, 1 failed, 2 wrong config or arguments, 129 terminal closed, 130 interrupted by Ctrl-C, 143 by SIGTERM.
    """
    start_and_end.end(_run(Path(file).resolve(), task))


def _run(file: Path, task: Callable[[DictConfig], Any]) -> int:
    """The exit code of a command."""
    streams.take_over()
    for line in surroundings.set_right():
        terminal.say(f"warning: {line}")
    full_trace = _take_full_trace()
    signals.install()
    parent.end_with_launcher()

    try:
        project.check_origin(project.use(file.parent))
        arguments = checked_arguments(file.stem, sys.argv[1:])
        if arguments is not None:
            sys.argv[1:] = arguments
            composition.main(file.stem, _job(task, full_trace))
    except (SystemExit, Interrupted, Exception) as error:
        return outcome.conclude(error, full_trace=full_trace)
    return 0


def _take_full_trace() -> bool:
    """Whether the user wants tracebacks; Hydra is made to raise its errors in any case, instead of printing them."""
    wanted = os.environ.get("HYDRA_FULL_ERROR", "0") not in ("0", "")
    os.environ["HYDRA_FULL_ERROR"] = "1"

    # A launched process finds what the first one has set.
    return wanted and not ranks.is_launched()


def _job(task: Callable[[DictConfig], Any], full_trace: bool) -> Callable[[DictConfig], Any]:
    """A task whose errors are reported before Hydra does it; a launcher may send it to another process."""
    root = project.current().root

    def job(cfg: DictConfig) -> Any:
        project.use(root)
        if threading.current_thread() is threading.main_thread():
            signals.install()
        parent.end_with_launcher()
        logging.captureWarnings(True)
        streams.drop_unwritable(1)

        # Else a full disk prints a traceback for each log line.
        logging.raiseExceptions = full_trace
        _complete(cfg)
        _say_what_is_read(cfg)
        try:
            if in_sweep():
                _redact_sweep(Path(HydraConfig.get().sweep.dir) / "multirun.yaml")
            return task(cfg)
        except Exception as error:
            outcome.leave_job(error, full_trace=full_trace)

    return job


def _say_what_is_read(cfg: DictConfig) -> None:
    """Name the trained model to whoever watches, since it takes seconds to import what reads it."""
    model = next((cfg[key] for key in ("run", "ckpt") if cfg.get(key)), None)
    if model and terminal.is_watched():
        terminal.say(f"{HydraConfig.get().job.name}: {shown(Path(model))}")


def _complete(cfg: DictConfig) -> None:
    """Set what is known only now: the folder that Hydra has made, and where relative paths start."""
    if "run" in cfg.get("paths", {}):
        cfg.paths.run = HydraConfig.get().runtime.output_dir
        _name_experiment(cfg, HydraConfig.get())

    for key in PATHS:
        if cfg.get(key):
            cfg[key] = to_absolute_path(str(Path(cfg[key]).expanduser()))
    if HydraConfig.initialized() and Path.cwd() != Path(HydraConfig.get().runtime.cwd):
        _keep_paths(cfg)


def _keep_paths(node: Any) -> None:
    """Let each path of a config stay relative to where the command was typed, which hydra.job.chdir has left."""
    for key in node if isinstance(node, DictConfig) and not (node._is_none() or node._is_missing()) else ():
        inner = node._get_node(key)
        if isinstance(inner, DictConfig):
            _keep_paths(inner)
        elif OF_A_PATH.search(str(key)) or node._key() == "paths":
            given = None if OmegaConf.is_missing(node, key) else node[key]
            if isinstance(given, str) and given not in ("", *NO_PATHS):
                node[key] = to_absolute_path(str(Path(given).expanduser()))


def _redact_sweep(file: Path) -> None:
    """Remove secrets from the file into which Hydra's own sweeper writes the sweep's command line."""
    if not file.is_file():
        return
    with write_whole(file) as stream:
        stream.write(redact_text(file.read_text(encoding="utf-8")))


def compose(overrides: Sequence[str] = (), name: str = "train", *, root: str | Path | None = None) -> DictConfig:
    """The config that `python <name>.py <overrides>` would run with, for a notebook or a test.

    Args:
        overrides: as on the command line.
        name: of the command.
        root: the folder of the project, from then on that of this process; by default the installed one.

    Raises:
        KindlingError: one line for each mistake.
    """
    if isinstance(overrides, str):
        raise ConfigError(f"overrides: given the text {overrides!r}; allowed: a list of texts, such as [{overrides!r}]")
    if root is not None:
        project.use_own(root)

    # Each call is a run of its own.
    resolvers.stamp.cache_clear()
    newest_unfinished.cache_clear()

    with Composer(name) as composer:
        # What is logged is known once `train` is given a task, or none.
        check = Check(composer, waits=True)
        refuse(check.run(in_full(name, overrides)))
    for line in check.former.lines:
        terminal.say(f"warning: {line}")

    (cfg,) = check.configs
    with open_dict(cfg):
        if "run" in cfg.get("paths", {}):
            try:
                cfg.paths.run = cfg.hydra.run.dir
            except OmegaConfBaseException as error:
                # The run to resume is not there.
                raise own_error(error) or error from None
            _name_experiment(cfg, cfg.hydra)
        del cfg["hydra"]
    as_one_transform(cfg)
    return cfg


def _name_experiment(cfg: DictConfig, hydra: Any) -> None:
    """Keep the choice of experiment, which Hydra leaves out of the config."""
    cfg.experiment_name = cfg.experiment_name or hydra.runtime.choices.experiment or "default"
