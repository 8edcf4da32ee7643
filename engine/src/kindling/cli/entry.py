"""How a command starts and ends: its command line is checked, then Hydra runs it; `compose` for a notebook."""

import argparse
import errno
import logging
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.utils import to_absolute_path
from omegaconf import DictConfig, open_dict
from omegaconf.errors import OmegaConfBaseException

from kindling.cli import resolvers
from kindling.config import composition, project
from kindling.config.check import keys
from kindling.config.check.command_line import Check, refuse
from kindling.config.check.files import ConfigFiles
from kindling.config.composition import Composer, in_sweep, own_error
from kindling.config.fault import Fault, nearest
from kindling.errors import ConfigError, Interrupted, InUseError, KindlingError, interruption
from kindling.files.redaction import redact_text
from kindling.files.whole_file import write_whole
from kindling.process import parent, ranks, signals, start_and_end, streams
from kindling.run_folders.resumption import newest_unfinished

PATHS = ("fork", "weights", "run", "ckpt")
BROKEN_PIPE = 141  # 128 + SIGPIPE
SHORT = {"serve": {"model": "model.folder"}}  # as Hydra takes model=... for a choice of configs/model/
FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)

resolvers.register()


def entry(file: str, task: Callable[[DictConfig], Any]) -> None:
    """Compose configs/<name>.yaml with the command line, run `task`, exit with a code that tells the outcome.

    Args:
        file: of the command, `__file__`: the folder that it lies in is the project, its stem the name.
        task: takes the config.

    0 done, 1 failed, 2 wrong config or arguments, 129 terminal closed, 130 interrupted by Ctrl-C, 143 by SIGTERM.
    """
    start_and_end.end(_run(Path(file).resolve(), task))


def _run(file: Path, task: Callable[[DictConfig], Any]) -> int:
    """The exit code of a command."""
    full_trace = os.environ.setdefault("HYDRA_FULL_ERROR", "0") not in ("0", "")
    full_trace = full_trace and not ranks.is_launched()  # which finds the first process's next line
    streams.occupy_closed_streams()
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises, instead of printing a traceback of its own
    signals.install()
    parent.end_with_launcher()

    try:
        project.check_origin(project.use(file.parent))
        name = file.stem
        arguments = _checked(name, sys.argv[1:])
        if arguments is not None:
            sys.argv[1:] = arguments
            composition.main(name, _job(task, full_trace))
    except SystemExit as ended:
        if isinstance(ended.code, str):
            print(ended.code, file=sys.stderr)
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BrokenPipeError:  # | head
        return BROKEN_PIPE
    except Interrupted as error:
        if ranks.is_launched():  # the first process tells it; Lightning would kill that one for another code
            return 0
        print(f"interrupted by {error}", file=sys.stderr)
        if str(error) == "SIGUSR1":
            signals.requeue()
        return error.exit_code
    except Exception as error:
        of_a_job = getattr(error, "reported", False)
        if not (of_a_job or full_trace or own_error(error) or isinstance(error, OSError)):
            error = ConfigError(_in_one_line(error))  # Hydra's refusal of the command line
        _report(error, full_trace)
        return _exit_code(error)
    return 0


def _job(task: Callable[[DictConfig], Any], full_trace: bool) -> Callable[[DictConfig], Any]:
    """A task that tells what is wrong before Hydra does."""

    def job(cfg: DictConfig) -> Any:
        logging.captureWarnings(True)
        logging.raiseExceptions = full_trace  # of a log file on a full disk
        if "run" in cfg.get("paths", {}):
            cfg.paths.run = HydraConfig.get().runtime.output_dir
            _name_experiment(cfg, HydraConfig.get())
        for key in PATHS:
            if cfg.get(key):  # hydra.job.chdir may have left the folder that it was given in
                cfg[key] = to_absolute_path(str(Path(cfg[key]).expanduser()))
        try:
            if in_sweep():
                _redact_sweep(Path(HydraConfig.get().sweep.dir) / "multirun.yaml")
            return task(cfg)
        except BrokenPipeError:  # | head
            sys.exit(BROKEN_PIPE)
        except Exception as error:
            stopped = interruption(error)
            if stopped:
                raise stopped from None
            _report(error, full_trace)
            if in_sweep():
                raise  # Hydra goes on with the next job
            sys.exit(_exit_code(error))

    return job


def _checked(name: str, arguments: list[str]) -> list[str] | None:
    try:
        return check_command_line(name, arguments)
    except (KindlingError, OSError):
        raise
    except Exception as error:  # a mistake of the check is no reason not to train
        print(f"warning: the config could not be checked ({type(error).__name__}: {error})", file=sys.stderr)
        return arguments


def check_command_line(name: str, arguments: Sequence[str]) -> list[str] | None:
    """The arguments with the flags first, since Hydra's parser takes no override after a flag that follows one.

    None if they asked for what has been printed: the help or the config, for which Hydra takes twice as long.

    Raises:
        KindlingError: one line for each mistake.
    """
    arguments = _in_full(name, arguments)
    parser = composition.arguments_parser()
    given, unknown = parser.parse_known_intermixed_args(list(arguments))
    given.overrides += [argument for argument in unknown if not argument.startswith("-")]
    given.config_name = (given.config_name or name).removesuffix(".yaml")
    flags = [argument for argument in arguments if argument not in given.overrides]
    if given.experimental_rerun:
        raise ConfigError("--experimental-rerun: given a pickle, which may run any code; allowed: resume=<run folder>")
    if given.hydra_help or given.shell_completion:
        return [*flags, *given.overrides]
    folder = Path(given.config_path or project.current().configs).absolute()
    sweep = given.multirun or "hydra.mode=MULTIRUN" in given.overrides
    with Composer(given.config_name, folder, given.config_dir) as composer:
        if given.help:
            groups = ConfigFiles(*composer.folders).groups
            printed = composition.print_help(composer, groups, given.overrides, resolve=given.resolve)
            return None if printed else [*flags, *given.overrides]
        check = Check(composer, sweep=sweep)
        problems = [*_flag_faults(parser, given, unknown), *check.run(given.overrides)]
        if given.package not in (None, "_global_") and check.configs and not keys.has(check.configs[0], given.package):
            near = keys.similar(check.configs[0], given.package)
            problems.append(Fault("--package", given.package, "a node of the config", near))
    refuse(problems)
    if given.cfg or given.info:  # a run tells the warnings itself
        for problem in problems:
            print(f"warning: {problem}", file=sys.stderr)
    if given.cfg == "job" and not (given.package or "").startswith("hydra"):
        composition.print_config(check.configs[0], given.package, resolve=given.resolve)
        return None
    return [*flags, *given.overrides]


def _in_full(name: str, arguments: Sequence[str]) -> list[str]:
    """Arguments whose key has a short name, by the whole one."""
    split = [argument.partition("=") for argument in arguments]
    return ["".join([SHORT.get(name, {}).get(key, key), equals, value]) for key, equals, value in split]


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
        project.use(root)
    resolvers.stamp.cache_clear()  # each call is a run of its own
    newest_unfinished.cache_clear()
    with Composer(name) as composer:
        check = Check(composer)
        refuse(check.run(_in_full(name, overrides)))
    (cfg,) = check.configs
    with open_dict(cfg):
        if "run" in cfg.get("paths", {}):
            try:
                cfg.paths.run = cfg.hydra.run.dir
            except OmegaConfBaseException as error:  # of a run that is not there
                raise own_error(error) or error from None
            _name_experiment(cfg, cfg.hydra)
        del cfg["hydra"]
    return cfg


def _name_experiment(cfg: DictConfig, hydra: Any) -> None:
    """Keep the choice, which Hydra tells nobody but itself."""
    cfg.experiment_name = cfg.experiment_name or hydra.runtime.choices.experiment or "default"


def _flag_faults(parser: argparse.ArgumentParser, given: argparse.Namespace, unknown: Sequence[str]) -> list[Fault]:
    flags = [flag for action in parser._actions for flag in action.option_strings if flag.startswith("--")]
    faults = []
    actions = [f"--{name}" for name in ("run", "multirun", "cfg", "info") if getattr(given, name)]
    if len(actions) > 1:
        faults.append(Fault(actions[1], f"beside {actions[0]}", "one of them"))
    if given.resolve and not given.cfg:
        faults.append(Fault("--resolve", "without --cfg", "--cfg job --resolve"))
    for flag in (argument for argument in unknown if argument.startswith("-")):
        without = flag.lstrip("-")
        near = nearest(without.partition("=")[0], ("experiment", "data", "model", "optimizer", "trainer", "seed"))
        meant = without if near == without.partition("=")[0] else nearest(flag, flags) or f"{near}=..." * bool(near)
        faults.append(Fault(flag, "an unknown flag", f"key=value, or one of {', '.join(flags)}", meant))
    return faults


def _redact_sweep(file: Path) -> None:
    """Hydra writes the sweep's command line into this file as it is."""
    with write_whole(file) as stream:
        stream.write(redact_text(file.read_text(encoding="utf-8")))


def _in_one_line(error: Exception) -> str:
    return " ".join(str(error).partition("full_key:")[0].split()) or type(error).__name__


def _exit_code(error: Exception) -> int:
    own = own_error(error)
    if own:
        return own.exit_code
    return 2 if isinstance(error, HydraException | OmegaConfBaseException) else 1


def _report(error: Exception, full_trace: bool) -> None:
    """A line for each mistake that the user can mend, a traceback for the rest; once for each error."""
    if getattr(error, "reported", False):
        return
    error.reported = True  # type: ignore[attr-defined]
    own = own_error(error)
    if isinstance(error, OSError) and (error.filename or error.errno in FULL_DISK):
        file = error.filename or "stdout, or the run folder"
        to_do = "free space" if error.errno in FULL_DISK else "give a path that can be read and written"
        own = KindlingError(f"{file}: {error.strerror}; {to_do}")
    if full_trace or not (own or isinstance(error, HydraException | OmegaConfBaseException)):
        text = "".join(traceback.format_exception(error))
    else:
        lines = str(own).splitlines() if own else [_in_one_line(error)]
        text = "\n".join(f"error: {line}" for line in lines)
    text = redact_text(text)
    print(text, file=sys.stderr)
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.FileHandler) and not isinstance(own, InUseError):
            handler.handle(logging.makeLogRecord({"msg": text, "levelname": "ERROR"}))
