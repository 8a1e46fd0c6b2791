"""What publishers send and what they are answered, prepared before the time starts."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
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
    """PUBLISH packets end to end, to be sent from in a circle. No two have the same payload.

    `view` holds them and `starts` says where each begins. `head` is what every packet begins with: all before the
    packet identifier or payload; where topics differ, all before the topic; where sizes differ, the first byte.
    """

    def __init__(self, topics: Sequence[bytes], payload_sizes: Sequence[int], qos: int) -> None:
        """Topics and sizes in bytes are used in turn. At QoS 1 and 2 the identifiers are 1 to CYCLE, in turn."""
        self.qos = qos
        packets: list[bytes] = []
        length = 0
        least = CYCLE if qos else max(len(topics), len(payload_sizes))
        while len(packets) < least or (not qos and (length < TAPE_BYTES or len(packets) % least)):
            number = len(packets)
            topic, size = topics[number % len(topics)], payload_sizes[number % len(payload_sizes)]
            packet = Publish(topic, payload(number, size), qos, packet_identifier=number % CYCLE + 1).encode(V311)
            packets.append(packet)
            length += len(packet)
        self.view = memoryview(b"".join(packets))
        self.starts = [0, *accumulate([len(packet) for packet in packets])]
        self.messages = len(packets)
        self.packet_bytes = len(packets[0])  # of each, where they are uniform
        self.uniform = self.messages * self.packet_bytes == length
        topic_at = packets[0].index(topics[0]) if self.uniform else 1
        self.head = packets[0][: topic_at + len(topics[0]) if len(topics) == 1 else topic_at]

    def bytes_before(self, message: int) -> int:
        """Where in the endless stream of this tape the message with this number, from 0, begins."""
        rounds, rest = divmod(message, self.messages)
        return rounds * len(self.view) + self.starts[rest]

    def packet(self, message: int) -> bytes:
        """The message with this number in that stream."""
        number = message % self.messages
        return bytes(self.view[self.starts[number] : self.starts[number + 1]])

    def messages_before(self, position: int) -> int:
        """How many messages of that stream end at or before `position`."""
        rounds, rest = divmod(position, len(self.view))
        return rounds * self.messages + bisect_right(self.starts, rest) - 1


def payload(number: int, size: int) -> bytes:
    """Text like a reading that a device would send: `number`, then a filler that differs as well."""
    text = b'{"n":%06d,"v":"%s"}' % (number, FILLER[number * 7 % 89 :][:size])
    return text[: size - 2] + b'"}'


FILLER: Final = b"".join([b"%03x" % (number * number * 31 % 4093) for number in range(1400)])


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
    return b"".join([Acknowledgement(packet_type, number).encode(V311) for number in range(1, CYCLE + 1)]) * 2


ANSWERS: Final = {PUBACK_BYTE: _cycle(PUBACK), PUBREC_BYTE: _cycle(PUBREC), PUBCOMP_BYTE: _cycle(PUBCOMP)}
