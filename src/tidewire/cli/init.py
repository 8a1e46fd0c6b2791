"""`tidewire init`: the files of a broker that other machines may reach, and the commands that use them."""

from __future__ import annotations

import secrets
import shlex
import string
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import click

from tidewire.access.passwords import set_password
from tidewire.cli.certs import TLS_PORT, mistakes, pub_command
from tidewire.server.certificate_directory import CertificateDirectory
from tidewire.server.certificates import DEFAULT_DAYS
from tidewire.server.first_configuration import first_configuration

PASSWORD_CHARACTERS: Final = 24
"""Of 62 kinds each: 142 bits, which nobody guesses."""

_EVERYWHERE: Final = ("0.0.0.0", "::")


@click.command()
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path), default=Path())
@click.option("--host", multiple=True, metavar="NAME", help="DNS name or IP address of the broker; may be repeated.")
@click.option(
    "--bind", "-b", multiple=True, metavar="HOST", default=["0.0.0.0"], show_default=True, help="Where to listen."
)
@click.option("--port", "-p", type=click.IntRange(1, 65_535), default=TLS_PORT, show_default=True, help="TCP port.")
@click.option("--user", default="admin", show_default=True, metavar="NAME", help="Who may do everything.")
def init(directory: Path, host: tuple[str, ...], bind: tuple[str, ...], port: int, user: str) -> None:
    """Write what a broker needs that other machines may reach: broker.toml, passwords and certificates in DIRECTORY.

    It listens with TLS alone, and lets one user in, with a password that is shown once. Nothing is overwritten.

    \b
    Examples:
      tidewire init
      tidewire init /etc/tidewire --host broker.example
    """
    config, passwords = directory / "broker.toml", directory / "passwords"
    certificates = CertificateDirectory(directory / "certificates")
    password = "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(PASSWORD_CHARACTERS))
    own = [address for address in bind if address not in _EVERYWHERE]
    for path in (config, passwords):
        if path.exists():
            raise click.UsageError(f"{path} exists already; choose another directory: tidewire init DIRECTORY")
    with mistakes():
        written = certificates.make([*host, *own], (), DEFAULT_DAYS, "ec", datetime.now(UTC))
        try:
            set_password(passwords, user, password.encode())
        except ValueError as error:
            raise click.UsageError(str(error)) from None
        with config.open("x", encoding="utf-8") as file:
            file.write(first_configuration(certificates, port, bind, passwords, user))
    where = ["-h", own[0]] if len(own) == len(bind) else []  # else it is here, where pub looks without being told
    where += ["-p", str(port)] if port != TLS_PORT else []
    for path in (*map(certificates.file, written), passwords, config):
        click.echo(f"wrote {path}")
    click.echo(f"\nThe password of {user}, which is shown this once: {password}\n")
    click.echo(f"Start the broker:\n\n  tidewire serve --config {shlex.quote(str(config))}\n")
    click.echo(f"Publish to it:\n\n  {pub_command(certificates, *where, '-u', user, '-P', password)}\n")
