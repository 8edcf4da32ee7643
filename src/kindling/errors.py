"""Errors that say what was given, what is allowed and what to do."""


class KindlingError(Exception):
    """A mistake that the user can mend; shown as one line, without a traceback."""

    exit_code = 1


class ConfigError(KindlingError):
    """A setting or an argument that cannot be right."""

    exit_code = 2


class DataError(KindlingError):
    """Images or labels that are missing, damaged or of the wrong kind."""


class CheckpointError(KindlingError):
    """A checkpoint that is missing, damaged or of another model."""


class Interrupted(BaseException):
    """A signal asked the run to end; no `Exception`, so that nothing on the way swallows it."""

    def __init__(self, signum: int):
        super().__init__(f"signal {signum}")
        self.exit_code = 128 + signum


def interruption(error: BaseException | None) -> BaseException | None:
    """The signal behind an error: what it cuts off, such as torch.save, may fail with an error of its own."""
    while error is not None and not isinstance(error, Interrupted | KeyboardInterrupt):
        error = error.__context__
    return error
