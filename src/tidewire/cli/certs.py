"""`tidewire certs`: make the certificates that TLS needs, see when they end, and take them back."""

from __future__ import annotations

import shlex
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import click
from cryptography import x509
from cryptography.utils import CryptographyDeprecationWarning

from tidewire.cli.exits import tell
from tidewire.server.certificate_directory import CertificateDirectory
from tidewire.server.certificate_reading import (
    SOON_DAYS,
    alternative_names,
    days_left,
    holds_certificates,
    how_long,
    is_revoked,
    names,
    purposes,
    read_certificates,
    trouble,
)
from tidewire.server.certificates import (
    AUTHORITY_DAYS,
    DEFAULT_DAYS,
    KEY_TYPES,
    LONGEST_DAYS,
    CertificateError,
    KeyType,
)
from tidewire.server.first_configuration import text, tls_listener

DIRECTORY: Final = Path("certificates")
TLS_PORT: Final = 8883
SUFFIXES: Final = (".pem", ".crt", ".cer")
"""What may be a certificate among the files of a directory."""

_PATH: Final = click.Path(path_type=Path)


@click.group()
def certs() -> None:
    """Make the certificates that TLS needs, see when they end, and take them back."""


@certs.command(short_help="Make an authority and what it signs.")
@click.argument("directory", type=_PATH, default=DIRECTORY)
@click.option("--host", multiple=True, metavar="NAME", help="DNS name or IP address of the broker; may be repeated.")
@click.option("--client", multiple=True, metavar="NAME", help="Make a client certificate as well; may be repeated.")
@click.option(
    "--days",
    type=click.IntRange(1, LONGEST_DAYS),
    default=DEFAULT_DAYS,
    show_default=True,
    help=f"How long they are valid. The authority is for {AUTHORITY_DAYS} days.",
)
@click.option("--key-type", type=click.Choice(KEY_TYPES), default="ec", show_default=True, help="Kind of keys.")
@click.option("--force", is_flag=True, help="Replace what is there, by a new key; the authority never.")
def make(
    directory: Path, host: tuple[str, ...], client: tuple[str, ...], days: int, key_type: KeyType, force: bool
) -> None:
    """Make an authority, a server certificate and client certificates in DIRECTORY.

    The server is always also called localhost, 127.0.0.1 and ::1; without --host it is called as this machine is, too.
    An authority that is there is used again, so the same command adds a client later, and renews with --force.

    \b
    Examples:
      tidewire certs make --host broker.example --host 192.0.2.1
      tidewire certs make --client alice --client bob
      tidewire certs make --force                     renew the server's, for the same names
    """
    place = CertificateDirectory(directory)
    now = datetime.now(UTC)
    with mistakes():
        made = place.make(host, client, days, key_type, now, replace=force)
    for name, certificate in made.items():
        click.echo(f"made {place.file(name)}: {_described(certificate, now)}")
        if name != "ca" and days_left(certificate.not_valid_after_utc, now) < days:
            tell(f"{place.file(name)} ends with its authority, before the {days} days are over")
    if not made:
        click.echo(f"nothing to make: all is there; see it: tidewire certs show {shlex.quote(str(directory))}")
    if "server" in made and not force:
        click.echo("\nPut this into broker.toml, then: tidewire serve --config broker.toml\n")
        click.echo(tls_listener(place, TLS_PORT, clients_too=bool(client)))
    elif client:
        click.echo("\nWhere broker.toml does not say so yet, its [listener.tls] needs:\n")
        click.echo(_asking_clients(place))
    if "server" in made or client:
        click.echo(f"A client connects with:\n\n  {pub_command(place, *_flags(place, client))}\n")
    if "ca" in made:
        click.echo(f"Clients need {place.file('ca')}. Keep {place.key_file('ca')} where only you can read it.")


@certs.command(short_help="Show when they end.")
@click.argument("paths", metavar="[PATH]…", type=_PATH, nargs=-1)
@click.option(
    "--warn", type=click.IntRange(0), default=SOON_DAYS, show_default=True, metavar="DAYS", help="What is soon."
)
def show(paths: tuple[Path, ...], warn: int) -> None:
    """Show for whom certificates are, what they are for, and when they end.

    PATH is a file, or a directory with such files [default: certificates]. The exit status is 1 when one of them has
    ended, ends soon or is not valid yet; a line on standard error then says how to renew it.

    \b
    Example, for a daily job that writes a mail when there is something to read:
      tidewire certs show /etc/tidewire/certificates > /dev/null
    """
    warnings.simplefilter("ignore", CryptographyDeprecationWarning)  # what is shown need not be perfect
    if not paths and not DIRECTORY.exists():
        raise click.UsageError(f"there is no directory {DIRECTORY} here; make it: tidewire certs make")
    now = datetime.now(UTC)
    troubles = 0
    with mistakes():
        for path, certificate in _found(paths or (DIRECTORY,)):
            revoked = is_revoked(certificate, path.with_name("crl.pem"))
            click.echo(f"{path}: {_described(certificate, now)}{', revoked' * revoked}")
            found = None if revoked else trouble(path, certificate, now, warn)
            if found is not None:
                troubles += 1
                tell(f"{path} ({names(certificate)[0]}) {found[0]}; {found[1]}")
    sys.exit(troubles > 0)


@certs.command(short_help="Take a client's back.")
@click.argument("client", metavar="NAME…", nargs=-1, required=True)
@click.option("--directory", "-d", type=_PATH, default=DIRECTORY, show_default=True, help="Where its authority is.")
def revoke(client: tuple[str, ...], directory: Path) -> None:
    """Take every certificate of client NAME back, by putting it on the revocation list.

    The broker refuses it once its listener names the list, as the one that `tidewire certs make --client` prints does.

    \b
    Example:
      tidewire certs revoke alice
    """
    place = CertificateDirectory(directory)
    with mistakes():
        for name in client:
            count = place.revoke(name, datetime.now(UTC))
            certificates = f"{count} certificates" if count > 1 else "its certificate"
            said = f"revoked {certificates}" if count else "was revoked before"
            click.echo(f"{name}: {said}; the list is {place.file('crl')}")
        click.echo("A broker reads that list where revocation_list in its [listener.tls] names it.")


@contextmanager
def mistakes() -> Iterator[None]:
    """Tell in one line what certificates or the disk do not allow."""
    try:
        yield
    except CertificateError as error:
        raise click.UsageError(str(error)) from None
    except OSError as error:
        raise click.UsageError(f"cannot use {error.filename}: {error.strerror}") from None


def _described(certificate: x509.Certificate, now: datetime) -> str:
    what = " and ".join(purposes(certificate)) or "neither server nor client"
    return f"{what}, {', '.join(names(certificate))}, {how_long(certificate.not_valid_after_utc, now)}"


def pub_command(place: CertificateDirectory, *flags: str) -> str:
    """`tidewire pub` to a broker with a certificate of this directory."""
    return shlex.join(["tidewire", "pub", "--cafile", str(place.file("ca")), *flags, "-t", "hello", "-m", "world"])


def _asking_clients(place: CertificateDirectory) -> str:
    """What lets a client in by its certificate beside those that have a password."""
    directory = CertificateDirectory(place.path.resolve())
    return (
        f"client_ca = {text(directory.file('ca'))}\n"
        f"revocation_list = {text(directory.file('crl'))}\n"
        'client_certificate = "optional" # or "required": who has none is not let in\n'
        'identity = "common_name" # its name is the user that [[access.rules]] speak of\n'
    )


def _flags(place: CertificateDirectory, clients: Sequence[str]) -> list[str]:
    """The broker by the first of its names, and the first of the clients."""
    hosts = alternative_names(read_certificates(place.file("server"))[0])
    host = next((host for host in hosts if not host.startswith("*")), "localhost")
    flags = ["-h", host, "-p", str(TLS_PORT)]
    for client in clients[:1]:
        flags += ["--cert", str(place.file(client)), "--key", str(place.key_file(client))]
    return flags


def _found(paths: Sequence[Path]) -> Iterator[tuple[Path, x509.Certificate]]:
    """The certificates of files and of directories; a file that is named must have one."""
    for path in paths:
        if not path.is_dir():
            yield from ((path, certificate) for certificate in read_certificates(path))
            continue
        candidates = sorted(file for file in path.iterdir() if file.suffix in SUFFIXES and file.is_file())
        files = [file for file in candidates if holds_certificates(file)]
        if not files:
            made = f"make some: tidewire certs make {shlex.quote(str(path))}"
            raise CertificateError(f"there is no certificate in {path}; {made}")
        for file in files:
            yield from ((file, certificate) for certificate in read_certificates(file))
