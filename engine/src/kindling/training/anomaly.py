"""What `trainer.detect_anomaly` finds, in one line: torch tells it as a traceback and a warning with another one."""

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from kindling.config import project
from kindling.errors import KindlingError

# Torch's words: of the warning, which holds the traceback of the forward pass, and of the error.
CALLED = "Error detected in"
FOUND = re.compile(r"Function '(\w+)' returned nan values in its (\d+)th output")
FRAME = re.compile(r'File "([^"]+)", line (\d+), in .+\n +(.+)')


@contextmanager
def anomalies_in_one_line() -> Iterator[None]:
    """Say with which line of the user's code a NaN of the backward pass began.

    Raises:
        KindlingError: instead of torch's RuntimeError.
    """
    calls: list[str] = []
    with warnings.catch_warnings():
        warnings.filterwarnings("always", CALLED)
        show = warnings.showwarning

        def keep(message: Warning | str, *others: Any, **named: Any) -> None:
            if str(message).startswith(CALLED):
                calls.append(str(message))
            else:
                show(message, *others, **named)

        warnings.showwarning = keep
        try:
            yield
        except RuntimeError as error:
            found = FOUND.match(str(error))
            if not found:
                raise
            error.add_note("".join(calls))
            raise KindlingError(
                f"{_place(calls[-1] if calls else '')}: {found[1]} gave NaN in the backward pass, of its input "
                f"{found[2]}; keep what it takes away from where its slope is infinite, such as the root of 0, or "
                "lower optimizer.lr; HYDRA_FULL_ERROR=1 shows all calls"
            ) from error


def _place(called: str) -> str:
    """File, line and code of the last call in code that is neither an installed package nor the engine."""
    frames = FRAME.findall(called)
    libraries = tuple(str(Path(each).parents[1]) for each in (torch.__file__, Path(__file__).parent))
    own = [each for each in frames if not each[0].startswith(libraries)]
    root = project.current().root
    for file, line, code in [*own[-1:], *frames[-1:]]:
        shown = Path(file).relative_to(root) if Path(file).is_relative_to(root) else file
        return f"{shown}:{line}: {code}"
    return "task"
