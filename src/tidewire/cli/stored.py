"""How does a command find what a broker keeps, and how does it end when whoever reads its output has had enough?"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NoReturn

import click

from tidewire.cli.exits import Exit
from tidewire.server.config import ConfigError, data_directory, read_config
from tidewire.store.directory import DataDirectory

_PATH: Final = click.Path(path_type=Path)


def directory_options(command: Callable[..., Any]) -> Any:
    """`--data` and `--config`, as `directory` and `config_file`."""
    command = click.option(
        "--config", "-c", "config_file", type=_PATH, metavar="FILE.toml", help="The broker's, which says where."
    )(command)
    return click.option(
        "--data",
        "directory",
        type=_PATH,
        envvar="TIDEWIRE_DATA",
        metavar="DIR",
        help="Where the broker keeps its data. [default: where `tidewire serve` would]",
    )(command)


def format_option(command: Callable[..., Any]) -> Any:
    """`--json` or `--table`, as `as_json`."""
    return click.option(
        "--json/--table", "as_json", default=None, help="JSON lines, or a table. [default: a table on a terminal]"
    )(command)


def found(directory: Path | None, config_file: Path | None) -> DataDirectory:
    """The directory that the options name, or else the broker's. Raises UsageError for a file that cannot be used."""
    if directory is None:
        try:
            directory = data_directory(read_config(config_file), os.environ)
        except ConfigError as error:
            raise click.UsageError(str(error)) from None
    return DataDirectory(directory)


def wants_json(as_json: bool | None) -> bool:
    return not sys.stdout.isatty() if as_json is None else as_json


def nobody_reads() -> NoReturn:
    """Whoever reads has had enough."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # Python will flush what is left
    sys.exit(Exit.DONE)
