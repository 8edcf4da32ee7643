"""The standard streams of a process, which a shell may have closed, a full disk refuse, or a reader leave."""

import io
import os
import sys
from contextlib import suppress
from typing import Any

from kindling.process import terminal


class _Descriptor(io.FileIO):
    """One that takes whatever is written to it, if it `drops` what cannot be."""

    drops = False

    def write(self, data: Any, /) -> int | None:
        if terminal.has_foot() and self.isatty():
            super().write(terminal.take_erasure())
        try:
            written = super().write(data)
        except OSError:
            if not self.drops:
                raise
            written = None
        # None: it would have had to wait.
        return len(data) if written is None and self.drops else written


# Stdout and stderr, and all that was there before, whose end would close the descriptors.
_descriptors: dict[int, _Descriptor] = {}
_before: dict[int, Any] = {}


def take_over() -> None:
    """Let no message end a process: one that cannot be encoded is escaped, one to a closed or full stderr is dropped.

    Closed streams are opened on /dev/null, so that no file opened later is written to as one of them.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
    _before[0] = sys.stdin
    sys.stdin = sys.stdin or open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stdout, sys.stderr = _taken_over(1, sys.stdout), _taken_over(2, sys.stderr)
    drop_unwritable(2)


def drop_unwritable(descriptor: int) -> None:
    """Drop what cannot be written to stdout, 1, or stderr, 2."""
    if descriptor in _descriptors:
        _descriptors[descriptor].drops = True


def stdout_for_a_result() -> Any:
    """Stdout, in UTF-8, for what a command was started for: what cannot be written is an error again."""
    if 1 in _descriptors:
        _descriptors[1].drops = False
    sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace", newline="")  # pyright: ignore[reportAttributeAccessIssue]
    return sys.stdout


def was_closed(descriptor: int) -> bool:
    """Whether the shell had closed a stream, which the process then found on /dev/null."""
    return descriptor in _before and _before[descriptor] is None


def _taken_over(descriptor: int, stream: Any) -> Any:
    # In a notebook or a test it is no file.
    if stream is not None and _descriptor_of(stream) != descriptor:
        return stream
    _before[descriptor] = stream
    _descriptors[descriptor] = kept = _Descriptor(descriptor, "w", closefd=False)
    if stream is None:
        kept.drops = True
        return io.TextIOWrapper(io.BufferedWriter(kept), "utf-8", errors="backslashreplace", line_buffering=True)

    settings = {"line_buffering": stream.line_buffering, "write_through": stream.write_through}
    raw: Any = kept if stream.write_through else io.BufferedWriter(kept)
    return io.TextIOWrapper(raw, stream.encoding, errors="backslashreplace", **settings)


def _descriptor_of(stream: Any) -> int | None:
    with suppress(OSError, ValueError, AttributeError):
        return stream.fileno()
    return None
