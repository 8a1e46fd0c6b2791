"""How does a client speak, as its meter shows? Its transport and version, and how often it does what."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from msgspec import Struct

from tidewire.overhead.costs import TransportName, VersionName
from tidewire.store.meter_rows import Flow, Metered
from tidewire.wire.codes import V5, V311
from tidewire.wire.packets import Connack, Publish
from tidewire.wire.properties import TOPIC_ALIAS


class Messages(Struct, frozen=True):
    """Application messages that went one way. Sizes are means, in whole bytes."""

    by_qos: tuple[int, int, int] = (0, 0, 0)
    payload_bytes: int = 0
    topic_bytes: int = 0
    """With what properties it has beside a topic alias, which the meter does not tell apart."""

    @property
    def count(self) -> int:
        return sum(self.by_qos)


class Habits(Struct, frozen=True):
    """What a client has done in the time that was metered."""

    transport: TransportName
    version: VersionName
    published: Messages
    delivered: Messages
    pings: int
    connects: int
    subscribes: int
    is_version_known: bool = True


def habits(row: Metered) -> Habits:
    """What a client's row of the meter says of it.

    Its version is that of the CONNACKs, which are longer in 5.0 (3.2.2.3); without any it is taken for 3.1.1. Messages
    that were acknowledged had the QoS of their acknowledgement (4.3), the others 0."""
    received, sent = row.received, row.sent
    connacks = sent.packets.get("CONNACK")
    is_5 = connacks is not None and connacks.bytes > connacks.count * len(Connack().encode(V311))
    version: VersionName = "5.0" if is_5 else "3.1.1"
    return Habits(
        _transport(row),
        version,
        _messages(received, sent, version),
        _messages(sent, received, version),
        _count(received, "PINGREQ"),
        _count(received, "CONNECT"),
        _count(received, "SUBSCRIBE"),
        connacks is not None,
    )


def around(payload_bytes: int, topic_bytes: int, qos: int, version: VersionName, *, alias: bool = False) -> int:
    """Bytes of a PUBLISH that are not its payload (3.3). `alias`: with a Topic Alias; without a topic, all there is."""
    publish = Publish(b"t" * topic_bytes, b"p" * payload_bytes, qos, packet_identifier=qos and 1)
    if alias:
        publish.properties.integers[TOPIC_ALIAS] = 1
    return len(publish.encode(V5 if version == "5.0" else V311)) - payload_bytes


def observed_s(period: str, days: Sequence[str], now: datetime) -> float:
    """Seconds that a period of the meter covers for a client: from the first of its `days` to the last, or to `now`.

    `period` is a day (`2026-11-21`) or a month; where its days are not kept any more, it is all of it."""
    is_day = period.count("-") == 2
    own = [period] if is_day else [day for day in days if day.startswith(f"{period}-")]
    first = _midnight(min(own, default=f"{period}-01"))
    end = _midnight(max(own)) + timedelta(days=1) if own else _next_month(first)
    return ((now if first < now < end else end) - first).total_seconds()


def _midnight(day: str) -> datetime:
    return datetime.fromisoformat(day).replace(tzinfo=UTC)


def _next_month(first: datetime) -> datetime:
    return (first + timedelta(days=31)).replace(day=1)


def _transport(row: Metered) -> TransportName:
    """By the layers that there are. One that is carried by nothing, as on a Unix socket, is like one over TCP."""
    has_tls = bool(row.received.tls or row.sent.tls)
    if row.received.websocket or row.sent.websocket:
        return "wss" if has_tls else "ws"
    return "tls" if has_tls else "tcp"


def _messages(flow: Flow, back: Flow, version: VersionName) -> Messages:
    """Those of one direction; `back` is the other one, with their acknowledgements."""
    published = flow.packets.get("PUBLISH")
    if published is None or published.count <= 0:
        return Messages()
    count = published.count
    twice = min(count, _count(back, "PUBREC"))
    once = min(count - twice, _count(back, "PUBACK"))
    payload = round(flow.payload / count)
    by_qos = (count - once - twice, once, twice)
    topic = 0
    for _ in range(2):  # a long topic has a longer length before it, which is none of its bytes
        rest = sum(number * (around(payload, topic, qos, version) - topic) for qos, number in enumerate(by_qos))
        topic = max(0, round((published.bytes - flow.payload - rest) / count))
    return Messages(by_qos, payload, topic)


def _count(flow: Flow, name: str) -> int:
    packets = flow.packets.get(name)
    return packets.count if packets is not None else 0
