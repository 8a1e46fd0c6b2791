"""What of a new configuration can a running broker go by, without letting go of a client?

All of it is read and checked before any of it is in force: a configuration that cannot be used changes nothing.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from tidewire.engine.limits import Limits
from tidewire.server.config import Config, ConfigError, check_exposure, make_access, make_limits, vars_of
from tidewire.server.endpoint import Endpoint
from tidewire.server.listener_config import ListenerConfig
from tidewire.server.log import logger, quoted
from tidewire.server.tls import Tls

if TYPE_CHECKING:
    from tidewire.server.server import Server

TAKEN_AT_START: Final = frozenset(
    (
        "retained_bytes",
        "retained_levels",
        "metered_branches",
        "metered_clients",
        "metered_levels",
        "retained_messages",
        "route_cache_entries",
        "route_cache_topic_bytes",
        "route_cache_topics",
    )
)
"""Limits that what they bound was made with."""

PROMISED: Final = frozenset(("receive_maximum", "topic_alias_maximum"))
"""Limits that CONNACK has told: a client that uses what it was given would be cut if there were less of it."""

SWITCHES: Final = frozenset(("connections_per_user", "sys_interval_s"))
"""Limits of which 0 switches off what would have to be counted or timed from the start."""


def heed_hangup(server: Server, read: Callable[[], Config]) -> None:
    """Reload on SIGHUP, where there is one, from what `read` returns; it may raise ConfigError."""
    one_at_a_time = asyncio.Lock()
    tasks: set[asyncio.Task[None]] = set()

    async def reload() -> None:
        async with one_at_a_time:
            await reload_from(server, read)

    def hung_up() -> None:
        task = asyncio.get_running_loop().create_task(reload())
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    if hasattr(signal, "SIGHUP"):
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, hung_up)


async def reload_from(server: Server, read: Callable[[], Config]) -> None:
    """Go by the configuration that is read now, or say in the log why that cannot be, and go on as before."""
    try:
        waiting = await apply(server, await asyncio.to_thread(read))
    except ConfigError as error:
        for line in error.errors:
            logger.error("configuration kept detail=%s", quoted(line))
        return
    except Exception as error:
        logger.error("internal error: the configuration was not reloaded", exc_info=error)
        return
    for line in waiting:
        logger.warning("needs a restart detail=%s", quoted(line))
    for line in server.access.policy.in_force:
        logger.info("access: %s", line)
    logger.info("configuration reloaded")


async def apply(server: Server, config: Config) -> list[str]:
    """Go by another configuration; a line for each part of it that waits for a restart. Raises ConfigError."""
    check_exposure(config)
    policy = await asyncio.to_thread(make_access, config)  # many rules take their time
    limits = make_limits(config)
    doors = _Doors(server, config)
    await doors.open()
    # From here on nothing fails.
    waiting = doors.exchange()
    waiting += _change_limits(server.broker.limits, limits)
    if config.backlog != server.config.backlog:
        waiting.append(f"backlog = {config.backlog}: open listeners keep {server.config.backlog}")
    for name in ("data", "durability"):
        if getattr(config, name) != getattr(server.config, name):
            waiting.append(f"{name} = {getattr(config, name)!r}: it stays {getattr(server.config, name)!r}")
    for name, current, new in (
        ("bridge", server.config.bridges, config.bridges),
        ("admin", server.config.admin, config.admin),
        ("console", server.config.console, config.console),
        ("meter", server.config.meter, config.meter),
        ("telemetry", server.config.telemetry, config.telemetry),
    ):
        if current != new:
            waiting.append(f"{name}: it stays as it is")
    server.gate.change(config.accept_rate, server.most_connections(config))
    server.access.adopt(policy)
    server.broker.access_changed()
    logger.setLevel(config.log_level.upper())
    server.config = config
    return waiting


def _change_limits(current: Limits, new: Limits) -> list[str]:
    """Change the limits in place, as everybody holds them."""
    waiting = []
    current.queue_policy = new.queue_policy
    for name, value in vars_of(new).items():
        old = getattr(current, name)
        kept = (
            name in TAKEN_AT_START
            or (name in PROMISED and value < old)
            or (name in SWITCHES and (value == 0) != (old == 0))
        )
        if value == old:
            continue
        if kept:
            waiting.append(f"limits.{name} = {value}: it stays {old}")
        else:
            setattr(current, name, value)
    return waiting


class _Doors:
    """Listeners that stay, come and go."""

    def __init__(self, server: Server, config: Config) -> None:
        """Raises ConfigError for TLS files that cannot be used."""
        self._server = server
        first = ListenerConfig(bind=config.bind, port=config.port, unix_socket=config.unix_socket)
        leaving = list(server.endpoints)
        wanted: list[tuple[ListenerConfig, Endpoint | None]] = []
        for listener in (first, *config.listeners):
            same = next((endpoint for endpoint in leaving if _sockets(endpoint.config) == _sockets(listener)), None)
            if same is not None:
                leaving.remove(same)
            wanted.append((listener, same))
        self._waiting: list[str] = []
        self._endpoints: list[Endpoint] = []
        """As they will be."""
        self._staying: list[tuple[Endpoint, ListenerConfig, Tls | None]] = []
        self._coming: list[Endpoint] = []
        for listener, endpoint in wanted:
            if endpoint is not None:
                self._staying.append((endpoint, listener, _tls(listener)))
                self._endpoints.append(endpoint)
                continue
            in_the_way = [each for each in leaving if _addresses(each.config) & _addresses(listener)]
            for each in in_the_way:
                held = f"its address is held by {described(each.config)}, which stays as it was"
                self._waiting.append(f"listener {described(listener)}: {held}")
                if each not in self._endpoints:
                    self._endpoints.append(each)
            if not in_the_way:
                coming = Endpoint(server, listener, listener is first)
                self._coming.append(coming)
                self._endpoints.append(coming)
        self._leaving = [endpoint for endpoint in leaving if endpoint not in self._endpoints]

    async def open(self) -> None:
        """Open those that come. Raises ConfigError, and then none of them is open."""
        try:
            for endpoint in self._coming:
                await endpoint.open()
            if not any(endpoint.urls for endpoint in self._endpoints):
                raise ConfigError('there is no address to listen on; name one: bind = ["127.0.0.1"]')
        except ConfigError:
            for endpoint in self._coming:
                endpoint.close()
            raise

    def exchange(self) -> list[str]:
        """Change those that stay, and close those that go: who came in through them stays."""
        for endpoint, listener, tls in self._staying:
            endpoint.config = listener
            endpoint.tls = tls
        for endpoint in self._leaving:
            endpoint.close()
            logger.info("listener closed listener=%s", quoted(", ".join(endpoint.urls) or described(endpoint.config)))
        for endpoint in self._coming:
            logger.info("listener opened listener=%s", quoted(", ".join(endpoint.urls)))
        self._server.endpoints = self._endpoints
        self._server.note_addresses()
        return self._waiting


def described(listener: ListenerConfig) -> str:
    """What the log calls a listener."""
    return listener.name or str(listener.unix_socket if listener.port is None else listener.port)


def _tls(listener: ListenerConfig) -> Tls | None:
    return Tls(listener.tls, listener.protocol, described(listener)) if listener.tls is not None else None


def _sockets(listener: ListenerConfig) -> tuple[object, ...]:
    """What cannot be changed while the sockets are open."""
    tls = listener.tls is not None
    return (listener.bind, listener.port, listener.unix_socket, listener.protocol, listener.proxy_protocol, tls)


def _addresses(listener: ListenerConfig) -> set[str]:
    """What only one listener can have."""
    port = listener.port
    own = {f"{address} {port}" for address in listener.bind} if port else set()
    return own | ({listener.unix_socket} if listener.unix_socket is not None else set())
