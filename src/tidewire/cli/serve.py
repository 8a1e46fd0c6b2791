"""`tidewire serve`: run the broker."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import NoReturn

import click

from tidewire import __version__
from tidewire._form import form
from tidewire.server import log
from tidewire.server.config import Config, ConfigError, read_config
from tidewire.server.server import Server


@click.command()
@click.option(
    "--bind", "-b", multiple=True, metavar="HOST", help="Address to listen on; may be repeated. [default: loopback]"
)
@click.option("--port", "-p", type=click.IntRange(0, 65_535), help="TCP port; 0 for any free one. [default: 1883]")
@click.option("--unix-socket", metavar="PATH", help="Listen on a Unix socket as well.")
@click.option(
    "--config", "-c", "config_file", type=click.Path(path_type=Path), metavar="FILE.toml", help="Configuration file."
)
@click.option("--password-file", metavar="FILE", help="User names and passwords, made by `tidewire passwd`.")
@click.option(
    "--log-level", "-l", type=click.Choice(["debug", "info", "warning", "error"]), help="What to log. [default: info]"
)
def serve(
    bind: tuple[str, ...],
    port: int | None,
    unix_socket: str | None,
    config_file: Path | None,
    password_file: str | None,
    log_level: str | None,
) -> None:
    """Run the broker until it is told to stop.

    Without options it serves this machine only, without passwords. Options win over the configuration file.

    \b
    Examples:
      tidewire serve
      tidewire serve --port 18883 --log-level warning
      tidewire serve --bind 0.0.0.0 --password-file passwords.txt
    """
    try:
        config = read_config(config_file) if config_file is not None else Config()
        if bind:
            config.bind = list(bind)
        if port is not None:
            config.port = port
        if unix_socket is not None:
            config.unix_socket = unix_socket
        if password_file is not None:
            config.access.password_file = password_file
        if log_level is not None:
            config.log_level = log_level  # type: ignore[assignment]  # click has checked it
        log.set_up(config.log_level)
        _run(config)
    except ConfigError as error:
        _fail(str(error))


def _run(config: Config) -> None:
    loop_name = "asyncio"
    factory = None
    if sys.platform != "win32":
        try:
            import uvloop  # noqa: PLC0415 (not everywhere)

            factory, loop_name = uvloop.new_event_loop, "uvloop"
        except ImportError:
            pass
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(_serve(config, loop_name))


async def _serve(config: Config, loop_name: str) -> None:
    server = Server(config)
    await server.start()
    server.heed_signals()  # before the line that says it is ready
    log.logger.info(
        "tidewire %s (%s, %s) serves MQTT on %s", __version__, form(), loop_name, ", ".join(server.addresses)
    )
    await server.serve()


def _fail(message: str) -> NoReturn:
    click.echo(f"tidewire: {message}", err=True)
    sys.exit(2)
