"""What does a packet say, in words? Without secrets: no password, no data of an authentication."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from tidewire.server.admin_types import PacketSeen
from tidewire.wire import properties as p
from tidewire.wire.codes import PACKET_NAMES, PUBLISH, V5, ConnectReturnCode, ReasonCode
from tidewire.wire.errors import ProtocolViolation
from tidewire.wire.framing import find_packet
from tidewire.wire.packets import (
    Acknowledgement,
    Auth,
    Connack,
    Connect,
    Disconnect,
    Packet,
    Publish,
    Suback,
    Subscribe,
    Unsuback,
    Unsubscribe,
    decode,
)
from tidewire.wire.properties import RULES, Properties

if TYPE_CHECKING:
    from tidewire.server.admin_packets import Noted

CLOSED: Final = b"\0"
"""Stands for the end of a connection: no packet has this type."""

LARGEST_PACKET: Final = 268_435_460
"""That the format has (2.1.4): what the broker takes is for the engine to say."""


class Shower:
    """Shows the packets of one feed, one after the other."""

    def __init__(self) -> None:
        self._number = 0
        self._aliases: dict[tuple[int, bool, int], bytes] = {}
        """(connection, direction, Topic Alias) → the topic that it stands for."""

    def missed(self) -> None:
        """The next packet was dropped: whatever it said of aliases is not known."""
        self._number += 1
        self._aliases.clear()

    def show(self, noted: Noted) -> PacketSeen:
        self._number += 1
        known: dict[str, Any] = {
            "number": self._number,
            "connection": noted.connection,
            "at": noted.at,
            "direction": "in" if noted.incoming else "out",
            "size_bytes": noted.size,
        }
        if noted.data == CLOSED:
            return PacketSeen(**known, packet="closed", reason=noted.detail)
        if not noted.data:
            return PacketSeen(**known, packet="malformed", reason=noted.detail)
        name = PACKET_NAMES[noted.data[0] >> 4] if noted.data[0] >> 4 else "malformed"
        try:
            body, end = find_packet(noted.data, 0, LARGEST_PACKET)
            if end > len(noted.data) and noted.data[0] >> 4 != PUBLISH:
                return PacketSeen(**known, packet=name, reason="too long to be shown")
            packet = decode(noted.data[0], noted.data, body, min(end, len(noted.data)), noted.version)
        except ProtocolViolation as violation:
            return PacketSeen(**known, packet=name, reason=f"malformed: {violation.detail}")
        shown = said(packet, noted.version)
        if isinstance(packet, Publish):
            shown["payload_bytes"] = len(packet.payload) + end - min(end, len(noted.data))
            shown["topic"] = self._topic(packet, noted).decode()
        return PacketSeen(**known, packet=name, **shown)

    def _topic(self, packet: Publish, noted: Noted) -> bytes:
        """Its topic, also where only an alias travels (3.3.2.3.4)."""
        alias = packet.properties.integers.get(p.TOPIC_ALIAS)
        if alias is None:
            return packet.topic
        key = (noted.connection, noted.incoming, alias)
        if packet.topic:
            self._aliases[key] = packet.topic
        return self._aliases.get(key, packet.topic)


def said(packet: Packet, version: int) -> dict[str, Any]:
    """What a packet says, as fields of `PacketSeen`."""
    describe = _FORMS.get(type(packet))
    shown = describe(packet) if describe is not None else {}
    properties = getattr(packet, "properties", None)
    if isinstance(properties, Properties):
        shown["properties"] = shown_properties(properties)
    if "reason_code" in shown:
        shown["reason"] = reason_name(shown["reason_code"], isinstance(packet, Connack) and version != V5)
    return shown


def shown_properties(properties: Properties) -> dict[str, Any]:
    """By the names of the specification."""
    shown: dict[str, Any] = {RULES[key].name: value for key, value in properties.integers.items()}
    shown |= {RULES[key].name: text for key, text in properties.texts.items()}
    for key, data in properties.binaries.items():
        shown[RULES[key].name] = f"({len(data)} bytes)" if key == p.AUTHENTICATION_DATA else data.hex()
    if properties.user_properties:
        shown[RULES[p.USER_PROPERTY].name] = [list(pair) for pair in properties.user_properties]
    if properties.subscription_identifiers:
        shown[RULES[p.SUBSCRIPTION_IDENTIFIER].name] = list(properties.subscription_identifiers)
    return shown


def reason_name(reason_code: int, before_5: bool = False) -> str:
    """A reason code in words; before 5.0, a return code of CONNACK."""
    try:
        code = ConnectReturnCode(reason_code) if before_5 else ReasonCode(reason_code)
    except ValueError:
        return f"0x{reason_code:02x}"
    return code.name.replace("_", " ").lower()


def _connect(packet: Connect) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "client_identifier": packet.client_identifier,
        "version": {3: "3.1", 4: "3.1.1", 5: "5.0"}[packet.version],
        "clean_start": packet.clean_start,
        "keep_alive": packet.keep_alive,
        "user_name": packet.user_name,
        "has_password": packet.password is not None,
    }
    will = packet.will
    if will is not None:
        fields["will"] = {
            "topic": will.topic.decode(),
            "payload_bytes": len(will.payload),
            "qos": will.qos,
            "retain": will.retain,
            "properties": shown_properties(will.properties),
        }
    return {"fields": fields}


def _publish(packet: Publish) -> dict[str, Any]:
    return {
        "packet_identifier": packet.packet_identifier,
        "payload": packet.payload,
        "qos": packet.qos,
        "retain": packet.retain,
        "dup": packet.dup,
    }


def _subscribe(packet: Subscribe) -> dict[str, Any]:
    requests = [
        {
            "topic_filter": request.topic_filter.decode(),
            "qos": request.qos,
            "no_local": request.no_local,
            "retain_as_published": request.retain_as_published,
            "retain_handling": request.retain_handling,
        }
        for request in packet.requests
    ]
    return {"packet_identifier": packet.packet_identifier, "fields": {"requests": requests}}


def _codes(packet: Suback | Unsuback) -> dict[str, Any]:
    codes = [{"reason_code": code, "reason": reason_name(code)} for code in packet.reason_codes]
    return {"packet_identifier": packet.packet_identifier, "fields": {"reason_codes": codes}}


_FORMS: Final[dict[type[Packet], Callable[[Any], dict[str, Any]]]] = {
    Connect: _connect,
    Connack: lambda packet: {
        "reason_code": packet.reason_code,
        "fields": {"session_present": packet.session_present},
    },
    Publish: _publish,
    Acknowledgement: lambda packet: {
        "packet_identifier": packet.packet_identifier,
        "reason_code": packet.reason_code,
    },
    Subscribe: _subscribe,
    Suback: _codes,
    Unsubscribe: lambda packet: {
        "packet_identifier": packet.packet_identifier,
        "fields": {"topic_filters": [topic_filter.decode() for topic_filter in packet.topic_filters]},
    },
    Unsuback: _codes,
    Disconnect: lambda packet: {"reason_code": packet.reason_code},
    Auth: lambda packet: {"reason_code": packet.reason_code},
}
