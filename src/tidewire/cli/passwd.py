"""`tidewire passwd`: edit a password file, with the options of mosquitto_passwd."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from tidewire.access.hashes import KINDS
from tidewire.access.passwords import delete_user, hash_plain_passwords, read_passwords, set_password


@click.command()
@click.option("--batch", "-b", is_flag=True, help="PASSWORD stands on the command line, where others may see it.")
@click.option("--create", "-c", is_flag=True, help="Begin a new file; one that exists is replaced.")
@click.option("--delete", "-D", is_flag=True, help="Remove the user.")
@click.option("--upgrade", "-U", is_flag=True, help="Hash the passwords of a file that has them as they are.")
@click.option("--list", "-l", "listing", is_flag=True, help="Print the names of all users.")
@click.option(
    "--hash", "-H", "kind", type=click.Choice(list(KINDS)), default="argon2id", show_default=True, help="Kind of hash."
)
@click.option("--scram", is_flag=True, help="The same as -H scram-sha-256: the user can log in by SCRAM, too.")
@click.option("--password", "said", help="The password; asked for when not given. Others may see it here.")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.argument("name", required=False)
@click.argument("password", required=False)
def passwd(
    batch: bool,
    create: bool,
    delete: bool,
    upgrade: bool,
    listing: bool,
    kind: str,
    scram: bool,
    said: str | None,
    file: Path,
    name: str | None,
    password: str | None,
) -> None:
    """Set the password of user NAME in FILE, which is made if it does not exist.

    It is asked for; where there is no terminal, it is read from standard input.

    \b
    Examples:
      tidewire passwd passwords.txt alice
      tidewire passwd -b passwords.txt alice wonderland
      tidewire passwd -D passwords.txt alice
      tidewire serve --bind 0.0.0.0 --password-file passwords.txt
    """
    kind = "scram-sha-256" if scram else kind
    if sum((delete, upgrade, listing, create or batch or said is not None)) > 1:
        raise click.UsageError("choose one of setting a password, -D, -U and --list")
    if (name is None) != (upgrade or listing):
        raise click.UsageError("-U and --list take a FILE alone" if name is not None else "Missing argument 'NAME'.")
    if (password is not None) != batch:
        raise click.UsageError("a password goes with -b: tidewire passwd -b FILE NAME PASSWORD")
    try:
        if listing:
            for user_name in read_passwords(file).user_names():
                click.echo(user_name)
        elif upgrade:
            click.echo(f"{hash_plain_passwords(file, kind)} passwords hashed")
        elif name is not None and delete:
            delete_user(file, name)
        elif name is not None:
            password = said if password is None else password
            if password is None:
                password = _asked()
            if create:
                file.unlink(missing_ok=True)
            set_password(file, name, password.encode(), kind)
    except OSError as error:
        raise click.UsageError(f"cannot use {file}: {error.strerror}") from None
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def _asked() -> str:
    """What is typed, twice and unseen; without a terminal a line of standard input, and once more if there is another.

    Raises UsageError where nothing is there, or not the same.
    """
    if sys.stdin.isatty():
        return str(click.prompt("Password", hide_input=True, confirmation_prompt=True))
    password, again = (sys.stdin.readline().rstrip("\r\n") for _ in range(2))
    if not password:
        mend = "pipe the password into it, or: tidewire passwd -b FILE NAME PASSWORD"
        raise click.UsageError(f"there is no terminal to ask for the password on; {mend}")
    if again not in ("", password):
        raise click.UsageError("the two lines of standard input differ, and should both be the password")
    return password
