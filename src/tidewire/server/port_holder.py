"""Which program listens at a TCP port? Linux says it in /proc, of one's own programs, and of all to root."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_LISTEN: Final = "0A"


@dataclass(frozen=True, slots=True)
class PortHolder:
    """A program that listens."""

    process_identifier: int
    command: list[str]

    def __str__(self) -> str:
        return f"{Path(self.command[0]).name if self.command else 'a program'} (process {self.process_identifier})"

    @property
    def is_tidewire(self) -> bool:
        """Whether it is `tidewire serve`, however it was started."""
        words = [Path(word).name for word in self.command]
        return "tidewire" in words and "serve" in words


def port_holder(port: int) -> PortHolder | None:
    """None where nobody listens, or where it cannot be known."""
    sockets = {f"socket:[{inode}]" for inode in _listening_inodes(port)}
    for directory in Path("/proc").glob("[0-9]*") if sockets else ():
        with suppress(OSError):  # it is another user's, or has just ended
            if any(str(descriptor.readlink()) in sockets for descriptor in (directory / "fd").iterdir()):
                words = (directory / "cmdline").read_bytes().rstrip(b"\0").split(b"\0")
                return PortHolder(int(directory.name), [word.decode(errors="replace") for word in words])
    return None


def _listening_inodes(port: int) -> set[str]:
    """Of the sockets that listen at the port, by proc(5), /proc/net/tcp."""
    inodes = set()
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        with suppress(OSError):
            for line in table.read_text(encoding="ascii").splitlines()[1:]:
                fields = line.split()
                if fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                    inodes.add(fields[9])
    return inodes
