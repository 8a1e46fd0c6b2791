"""How is a certificate made that works at once? An authority, what it signs, and the list of what it takes back.

All of it passes the strict checkers (`openssl verify -x509_strict`, Go's crypto/tls, Python since 3.13): every
certificate has its key identifiers, says what it is for and whether it may sign others [RFC 5280, section 4.2].
"""

from __future__ import annotations

import ipaddress
import re
import secrets
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal, get_args

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

KeyType = Literal["ec", "rsa", "ed25519"]
PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey

KEY_TYPES: Final[tuple[KeyType, ...]] = get_args(KeyType)
RSA_BITS: Final = 3072
"""As strong as P-256 and Ed25519 [NIST SP 800-57]."""

AUTHORITY_DAYS: Final = 3650
"""Clients are told of the authority once, and often never again."""
DEFAULT_DAYS: Final = 825
"""Apple's systems refuse the certificate of a server that lasts longer, even of an authority of one's own."""
LONGEST_DAYS: Final = 36_500

BACKDATED: Final = timedelta(days=1)
"""A device whose clock is a little slow must not find a new certificate not yet valid."""

LONGEST_NAME_BYTES: Final = 64
"""Of a common name [RFC 5280, appendix A.1, ub-common-name]."""

LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
"""What every server is also called, so that it can be tried from where it runs."""

_LABEL: Final = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")


class CertificateError(ValueError):
    """A certificate cannot be made, read or used; the text says why, and how to mend it."""


@dataclass(frozen=True, slots=True)
class Signed:
    """A certificate and its private key."""

    certificate: x509.Certificate
    key: PrivateKey


def make_authority(days: int, key_type: KeyType, now: datetime) -> Signed:
    """A new authority, which signs itself, servers and clients, and no further authorities."""
    key = _make_key(key_type)
    name = _name(f"Tidewire authority {secrets.token_hex(3)}")  # two of them must not look alike
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())
    builder = _builder(name, key, name, identifier, now, now + timedelta(days=days))
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_key_usage(key_cert_sign=True, crl_sign=True), critical=True)
    return Signed(_sign(builder, key), key)


def make_server(authority: Signed, hosts: Sequence[str], days: int, key_type: KeyType, now: datetime) -> Signed:
    """A server's certificate, for DNS names (`*.` may come first) and IP addresses.

    It ends with its authority at the latest. Raises CertificateError.
    """
    names = [general_name(host) for host in dict.fromkeys(hosts)]
    if not names:
        raise CertificateError("a server has at least one name; give it: --host broker.example")
    names = list(dict.fromkeys(names))
    common_name = str(names[0].value)
    if len(common_name) > LONGEST_NAME_BYTES:
        common_name = "server"  # clients look at the alternative names alone
    return _make_leaf(authority, common_name, names, ExtendedKeyUsageOID.SERVER_AUTH, days, key_type, now)


def make_client(authority: Signed, name: str, days: int, key_type: KeyType, now: datetime) -> Signed:
    """A client's certificate: `name` is its common name, and its alternative name where it can be one.

    It ends with its authority at the latest. Raises CertificateError.
    """
    if not name or len(name.encode(errors="replace")) > LONGEST_NAME_BYTES or not name.isprintable():
        raise CertificateError(
            f"{name!r} cannot be the name in a certificate: 1 to {LONGEST_NAME_BYTES} bytes of printable characters can"
        )
    names: list[x509.GeneralName] = []
    if re.fullmatch(r"[\w.+-]+@[\w.-]+", name, re.ASCII):
        names.append(x509.RFC822Name(name))
    else:
        with suppress(CertificateError):  # not every client is called what a machine can be
            names.append(general_name(name))
    return _make_leaf(authority, name, names, ExtendedKeyUsageOID.CLIENT_AUTH, days, key_type, now)


def make_revocation_list(
    authority: Signed,
    serial_numbers: Iterable[int],
    now: datetime,
    before: x509.CertificateRevocationList | None = None,
) -> x509.CertificateRevocationList:
    """The list `before` (an empty one when there is none) and these certificates.

    It is good until its authority ends: it lies where it is used, and one that ran out would lock everybody out.
    """
    until = authority.certificate.not_valid_after_utc
    if until <= now:
        raise _ended(authority)
    entries = {entry.serial_number: entry for entry in before or ()}
    for number in serial_numbers:
        builder = x509.RevokedCertificateBuilder().serial_number(number).revocation_date(now.replace(microsecond=0))
        entries.setdefault(number, builder.build())
    lists = x509.CertificateRevocationListBuilder(revoked_certificates=list(entries.values()))
    lists = lists.issuer_name(authority.certificate.subject).last_update(now.replace(microsecond=0)).next_update(until)
    lists = lists.add_extension(_authority_key_identifier(authority), critical=False)
    lists = lists.add_extension(x509.CRLNumber(_list_number(before) + 1), critical=False)
    return lists.sign(authority.key, _hash(authority.key))


def general_name(host: str) -> x509.DNSName | x509.IPAddress:
    """A host as certificates say it: an address, or a name in lower case and ASCII. Raises CertificateError."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return x509.DNSName(_dns_name(host))
    if isinstance(address, ipaddress.IPv6Address) and address.scope_id is not None:
        raise CertificateError(f"{host!r} has a zone, which only this machine knows; leave out %{address.scope_id}")
    return x509.IPAddress(address)


def _dns_name(host: str) -> str:
    try:
        name = host.encode("idna").decode().lower()
    except UnicodeError:
        name = ""
    labels = name.split(".")
    wildcard = labels[0] == "*" and len(labels) > 2
    fits = all(_LABEL.fullmatch(label) for label in labels[wildcard:])
    if not fits or len(name) > 253 or labels[-1].isdigit():  # clients take what ends in a number for an address
        raise CertificateError(f"{host!r} is neither a DNS name nor an IP address")
    return name


def _make_leaf(
    authority: Signed,
    common_name: str,
    names: Sequence[x509.GeneralName],
    purpose: x509.ObjectIdentifier,
    days: int,
    key_type: KeyType,
    now: datetime,
) -> Signed:
    until = authority.certificate.not_valid_after_utc
    if until <= now:
        raise _ended(authority)
    key = _make_key(key_type)
    until = min(until, now + timedelta(days=days))
    identifier = _authority_key_identifier(authority)
    builder = _builder(_name(common_name), key, authority.certificate.subject, identifier, now, until)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    # The key exchange of TLS 1.2 that encrypts with the server's key exists for RSA alone [RFC 8422, section 5.2].
    usage = _key_usage(digital_signature=True, key_encipherment=key_type == "rsa")
    builder = builder.add_extension(usage, critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return Signed(_sign(builder, authority.key), key)


def _builder(
    subject: x509.Name,
    key: PrivateKey,
    issuer: x509.Name,
    identifier: x509.AuthorityKeyIdentifier,
    now: datetime,
    until: datetime,
) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before((now - BACKDATED).replace(microsecond=0))
    builder = builder.not_valid_after(until.replace(microsecond=0))
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    return builder.add_extension(identifier, critical=False)


def _make_key(key_type: KeyType) -> PrivateKey:
    if key_type == "ec":
        return ec.generate_private_key(ec.SECP256R1())
    if key_type == "rsa":
        return rsa.generate_private_key(public_exponent=65_537, key_size=RSA_BITS)
    return ed25519.Ed25519PrivateKey.generate()


def _sign(builder: x509.CertificateBuilder, key: PrivateKey) -> x509.Certificate:
    return builder.sign(key, _hash(key))


def _hash(key: PrivateKey) -> hashes.SHA256 | None:
    return None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()  # Ed25519 brings its own


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _key_usage(**uses: bool) -> x509.KeyUsage:
    nothing = dict.fromkeys(
        (
            "digital_signature",
            "content_commitment",
            "key_encipherment",
            "data_encipherment",
            "key_agreement",
            "key_cert_sign",
            "crl_sign",
            "encipher_only",
            "decipher_only",
        ),
        False,
    )
    return x509.KeyUsage(**{**nothing, **uses})


def _authority_key_identifier(authority: Signed) -> x509.AuthorityKeyIdentifier:
    try:  # as the authority calls its key, which need not be ours
        own = authority.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except x509.ExtensionNotFound:
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key())
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own)


def _list_number(revocation_list: x509.CertificateRevocationList | None) -> int:
    if revocation_list is None:
        return 0
    try:
        return revocation_list.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    except x509.ExtensionNotFound:
        return 0


def _ended(authority: Signed) -> CertificateError:
    ended = authority.certificate.not_valid_after_utc
    return CertificateError(
        f"the authority ended on {ended:%Y-%m-%d}; make a new one, and tell the clients of its ca.pem: "
        "tidewire certs make NEW-DIRECTORY"
    )
