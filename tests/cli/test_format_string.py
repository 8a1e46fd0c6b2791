"""Does -F print what the manual page of mosquitto_sub says? (test_sub.py holds it against the program itself.)"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import pytest

from tests.cli.messages import message
from tidewire.cli.format_string import FormatError, compile_format
from tidewire.cli.message_json import MessageJSON
from tidewire.engine.received import Message
from tidewire.wire import properties as p
from tidewire.wire.properties import Properties

NOW_NS = 1_588_799_520_000_012_345  # 2020-05-06 21:12:00.000012345 UTC


@pytest.fixture(autouse=True)
def in_british_summer_time(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "BST-1")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def rich() -> Message:
    properties = Properties()
    properties.integers = {p.MESSAGE_EXPIRY_INTERVAL: 60, p.PAYLOAD_FORMAT_INDICATOR: 1}
    properties.texts = {p.CONTENT_TYPE: "text/plain", p.RESPONSE_TOPIC: "re/ply"}
    properties.binaries = {p.CORRELATION_DATA: b"\x00\xff"}
    properties.user_properties = [("a", "1"), ("b", "2")]
    return message("a/b", b"hi!", qos=1, retain=True, identifier=7, properties=properties)


def printed(text: str, of: Message) -> bytes:
    as_json = MessageJSON(False, 77, None, pytest.fail)
    return compile_format(text, as_json, lambda message: message.payload)(of, NOW_NS)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("%t %p %l %q %r %m", b"a/b hi! 3 1 1 7"),
        ("%x|%X", b"686921|686921"),
        ("%C %R %E %F %S", b"text/plain re/ply 60 1 77"),
        ("%D", b"\x00\xff"),
        ("%P", b"a:1 b:2"),
        ("[%A]", b"[]"),
        ("100%%", b"100%"),
        ("Größe", "Größe".encode()),
    ],
)
def test_a_field_prints_its_part_of_the_message(text: str, expected: bytes) -> None:
    assert printed(text, rich()) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("%6t|", b"   a/b|"),
        ("%-6t|", b"a/b   |"),
        ("%06t|", b"   a/b|"),  # 0 is for numbers and payloads
        ("%.2t|", b"a/|"),
        ("%6.2t|", b"    a/|"),
        ("%-6.2t|", b"a/    |"),
        ("%5l|%-5l|%05l|%-05l|", b"    3|3    |00003|3    |"),
        ("%5p|%-5p|%05p|%2p|", b"  hi!|hi!  |00hi!|hi|"),
        ("%8x|%-8x|%08X|%3x|", b"  686921|686921  |00686921| 68|"),
        ("%4A|%04A|", b"    |0000|"),
        ("%5q", b"1"),
    ],
)
def test_width_padding_and_longest_length_are_those_of_the_manual_page(text: str, expected: bytes) -> None:
    assert printed(text, rich()) == expected


def test_an_absent_property_is_as_wide_as_asked_for_but_for_the_response_topic() -> None:
    assert printed("%4C|%4E|%04F|%4R|%D|%P|", message()) == b"    |    |0000||||"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("%I", b"2020-05-06T22:12:00+0100"),
        ("%U", b"1588799520.000012345"),
        ("@Y-@m-@d @H:@M:@S @z", b"2020-05-06 22:12:00 +0100"),
        ("@N", b"000012345"),
        ("alice@@example", b"alice@example"),
    ],
)
def test_times_are_of_this_machine_s_zone(text: str, expected: bytes) -> None:
    assert printed(text, rich()) == expected


def test_escapes_print_single_bytes() -> None:
    assert printed(r"\\ \0 \a \e \n \r \t \v", message()) == b"\\ \0 \a \x1b \n \r \t \v"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("%Z", "'%Z' is no field"),
        ("%", "'%' is no field"),
        ("%5", "'%5' is no field"),
        ("%5.t%.", "'%.' is no field"),
        ("@", "'@' at the end"),
        ("\\", "is no escape"),
        (r"\x", "is no escape"),
    ],
)
def test_a_format_that_cannot_be_understood_is_refused_with_the_piece(text: str, said: str) -> None:
    with pytest.raises(FormatError, match=re.escape(said)):
        printed(text, message())
