"""What would keep a broker with this configuration from working well here? Findings, each with its mend."""

from __future__ import annotations

import errno
import json
import os
import platform
import shlex
import shutil
import socket
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Final, Literal
from urllib.parse import unquote

import tidewire
from tidewire._form import form
from tidewire.access.web import is_loopback
from tidewire.server.certificate_check import MAKE_ANEW, troubles
from tidewire.server.config import (
    Config,
    ConfigError,
    check_exposure,
    data_directory,
    make_access,
    make_limits,
    read_config,
)
from tidewire.server.listener import tcp_socket
from tidewire.server.listener_config import ListenerConfig
from tidewire.server.port_holder import port_holder
from tidewire.server.server import RESERVED_FILES, open_files
from tidewire.server.tls import make_context

FEW_CONNECTIONS: Final = 1_000
"""A limit of open files that leaves fewer is of a desktop, and not meant for a server."""

LOW_DISK_BYTES: Final = 100 * 1024 * 1024
"""With less room, a log or a queue on the disk may fill it within minutes."""

CLOCK_TOLERANCE: Final = timedelta(days=1)
"""A file from a machine with another clock may be a little newer than now."""

Severity = Literal["wrong", "hint"]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong, or could be better, in one line."""

    severity: Severity
    area: str
    problem: str
    mend: str

    def __str__(self) -> str:
        return f"{self.severity}: {self.area}: {self.problem}" + (f"; {self.mend}" if self.mend else "")


@dataclass(frozen=True, slots=True)
class Patient:
    """What is looked at. Where the file cannot be read, it is a broker without one."""

    file: Path | None
    config: Config
    now: datetime


Check = Callable[[Patient], Iterator[Finding]]


def examine(file: Path | None, now: datetime) -> list[Finding]:
    """All findings for a configuration file; None for a broker without one."""
    try:
        config = read_config(file, os.environ)
    except ConfigError as error:
        unreadable = [Finding("wrong", "config", line, "") for line in error.errors]
        return unreadable + _all(MACHINE_CHECKS, Patient(None, Config(), now))
    return _all((*CONFIG_CHECKS, *MACHINE_CHECKS), Patient(file, config, now))


def check_config(patient: Patient) -> Iterator[Finding]:
    """What `tidewire serve` would refuse to start with."""
    for part in (make_access, make_limits, check_exposure):
        try:
            part(patient.config)
        except ConfigError as error:
            yield Finding("wrong", "config", str(error), "")


def check_ports(patient: Patient) -> Iterator[Finding]:
    seen: set[tuple[str, int]] = set()
    for listener, address in _tcp_addresses(patient.config):
        port = listener.port or 0
        if port and (address, port) in seen:
            problem = f"two listeners have port {port} of {address}"
            yield Finding("wrong", "ports", problem, "give one another, or close the first: bind = []")
        seen.add((address, port))
        try:
            tcp_socket(address, port).close()
        except (OSError, ValueError) as error:
            yield from _port_findings(address, port, error)


def check_certificates(patient: Patient) -> Iterator[Finding]:
    for listener in listeners(patient.config):
        if listener.tls is not None:
            try:
                make_context(listener.tls, listener.protocol)
            except ConfigError as error:
                yield Finding("wrong", "certificates", str(error), MAKE_ANEW)
                continue
            wide = not all(map(is_loopback, listener.bind))
            for problem, mend in troubles(listener.tls, patient.now, wide=wide):
                yield Finding("wrong", "certificates", problem, mend)


def check_secrecy(patient: Patient) -> Iterator[Finding]:
    """Passwords, and tokens, that cross a network where others can read them."""
    if not patient.config.access.proves_names():
        return
    for listener, address in _tcp_addresses(patient.config):
        if listener.tls is None and not is_loopback(address):
            problem = f"passwords and tokens cross the network readably to {address} port {listener.port}"
            yield Finding("hint", "secrecy", problem, "make certificates for TLS: tidewire certs make")


def check_file_rights(patient: Patient) -> Iterator[Finding]:
    if os.name != "posix":
        return
    access, file = patient.config.access, str(patient.file) if patient.file is not None else None
    secrets = [access.password_file, access.jwt.secret_file if access.jwt is not None else None]
    if access.http is not None and access.http.headers:
        secrets.append(file)  # they say who the broker is
    for listener in listeners(patient.config):
        if (tls := listener.tls) is not None:
            keys = [tls.key, *(named.key for named in tls.names)]
            secrets += [*keys, tls.pre_shared_keys, *(str(Path(key).with_name("ca.key")) for key in keys)]
    for path in _existing(secrets):
        if path.stat().st_mode & stat.S_IROTH:
            yield Finding("wrong", "rights", f"everybody may read {path}", f"chmod o= {shlex.quote(str(path))}")
    for path in _existing([file, *secrets]):
        if path.stat().st_mode & stat.S_IWOTH:
            yield Finding("wrong", "rights", f"everybody may change {path}", f"chmod o-w {shlex.quote(str(path))}")


def check_data(patient: Patient) -> Iterator[Finding]:
    """The directory of sessions and messages: made at the first start, and then a broker's alone."""
    if patient.config.durability == "memory":
        return
    directory = data_directory(patient.config, os.environ).resolve()
    nearest = next(path for path in (directory, *directory.parents) if path.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        problem = f"this user cannot write {nearest}, where sessions and messages are to be kept"
        yield Finding("wrong", "data", problem, 'name another directory, data = "DIR", or keep nothing: --memory')
    elif directory.exists() and directory.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO) and os.name == "posix":
        problem = f"others may look into {directory}, where messages are kept"
        yield Finding("hint", "data", problem, f"chmod 700 {shlex.quote(str(directory))}")


def check_open_files(patient: Patient) -> Iterator[Finding]:
    limit, wanted = open_files(), patient.config.connections
    if wanted + RESERVED_FILES > limit:
        yield Finding(
            "wrong",
            "open files",
            f"{wanted} connections need {wanted + RESERVED_FILES} open files, and {limit} are allowed",
            f"allow more where the broker is started: ulimit -Hn {wanted + RESERVED_FILES}",
        )
    elif not wanted and limit - RESERVED_FILES < FEW_CONNECTIONS:
        yield Finding(
            "hint",
            "open files",
            f"{limit} are allowed, so only {max(limit - RESERVED_FILES, 0)} clients can be connected",
            "allow more where the broker is started: ulimit -Hn 65536",
        )


def check_clock(patient: Patient) -> Iterator[Finding]:
    """What was written cannot be of the future."""
    known = [Path(tidewire.__file__), *([patient.file] if patient.file is not None else [])]
    for path in known:
        written = datetime.fromtimestamp(path.stat().st_mtime, UTC)
        if written - CLOCK_TOLERANCE > patient.now:
            yield Finding(
                "wrong",
                "clock",
                f"it is {patient.now:%Y-%m-%d} here, but {path} is of {written:%Y-%m-%d}",
                "set the clock: timedatectl set-ntp true",
            )
            return


def check_form(patient: Patient) -> Iterator[Finding]:
    if form() == "pure" and platform.python_implementation() == "CPython":
        yield Finding("hint", "form", "Tidewire runs uncompiled, which is slower", _way_to_the_compiled_form())


def _way_to_the_compiled_form() -> str:
    if os.environ.get("TIDEWIRE_PURE") == "1":
        return "take TIDEWIRE_PURE out of the environment"
    try:
        origin = json.loads(distribution("tidewire").read_text("direct_url.json") or "{}")
    except PackageNotFoundError:
        origin = {}
    place = origin.get("url", "tidewire")
    if origin.get("dir_info", {}).get("editable"):
        again = f"make -C {shlex.quote(unquote(place.removeprefix('file://')))} build"
    else:
        again = f"pip install --force-reinstall --no-deps {shlex.quote(place)}"
    return f"install it again where there is a C compiler (Debian: apt install gcc python3-dev): {again}"


def check_disk(patient: Patient) -> Iterator[Finding]:
    directories = [patient.file.resolve().parent if patient.file is not None else Path.cwd()]
    if patient.config.durability != "memory":
        data = data_directory(patient.config, os.environ).resolve()
        directories.append(next(path for path in (data, *data.parents) if path.exists()))
    for directory in dict.fromkeys(directories):
        free = shutil.disk_usage(directory).free
        if free < LOW_DISK_BYTES:
            problem = f"{free // 1024**2} MB are left at {directory}"
            mend = f"see what takes the others: du -xhd1 {shlex.quote(str(directory))}"
            yield Finding("wrong", "disk", problem, mend)


CONFIG_CHECKS: Final[tuple[Check, ...]] = (
    check_config,
    check_ports,
    check_certificates,
    check_secrecy,
    check_file_rights,
    check_data,
)
MACHINE_CHECKS: Final[tuple[Check, ...]] = (check_open_files, check_clock, check_form, check_disk)


def listeners(config: Config) -> list[ListenerConfig]:
    """All of them, with the one of `bind` and `port`."""
    return [ListenerConfig(bind=config.bind, port=config.port), *config.listeners]


def _tcp_addresses(config: Config) -> Iterator[tuple[ListenerConfig, str]]:
    return (
        (listener, address) for listener in listeners(config) if listener.port is not None for address in listener.bind
    )


def _all(checks: Iterable[Check], patient: Patient) -> list[Finding]:
    return list(dict.fromkeys(finding for check in checks for finding in check(patient)))


def _port_findings(address: str, port: int, error: OSError | ValueError) -> Iterator[Finding]:
    """Why an address cannot be listened on; nothing where Tidewire itself does."""
    code = getattr(error, "errno", None)
    if isinstance(error, ValueError | socket.gaierror) or code in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
        if address != "::1":  # the default, which a machine without IPv6 does without
            problem = f"{address!r} is not an address of this machine"
            yield Finding("wrong", "ports", problem, "see which are: ip address")
    elif code == errno.EADDRINUSE:
        holder = port_holder(port)
        if holder is None:
            problem = f"port {port} of {address} is taken"
            yield Finding("wrong", "ports", problem, f"see by whom: sudo ss -ltnp 'sport = :{port}'")
        elif not holder.is_tidewire:
            problem = f"port {port} of {address} is taken by {holder}"
            mend = f"choose another, or end that program: kill {holder.process_identifier}"
            yield Finding("wrong", "ports", problem, mend)
    elif code == errno.EACCES:
        problem = f"this user may not listen on port {port}"
        yield Finding("wrong", "ports", problem, "choose one above 1023, as 1883 or 8883")
    else:
        yield Finding("wrong", "ports", f"cannot listen on {address} port {port}: {error}", "")


def _existing(paths: Iterable[str | None]) -> list[Path]:
    """Other checks complain about those that are not there."""
    return [Path(path) for path in dict.fromkeys(paths) if path is not None and os.path.exists(path)]
