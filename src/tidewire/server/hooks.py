"""Hooks: how a program looks at what its broker's clients do, changes it, or refuses it.

The functions run on the broker's event loop, in between the packets: they must be quick and may not wait. One that
decides and raises has refused (0x83, implementation specific error); one that only watches and raises changes nothing.
Either is named in the log.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from tidewire.engine.message import Message
from tidewire.engine.ports import Hooks, Principal
from tidewire.server.log import FloodFilter, LogEvents, quoted, version_name
from tidewire.wire import properties as p
from tidewire.wire.codes import ALLOWED_REASON_CODES, CONNACK, PUBACK, PUBLISH, SUBACK, ReasonCode
from tidewire.wire.fields import Reader, encode_variable_byte_integer
from tidewire.wire.properties import Properties, read_properties

if TYPE_CHECKING:
    from tidewire.engine.broker import Broker
    from tidewire.engine.connection import Connection
    from tidewire.engine.session import Session
    from tidewire.wire.packets import Connect, SubscriptionRequest

logger = logging.getLogger("tidewire.hooks")
logger.addFilter(FloodFilter())


class Refuse(Exception):
    """Raised by a hook that decides: refuse, with this reason code."""

    def __init__(self, reason_code: int = ReasonCode.NOT_AUTHORIZED) -> None:
        super().__init__(reason_code)
        self.reason_code = reason_code


@dataclass(frozen=True, slots=True)
class ClientInfo:
    """Who it is."""

    client_identifier: str
    user_name: str | None
    """The name that was proven: by a password of the password file, or because `on_connect` said so."""
    peer: str
    """Where it comes from, as `address:port`, or `unix`."""
    version: str
    """"5.0", "3.1.1" or "3.1"."""


@dataclass(frozen=True, slots=True)
class ConnectRequest:
    """A client asks to come in (3.1). `user_name` and `password` are what it says."""

    client: ClientInfo
    user_name: str | None
    password: bytes | None = field(repr=False)
    clean_start: bool
    keep_alive: int
    """Seconds; 0 for none."""
    properties: Properties


@dataclass(frozen=True, slots=True)
class PublishRequest:
    """A client publishes (3.3), or its will is published (3.1.2.5)."""

    client: ClientInfo
    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False
    properties: Properties = field(default_factory=Properties)
    """Those that go on to subscribers; Message Expiry Interval is what is left of it, in seconds."""
    is_will: bool = False


@dataclass(frozen=True, slots=True)
class SubscribeRequest:
    """A client subscribes (3.8); asked once for each topic filter. A share name is part of the filter."""

    client: ClientInfo
    topic_filter: str
    qos: int
    no_local: bool = False
    retain_as_published: bool = False
    retain_handling: int = 0


@dataclass(frozen=True, slots=True)
class Disconnection:
    """A client's connection has ended."""

    client: ClientInfo
    reason_code: int
    detail: str
    """For people."""


@dataclass(frozen=True, slots=True)
class Drop:
    """Messages that a client does not get, or that were not taken from it.

    Told twice: when such a burst begins, and with the total when it has ended (`is_total`), which is when none came
    for ten seconds.
    """

    client_identifier: str
    reason: str
    """One of `tidewire.engine.ledger.REASONS`: "queue full", "expired", …"""
    messages: int
    is_total: bool


OnConnect = Callable[[ConnectRequest], int | str | None]
"""None lets the client in; a text does too, and is the user name that the hook vouches for; a reason code refuses."""
OnPublish = Callable[[PublishRequest], PublishRequest | int | None]
"""None lets the message pass; another request is published in its place, unquestioned; a reason code refuses.

Before MQTT 5.0, and at QoS 0, a client is not told that its message was refused."""
OnSubscribe = Callable[[SubscribeRequest], int | None]
"""None grants what is asked for; 0, 1 or 2 grants no more than that QoS; a reason code refuses."""
OnDisconnect = Callable[[Disconnection], None]
OnDrop = Callable[[Drop], None]

Hook = OnConnect | OnPublish | OnSubscribe | OnDisconnect | OnDrop


@dataclass(frozen=True, slots=True)
class ProgramHooks:
    """The functions that a program gave."""

    on_connect: OnConnect | None = None
    on_publish: OnPublish | None = None
    on_subscribe: OnSubscribe | None = None
    on_disconnect: OnDisconnect | None = None
    on_drop: OnDrop | None = None

    def __post_init__(self) -> None:
        """Raises TypeError for what cannot be called and returned from at once."""
        for name in self.__slots__:
            hook = getattr(self, name)
            if hook is None:
                continue
            if not callable(hook):
                raise TypeError(f"{name} must be a function, not {hook!r}")
            if inspect.iscoroutinefunction(hook):
                raise TypeError(f"{name} must be a plain function: the broker cannot wait for an async one")

    def __bool__(self) -> bool:
        """Whether there is any."""
        return any(getattr(self, name) is not None for name in self.__slots__)


class Client(Principal):
    """A client as access rules and hooks know it."""

    def __init__(self, info: ClientInfo, principal: Principal) -> None:
        """`principal`: who it is to the access rules; its name may be another one now."""
        super().__init__(info.user_name, info.client_identifier)
        self.expires_at = principal.expires_at
        self.grants = principal.grants
        self.info = info


class DecidingHooks(Hooks):
    """`on_connect`, `on_publish` and `on_subscribe`, as the engine asks for them."""

    def __init__(self, hooks: ProgramHooks) -> None:
        super().__init__()
        self.publishes = hooks.on_publish is not None
        self.broker: Broker | None = None
        """Set when there is one."""
        self._hooks = hooks

    def connecting(
        self, connection: Connection, packet: Connect, client_identifier: str, principal: Principal
    ) -> tuple[int, Principal]:
        info = ClientInfo(client_identifier, principal.user_name, connection.peer, version_name(packet.version))
        hook = self._hooks.on_connect
        if hook is not None:
            request = ConnectRequest(
                info, packet.user_name, packet.password, packet.clean_start, packet.keep_alive, packet.properties
            )
            try:
                answer = hook(request)
                if isinstance(answer, str):
                    info = ClientInfo(client_identifier, answer, info.peer, info.version)
                elif answer is not None and (code := _checked_code(answer, CONNACK)):
                    return code, principal
            except Exception as error:
                return _refusal(error, "on_connect", hook, info, CONNACK), principal
        return 0, Client(info, principal)

    def publishing(self, session: Session, message: Message, is_will: bool, now: float) -> tuple[int, Message]:
        hook = self._hooks.on_publish
        assert hook is not None
        info = _info(session)
        try:
            answer = hook(_request(info, message, is_will, now))
            if answer is None:
                return 0, message
            if isinstance(answer, PublishRequest):
                wanted = make_message(
                    answer.topic,
                    answer.payload,
                    answer.qos,
                    answer.retain,
                    answer.properties,
                    message.publisher,
                    now,
                )
                assert self.broker is not None
                self.broker.route(wanted.topic)  # raises for what is not a topic name
                return 0, wanted
            return _checked_code(answer, PUBACK), message
        except Exception as error:
            return _refusal(error, "on_publish", hook, info, PUBACK), message

    def subscribing(self, session: Session, request: SubscriptionRequest) -> int:
        hook = self._hooks.on_subscribe
        if hook is None:
            return request.qos
        info = _info(session)
        try:
            answer = hook(
                SubscribeRequest(
                    info,
                    request.topic_filter.decode(),
                    request.qos,
                    request.no_local,
                    request.retain_as_published,
                    request.retain_handling,
                )
            )
            if answer is None:
                return request.qos
            if not isinstance(answer, bool) and answer in (0, 1, 2):
                return min(answer, request.qos)
            return _checked_code(answer, SUBACK)
        except Exception as error:
            return _refusal(error, "on_subscribe", hook, info, SUBACK)


class WatchingHooks(LogEvents):
    """The log, with `on_disconnect` and `on_drop` behind it."""

    def __init__(self, hooks: ProgramHooks) -> None:
        super().__init__()
        self.broker: Broker | None = None
        """Set when there is one."""
        self._hooks = hooks
        self._bursts: set[tuple[str, str]] = set()
        """(client identifier, reason) of the bursts of drops that have not ended."""

    def disconnected(self, client_identifier: str, peer: str, reason_code: int, detail: str) -> None:
        super().disconnected(client_identifier, peer, reason_code, detail)
        hook = self._hooks.on_disconnect
        if hook is not None:
            try:
                assert self.broker is not None
                hook(Disconnection(_info(self.broker.sessions[client_identifier]), reason_code, detail))
            except Exception as error:
                _log(error, "on_disconnect", hook, client_identifier)

    def dropped(self, client_identifier: str, reason: str, messages: int) -> None:
        super().dropped(client_identifier, reason, messages)
        burst = (client_identifier, reason)
        is_total = burst in self._bursts
        if is_total:
            self._bursts.remove(burst)
        else:
            self._bursts.add(burst)
        hook = self._hooks.on_drop
        if hook is not None:
            try:
                hook(Drop(client_identifier, reason, messages, is_total))
            except Exception as error:
                _log(error, "on_drop", hook, client_identifier)


_REFUSED: Final = ReasonCode.IMPLEMENTATION_SPECIFIC_ERROR
"""What a hook that raised has answered: every packet that refuses something may carry it."""


def _refusal(error: Exception, name: str, hook: Hook, info: ClientInfo, packet: int) -> int:
    """The reason code for what a deciding hook raised."""
    if isinstance(error, Refuse):
        try:
            return _checked_code(error.reason_code, packet) or _REFUSED
        except ValueError as unusable:
            error = unusable
    _log(error, name, hook, info.client_identifier)
    return _REFUSED


def _checked_code(answer: object, packet: int) -> int:
    """An answer as a reason code that `packet` may carry: 0, or one that refuses. Raises ValueError."""
    if isinstance(answer, int) and not isinstance(answer, bool):
        if answer == 0:
            return 0
        if answer >= 0x80 and answer in ALLOWED_REASON_CODES[packet]:
            return int(answer)
    allowed = ", ".join(f"0x{code:02x}" for code in sorted(ALLOWED_REASON_CODES[packet]) if code >= 0x80)
    raise ValueError(f"{answer!r} does not say what to do; reason codes that refuse here are {allowed}")


def _log(error: Exception, name: str, hook: Hook, client_identifier: str) -> None:
    called = f"{hook.__module__}.{getattr(hook, '__qualname__', type(hook).__qualname__)}"
    # Each hook is a kind of its own for `FloodFilter`: one that always raises must not hide another.
    logger.error(f"hook {name} ({called}) raised client=%s", quoted(client_identifier), exc_info=error)


def _info(session: Session) -> ClientInfo:
    principal = session.principal
    if isinstance(principal, Client):
        return principal.info
    return ClientInfo(session.client_identifier, principal.user_name, "", "")  # kept by a store, and not back yet


def _request(info: ClientInfo, message: Message, is_will: bool, now: float) -> PublishRequest:
    properties = Properties()
    if message.properties:
        block = encode_variable_byte_integer(len(message.properties)) + message.properties
        properties = read_properties(Reader(block, 0, len(block), True), PUBLISH)
    if message.expires_at > 0.0:
        properties.integers[p.MESSAGE_EXPIRY_INTERVAL] = max(0, round(message.expires_at - now))
    return PublishRequest(
        info, message.topic.decode(), message.payload, message.qos, message.retain, properties, is_will
    )


def make_message(
    topic: str, payload: bytes, qos: int, retain: bool, properties: Properties, publisher: str, now: float
) -> Message:
    """A message of a program's making; its topic is checked where it is routed. Raises ValueError or TypeError."""
    if not isinstance(payload, bytes):
        raise TypeError(f"payload must be bytes, not {type(payload).__name__}")
    encoded_topic = topic.encode()
    if len(encoded_topic) > 65_535:
        raise ValueError(f"a topic has at most 65535 bytes, not {len(encoded_topic)}")
    if qos not in (0, 1, 2):
        raise ValueError(f"QoS must be 0, 1 or 2, not {qos!r}")
    if properties.subscription_identifiers or p.TOPIC_ALIAS in properties.integers:
        raise ValueError("Subscription Identifier and Topic Alias are the broker's own")
    carried = copied(properties)
    expiry = carried.integers.pop(p.MESSAGE_EXPIRY_INTERVAL, -1)
    expires_at = now + expiry if expiry >= 0 else 0.0
    return Message(encoded_topic, payload, qos, retain, carried.encode_body(), expires_at, publisher)


def copied(properties: Properties) -> Properties:
    """The same properties, to be changed by themselves; without subscription identifiers, which are the broker's."""
    copy = Properties()
    copy.integers = dict(properties.integers)
    copy.texts = dict(properties.texts)
    copy.binaries = dict(properties.binaries)
    copy.user_properties = list(properties.user_properties)
    return copy
