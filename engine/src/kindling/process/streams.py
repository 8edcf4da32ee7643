"""The standard streams of a process, which a shell or a daemon may have closed."""

import os
import sys


def occupy_closed_streams() -> None:
    """Open closed standard streams on /dev/null, so that no file opened later is written to as one of them."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115
