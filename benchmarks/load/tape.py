"""What publishers send and what they are answered, prepared before the time starts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tidewire.wire.codes import PUBACK, PUBCOMP, PUBREC, PUBREL, V311
from tidewire.wire.packets import Acknowledgement, Publish

TAPE_BYTES: Final = 1 << 18  # publishes at QoS 0 prepared end to end; one write takes a part of them
CYCLE: Final = 512  # packet identifiers in use by a publisher: 1 to 512, then again; above every window

PUBACK_BYTE: Final = PUBACK << 4
PUBREC_BYTE: Final = PUBREC << 4
PUBREL_BYTE: Final = PUBREL << 4 | 2
PUBCOMP_BYTE: Final = PUBCOMP << 4


class Tape:
    """PUBLISH packets of one size, end to end, to be sent from in a circle. No two have the same payload.

    `view` holds them; `head` is what every packet begins with: all before the packet identifier or payload, or, where
    topics differ, all before the topic.
    """

    def __init__(self, topics: Sequence[bytes], payload_bytes: int, qos: int) -> None:
        """`topics`: all of one length, used in turn. At QoS 1 and 2 the identifiers are 1 to CYCLE, in turn."""
        first = Publish(topics[0], bytes(payload_bytes), qos, packet_identifier=1).encode(V311)
        self.qos = qos
        self.packet_bytes = len(first)
        self.messages = CYCLE if qos else len(topics) * max(1, TAPE_BYTES // (len(topics) * len(first)))
        packets = [
            Publish(
                topics[number % len(topics)], payload(number, payload_bytes), qos, packet_identifier=number % CYCLE + 1
            ).encode(V311)
            for number in range(self.messages)
        ]
        if any(len(packet) != len(first) for packet in packets):
            raise ValueError("the topics of one tape must have one length")
        self.view = memoryview(b"".join(packets))
        topic_at = first.index(topics[0])
        self.head = first[: topic_at + len(topics[0]) if len(topics) == 1 else topic_at]


def payload(number: int, size: int) -> bytes:
    """Text like a reading that a device would send: `number`, then a filler that differs as well."""
    text = b'{"n":%06d,"v":"%s"}' % (number, FILLER[number * 7 % 89 :][:size])
    return text[: size - 2] + b'"}'


FILLER: Final = b"".join(b"%03x" % (number * number * 31 % 4093) for number in range(1400))


def with_type(answers: bytes, first_byte: int) -> bytes:
    """Acknowledgements for the same packet identifiers, of another type."""
    changed = bytearray(answers)
    changed[0::4] = bytes([first_byte]) * (len(answers) // 4)
    return bytes(changed)


def blank(first_byte: int, count: int) -> bytes:
    """`count` acknowledgements whose identifiers are still to be filled in."""
    return bytes([first_byte, 2, 0, 0]) * count


def _cycle(packet_type: int) -> bytes:
    """Two rounds of the acknowledgements that a publisher expects, in order."""
    return b"".join(Acknowledgement(packet_type, number).encode(V311) for number in range(1, CYCLE + 1)) * 2


ANSWERS: Final = {PUBACK_BYTE: _cycle(PUBACK), PUBREC_BYTE: _cycle(PUBREC), PUBCOMP_BYTE: _cycle(PUBCOMP)}
