"""Which process is the broker? A file with its number, locked for as long as it runs."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tidewire.server.config import ConfigError

try:
    import fcntl
except ImportError:  # Windows, where there is no SIGHUP either
    fcntl = None  # type: ignore[assignment]


@contextmanager
def process_file(path: Path) -> Iterator[None]:
    """Hold the file. Raises ConfigError where it cannot be written, or another broker holds it."""
    if fcntl is None:
        raise ConfigError(f"{path} cannot be locked on this system; leave out --pid-file")
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ConfigError(f"{path} is held by a broker that runs; stop it, or name another file") from error
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # who reads the number early must not end a broker that starts
        os.truncate(descriptor, 0)
        os.write(descriptor, b"%d\n" % os.getpid())
        try:
            yield
        finally:
            with suppress(OSError):
                path.unlink()
    finally:
        os.close(descriptor)


def running(path: Path) -> int:
    """The number of the broker that holds the file. Raises ConfigError where none does.

    A number that a dead broker has left is not believed: it may be another program's by now.
    """
    try:
        with path.open("rb") as file:
            number = int(file.read(32))
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                    return number
                raise
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}; start the broker with --pid-file {path}") from None
    except ValueError:
        raise ConfigError(f"{path} holds no process number") from None
    raise ConfigError(f"the broker of {path} does not run any more")
