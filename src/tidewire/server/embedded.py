"""A broker inside a program: `async with Broker(port=1883) as broker`."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import monotonic
from typing import Any, Final, Self

import msgspec

from tidewire.server.access_config import AccessConfig
from tidewire.server.config import Config, ConfigError, SettingError, exposed_addresses, make_limits, read_config
from tidewire.server.hooks import (
    DecidingHooks,
    OnConnect,
    OnDisconnect,
    OnDrop,
    OnPublish,
    OnSubscribe,
    ProgramHooks,
    WatchingHooks,
    make_message,
)
from tidewire.server.listener import ClientProtocol
from tidewire.server.server import RESERVED_FILES, Server, open_files
from tidewire.wire.errors import InvalidTopic, ProtocolViolation
from tidewire.wire.properties import Properties

STOP_GRACE_S: Final = 0.5
"""How long clients may take to read their last bytes: shorter than for a process of its own, as a program waits."""


class Broker:
    """An MQTT broker on the running event loop, for as long as the `async with` block lasts.

    It leaves alone what belongs to the program: signals, the garbage collector, logging (it logs as `tidewire`) and
    the loop's exception handler. One instance may be started again after it has stopped.
    """

    def __init__(
        self,
        config: Config | Mapping[str, Any] | str | Path | None = None,
        *,
        port: int | None = None,
        bind: str | Sequence[str] | None = None,
        unix_socket: str | None = None,
        access: AccessConfig | Mapping[str, Any] | None = None,
        limits: Mapping[str, int | float] | None = None,
        on_connect: OnConnect | None = None,
        on_publish: OnPublish | None = None,
        on_subscribe: OnSubscribe | None = None,
        on_disconnect: OnDisconnect | None = None,
        on_drop: OnDrop | None = None,
        stop_grace_s: float = STOP_GRACE_S,
        clock: Callable[[], float] = monotonic,
        protocol: Callable[[Server], ClientProtocol] = ClientProtocol,
    ) -> None:
        """`config` is a configuration, a mapping with its names or the path of a file; what is named beside it wins.

        Without any of them it listens on port 1883 of the loopback addresses; port 0 takes any free one. The hooks are
        described in `tidewire.server.hooks`; each may be left out, and costs nothing then. After `stop_grace_s` seconds
        clients that still have not closed are cut. `clock` (seconds) and `protocol` are for tests.

        Raises ConfigError for a configuration that cannot be used, TypeError for a hook that cannot be called.
        """
        self._config = _merged(
            config,
            {
                "port": port,
                "bind": [bind] if isinstance(bind, str) else bind,
                "unix_socket": unix_socket,
                "access": access,
                "limits": limits,
            },
        )
        self._hooks = ProgramHooks(on_connect, on_publish, on_subscribe, on_disconnect, on_drop)
        self._stop_grace_s = stop_grace_s
        self._clock = clock
        self._protocol = protocol
        self._server: Server | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Open the listeners. Raises ConfigError for an address or a password file that cannot be had."""
        if self._server is not None:
            raise RuntimeError("this broker is running already; make another Broker for a second one")
        deciding = DecidingHooks(self._hooks) if self._hooks else None
        watching = WatchingHooks(self._hooks) if self._hooks else None
        server = Server(self._config, clock=self._clock, protocol=self._protocol, events=watching, hooks=deciding)
        if deciding is not None and watching is not None:
            deciding.broker = watching.broker = server.broker
        try:
            await server.start()
        except SettingError as error:  # what mends it is an argument here, not an option
            raise ConfigError(f"{error.problem}: {error.setting}={error.value!r}") from None
        self._server = server

    async def stop(self) -> None:
        """Say good-bye to the clients, and close. Does nothing when it is not running."""
        server, self._server = self._server, None
        if server is not None:
            await server.stop(self._stop_grace_s)

    @property
    def server(self) -> Server:
        """What does the work. Raises RuntimeError when the broker is not running."""
        if self._server is None:
            raise RuntimeError("the broker is not running; start it: async with broker")
        return self._server

    @property
    def addresses(self) -> list[str]:
        """Where it listens, for people: `host:port`, the path of a Unix socket, or a URL."""
        return list(self.server.addresses)

    @property
    def port(self) -> int:
        """The TCP port of the first listener that has one; 0 when it listens on Unix sockets only."""
        return self.server.port

    @property
    def url(self) -> str:
        """An address for clients on this machine: the first of `urls`."""
        return self.urls[0]

    @property
    def urls(self) -> list[str]:
        """All of them: `mqtt://127.0.0.1:1883`, `wss://127.0.0.1:8443/mqtt`, `unix:///path`."""
        return [_reached(url) for url in self.server.urls]

    @property
    def clients(self) -> list[str]:
        """The client identifiers of those that are connected."""
        return [name for name, session in self.server.broker.sessions.items() if session.connection is not None]

    def publish(
        self,
        topic: str,
        payload: bytes = b"",
        *,
        qos: int = 0,
        retain: bool = False,
        properties: Properties | None = None,
    ) -> None:
        """Publish a message of the program's own, in the next pass of the loop; `on_publish` is not asked.

        Call it from the loop's thread; hooks may. Raises ValueError for what cannot be published: `topic` is a topic
        name (4.7.1) and `properties` are those of a PUBLISH (3.3.2.3).
        """
        server = self.server
        message = make_message(topic, payload, qos, retain, properties or Properties(), "", server.clock())
        try:
            server.broker.route(message.topic)
        except ProtocolViolation as violation:
            raise InvalidTopic(f"cannot publish to {topic!r}: {violation.detail}") from None
        asyncio.get_running_loop().call_soon(server.publish, message)


def _reached(url: str) -> str:
    """Where a listener's clients on this machine find it."""
    return url.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")


def _merged(config: Config | Mapping[str, Any] | str | Path | None, overrides: Mapping[str, Any]) -> Config:
    """One checked configuration that is nobody else's. Raises ConfigError."""
    if isinstance(config, str | Path):
        config = read_config(Path(config))
    named = {name: value for name, value in overrides.items() if value is not None}
    try:
        values = msgspec.to_builtins(config or {}, enc_hook=os.fspath)
        for name, value in msgspec.to_builtins(named, enc_hook=os.fspath).items():
            values[name] = {**values.get(name, {}), **value} if isinstance(value, dict) else value
        merged = msgspec.convert(values, Config)
        make_limits(merged)
    except (msgspec.ValidationError, TypeError) as error:
        raise ConfigError(f"the broker's configuration: {error}") from None
    exposed = exposed_addresses(merged)
    if exposed:
        raise ConfigError(
            f"refusing to listen on {', '.join(exposed)} where anybody could connect: give a password file, "
            'access={"password_file": "passwords.txt"}, or allow it, access={"anonymous": True}'
        )
    if not merged.connections:
        # The limit of open files is the program's, not ours to raise.
        merged.connections = max(1, open_files(raised=False) - RESERVED_FILES)
    return merged
