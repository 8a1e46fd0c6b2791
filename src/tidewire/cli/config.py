"""`tidewire config`: check a configuration file, show what is in force, and take one over from Mosquitto."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NoReturn

import click

from tidewire.cli.exits import Exit
from tidewire.server.config import Config, ConfigError, check_config, convert, read_document
from tidewire.server.config_text import document_text, effective_text
from tidewire.server.environment import unknown
from tidewire.server.mosquitto_config import convert_mosquitto


@click.group()
def config() -> None:
    """Look into configuration files, without a broker."""


_FILE = click.argument("file", type=click.Path(path_type=Path), required=False)


@config.command(epilog="The exit status is 0 if a broker would start with it, 2 if not.")
@_FILE
def check(file: Path | None) -> None:
    """Say all that is wrong with FILE, or the environment, a line each with its place and key.

    Files that it names are read as well; ports are not tried: `tidewire doctor` does that.

    \b
    Example:
      tidewire config check broker.toml
    """
    _tell_unknown_variables()
    try:
        errors = check_config(read_document(file, os.environ))
    except ConfigError as error:
        errors = error.errors
    if errors:
        _fail(errors)
    click.echo(f"{file or 'the environment'}: nothing is wrong")


@config.command()
@_FILE
def show(file: Path | None) -> None:
    """Print the configuration that is in force with FILE and the environment, all defaults filled in, as TOML.

    Headers for a web service, which may be secret, are not shown.

    \b
    Examples:
      tidewire config show
      tidewire config show broker.toml
    """
    _tell_unknown_variables()
    try:
        click.echo(effective_text(convert(read_document(file, os.environ))), nl=False)
    except ConfigError as error:
        _fail(error.errors)


@config.command("import")
@click.argument("file", type=click.Path(path_type=Path))
def import_command(file: Path) -> None:
    """Convert FILE, a configuration of Mosquitto, and print it as TOML.

    What could not be taken over is told on standard error, a line each with its reason.

    \b
    Example:
      tidewire config import /etc/mosquitto/mosquitto.conf > broker.toml
    """
    try:
        values, notes = convert_mosquitto(file)
    except ConfigError as error:
        _fail(error.errors)
    for note in notes:
        click.echo(note, err=True)
    click.echo(document_text(values), nl=False)


def _tell_unknown_variables() -> None:
    for line in unknown(Config, os.environ):
        click.echo(f"tidewire: {line}", err=True)


def _fail(errors: list[str]) -> NoReturn:
    for error in errors:
        click.echo(f"tidewire: {error}", err=True)
    sys.exit(Exit.USAGE)
