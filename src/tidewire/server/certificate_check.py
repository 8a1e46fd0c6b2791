"""Would a listener's certificates satisfy its clients? Each reason why not, with its mend.

What the broker itself refuses to start with, `tls.make_context` says; here is what only clients would notice.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Final

from cryptography import x509

from tidewire.server.certificate_reading import (
    alternative_names,
    common_name,
    is_authority,
    is_signed_by,
    purposes,
    read_certificates,
    read_revocation_list,
    trouble,
)
from tidewire.server.certificates import LOOPBACK, CertificateError
from tidewire.server.listener_config import TlsConfig

Trouble = tuple[str, str]
"""What is wrong, and what mends it."""

MAKE_ANEW: Final = "files that fit, and how a listener names them: tidewire certs make NEW-DIRECTORY"


def troubles(tls: TlsConfig, now: datetime, *, wide: bool) -> Iterator[Trouble]:
    """`wide`: whether clients on other machines are to reach the listener."""
    try:
        for path in map(Path, [tls.certificate, *(named.certificate for named in tls.names)]):
            chain = read_certificates(path)
            yield from _chain_troubles(path, chain, now)
            yield from _name_troubles(path, chain[0], wide)
        if tls.client_ca is not None:
            authorities = read_certificates(Path(tls.client_ca))
            yield from _authority_troubles(Path(tls.client_ca), authorities, now)
            if tls.revocation_list is not None:
                yield from _list_troubles(Path(tls.revocation_list), authorities, now)
    except CertificateError as error:
        yield str(error), MAKE_ANEW


def _chain_troubles(path: Path, chain: list[x509.Certificate], now: datetime) -> Iterator[Trouble]:
    for certificate in chain:
        if (found := trouble(path, certificate, now)) is not None:
            yield f"{path} ({_called(certificate)}) {found[0]}", found[1]
    for certificate, issuer in pairwise(chain):
        if not is_signed_by(certificate, issuer):
            yield (
                f"{path} is no chain: {_called(certificate)} is not signed by {_called(issuer)}, which comes next",
                f"put each before the one that signed it: cat server.pem intermediate.pem > {path.name}",
            )
    authority = path.with_name("ca.pem")
    if authority.exists() and authority != path:
        roots = read_certificates(authority)
        if not any(is_signed_by(chain[-1], root) or chain[-1] == root for root in roots):
            yield (
                f"{path} is not signed by {authority}, so clients that trust that will refuse it",
                f"make it anew: tidewire certs make {shlex.quote(str(path.parent))} --force",
            )


def _name_troubles(path: Path, own: x509.Certificate, wide: bool) -> Iterator[Trouble]:
    if "server" not in purposes(own):
        yield f"{path} is not for a server, but for: {' and '.join(purposes(own)) or 'something else'}", MAKE_ANEW
    names = alternative_names(own)
    if not names:
        yield f"{path} has no subject alternative names, and clients look at nothing else", MAKE_ANEW
    elif wide and set(names) <= set(LOOPBACK):
        yield (
            f"{path} is for {', '.join(names)} only, but the listener is for other machines",
            f"name what they call it: tidewire certs make {shlex.quote(str(path.parent))} --force --host NAME",
        )


def _authority_troubles(path: Path, authorities: list[x509.Certificate], now: datetime) -> Iterator[Trouble]:
    for certificate in authorities:
        if not is_authority(certificate):
            yield f"{path} ({_called(certificate)}) is no authority, so it vouches for no client", MAKE_ANEW
        elif (found := trouble(path, certificate, now)) is not None:
            yield f"{path} ({_called(certificate)}) {found[0]}", found[1]


def _list_troubles(path: Path, authorities: list[x509.Certificate], now: datetime) -> Iterator[Trouble]:
    revoked = read_revocation_list(path)
    if revoked.next_update_utc is not None and revoked.next_update_utc <= now:
        yield (
            f"{path} ended on {revoked.next_update_utc:%Y-%m-%d}, so every client with a certificate is refused",
            f"fetch a new one from its issuer: {revoked.issuer.rfc4514_string()}",
        )
    if not any(_signed_list(revoked, authority) for authority in authorities):
        yield (
            f"{path} is of none of the authorities of client_ca",
            f"name the list of theirs; this one is of {revoked.issuer.rfc4514_string()}",
        )


def _signed_list(revoked: x509.CertificateRevocationList, authority: x509.Certificate) -> bool:
    try:
        return revoked.issuer == authority.subject and revoked.is_signature_valid(authority.public_key())  # type: ignore[arg-type]
    except TypeError:  # a kind of key that signs no lists
        return False


def _called(certificate: x509.Certificate) -> str:
    return common_name(certificate) or certificate.subject.rfc4514_string()
