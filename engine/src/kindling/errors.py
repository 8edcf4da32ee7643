"""Errors that say what was given, what is allowed and what to do."""

import signal
from unicodedata import category

# Characters of another library's message within ours.
LONGEST = 300
# Of Unicode: control characters, halves of characters, ends of lines and of paragraphs.
CONTROL = ("Cc", "Cs", "Zl", "Zp")


class KindlingError(Exception):
    """A mistake that the user can mend; shown as one line, without a traceback."""

    exit_code = 1


class ConfigError(KindlingError):
    """A setting or an argument that cannot be right."""

    exit_code = 2


class InUseError(ConfigError):
    """A run folder that another process works in, and in which nothing is written therefore."""


class DataError(KindlingError):
    """Images or labels that are missing, damaged or of the wrong kind."""


class OtherDataError(DataError):
    """Data with other names than the model knows."""


class CheckpointError(KindlingError):
    """A checkpoint that is missing, damaged or of another model."""


class ExportError(KindlingError):
    """A model that a format cannot hold, or an exported one that computes something else."""


class DivergedError(KindlingError):
    """A loss or a parameter has become NaN or infinite."""


class GradientError(KindlingError):
    """A backward pass that does not give the gradient of its function."""


class Interrupted(BaseException):
    """A signal or a deadline asked the run to end; no `Exception`, so that nothing on the way swallows it."""

    def __init__(self, reason: str):
        super().__init__(reason)
        self.exit_code = 128 + {"SIGINT": signal.SIGINT, "SIGHUP": signal.SIGHUP}.get(reason, signal.SIGTERM)


def counted(number: float, noun: str) -> str:
    """1 batch, 2 batches, 2 processes."""
    end = "" if number == 1 else "es" if noun.endswith(("tch", "ss")) else "s"
    return f"{number:g} {noun}{end}" if isinstance(number, float) else f"{number} {noun}{end}"


def one_to(number: float) -> str:
    """1 to 8, and 1 alone."""
    return f"1 to {number}" if number > 1 else "1"


def printable(name: str) -> str:
    r"""With control characters as a program writes them, such as \n, so that a name stays in its line."""
    return "".join(each.encode("unicode_escape").decode() if category(each) in CONTROL else each for each in name)


def one_line(error: BaseException) -> str:
    """What an error says, without line breaks and cut if it is long."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def interruption(error: BaseException | None) -> BaseException | None:
    """The signal behind an error: what it cuts off, such as torch.save, may fail with an error of its own."""
    while error is not None and not isinstance(error, Interrupted | KeyboardInterrupt):
        error = error.__context__
    return error
