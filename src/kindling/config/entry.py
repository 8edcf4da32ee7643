"""The one place that calls Hydra: the command line, the notebook's `compose`, and `instantiate`."""

import logging
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, InstantiationException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from kindling.config import resolvers
from kindling.config.targets import check_prefixes, check_targets
from kindling.errors import ConfigError, Interrupted, KindlingError
from kindling.redaction import redact_text
from kindling.whole_file import write_whole

CONFIGS = resolvers.PROJECT / "configs"
VERSION_BASE = "1.3"

resolvers.register()


def entry(name: str, task: Callable[[DictConfig], Any]) -> None:
    """Compose configs/<name>.yaml with the command line, run `task`, exit with a code that tells the outcome.

    0 done, 1 failed, 2 wrong config or arguments, 130 interrupted by Ctrl-C, 143 by SIGTERM.
    """
    full_trace = os.environ.setdefault("HYDRA_FULL_ERROR", "0") not in ("0", "")
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises, instead of printing a traceback of its own
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, _interrupt)
    if "PL_GLOBAL_SEED" in os.environ and not resolvers.is_first_process():
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # launched by Lightning: the first process ends it

    def job(cfg: DictConfig) -> Any:
        logging.captureWarnings(True)
        warnings.formatwarning = lambda message, category, filename, lineno, line=None: f"warning: {message}"
        if "run" in cfg.paths:
            cfg.paths.run = HydraConfig.get().runtime.output_dir
        try:
            if in_sweep():
                _redact_sweep(Path(HydraConfig.get().sweep.dir) / "multirun.yaml")
            check_prefixes(to_plain(cfg))  # before anything heavy is imported
            return task(cfg)
        except Exception as error:
            _report(error, full_trace)
            if in_sweep():
                raise  # Hydra goes on with the next job
            sys.exit(_exit_code(error))

    try:
        hydra.main(version_base=VERSION_BASE, config_path=str(CONFIGS), config_name=name)(job)()
    except Interrupted as error:
        print(f"interrupted by {signal.Signals(error.exit_code - 128).name}", file=sys.stderr)
        sys.exit(error.exit_code)
    except Exception as error:
        _report(error, full_trace)
        sys.exit(_exit_code(error))


def compose(overrides: Sequence[str] = (), name: str = "train") -> DictConfig:
    """The config that `python <name>.py <overrides>` would run with, for a notebook or a test."""
    resolvers.stamp.cache_clear()  # each call is a run of its own
    with hydra.initialize_config_dir(version_base=VERSION_BASE, config_dir=str(CONFIGS)):
        cfg = hydra.compose(name, overrides=list(overrides), return_hydra_config=True)
    with open_dict(cfg):
        if "run" in cfg.paths:
            cfg.paths.run = cfg.hydra.run.dir
        del cfg["hydra"]
    return cfg


def instantiate(config: Any, path: str, **given: Any) -> Any:
    """Build what a config describes, if every `_target_` in it is allowed.

    Args:
        config: a node of the config, or a plain one; None and nodes of None give None.
        path: of the node, for messages.
        given: further arguments, not of the config.

    Raises:
        ConfigError: a target is not allowed, or does not take an argument.
    """
    plain = to_plain(config)
    check_targets(plain, path)
    try:
        # Built objects are passed to a partial, since Hydra would copy them into a config.
        if given:
            return hydra.utils.instantiate({**plain, "_partial_": True}, _convert_="all")(**given)
        return hydra.utils.instantiate(plain, _convert_="all")
    except Exception as error:
        cause = error.__cause__ if isinstance(error, InstantiationException) and error.__cause__ else error
        if isinstance(cause, TypeError | ValueError | InstantiationException) or _is_misconfiguration(cause):
            raise ConfigError(f"{path}: {cause}") from error
        raise cause from None


def in_sweep() -> bool:
    """Whether this is a job of `--multirun`."""
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def to_plain(config: Any) -> Any:
    """A config as dict, list, str and numbers, its interpolations resolved.

    Raises:
        ConfigError: a value is missing (???) or an interpolation cannot be resolved.
    """
    if not OmegaConf.is_config(config):
        return config
    try:
        return OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise _own_cause(error) or ConfigError(f"{error.full_key}: {error.msg}") from error


def _redact_sweep(file: Path) -> None:
    """Hydra writes the sweep's command line into this file as it is."""
    with write_whole(file) as stream:
        stream.write(redact_text(file.read_text(encoding="utf-8")))


def _interrupt(signum: int, frame: Any) -> None:
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_DFL)  # a second signal ends at once
    raise Interrupted(signum)


def _own_cause(error: BaseException | None) -> KindlingError | None:
    """The mistake behind an error: OmegaConf wraps what a resolver raises, Lightning has a class of its own."""
    while error is not None:
        if isinstance(error, KindlingError):
            return error
        if _is_misconfiguration(error):
            return ConfigError(" ".join(str(error).split()))
        if str(error).startswith("Config group override must be a string"):
            return ConfigError("given null for a group; allowed: its options, see --help")
        error = error.__context__ if isinstance(error, OmegaConfBaseException | HydraException) else None
    return None


def _is_misconfiguration(error: BaseException) -> bool:
    """Lightning's own errors for settings, known by name and text so that nothing heavy is imported."""
    return type(error).__name__ == "MisconfigurationException" or str(error).startswith("Early stopping conditioned")


def _exit_code(error: Exception) -> int:
    own = _own_cause(error)
    if own:
        return own.exit_code
    return 2 if isinstance(error, HydraException | OmegaConfBaseException) else 1


def _report(error: Exception, full_trace: bool) -> None:
    """One line for a mistake that the user can mend, a traceback for the rest; once for each error."""
    if getattr(error, "reported", False):
        return
    error.reported = True  # type: ignore[attr-defined]
    own = _own_cause(error)
    if isinstance(error, OSError) and error.filename:
        own = KindlingError(f"{error.filename}: {error.strerror}; give a path that can be read and written")
    if full_trace or not (own or isinstance(error, HydraException | OmegaConfBaseException)):
        text = "".join(traceback.format_exception(error))
    else:
        text = f"error: {own or error}"
    text = redact_text(text)
    print(text, file=sys.stderr)
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.FileHandler):
            handler.handle(logging.makeLogRecord({"msg": text, "levelname": "ERROR"}))
