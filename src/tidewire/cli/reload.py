"""`tidewire reload`: make a running broker read its configuration anew."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import click

from tidewire.cli.exits import Exit, tell
from tidewire.server.config import ConfigError
from tidewire.server.process_file import running


@click.command(epilog="The exit status is 0 when the broker was told; its log says what came of it.")
@click.option("--pid-file", type=click.Path(path_type=Path), metavar="FILE", help="The one of `tidewire serve`.")
@click.option("--pid", type=click.IntRange(2), metavar="NUMBER", help="The process itself, as $MAINPID of systemd.")
def reload(pid_file: Path | None, pid: int | None) -> None:
    """Make a running broker read its configuration, passwords, rules and certificates anew. No client is disconnected.

    The same as sending it SIGHUP. A configuration that cannot be used changes nothing; look at it first with
    `tidewire config check FILE`.

    \b
    Examples:
      tidewire serve --config broker.toml --pid-file broker.pid
      tidewire reload --pid-file broker.pid
    """
    if not hasattr(signal, "SIGHUP"):
        raise click.UsageError("this system has no SIGHUP; restart the broker")
    if (pid_file is None) == (pid is None):
        raise click.UsageError("say which broker: --pid-file FILE or --pid NUMBER")
    try:
        number = pid if pid_file is None else running(pid_file)
        assert number is not None
        os.kill(number, signal.SIGHUP)
    except ConfigError as error:
        tell(str(error))
        sys.exit(Exit.USAGE)
    except OSError as error:
        tell(f"cannot signal process {pid or number}: {error.strerror}")
        sys.exit(Exit.USAGE)
    click.echo(f"told process {number}; its log says what came of it")
