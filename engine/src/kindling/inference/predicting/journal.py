"""The rows of predictions that are done, kept beside the output until all are: what a killed command goes on from.

JSON lines: a header that says of what model and options the rows are, then one line a batch, each row followed by
its item's stamp, and at the end the checksum of the output. A line that is torn or damaged ends it. Needs no torch.
"""

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import chain, islice
from pathlib import Path
from typing import Any

from kindling.errors import ConfigError, DataError, InUseError
from kindling.files.whole_file import remove_temporaries
from kindling.inference.model_folder import sha256_of
from kindling.inference.predicting.tables import Row, Tally

START = b'{"format": '


class Journal:
    """Held by one process at a time, from its making to its end.

    Args:
        output: the file that the rows are for.
        header: what they depend on.
        num_rows: in each batch but the last.
        tally: of the rows that it holds.
        identity: an item's name in the table, and a stamp that changes with its content.

    Raises:
        InUseError: another process writes the same output.
    """

    def __init__(
        self,
        output: Path,
        header: dict[str, Any],
        num_rows: int,
        tally: Tally,
        identity: Callable[[Any], tuple[str | int, str]],
    ):
        self.identity = identity
        self.file, self.header, self.num_rows, self.tally = file_of(output), header, num_rows, tally
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        self._stream = open(os.open(self.file, flags, 0o666), "r+b")  # noqa: SIM115
        try:
            fcntl.flock(self._stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._stream.close()
            raise InUseError(
                f"output: given {output}, which another process writes; allowed: one at a time; wait for its end"
            ) from None
        remove_temporaries(output)

    def fits(self) -> bool | None:
        """Whether its rows are of this model and these options; None if there are none.

        Raises:
            ConfigError: a file of somebody else is there.
        """
        self._stream.seek(0)
        line = self._stream.readline()
        if not (line.startswith(START) or START.startswith(line)):
            raise ConfigError(f"output: {self.file} is in the way, which predict.py has not written; move it away")
        found = _parsed(line)
        return None if found is None else found == self.header

    def start_over(self) -> None:
        self._stream.seek(0)
        self._stream.truncate()
        self._append(self.header)

    def go_on(self, items: Iterator[Any]) -> Iterator[Any]:
        """The items that are left to do; from the first batch on that has others, or changed ones, all are."""
        self._stream.seek(0)
        end = len(self._stream.readline())
        for line in self._stream:
            rows = self._rows(line)
            if not rows:
                break
            batch = list(islice(items, self.num_rows))
            if [self.identity(item) for item in batch] != [(row[0], row[-1]) for row in rows]:
                items = chain(batch, items)
                break
            end += len(line)
            self.tally.add(row[:-1] for row in rows)
        self._stream.seek(end)
        self._stream.truncate()
        return items

    def rows(self) -> Iterator[Row]:
        """Of all batches, read one at a time."""
        self._stream.seek(0)
        self._stream.readline()
        for line in self._stream:
            yield from (row[:-1] for row in self._rows(line))

    def _rows(self, line: bytes) -> list[Row]:
        """Of a whole batch, each with its stamp; none of another line."""
        found, width = _parsed(line), len(self.header["columns"]) + 1
        if not isinstance(found, list):
            return []
        right = all(isinstance(row, list) and len(row) == width and isinstance(row[0], str | int) for row in found)
        return found if right else []

    def count(self) -> None:
        self.tally.add(self.rows())

    def append(self, rows: list[Row], stamps: list[str]) -> None:
        """Keep a batch.

        Raises:
            DataError: the journal was removed, and with it all that was done.
        """
        self._append([[*row, stamp] for row, stamp in zip(rows, stamps, strict=True)])
        if not self.is_there():
            raise DataError(f"{self.file}: was removed while it was written; give the same command again")
        self.tally.add(rows)

    def is_there(self) -> bool:
        return os.fstat(self._stream.fileno()).st_nlink > 0

    def finish(self, checksum: str) -> None:
        """Note the output's checksum before it takes its place, by which it is known if this process is killed then."""
        self._append({"sha256": checksum})

    def _append(self, line: Any) -> None:
        try:
            self._stream.write(json.dumps(line).encode() + b"\n")
            self._stream.flush()
        except OSError as error:
            # A full disk does not say which file.
            error.filename = str(self.file)
            raise

    def remove(self) -> None:
        with suppress(FileNotFoundError):
            self.file.unlink()

    def close(self) -> None:
        if os.fstat(self._stream.fileno()).st_size == 0:
            self.remove()
        self._stream.close()


def file_of(output: Path) -> Path:
    return output.with_name(f".{output.name}.journal")


def stamp_of(name: str) -> str:
    """What changes with the content of a file, as far as can be seen without reading it."""
    try:
        found = os.stat(name)
    except (OSError, ValueError) as error:
        # A name with a null byte, for instance.
        return type(error).__name__
    return f"{found.st_size} {found.st_mtime_ns}"


def is_of(output: Path) -> bool:
    """Whether an output is there whole, whose journal was about to be removed."""
    last = b""
    with suppress(OSError), file_of(output).open("rb") as stream:
        for line in stream:
            last = line
        mark = _parsed(last)
        return isinstance(mark, dict) and mark.get("sha256") == sha256_of(output)
    return False


def _parsed(line: bytes) -> Any:
    """None for a line that is torn or damaged."""
    try:
        return json.loads(line) if line.endswith(b"\n") else None
    except (ValueError, RecursionError):
        return None
