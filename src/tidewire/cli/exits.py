"""With which status does a command end? One table for all of them, and what says of an error which line it is."""

from __future__ import annotations

import os
import sys
from collections.abc import Coroutine
from enum import IntEnum
from typing import Any, Final

import click


class Exit(IntEnum):
    """The statuses that are not a reason code. Those of mosquitto_pub and its sisters keep their numbers."""

    DONE = 0
    USAGE = 2
    CONNECTION_LOST = 7
    TLS = 8
    NOT_CONNECTED = 14
    HOST_NOT_FOUND = 15
    TIMED_OUT = 27
    INPUT_OUTPUT = 74
    INTERRUPTED = 130
    TERMINATED = 143


TABLE: Final = (
    ("0", "Done. Also when whoever reads the output has had enough, as `head`."),
    ("1–5", "MQTT 3.1 and 3.1.1: the server refused the connection; the return code of its CONNACK. "
            "4 is a wrong password, 5 is not authorized."),
    ("2", "The command line is wrong, or names a file that cannot be read."),
    ("7", "The connection was lost."),
    ("8", "TLS: the certificate is not valid for the host name, is not trusted, or the handshake failed."),
    ("14", "No connection: refused, unreachable, or no answer."),
    ("15", "The host name was not found."),
    ("27", "The time given with `-W` is over."),
    ("74", "Reading the input or writing the output failed, as on a full disk."),
    ("128–162", "MQTT 5.0: a reason code of the server, to the connection, a subscription or a message; 128 also for "
                "a subscription before 5.0. 134 is a wrong password, 135 is not authorized."),
    ("130", "Ctrl-C."),
    ("143", "SIGTERM."),
)  # fmt: skip


def markdown() -> str:
    """The table, as it stands in docs/cli.md."""
    return "\n".join(["| status | meaning |", "|---|---|", *(f"| {status} | {meaning} |" for status, meaning in TABLE)])


def status_of(error: BaseException) -> int | None:
    """The status that stands for an error; None for one that is not of the network or the server: a fault of ours."""
    from tidewire.client import errors  # noqa: PLC0415 (commands that open no connection do without)

    if isinstance(error, errors.ConnectionRefused | errors.PublishError):
        return error.reason_code
    if isinstance(error, errors.SubscribeError):
        return next(iter(error.reason_codes.values()))
    if isinstance(error, errors.ConnectionFailed) and not isinstance(error, errors.ConnectionLost):
        return _failure_status(error)
    if isinstance(error, errors.TidewireError):
        return Exit.CONNECTION_LOST
    return None


def _failure_status(error: BaseException) -> Exit:
    import socket  # noqa: PLC0415
    import ssl  # noqa: PLC0415

    if isinstance(error.__cause__, ssl.SSLError | ssl.CertificateError):
        return Exit.TLS
    if isinstance(error.__cause__, socket.gaierror):
        return Exit.HOST_NOT_FOUND
    return Exit.NOT_CONNECTED


def words(error: BaseException) -> str:
    """What went wrong; where the library names arguments of `Client` for the mend, flags stand instead."""
    from tidewire.client.network import ENCRYPTED, OLDER_VERSION, OWN_AUTHORITY  # noqa: PLC0415

    said = str(error)
    flags = {ENCRYPTED: "--cafile ca.pem", OWN_AUTHORITY: "--cafile ca.pem", OLDER_VERSION: "-V 311"}
    for argument, flag in flags.items():
        said = said.replace(argument, flag)
    return said


def tell(message: str, quiet: bool = False) -> None:
    """One line on standard error."""
    if not quiet:
        click.echo(f"tidewire: {' '.join(message.split())}", err=True)


def run(work: Coroutine[Any, Any, int], *, quiet: bool = False) -> None:
    """Run a command's work and end the program with the status that it returns, or that stands for its error."""
    import logging  # noqa: PLC0415

    from tidewire.cli import loop  # noqa: PLC0415

    _open_standard_files()
    logging.getLogger("tidewire").addHandler(logging.NullHandler())  # what it would say, is said here
    try:
        status = loop.run(work)
    except KeyboardInterrupt:
        status = Exit.INTERRUPTED
    except BrokenPipeError:
        status = Exit.DONE
    except OSError as error:  # those of the network are ConnectionFailed
        tell(f"cannot read or write: {error.strerror or error}", quiet)
        status = Exit.INPUT_OUTPUT
    except Exception as error:
        known = status_of(error)
        if known is None:
            raise
        tell(words(error), quiet)
        status = known
    sys.exit(status)


def _open_standard_files() -> None:
    """A program that was started without them would get one of our sockets for its output."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
