"""What does the administration of a broker say? Every answer of `server.admin`, as it also travels in JSON.

Times are seconds since 1970 unless a name ends in `_s`, which is a duration. Bytes are base64 in JSON.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from tidewire.store.meter_rows import Metered


class Viewer(Struct, frozen=True):
    """Somebody who looks or publishes under the access rules, as a client of that user would."""

    user_name: str | None = None
    """None: who has proven no name."""
    expires_at: float = 0.0
    """When the proof of it ends, by the broker's clock; 0.0: never."""


class MessageProperties(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """The properties of a message (3.3.2.3) that travel with it; None where there is none."""

    payload_format_indicator: int | None = None
    message_expiry_interval_s: int | None = None
    content_type: str | None = None
    response_topic: str | None = None
    correlation_data: bytes | None = None
    user_properties: list[tuple[str, str]] = []


class Flow(Struct, frozen=True, kw_only=True):
    """Messages (PUBLISH packets) and MQTT bytes: totals since the start, or a second."""

    messages_in: float = 0
    messages_out: float = 0
    messages_dropped: float = 0
    bytes_in: float = 0
    bytes_out: float = 0


class ListenerInfo(Struct, frozen=True, kw_only=True):
    name: str
    urls: list[str]
    protocol: str
    """"mqtt" or "websocket"."""
    tls: bool
    connections: int


class BridgeInfo(Struct, frozen=True, kw_only=True):
    name: str
    connected: bool


class Overview(Struct, frozen=True, kw_only=True):
    """The broker in one look."""

    version: str
    form: str
    """"compiled" or "pure"."""
    now: float
    uptime_s: float
    connections: int
    sessions: int
    subscriptions: int
    retained_messages: int
    """But for the broker's own, below `$SYS` …"""
    retained_bytes: int
    queued_messages: int
    """That wait for their clients, in flight included."""
    queued_bytes: int
    totals: Flow
    rates: Flow
    """A second, over the last second."""
    drops: dict[str, int]
    """Reason → messages since the start."""
    cpu_share: float
    """Of one core, over the last second: 1.0 is a whole core; -1 where nobody says."""
    memory_bytes: int
    """Resident; 0 where the system does not say."""
    store: str
    """"ok", "failing", or "none" where nothing outlives the process."""
    listeners: list[ListenerInfo]
    bridges: list[BridgeInfo]
    sys_messages: int = 0
    """… which are these."""
    sys_bytes: int = 0


class Vitals(Struct, frozen=True, kw_only=True):
    """What of the overview costs next to nothing to ask, however many sessions there are."""

    totals: Flow
    cpu_share: float
    memory_bytes: int


class ClientInfo(Struct, frozen=True, kw_only=True):
    """A session, connected or not."""

    client_identifier: str
    user: str | None
    address: str
    """Where it is connected from, or was last."""
    version: str
    """"5.0", "3.1.1" or "3.1"; empty while it is not connected."""
    transport: str
    """"tcp", "tls", "ws", "wss", "unix" or "bridge"; empty while it is not connected."""
    listener: str
    connected: bool
    since: float
    """When it was connected, or left."""
    keep_alive_s: int
    clean: bool
    """The session ends with its connection."""
    expires_s: int
    """Seconds that the session outlives its connection: what is left of them, once that is gone."""
    subscriptions: int
    queue_messages: int
    queue_bytes: int
    inflight: int
    dropped: int


class SubscriptionInfo(Struct, frozen=True, kw_only=True):
    """A subscription with its options (3.8.3.1)."""

    topic_filter: str
    qos: int
    no_local: bool
    retain_as_published: bool
    identifier: int
    """Subscription Identifier, 0 for none."""


class MessageInfo(Struct, frozen=True, kw_only=True):
    """A message that waits, or a will."""

    topic: str
    payload: bytes
    """At most `admin.PAYLOAD_SHOWN_BYTES` of it."""
    payload_bytes: int
    qos: int
    retain: bool
    publisher: str
    expires_s: float | None
    properties: MessageProperties


class ClientDetail(Struct, frozen=True, kw_only=True):
    """One client, and all that is kept for it."""

    info: ClientInfo
    subscriptions: list[SubscriptionInfo]
    drops: dict[str, int]
    """Reason → messages that it did not get, or that were not taken from it."""
    will: MessageInfo | None
    will_delay_s: int
    queue: list[MessageInfo]
    """The first of those that wait."""
    meter: Metered | None = None
    """What its messages cost, by layer, where that is metered."""


class RetainedInfo(Struct, frozen=True, kw_only=True):
    """A retained message and where it comes from."""

    topic: str
    payload: bytes
    """At most as much of it as was asked for."""
    payload_bytes: int
    qos: int
    properties: MessageProperties
    expires_s: float | None
    publisher: str
    """Client identifier; empty for the broker's own."""
    user: str | None
    address: str
    published_at: float


class Deleted(Struct, frozen=True, kw_only=True):
    """What was deleted, or would be."""

    count: int
    bytes: int
    topics: list[str]
    """The first of them."""
    dry_run: bool


class Published(Struct, frozen=True, kw_only=True):
    reason_code: int
    """0: somebody gets it; 16: nobody subscribes; 151: it could not be kept."""
    reason: str


class PacketSeen(Struct, frozen=True, kw_only=True):
    """A control packet of one client, on its way."""

    number: int
    """Of the feed, from 1; one that is missing was dropped."""
    connection: int
    """Another number is another connection of the client; the later, the larger."""
    at: float
    direction: str
    """"in": the client sent it; "out": it was sent to the client."""
    packet: str
    """"CONNECT", "PUBLISH", …; "closed" when the connection has ended; "malformed" for what is no packet."""
    size_bytes: int
    packet_identifier: int = 0
    topic: str = ""
    payload: bytes = b""
    """Of PUBLISH: at most `admin_packets.PAYLOAD_SHOWN_BYTES` of it."""
    payload_bytes: int = 0
    qos: int = 0
    retain: bool = False
    dup: bool = False
    reason_code: int = 0
    reason: str = ""
    fields: dict[str, Any] = {}
    """What else it says, by name: of CONNECT, for instance, "keep_alive" and "clean_start". Never a password."""
    properties: dict[str, Any] = {}
    """By the names of the specification. Binary ones are hexadecimal."""


class PacketsSeen(Struct, frozen=True, kw_only=True):
    packets: list[PacketSeen]
    dropped: int
    """Packets that were not taken in time, since the feed began."""


class TopicSeen(Struct, frozen=True, kw_only=True):
    """What came for one topic since the feed began."""

    topic: str
    payload: bytes
    """The last message, at most `admin_topics.PAYLOAD_SHOWN_BYTES` of it."""
    payload_bytes: int
    retain: bool
    """It was retained when the feed began, and nothing has come since."""
    properties: MessageProperties
    at: float
    messages: int
    """That were looked at."""
    total_bytes: int
    """Of their payloads."""
    rate: float
    """Messages a second since it was taken last, estimated where not all were looked at."""


class TopicChanges(Struct, frozen=True, kw_only=True):
    """What has changed since it was taken last."""

    topics: list[TopicSeen]
    messages: int
    """That came since the feed began: looked at or not."""
    unseen: int
    """Those of them that were not looked at, for there were too many: an estimate."""
    rate: float
    """Messages a second since it was taken last."""
    sampling: bool
    """Some of what came since then was not looked at."""
    topics_full: bool
    """There are more topics than the feed keeps: messages of further ones are counted as unseen."""


class BudgetInfo(Struct, frozen=True, kw_only=True):
    """How far a budget of a metered link is used in its running period."""

    name: str
    client_identifier: str
    """Whose; empty where all that it is for share it."""
    period: str
    """"day" or "month"."""
    counts: str
    """What counts: "total", "mqtt" or "payload"."""
    used_bytes: int
    limit_bytes: int
    warn_at: float
    """The share of the limit at which there is a warning."""
    action: str
    """What becomes of it at the limit: "warn", "throttle" or "refuse"."""


class Done(Struct, frozen=True, kw_only=True):
    """It was done."""

    done: bool


class Reloaded(Struct, frozen=True, kw_only=True):
    """The configuration is in force."""

    needs_restart: list[str]
    """What of it waits for a restart, in words."""


class Fault(Struct, frozen=True, kw_only=True):
    """Why it was not done."""

    error: str
