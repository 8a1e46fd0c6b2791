"""The bridges of a broker: each is connected for as long as the broker runs, and says how it fares.

`bridge_clients` are its two ends, `bridge_pump` is what happens between them.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Coroutine
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from tidewire.client.errors import ConnectionRefused, SubscribeError, TidewireError
from tidewire.client.options import Backoff, Subscription
from tidewire.client.stream import Stream
from tidewire.engine.limits import MAXIMUM_INTERVAL
from tidewire.engine.message import Message
from tidewire.server.bridge_access import PREFIX, BridgeAccess
from tidewire.server.bridge_clients import INFLIGHT, BridgeClient, Lost, local_client, remote_client
from tidewire.server.bridge_config import BridgeConfig, address, bridge_faults
from tidewire.server.bridge_pump import Pump, Target
from tidewire.server.bridge_topics import Rule, inward, outward
from tidewire.server.config import Config, ConfigError
from tidewire.server.config_document import written
from tidewire.server.log import logger, quoted
from tidewire.wire.codes import ConnectReturnCode, ReasonCode

if TYPE_CHECKING:
    from tidewire.server.server import Server

TOPIC: Final = "$SYS/broker/bridge/"

IDENTITY: Final = TOPIC + "id"
"""Where a broker with bridges says which one it is, for the bridges that lead to it."""

FIRST_RETRY_S: Final = 0.5
"""The wait after the first failure; it doubles with each."""

STABLE_S: Final = 10.0
"""A connection that lasted so long was a good one: the waits begin anew."""

RETAINED: Final = 0
RETAINED_IF_NEW: Final = 1
NOT_RETAINED: Final = 2
"""Retain Handling (3.8.3.1)."""

COMPLAINT_PAUSE_S: Final = 60.0
"""At most so often the log says that a message was refused: there may be thousands of them."""

IDENTITY_CHARACTERS: Final = 64
"""What is taken of another broker's identity: it goes into every message."""

QUESTIONS: Final = 3
"""Connections that may be lost in a row over the question which broker the other one is: some end that of whoever asks
for `$SYS`, and an accident looks the same."""

MENDS: Final[dict[int, str]] = {
    ReasonCode.BAD_USER_NAME_OR_PASSWORD: "look at its user_name and password_file",
    ReasonCode.NOT_AUTHORIZED: "look at its user_name and password_file, and at the access rules there",
    ReasonCode.CLIENT_IDENTIFIER_NOT_VALID: "give it another client_id",
    ReasonCode.SESSION_TAKEN_OVER: "another client there has the same client_id; give it one of its own",
    ReasonCode.UNSUPPORTED_PROTOCOL_VERSION: 'give it version = "3.1.1"',
}
_BEFORE_5: Final[dict[int, int]] = {
    ConnectReturnCode.UNACCEPTABLE_PROTOCOL_VERSION: ReasonCode.UNSUPPORTED_PROTOCOL_VERSION,
    ConnectReturnCode.IDENTIFIER_REJECTED: ReasonCode.CLIENT_IDENTIFIER_NOT_VALID,
    ConnectReturnCode.BAD_USER_NAME_OR_PASSWORD: ReasonCode.BAD_USER_NAME_OR_PASSWORD,
    ConnectReturnCode.NOT_AUTHORIZED: ReasonCode.NOT_AUTHORIZED,
}


def check_bridges(config: Config) -> None:
    """Raises ConfigError with all that is wrong with them."""
    errors = [f"{written(place)}: {message}" for place, message in bridge_faults(config.bridges)]
    if errors:
        raise ConfigError(*errors)


class Bridges:
    """All bridges of one broker."""

    def __init__(self, config: Config, server: Server, access: BridgeAccess) -> None:
        """Of a configuration that was checked."""
        self._server = server
        self._identity = secrets.token_hex(8)
        self._bridges = [Bridge(each, server, access, self._identity) for each in config.bridges]
        self._counting: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """From here on nothing that is published is missed, wherever the other brokers are."""
        server = self._server
        broker = server.broker
        names = {bridge.local_name for bridge in self._bridges}
        for name in [name for name in broker.sessions if name.startswith(PREFIX) and name not in names]:
            broker.end_session(broker.sessions[name], server.clock())  # it stands in the configuration no more
        publish_state(server, IDENTITY, self._identity)
        for bridge in self._bridges:
            await bridge.open()
        if broker.limits.sys_interval_s:
            self._counting = asyncio.create_task(self._count(broker.limits.sys_interval_s))

    async def close(self) -> None:
        """Leave both sides; the sessions wait."""
        if self._counting is not None:
            self._counting.cancel()
            await asyncio.gather(self._counting, return_exceptions=True)
        await asyncio.gather(*(bridge.close() for bridge in self._bridges))

    async def _count(self, interval_s: float) -> None:
        while True:
            await asyncio.sleep(interval_s)
            for bridge in self._bridges:
                bridge.tell_counts()


class Bridge:
    """One bridge, from its configuration to its end."""

    def __init__(self, config: BridgeConfig, server: Server, access: BridgeAccess, identity: str) -> None:
        self.local_name = PREFIX + config.name
        """Its client identifier at our own broker."""
        self._config = config
        self._server = server
        self._access = access
        self._identity = identity
        self._outward = outward(config.topics)
        self._inward = inward(config.topics)
        self._local = local_client(server, access, config.name)
        self._remote, self._marking = remote_client(config, identity)
        for client, rules in ((self._local, self._inward), (self._remote, self._outward)):
            if any(rule.qos == 2 for rule in rules.rules):
                client.finish_earlier_life()
        there, here = self._targets()
        self._out = Pump(self._local, there, self._outward, self._inward, self._refused)
        self._in = Pump(self._remote, here, self._inward, self._outward, self._refused)
        self._out.trail.passed = identity
        self._out.trail.shunned = {identity}
        self._in.trail.shunned = {identity}
        self._backoff = Backoff(min(FIRST_RETRY_S, config.retry_maximum_s), config.retry_maximum_s)
        self._questions = QUESTIONS if self._remote.has_properties else 0
        """How often it may still ask which broker the other one is."""
        self._is_first = True
        """It has not been connected in this life."""
        self._told = ""
        """What the log knows to be wrong already …"""
        self._complained_at = -COMPLAINT_PAUSE_S
        """… and when it last said that a message was refused."""
        self._life: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Begin its life, with a session at our own broker that from here on keeps what is to go out."""
        self._tell("state", "0")
        try:
            await self._prepare()
        except (Lost, TidewireError) as error:
            self._tell_of(error)
        self._life = asyncio.create_task(self._live(), name=f"tidewire: bridge {self._config.name}")

    async def close(self) -> None:
        if self._life is not None:
            self._life.cancel()
            await asyncio.gather(self._life, return_exceptions=True)
        self._tell("state", "0")

    def tell_counts(self) -> None:
        """Publish the numbers that have changed."""
        session = self._server.broker.sessions.get(self.local_name)
        self._tell("messages/sent", str(self._out.moved))
        self._tell("messages/received", str(self._in.moved))
        self._tell("messages/dropped", str(self._out.dropped + self._in.dropped))
        self._tell("messages/waiting", str(session.waiting_messages() if session is not None else 0))

    def _targets(self) -> tuple[Target, Target]:
        """Where messages go, there and here; by way of their spans where messages are traced."""
        telemetry = self._server.config.telemetry
        if telemetry is None or not telemetry.messages:
            return self._remote, self._local
        from tidewire.server.bridge_tracing import TracedTarget  # noqa: PLC0415 (an extra)

        name = self._config.name
        return (
            TracedTarget(self._remote, self._server, name, is_outward=True),
            TracedTarget(self._local, self._server, name, is_outward=False),
        )

    # -- its life

    async def _prepare(self) -> None:
        """Make the session here what the configuration says, and leave it to wait."""
        local, broker = self._local, self._server.broker
        streams: list[Stream] = []
        await local.connect()
        try:
            self._session_is_kept()
            await self._subscribe(local, self._outward.rules, NOT_RETAINED, streams)
            session = broker.sessions[self.local_name]
            wanted = [rule.topic_filter.encode() for rule in self._outward.rules]
            for topic_filter in [each for each in session.subscriptions or () if each not in wanted]:
                broker.unsubscribe(session, topic_filter)
        finally:
            for stream in streams:
                stream.leave()
            await local.disconnect()

    async def _live(self) -> None:
        attempt = 0
        while True:
            began = monotonic()
            try:
                await self._connect_and_serve()
            except (Lost, TidewireError) as error:
                if self._marking is not None and self._marking.refused(error):
                    continue
                self._tell_of(error)
            except Exception as error:
                logger.error("internal error: bridge %s", self._config.name, exc_info=error)
            if monotonic() - began >= STABLE_S:
                attempt = 0
            await asyncio.sleep(self._backoff.delay(attempt))
            attempt += 1

    async def _connect_and_serve(self) -> None:
        """Until one of the brokers is lost. Raises why."""
        streams: list[Stream] = []
        local, remote = self._local, self._remote
        try:
            await remote.connect()
            if self._marking is not None:
                self._marking.accepted()
            # Who has begun anew, here or there, may lack retained messages that the other side has.
            handling = RETAINED_IF_NEW if remote.is_resumed and not self._is_first else RETAINED
            identities = await self._subscribe_to_identity(streams)
            incoming = await self._subscribe(remote, self._inward.rules, handling, streams)
            await local.connect()
            self._session_is_kept()
            outgoing = await self._subscribe(local, self._outward.rules, handling, streams)
            self._is_first = False
            self._tell_connected()
            await _first_end(
                *([self._learn(identities)] if identities is not None else []),
                *([self._in.read(incoming)] if incoming is not None else []),
                *([self._out.read(outgoing)] if outgoing is not None else []),
                self._in.acknowledge(),
                self._out.acknowledge(),
                remote.run(),
                local.run(),
            )
        finally:
            self._tell("state", "0")
            for stream in streams:
                stream.leave()
            await asyncio.gather(remote.disconnect(), local.disconnect(), return_exceptions=True)  # they are gone

    async def _subscribe(
        self, client: BridgeClient, rules: list[Rule], handling: int, streams: list[Stream]
    ) -> Stream | None:
        """A stream of what a side has for the other one; without the filters that it refuses. None: there is none."""
        if not rules:
            return None
        stream = client.subscribe(
            *(
                Subscription(rule.topic_filter, rule.qos, True, True, handling)
                if client.has_properties
                else Subscription(rule.topic_filter, rule.qos)
                for rule in rules
            ),
            manual_ack=True,
            maximum=INFLIGHT,
            keep=True,
        )
        try:
            await stream.open()
        except SubscribeError as error:
            logger.warning("bridge refused name=%s detail=%s", self._config.name, quoted(str(error)))
            granted = [rule for rule in rules if rule.topic_filter not in error.reason_codes]
            return await self._subscribe(client, granted, handling, streams)
        streams.append(stream)
        return stream

    def _session_is_kept(self) -> None:
        """Not time ends it, but the configuration."""
        self._server.broker.sessions[self.local_name].expiry_interval = MAXIMUM_INTERVAL

    # -- who the other broker is

    async def _subscribe_to_identity(self, streams: list[Stream]) -> Stream | None:
        """A stream of the other broker's identity, unless it will not tell."""
        if not self._questions:
            return None
        self._questions -= 1
        stream = self._remote.subscribe(IDENTITY, keep=True)
        try:
            await stream.open()
        except SubscribeError:
            self._questions = 0
            return None
        self._questions = QUESTIONS
        streams.append(stream)
        return stream

    async def _learn(self, identities: Stream) -> None:
        async for message in identities:
            identity = message.payload.decode(errors="replace")[:IDENTITY_CHARACTERS]
            if identity == self._identity:
                raise TidewireError("its url leads back to this very broker; name another one")
            if identity:
                self._in.trail.passed = identity
                self._out.trail.shunned = {self._identity, identity}
                self._access.reaches(self._config.name, identity, self._outward)

    # -- what it tells

    def _tell(self, name: str, value: str) -> None:
        publish_state(self._server, f"{TOPIC}{self._config.name}/{name}", value)

    def _tell_connected(self) -> None:
        config = self._config
        self._told = ""
        self._tell("state", "1")
        self._tell("error", "")
        resumed = "yes" if self._remote.is_resumed else "no"
        logger.info(
            "bridge connected name=%s to=%s version=%s resumed=%s",
            config.name,
            address(config),
            config.version,
            resumed,
        )
        if self._marking is not None and not self._marking.is_on and self._outward.rules and self._inward.rules:
            logger.warning(
                "bridge echoes name=%s detail=%s",
                config.name,
                quoted(
                    "in MQTT 3.1.1 this broker does not know bridges: what it is sent and subscribed to as well comes "
                    'back here once; take version = "5.0" if it has that'
                ),
            )

    def _tell_of(self, error: Exception) -> None:
        """Why there is no connection: in `$SYS`, and in the log unless it is known there."""
        reason = error.__cause__ if isinstance(error, Lost) and error.__cause__ is not None else error
        detail = str(reason) + _mend(reason, self._config.version)
        self._tell("error", detail)
        if detail != self._told:
            self._told = detail
            logger.warning("bridge away name=%s detail=%s", self._config.name, quoted(detail))

    def _refused(self, why: str) -> None:
        """A message was given up."""
        now = monotonic()
        if now - self._complained_at >= COMPLAINT_PAUSE_S:
            self._complained_at = now
            logger.warning("bridge dropped name=%s detail=%s", self._config.name, quoted(why))


def publish_state(server: Server, topic: str, value: str) -> None:
    """Set a `$SYS` topic, if its value has changed and there are such topics."""
    encoded, payload = topic.encode(), value.encode()
    broker = server.broker
    current = broker.retained.current(encoded)
    if broker.limits.sys_interval_s and (current.payload if current is not None else b"") != payload:
        server.publish(Message(encoded, payload, 0, True))


def _mend(error: BaseException, version: str) -> str:
    if isinstance(error, ConnectionRefused):
        code = error.reason_code if version == "5.0" else _BEFORE_5.get(error.reason_code, 0)
        mend = MENDS.get(code)
        return f"; {mend}" if mend is not None else ""
    if "cannot be trusted" in str(error):
        return "; name the authority that has signed it: ca in its [bridge.tls]"
    return ""


async def _first_end(*works: Coroutine[Any, Any, None]) -> None:
    """Run all until one ends. Raises what it ended with."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            if task.done():
                task.result()
        raise Lost("it was closed")
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
