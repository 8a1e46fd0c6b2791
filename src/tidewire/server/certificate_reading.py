"""What does a file of certificates say? For whom it is, what it is for, until when, and whose key belongs to it."""

from __future__ import annotations

import shlex
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tidewire.server.certificates import CertificateError, PrivateKey

SOON_DAYS: Final = 30
"""A certificate that ends within so many days is worth a warning: time enough to renew it without haste."""

LARGEST_FILE_BYTES: Final = 16 * 1024 * 1024
"""No file of certificates is so large; the authorities of a whole operating system are a fiftieth of it."""

_PURPOSES: Final = ((ExtendedKeyUsageOID.SERVER_AUTH, "server"), (ExtendedKeyUsageOID.CLIENT_AUTH, "client"))

ExtensionT = TypeVar("ExtensionT", bound=x509.ExtensionType)


def read_certificates(path: Path) -> list[x509.Certificate]:
    """All of a PEM file, the first one first. Raises CertificateError for what cannot be read or has none."""
    data = _read(path)
    try:
        return x509.load_pem_x509_certificates(data)
    except ValueError:
        raise CertificateError(f"{path} holds no certificate (PEM)") from None


def holds_certificates(path: Path) -> bool:
    """Whether a file says that it has any: others lie beside them. Raises CertificateError."""
    return b"-----BEGIN CERTIFICATE-----" in _read(path)


def read_key(path: Path) -> PrivateKey:
    """The private key in a PEM file. Raises CertificateError."""
    data = _read(path)
    try:
        key = load_pem_private_key(data, password=None)
    except TypeError:
        raise CertificateError(f"{path} is locked by a pass phrase; unlock it: {_unlocking(path)}") from None
    except ValueError:
        raise CertificateError(f"{path} holds no private key (PEM)") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey):
        raise CertificateError(f"{path} holds a key that is none of EC, RSA and Ed25519")
    return key


def read_revocation_list(path: Path) -> x509.CertificateRevocationList:
    """The certificate revocation list in a PEM file. Raises CertificateError."""
    data = _read(path)
    try:
        return x509.load_pem_x509_crl(data)
    except ValueError:
        raise CertificateError(f"{path} holds no certificate revocation list (PEM)") from None


def belong_together(certificate: x509.Certificate, key: PrivateKey) -> bool:
    """Whether the certificate is for this key."""
    spki = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return certificate.public_key().public_bytes(*spki) == key.public_key().public_bytes(*spki)


def is_signed_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Whether `issuer` may sign certificates, and has signed this one."""
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return is_authority(issuer)


def is_authority(certificate: x509.Certificate) -> bool:
    constraints = _extension(certificate, x509.BasicConstraints)
    return constraints is not None and constraints.ca


def purposes(certificate: x509.Certificate) -> list[str]:
    """Some of "authority", "server" and "client". Where a certificate does not limit itself it is for both."""
    if is_authority(certificate):
        return ["authority"]
    usage = _extension(certificate, x509.ExtendedKeyUsage)
    anything = usage is None or ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE in usage
    return [name for identifier, name in _PURPOSES if anything or (usage is not None and identifier in usage)]


def common_name(certificate: x509.Certificate) -> str:
    """Empty where there is none."""
    attributes = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(attributes[0].value) if attributes else ""


def alternative_names(certificate: x509.Certificate) -> list[str]:
    """The subject alternative names: hosts, addresses, mail addresses, URIs."""
    names = _extension(certificate, x509.SubjectAlternativeName)
    return [str(name.value) for name in names or ()]


def names(certificate: x509.Certificate) -> list[str]:
    """For whom it is: the alternative names, or else the common name, or else the whole subject."""
    return alternative_names(certificate) or [common_name(certificate) or certificate.subject.rfc4514_string()]


def days_left(until: datetime, now: datetime) -> int:
    """Days, of which the last may be a part of one; 0 or less once it has ended."""
    return -((now - until) // timedelta(days=1))


def how_long(until: datetime, now: datetime) -> str:
    """`until 2028-02-24 (825 days)`, or `ended 2026-02-24`."""
    days = days_left(until, now)
    if days <= 0:
        return f"ended {until:%Y-%m-%d}"
    return f"until {until:%Y-%m-%d} ({days} {'day' if days == 1 else 'days'})"


def is_revoked(certificate: x509.Certificate, revocation_list: Path) -> bool:
    """Whether the list in that file, if there is one, takes it back. Raises CertificateError."""
    if not revocation_list.exists():
        return False
    revoked = read_revocation_list(revocation_list)
    number = certificate.serial_number
    return revoked.issuer == certificate.issuer and revoked.get_revoked_certificate_by_serial_number(number) is not None


def trouble(
    path: Path, certificate: x509.Certificate, now: datetime, warn_days: int = SOON_DAYS
) -> tuple[str, str] | None:
    """What is wrong with the time that a certificate is valid, and the mend; None when nothing is."""
    since, until = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if since > now:
        return f"is not valid before {since:%Y-%m-%d %H:%M} UTC", "look at the clock: date"
    if days_left(until, now) <= 0:
        return f"ended on {until:%Y-%m-%d}", _renewal(path, certificate)
    if days_left(until, now) < warn_days:
        return f"ends on {until:%Y-%m-%d}", _renewal(path, certificate)
    return None


def _renewal(path: Path, certificate: x509.Certificate) -> str:
    """The command that makes it anew, where the authority that signed it lies beside it."""
    authority = path.with_name("ca.pem")
    has_key = path.with_name("ca.key").exists() and authority.exists()
    if not has_key or not is_signed_by(certificate, read_certificates(authority)[0]):
        return f"ask its issuer for a new one: {certificate.issuer.rfc4514_string()}"
    if is_authority(certificate):
        return "make a new one, and tell the clients of its ca.pem: tidewire certs make NEW-DIRECTORY"
    command = ["tidewire", "certs", "make", str(path.parent), "--force"]
    if path.name != "server.pem":
        command += ["--client", common_name(certificate)]
    return f"renew it: {shlex.join(command)}"


def _extension(certificate: x509.Certificate, kind: type[ExtensionT]) -> ExtensionT | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None
    except (ValueError, x509.DuplicateExtension):
        raise CertificateError(
            f"the certificate of {certificate.subject.rfc4514_string()!r} is damaged: its extensions cannot be read"
        ) from None


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST_FILE_BYTES + 1)
    except OSError as error:
        raise CertificateError(f"cannot read {path}: {error.strerror}") from None
    if len(data) > LARGEST_FILE_BYTES:
        raise CertificateError(f"{path} is larger than {LARGEST_FILE_BYTES} bytes: no file of certificates is")
    return data


def _unlocking(path: Path) -> str:
    return f"openssl pkey -in {path} -out {path}.unlocked"
