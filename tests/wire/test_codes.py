"""Do the numbers agree with the tables of the specification?"""

from __future__ import annotations

import pytest

from tidewire.wire import codes
from tidewire.wire.codes import ALLOWED_REASON_CODES, PACKET_NAMES, ConnectReturnCode, ReasonCode, return_code

# Table 2-6, row by row; the tables of chapter 3, which ALLOWED_REASON_CODES follows, say the same packet by packet.
# Only 0x8C differs: table 2-6 names DISCONNECT beside CONNACK, section 3.14.2.1 does not.
REASON_CODE_TABLE = {
    0x00: "CONNACK PUBACK PUBREC PUBREL PUBCOMP SUBACK UNSUBACK DISCONNECT AUTH",
    0x01: "SUBACK",
    0x02: "SUBACK",
    0x04: "DISCONNECT",
    0x10: "PUBACK PUBREC",
    0x11: "UNSUBACK",
    0x18: "AUTH",
    0x19: "AUTH",
    0x80: "CONNACK PUBACK PUBREC SUBACK UNSUBACK DISCONNECT",
    0x81: "CONNACK DISCONNECT",
    0x82: "CONNACK DISCONNECT",
    0x83: "CONNACK PUBACK PUBREC SUBACK UNSUBACK DISCONNECT",
    0x84: "CONNACK",
    0x85: "CONNACK",
    0x86: "CONNACK",
    0x87: "CONNACK PUBACK PUBREC SUBACK UNSUBACK DISCONNECT",
    0x88: "CONNACK",
    0x89: "CONNACK DISCONNECT",
    0x8A: "CONNACK",
    0x8B: "DISCONNECT",
    0x8C: "CONNACK",
    0x8D: "DISCONNECT",
    0x8E: "DISCONNECT",
    0x8F: "SUBACK UNSUBACK DISCONNECT",
    0x90: "CONNACK PUBACK PUBREC DISCONNECT",
    0x91: "PUBACK PUBREC SUBACK UNSUBACK",
    0x92: "PUBREL PUBCOMP",
    0x93: "DISCONNECT",
    0x94: "DISCONNECT",
    0x95: "CONNACK DISCONNECT",
    0x96: "DISCONNECT",
    0x97: "CONNACK PUBACK PUBREC SUBACK DISCONNECT",
    0x98: "DISCONNECT",
    0x99: "CONNACK PUBACK PUBREC DISCONNECT",
    0x9A: "CONNACK DISCONNECT",
    0x9B: "CONNACK DISCONNECT",
    0x9C: "CONNACK DISCONNECT",
    0x9D: "CONNACK DISCONNECT",
    0x9E: "SUBACK DISCONNECT",
    0x9F: "CONNACK DISCONNECT",
    0xA0: "DISCONNECT",
    0xA1: "SUBACK DISCONNECT",
    0xA2: "SUBACK DISCONNECT",
}


def test_the_reason_codes_are_those_of_table_2_6() -> None:
    assert {int(code) for code in ReasonCode} == set(REASON_CODE_TABLE)


@pytest.mark.parametrize("packet_type", ALLOWED_REASON_CODES, ids=lambda packet_type: PACKET_NAMES[packet_type])
def test_a_packet_carries_the_reason_codes_that_table_2_6_gives_it(packet_type: int) -> None:
    name = PACKET_NAMES[packet_type]
    assert ALLOWED_REASON_CODES[packet_type] == {
        code for code, packets in REASON_CODE_TABLE.items() if name in packets.split()
    }


def test_every_packet_type_has_its_number_and_name() -> None:
    for number, name in enumerate(PACKET_NAMES[1:], start=1):
        assert getattr(codes, name) == number


def test_every_failure_has_a_return_code_that_refuses() -> None:
    for code in range(0x80, 0x100):
        assert ConnectReturnCode(return_code(code)) != ConnectReturnCode.ACCEPTED


def test_every_success_is_accepted() -> None:
    for code in range(0x80):
        assert return_code(code) == ConnectReturnCode.ACCEPTED


@pytest.mark.parametrize(
    ("reason_code", "expected"),
    [
        (ReasonCode.UNSUPPORTED_PROTOCOL_VERSION, 1),
        (ReasonCode.CLIENT_IDENTIFIER_NOT_VALID, 2),
        (ReasonCode.SERVER_UNAVAILABLE, 3),
        (ReasonCode.BAD_USER_NAME_OR_PASSWORD, 4),
        (ReasonCode.NOT_AUTHORIZED, 5),
    ],
)
def test_each_return_code_stands_for_the_reason_code_of_the_same_meaning(reason_code: int, expected: int) -> None:
    assert return_code(reason_code) == expected
