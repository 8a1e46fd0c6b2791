"""What is to be seen of a packet? Its name in the specification, and what it carries, in a few words."""

from __future__ import annotations

from tidewire.wire.codes import PACKET_NAMES
from tidewire.wire.packets import (
    Acknowledgement,
    Connack,
    Connect,
    Disconnect,
    Packet,
    Publish,
    Suback,
    Subscribe,
)
from tidewire.wire.properties import TOPIC_ALIAS


def describe(packet: Packet) -> tuple[str, str]:
    """Its name, and identifier, flags and properties."""
    match packet:
        case Publish():
            return "PUBLISH", ", ".join(_publish_words(packet))
        case Acknowledgement():
            return PACKET_NAMES[packet.packet_type], ", ".join([f"id {packet.packet_identifier}", *_code(packet)])
        case Connect():
            clean = "clean start" if packet.clean_start else "resumes"
            return "CONNECT", f"{clean}, keep alive {packet.keep_alive} s"
        case Connack():
            present = ["session present"] if packet.session_present else []
            return "CONNACK", ", ".join(present + _code(packet))
        case Subscribe():
            filters = (f"{request.topic_filter.decode()} QoS {request.qos}" for request in packet.requests)
            return "SUBSCRIBE", ", ".join([f"id {packet.packet_identifier}", *filters])
        case Suback():
            codes = (f"0x{code:02x}" for code in packet.reason_codes)
            return "SUBACK", ", ".join([f"id {packet.packet_identifier}", *codes])
        case Disconnect():
            return "DISCONNECT", ", ".join(_code(packet))
        case _:
            return type(packet).__name__.upper(), ""


def _publish_words(packet: Publish) -> list[str]:
    alias = packet.properties.integer(TOPIC_ALIAS, 0)
    return [
        f"QoS {packet.qos}",
        *([f"id {packet.packet_identifier}"] if packet.qos else []),
        *(["DUP"] if packet.dup else []),
        *(["RETAIN"] if packet.retain else []),
        *([f"alias {alias}"] if alias else []),
        *([] if packet.topic else ["no topic"]),
    ]


def _code(packet: Acknowledgement | Connack | Disconnect) -> list[str]:
    return [f"reason 0x{packet.reason_code:02x}"] if packet.reason_code else []
