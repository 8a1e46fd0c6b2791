"""Where does a broker keep its data? In a directory that it alone uses while it runs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tidewire.store.errors import StoreError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

SYSTEM_DIRECTORY: Final = Path("/var/lib/tidewire")


def default_directory(environ: Mapping[str, str]) -> Path:
    """Where the data is when nobody says: as systemd says, else the system's place where we may write there, else the
    user's own."""
    state_directory = environ.get("STATE_DIRECTORY", "").partition(":")[0]  # systemd may name several
    if state_directory:
        return Path(state_directory)
    if SYSTEM_DIRECTORY.is_dir() and os.access(SYSTEM_DIRECTORY, os.W_OK | os.X_OK):
        return SYSTEM_DIRECTORY
    data_home = Path(environ.get("XDG_DATA_HOME", ""))
    if not data_home.is_absolute():  # is to be ignored then, says the XDG Base Directory Specification
        data_home = Path(environ.get("HOME") or Path.home(), ".local", "share")
    return data_home / "tidewire"


class DataDirectory:
    """The directory of one broker: its database, and the lock that keeps other brokers out."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.database = path / "broker.db"
        self._lock: int | None = None

    def take(self) -> None:
        """Make the directory if need be, and lock it until `release` or the end of the process.

        Raises StoreError if another broker has it, or it cannot be made or written.
        """
        if fcntl is None:
            raise StoreError(f"{self.path} cannot be locked on this system: keep nothing, --memory")
        try:
            self.path.mkdir(0o700, parents=True, exist_ok=True)
            lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreError(
                f"cannot keep data in {self.path}: {error.strerror};"
                f" name a directory that can be written, --data DIR, or keep nothing, --memory"
            ) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.truncate(lock, 0)
            os.write(lock, b"%d\n" % os.getpid())
        except BlockingIOError:
            holder = os.read(lock, 32).decode(errors="replace").strip()
            os.close(lock)
            raise StoreError(
                f"{self.path} is in use by process {holder or 'of another broker'}:"
                f" give this broker a directory of its own, --data DIR, or --memory"
            ) from None
        except OSError as error:
            os.close(lock)
            raise StoreError(f"cannot lock {self.path}: {error.strerror}; choose a local disk, --data DIR") from error
        self._lock = lock

    def release(self) -> None:
        """Let others have it. The lock's file stays: deleting it would let two brokers hold one of it each."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
