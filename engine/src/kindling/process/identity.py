"""Which process another one is, so that it is named, and ended if it is on this machine."""

import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

# Where a process id means the same process.
BOOT = Path("/proc/sys/kernel/random/boot_id")
NAMESPACE = Path("/proc/self/ns/pid")


class Identity(NamedTuple):
    """
    Attributes:
        pid: the number of a process.
        began: when, in ticks since its machine did, as no other one of that number has; "" without /proc.
        place: where the number means this process.
        host: the name of its machine.
    """

    pid: int
    began: str
    place: str
    host: str

    def __str__(self) -> str:
        return " ".join(map(str, self))

    @classmethod
    def read(cls, text: str) -> "Identity":
        pid, began, place, host = text.split(" ", 3)
        return cls(int(pid), began, place, host)

    @classmethod
    def of(cls, pid: int) -> "Identity":
        """Of a process on this machine."""
        return cls(pid, _began(pid), place(), socket.gethostname())

    def is_here(self) -> bool:
        """Whether it runs where this process can end it."""
        return self.place == place() and self.began == _began(self.pid)


def beside(rank: int) -> Identity | None:
    """The process of a rank that torchrun has started beside this one; it may have shown no sign yet."""
    own = _stat(os.getpid())
    # Another job of the same shell meets at another port.
    given = {f"RANK={rank}".encode(), f"MASTER_PORT={os.environ.get('MASTER_PORT')}".encode()}
    for folder in Path("/proc").glob("[0-9]*") if own else ():
        pid = int(folder.name)
        with suppress(OSError):
            if _stat(pid)[1:2] == own[1:2] and given <= {*(folder / "environ").read_bytes().split(b"\0")}:
                return Identity.of(pid)
    return None


def place() -> str:
    """Where a number means the same process: this start of the system, and this container."""
    with suppress(OSError):
        return f"{BOOT.read_text().strip()}/{os.readlink(NAMESPACE)}"
    return socket.gethostname()


def _began(pid: int) -> str:
    return "".join(_stat(pid)[19:20])


def _stat(pid: int) -> list[str]:
    """What the system tells of a process: its state, its parent and more; nothing if it is gone, or without /proc."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return []
