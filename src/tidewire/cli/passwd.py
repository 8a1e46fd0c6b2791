"""`tidewire passwd`: make and change entries of a password file."""

from __future__ import annotations

from pathlib import Path

import click

from tidewire.access.passwords import set_password


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.argument("name")
@click.option("--password", help="The password; asked for when not given. Others on this machine may see it here.")
def passwd(file: Path, name: str, password: str | None) -> None:
    """Set the password of user NAME in FILE, which is made if it does not exist.

    \b
    Example:
      tidewire passwd passwords.txt alice
      tidewire serve --bind 0.0.0.0 --password-file passwords.txt
    """
    if password is None:
        password = click.prompt("Password", hide_input=True, confirmation_prompt=True)
    try:
        set_password(file, name, password.encode())
    except (OSError, ValueError) as error:
        raise click.UsageError(str(error)) from None
