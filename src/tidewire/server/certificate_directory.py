"""Where do an authority and what it signed lie, so that another client can be added years later?

ca.pem, ca.key            the authority: clients need the first, nobody else the second
server.pem, server.key    for the broker
NAME.pem, NAME.key        for the client NAME
crl.pem                   the revocation list, empty at first
issued/SERIAL.pem         every certificate that was made, so that one replaced can still be revoked
"""

from __future__ import annotations

import difflib
import os
import re
import socket
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tidewire.server.certificate_reading import (
    alternative_names,
    belong_together,
    common_name,
    is_authority,
    read_certificates,
    read_key,
    read_revocation_list,
)
from tidewire.server.certificates import (
    AUTHORITY_DAYS,
    LONGEST_NAME_BYTES,
    LOOPBACK,
    CertificateError,
    KeyType,
    Signed,
    general_name,
    make_authority,
    make_client,
    make_revocation_list,
    make_server,
)

_RESERVED: Final = ("ca", "server", "crl")
_FILE_NAME: Final = re.compile(r"\w[\w@.+ -]*(?<![. ])")
"""What is a file name on every system, and never a path."""


class CertificateDirectory:
    """An authority on the disk. Nothing is replaced unless a call says so; private keys are for their owner alone.

    Every method raises CertificateError, or OSError where the disk does not let it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def file(self, name: str) -> Path:
        """`ca`, `server`, `crl` or a client: its certificate or list."""
        return self.path / f"{name}.pem"

    def key_file(self, name: str) -> Path:
        return self.path / f"{name}.key"

    def make(
        self,
        hosts: Sequence[str],
        clients: Sequence[str],
        days: int,
        key_type: KeyType,
        now: datetime,
        *,
        replace: bool = False,
    ) -> dict[str, x509.Certificate]:
        """Make what is asked for and what is missing; the certificates by name: `ca`, `server`, and the clients'.

        The server's is made when there is none, when it is given hosts, and when nothing but replacing is asked for,
        then for the same names. The authority is made when there is none. Nothing is made where not all can be.
        """
        needs_server = bool(hosts) or not self.file("server").exists() or (replace and not clients)
        asked = [*(["server"] if needs_server else []), *dict.fromkeys(clients)]
        for client in clients:
            check_client_name(client)
        for host in hosts:
            general_name(host)
        if not replace:
            for path in (path for name in asked for path in (self.file(name), self.key_file(name)) if path.exists()):
                raise CertificateError(f"{path} exists already; --force replaces it")
        if needs_server:
            hosts = [*hosts, *LOOPBACK] if hosts else self._present_hosts() or [*LOOPBACK, *_machine_name()]
        made = self._make_authority(key_type, now)
        authority = self.authority()
        if not self.file("crl").exists():  # an empty one, so that nothing has to be configured on the day it is needed
            self._write_revocation_list(make_revocation_list(authority, (), now))
        for name in asked:
            if name == "server":
                signed = make_server(authority, hosts, days, key_type, now)
            else:
                signed = make_client(authority, name, days, key_type, now)
            self._write(name, signed)
            made[name] = signed.certificate
        return made

    def authority(self) -> Signed:
        """The authority that is here, ours or one that somebody has put here."""
        certificate, key = read_certificates(self.file("ca"))[0], read_key(self.key_file("ca"))
        if not is_authority(certificate):
            raise CertificateError(f"{self.file('ca')} is no authority: it may not sign other certificates")
        if not belong_together(certificate, key):
            raise CertificateError(f"{self.key_file('ca')} is not the key of {self.file('ca')}")
        return Signed(certificate, key)

    def revoke(self, name: str, now: datetime) -> int:
        """Put every certificate for `name` on the revocation list; how many were not on it yet."""
        issued = self._issued()
        numbers = [certificate.serial_number for certificate in issued if common_name(certificate) == name]
        if not numbers:
            near = difflib.get_close_matches(name, map(common_name, issued), 1)
            raise CertificateError(
                f"no certificate in {self.path} is for {name!r}"
                + (f"; did you mean {near[0]}?" if near else f"; see which are: tidewire certs show {self.path}")
            )
        before = read_revocation_list(self.file("crl")) if self.file("crl").exists() else None
        revoked = make_revocation_list(self.authority(), numbers, now, before)
        self._write_revocation_list(revoked)
        return len(revoked) - (len(before) if before is not None else 0)

    def _make_authority(self, key_type: KeyType, now: datetime) -> dict[str, x509.Certificate]:
        if self.file("ca").exists() or self.key_file("ca").exists():
            return {}
        self.path.mkdir(parents=True, exist_ok=True)
        authority = make_authority(AUTHORITY_DAYS, key_type, now)
        self._write("ca", authority)
        return {"ca": authority.certificate}

    def _present_hosts(self) -> list[str]:
        return alternative_names(read_certificates(self.file("server"))[0]) if self.file("server").exists() else []

    def _issued(self) -> list[x509.Certificate]:
        return [read_certificates(path)[0] for path in sorted((self.path / "issued").glob("*.pem"))]

    def _write(self, name: str, signed: Signed) -> None:
        """The key first: whoever watches the certificate then finds both."""
        key = signed.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        certificate = signed.certificate.public_bytes(Encoding.PEM)
        _write(self.key_file(name), key, 0o600)
        _write(self.file(name), certificate, 0o644)
        if name != "ca":
            (self.path / "issued").mkdir(exist_ok=True)
            _write(self.path / "issued" / f"{signed.certificate.serial_number:x}.pem", certificate, 0o644)

    def _write_revocation_list(self, revoked: x509.CertificateRevocationList) -> None:
        _write(self.file("crl"), revoked.public_bytes(Encoding.PEM), 0o644)


def check_client_name(name: str) -> None:
    """Raises CertificateError for one that cannot name its files."""
    if name.casefold() in _RESERVED:
        raise CertificateError(f"a client cannot be called {name!r}: {name}.pem is another file; choose another name")
    if not _FILE_NAME.fullmatch(name) or len(name.encode()) > LONGEST_NAME_BYTES:
        raise CertificateError(
            f"a client cannot be called {name!r}, because its files are: take at most {LONGEST_NAME_BYTES} bytes of "
            "letters, digits and _@.+-, with spaces only between them"
        )


def _machine_name() -> list[str]:
    """What this machine is called, if a certificate can say it."""
    name = socket.gethostname()
    try:
        general_name(name)
    except CertificateError:
        return []
    return [name]


def _write(path: Path, data: bytes, mode: int) -> None:
    """Whoever reads it meanwhile reads the whole of the old file or of the new one; nobody reads a key in between."""
    fresh = path.with_name(path.name + ".new")
    with suppress(FileNotFoundError):
        fresh.unlink()  # of a run that was cut off, and perhaps readable by others
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
