"""How a command ends: which exit code and which words belong to which error.

| what ended it                         | what is printed                      | exit code        |
|---------------------------------------|--------------------------------------|------------------|
| nothing                               | nothing                              | 0                |
| a mistake that the user can mend      | a line for each                      | the error's: 1, 2 |
| a refusal of the command line by Hydra | its first line                       | 2                |
| a file that cannot be read or written | its name, and what to do             | 1                |
| another error                         | its traceback                        | 1                |
| a signal                              | its name                             | 129, 130, 143    |
| the reader of its result has gone     | nothing                              | 141              |
| `sys.exit`                            | its text, if it is one               | its code         |
"""

import errno
import logging
import sys
import sysconfig
import traceback
from pathlib import Path
from typing import NoReturn

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from kindling.config.composition import in_sweep, own_error
from kindling.console import log_only
from kindling.errors import ConfigError, Interrupted, InUseError, KindlingError, interruption
from kindling.files.redaction import redact_text
from kindling.process import ranks, said, signals, terminal

# 128 + SIGPIPE, as a shell reports it.
BROKEN_PIPE = 141
# What to do about a disk, whose errors often name no file.
DISK = {
    errno.ENOSPC: "free space",
    errno.EDQUOT: "free space, or ask for more",
    errno.EFBIG: "allow larger files: ulimit -f",
    errno.EROFS: "give a path that can be written",
    errno.EIO: "look after the disk, which fails",
}
# Parts of the paths of what others wrote, the engine among them.
LIBRARIES = ("site-packages", "<frozen", sysconfig.get_path("stdlib"), str(Path(__file__).parents[1]))
COMPOSITION_ERRORS = (HydraException, OmegaConfBaseException)


def conclude(error: SystemExit | Interrupted | Exception, *, full_trace: bool) -> int:
    """Report what ended a command, once, and give its exit code.

    Args:
        error: what it raised.
        full_trace: with its traceback, whatever it is.
    """
    match error:
        case SystemExit():
            return _conclude_exit(error)
        case Interrupted():
            return _conclude_interruption(error)
        case BrokenPipeError():
            return BROKEN_PIPE
        case _:
            return _conclude_failure(error, full_trace=full_trace)


def _conclude_exit(error: SystemExit) -> int:
    if isinstance(error.code, str):
        terminal.say(error.code)
    return error.code if isinstance(error.code, int) else int(error.code is not None)


def _conclude_interruption(error: Interrupted) -> int:
    # The first process reports it, and asks Slurm to start the job again; another code would get it killed.
    if ranks.is_launched() or ranks.is_further_task():
        return 0
    text = "\n".join([f"interrupted by {error}", *_notes(error)])
    terminal.say(text)
    log_only(text, logging.ERROR)
    if str(error) == "SIGUSR1":
        signals.requeue()
    return error.exit_code


def _conclude_failure(error: Exception, *, full_trace: bool) -> int:
    is_of_hydra = not (_is_reported(error) or own_error(error) or isinstance(error, OSError))
    if is_of_hydra and not full_trace:
        error = ConfigError(_in_one_line(error))
    report(error, full_trace=full_trace)
    return exit_code(error)


def leave_job(error: Exception, *, full_trace: bool) -> NoReturn:
    """Report what ended a job, before Hydra does, and raise what ends the command, or leads to the sweep's next job."""
    if isinstance(error, BrokenPipeError):
        sys.exit(BROKEN_PIPE)
    stopped = interruption(error)
    if stopped:
        raise stopped from None

    report(error, full_trace=full_trace)
    if in_sweep():
        raise error
    sys.exit(exit_code(error))


def exit_code(error: Exception) -> int:
    own = own_error(error)
    if own:
        return own.exit_code
    return 2 if isinstance(error, COMPOSITION_ERRORS) else 1


def report(error: Exception, *, full_trace: bool) -> None:
    """Print an error, and log it into train.log; once for each error, and once for all processes that share stderr."""
    if _is_reported(error):
        return
    error.reported = True  # type: ignore[attr-defined]

    text = redact_text(_text_of(error, full_trace=full_trace))
    # Nothing is written into a folder that another process works in.
    is_logged = not isinstance(own_error(error), InUseError) and log_only(text, logging.ERROR)
    is_short = is_logged and text.startswith("Traceback") and terminal.is_watched() and not full_trace
    shown = redact_text(_without_libraries(error)) if is_short else text
    with said.first_to_say(shown) as is_new:
        if is_new:
            terminal.say(shown)


def _without_libraries(error: Exception) -> str:
    """The traceback with the calls of one's own code, and the last one, on a terminal that has not room for all."""
    shown = traceback.TracebackException.from_exception(error)
    each: traceback.TracebackException | None = shown
    while each is not None:
        own = [frame for frame in each.stack[:-1] if not any(part in frame.filename for part in LIBRARIES)]
        each.stack[:] = [*own, *each.stack[-1:]]
        each = each.__cause__ or each.__context__
    return f"{''.join(shown.format())}the calls of libraries and of the engine are left out; train.log has them"


def _notes(error: BaseException) -> list[str]:
    """What there is to do."""
    return getattr(error, "__notes__", [])


def _is_reported(error: Exception) -> bool:
    return getattr(error, "reported", False)


def _text_of(error: Exception, *, full_trace: bool) -> str:
    """A line for each mistake that the user can mend, a traceback for the rest."""
    own = _of_a_file(error) or own_error(error)
    if full_trace or not (own or isinstance(error, COMPOSITION_ERRORS)):
        return "".join(traceback.format_exception(error)).rstrip("\n")
    lines = str(own).splitlines() if own else [_in_one_line(error)]
    return "\n".join([*(f"error: {line}" for line in lines), *_notes(error)])


def _of_a_file(error: Exception) -> KindlingError | None:
    """The mistake behind the error of a file, or of a disk that is full."""
    if not isinstance(error, OSError):
        return None
    if not (error.filename or error.errno in DISK):
        return None
    file = error.filename or "stdout, or the run folder"
    to_do = DISK.get(error.errno or 0, "give a path that can be read and written")
    return KindlingError(f"{file}: {error.strerror}; {to_do}")


def _in_one_line(error: Exception) -> str:
    return " ".join(str(error).partition("full_key:")[0].split()) or type(error).__name__
