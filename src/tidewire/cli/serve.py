"""`tidewire serve`: run the broker."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Final, NoReturn

import click

from tidewire import __version__
from tidewire._form import form
from tidewire.cli.exits import Exit
from tidewire.cli.loop import loop_factory
from tidewire.server import log
from tidewire.server.config import Config, ConfigError, data_directory, read_config
from tidewire.server.console_config import ConsoleConfig
from tidewire.server.environment import unknown
from tidewire.server.listener_config import ListenerConfig, TlsConfig
from tidewire.server.process_file import process_file
from tidewire.server.reload import heed_hangup
from tidewire.server.server import Server

TLS_PORT: Final = 8883
"""Registered for MQTT over TLS."""


@click.command()
@click.option(
    "--bind", "-b", multiple=True, metavar="HOST", help="Address to listen on; may be repeated. [default: loopback]"
)
@click.option("--port", "-p", type=click.IntRange(0, 65_535), help="TCP port; 0 for any free one. [default: 1883]")
@click.option("--tls-certificate", metavar="FILE.pem", help="Speak TLS, with this certificate. [default port: 8883]")
@click.option("--tls-key", metavar="FILE.pem", help="The key of that certificate.")
@click.option(
    "--websocket-port",
    type=click.IntRange(0, 65_535),
    help="Serve WebSocket as well, at /mqtt; with TLS if the rest is.",
)
@click.option("--unix-socket", metavar="PATH", help="Listen on a Unix socket as well.")
@click.option(
    "--config", "-c", "config_file", type=click.Path(path_type=Path), metavar="FILE.toml", help="Configuration file."
)
@click.option(
    "--pid-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write the process number there, for `tidewire reload`.",
)
@click.option(
    "--data",
    "-d",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Directory that keeps sessions and messages.",
)
@click.option("--memory", is_flag=True, help="Keep nothing: sessions and messages end with the process.")
@click.option("--console/--no-console", default=None, help="Serve the web page. [default: if the file has [console]]")
@click.option("--console-port", type=click.IntRange(0, 65_535), help="Its TCP port; 0: any free one. [default: 9884]")
@click.option("--password-file", metavar="FILE", help="User names and passwords, made by `tidewire passwd`.")
@click.option(
    "--log-level", "-l", type=click.Choice(["debug", "info", "warning", "error"]), help="What to log. [default: info]"
)
def serve(
    bind: tuple[str, ...],
    port: int | None,
    tls_certificate: str | None,
    tls_key: str | None,
    websocket_port: int | None,
    unix_socket: str | None,
    config_file: Path | None,
    pid_file: Path | None,
    data: Path | None,
    memory: bool,
    console: bool | None,
    console_port: int | None,
    password_file: str | None,
    log_level: str | None,
) -> None:
    """Run the broker until it is told to stop.

    Without options it serves this machine only, without passwords. Options win over TIDEWIRE_… variables of the
    environment, and these over the configuration file. On SIGHUP, which `tidewire reload` sends, all are read anew.

    \b
    Examples:
      tidewire serve
      tidewire serve --port 18883 --log-level warning --memory
      tidewire serve --bind 0.0.0.0 --password-file passwords.txt
      tidewire serve --tls-certificate server.pem --tls-key server.key --websocket-port 8443
    """

    def read() -> Config:
        config = read_config(config_file, os.environ)
        if bind:
            config.bind = list(bind)
        if port is not None:
            config.port = port
        if unix_socket is not None:
            config.unix_socket = unix_socket
        _add_listeners(config, port, tls_certificate, tls_key, websocket_port)
        _choose_data(config, data, memory)
        _choose_console(config, console, console_port)
        if password_file is not None:
            config.access.password_file = password_file
        if log_level is not None:
            config.log_level = log_level  # type: ignore[assignment]  # click has checked it
        return config

    try:
        config = read()
        log.set_up(config.log_level)
        for line in unknown(Config, os.environ):
            log.logger.warning("environment: %s", line)
        with process_file(pid_file) if pid_file is not None else nullcontext():
            _run(config, read)
    except ConfigError as error:
        _fail(error.errors)


def _choose_data(config: Config, data: Path | None, memory: bool) -> None:
    """Where sessions and messages are kept: as the options say, else as the rest does. Raises ConfigError."""
    if memory and data is not None:
        raise ConfigError("--memory keeps nothing, and --data says where it is kept; give one of them")
    if memory:
        config.durability = "memory"
    elif data is not None:
        config.data = str(data)
        if config.durability == "memory":
            config.durability = "full"
    elif config.durability != "memory":
        config.data = str(data_directory(config, os.environ))


def _choose_console(config: Config, wanted: bool | None, port: int | None) -> None:
    """Whether there is a page, and where. Raises ConfigError."""
    if wanted is False and port is not None:
        raise ConfigError("--no-console wants no page, and --console-port says where it is; give one of them")
    if wanted is False:
        config.console = None
    elif (wanted or port is not None) and config.console is None:
        config.console = ConsoleConfig()
    if config.console is not None and port is not None:
        config.console.port = port


def _add_listeners(
    config: Config, port: int | None, certificate: str | None, key: str | None, websocket_port: int | None
) -> None:
    """What the options ask for beside plain TCP, or in its place. Raises ConfigError."""
    if (certificate is None) != (key is None):
        missing = "--tls-key" if key is None else "--tls-certificate"
        raise ConfigError(f"a certificate and its key belong together; add {missing} FILE.pem")
    bind = config.bind
    tls = TlsConfig(certificate, key) if certificate is not None and key is not None else None
    if tls is not None:
        config.listeners.append(ListenerConfig(bind=bind, port=TLS_PORT if port is None else port, tls=tls))
        config.bind = []
    if websocket_port is not None:
        config.listeners.append(ListenerConfig(bind=bind, port=websocket_port, protocol="websocket", tls=tls))


def _run(config: Config, read: Callable[[], Config]) -> None:
    with asyncio.Runner(loop_factory=loop_factory()) as runner:  # not `loop.run`: SIGTERM is a good end here
        if not runner.run(_serve(config, read)):
            sys.exit(Exit.INPUT_OUTPUT)


async def _serve(config: Config, read: Callable[[], Config]) -> bool:
    """Serve until told to stop. False: what was to be kept could not be written."""
    loop_name = type(asyncio.get_running_loop()).__module__.partition(".")[0]
    gc.disable()  # until `Server.serve`: it would look through all that is loaded again and again, and find nothing
    server = Server(config)
    server.read_again = read
    await server.start()
    server.heed_signals()  # before the line that says it is ready
    heed_hangup(server, read)
    log.logger.info(
        "tidewire %s (%s, %s) serves MQTT on %s", __version__, form(), loop_name, ", ".join(server.addresses)
    )
    if config.console is not None:  # last, so that its address is the last line
        try:
            from tidewire.console.app import serve_console  # noqa: PLC0415 (an extra)

            await serve_console(server, config.console)
        except ConfigError:
            await server.stop()
            raise
    await server.serve()
    return server.kept_all


def _fail(errors: list[str]) -> NoReturn:
    for error in errors:
        click.echo(f"tidewire: {error}", err=True)
    sys.exit(2)
