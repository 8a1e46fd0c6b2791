"""Everything that a client was told when it was made, checked; and the CONNECT packet that follows from it."""

from __future__ import annotations

import secrets
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from tidewire.client.address import Address
from tidewire.client.options import VERSIONS, Authentication, Backoff, Offline, UserProperties, Version, Will
from tidewire.client.outbox import SQLiteOutbox
from tidewire.engine.limits import SUBSCRIBE_IDENTIFIERS, Limits
from tidewire.wire import properties as p
from tidewire.wire.codes import V5, V31
from tidewire.wire.packets import Connect

LARGEST_PACKET: Final = 268_435_460
"""No packet can be larger (2.1.4): five bytes of fixed header and the largest Remaining Length."""

QUEUE_MESSAGES: Final = 100_000
"""QoS 1 and 2 messages that may wait: an hour without a network at thirty a second."""

QUEUE_BYTES: Final = 256 * 1024 * 1024
"""The same in bytes: what a small computer has to spare."""

INFLIGHT_MAXIMUM: Final = 1024
"""QoS 1 and 2 messages sent and not acknowledged, whatever more the server allows: a fast network's round trip."""

RECEIVE_MAXIMUM: Final = 1024
"""QoS 1 and 2 messages that the server may send before the first is acknowledged."""


@dataclass
class Settings:
    """One field an argument of `tidewire.Client`. Raises ValueError for what does not go together."""

    address: Address
    client_id: str = ""
    version: Version = "5.0"
    clean_start: bool | None = None
    session_expiry: int = 0
    keep_alive: int = 60
    user_name: str | None = None
    password: str | bytes | None = None
    will: Will | None = None
    tls: ssl.SSLContext | None = None
    connect_timeout: float = 10.0
    reconnect: Backoff | None = field(default_factory=Backoff)
    retry_first_connect: bool = False
    offline: Offline = "wait"
    outbox: SQLiteOutbox | None = None
    receive_maximum: int = RECEIVE_MAXIMUM
    inflight_maximum: int = INFLIGHT_MAXIMUM
    topic_alias_maximum: int = 0
    maximum_packet_size: int = LARGEST_PACKET
    queue_messages: int = QUEUE_MESSAGES
    queue_bytes: int = QUEUE_BYTES
    user_properties: UserProperties = ()
    request_response_information: bool = False
    request_problem_information: bool = True
    authentication: Authentication | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    bind_address: str | None = None
    drain_timeout: float = 5.0
    on_state: Callable[[str, Exception | None], None] | None = None

    def __post_init__(self) -> None:
        if self.version not in VERSIONS:
            raise ValueError(f'version must be "5.0", "3.1.1" or "3.1", not {self.version!r}')
        if self.offline not in ("wait", "queue", "raise"):
            raise ValueError(f'offline must be "wait", "queue" or "raise", not {self.offline!r}')
        if self.user_name is None:
            self.user_name = self.address.user_name
        if self.password is None:
            self.password = self.address.password
        for name, least, most in (
            ("keep_alive", 0, 65_535),
            ("session_expiry", 0, 0xFFFF_FFFF),
            ("receive_maximum", 1, 65_535),
            ("inflight_maximum", 1, 65_535 - SUBSCRIBE_IDENTIFIERS),
            ("topic_alias_maximum", 0, 65_535),
            ("maximum_packet_size", 16, LARGEST_PACKET),
            ("queue_messages", 0, 2**31),
            ("queue_bytes", 0, 2**62),
        ):
            if not least <= getattr(self, name) <= most:
                raise ValueError(f"{name} must lie between {least} and {most}, not be {getattr(self, name)}")
        if self.level != V5:
            if self.authentication is not None or self.user_properties:
                raise ValueError("authentication= and user_properties= need MQTT 5.0")
            if self.password is not None and self.user_name is None:
                raise ValueError("before MQTT 5.0 a password needs a user name")
        if self.outbox is not None and self.session_expiry == 0:
            raise ValueError("an outbox needs a session that outlives the connection: give session_expiry in seconds")
        if self.level != V5 or self.session_expiry:
            self.client_id = self.client_id or ("" if self.outbox is not None else self.made_up_client_id())
        if self.will is not None:
            self.will.packet(self.level)

    @property
    def level(self) -> int:
        """The protocol level that CONNECT names (3.1.2.2)."""
        return VERSIONS[self.version]

    @property
    def subprotocol(self) -> str:
        """The WebSocket subprotocol (6.0)."""
        return "mqttv3.1" if self.level == V31 else "mqtt"

    def made_up_client_id(self) -> str:
        """One that nobody else has; 3.1 allows 23 characters."""
        return f"tidewire-{secrets.token_hex(7)}"

    def limits(self) -> Limits:
        """The engine's limits for this client."""
        limits = Limits()
        limits.inflight_maximum = self.inflight_maximum
        limits.queue_messages = self.queue_messages
        limits.queue_bytes = self.queue_bytes
        limits.early_flush_bytes = 64 * 1024  # one client: what it has said should leave soon
        return limits

    def connect_packet(self, client_id: str, first: bool, authentication_data: bytes | None) -> Connect:
        """CONNECT (3.1): the session is started anew by the first one only, if it is to outlive its connection."""
        clean_start = self.session_expiry == 0
        if first and self.clean_start is not None:
            clean_start = self.clean_start
        packet = Connect(client_id, self.level, clean_start, self.keep_alive)
        packet.user_name = self.user_name
        password = self.password
        packet.password = password.encode() if isinstance(password, str) else password
        if self.will is not None:
            packet.will = self.will.packet(self.level)
        if self.level != V5:
            return packet
        integers = packet.properties.integers
        if self.session_expiry:
            integers[p.SESSION_EXPIRY_INTERVAL] = self.session_expiry
        if self.receive_maximum != 65_535:
            integers[p.RECEIVE_MAXIMUM] = self.receive_maximum
        if self.maximum_packet_size < LARGEST_PACKET:
            integers[p.MAXIMUM_PACKET_SIZE] = self.maximum_packet_size
        if self.topic_alias_maximum:
            integers[p.TOPIC_ALIAS_MAXIMUM] = self.topic_alias_maximum
        if self.request_response_information:
            integers[p.REQUEST_RESPONSE_INFORMATION] = 1
        if not self.request_problem_information:
            integers[p.REQUEST_PROBLEM_INFORMATION] = 0
        packet.properties.user_properties = list(self.user_properties)
        if self.authentication is not None:
            packet.properties.texts[p.AUTHENTICATION_METHOD] = self.authentication.method
            if authentication_data is not None:
                packet.properties.binaries[p.AUTHENTICATION_DATA] = authentication_data
        return packet
